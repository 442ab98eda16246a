//! Rules, as an operator writes them.

use serde::Deserialize;

/// Who may call what.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What happens when no rule fits. Default `deny`; `allow` is for development.
    pub default: DefaultDecision,
    /// Whether anyone may call `grpc.health.v1.Health`, whatever the rules say. Default true: the load balancer that asks has
    /// no token. When false, its methods are methods like any other.
    pub health: bool,
    /// Who may read the descriptors (`grpc.reflection.v1` and `v1alpha`), once the server offers them. Default nobody. A rule
    /// for `*` does not cover them, one that names them does; deny rules come first, as always.
    pub reflection: Option<CallerSettings>,
    /// Who must not, asked first: one that fits decides. Default none.
    pub deny: Vec<RuleSettings>,
    /// Who may. Default none.
    pub allow: Vec<RuleSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default: DefaultDecision::Deny,
            health: true,
            reflection: None,
            deny: Vec::new(),
            allow: Vec::new(),
        }
    }
}

/// What happens when no rule fits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefaultDecision {
    /// The RPC may go on.
    Allow,
    /// It may not.
    #[default]
    Deny,
}

/// One rule.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSettings {
    /// Its name in the audit log, unlike any other.
    pub name: String,
    /// `package.Service/Method`, `package.Service/*` or `*`. At least one.
    pub methods: Vec<String>,
    /// Whom it is about. At least one.
    pub callers: CallerSettings,
}

/// Callers; one who fits any of these is meant. Texts are compared exactly, unless a pattern is mentioned: `abc*` is a
/// beginning, `*abc` an end, `*` any text at all.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallerSettings {
    /// Every caller, known or not.
    pub anyone: bool,
    /// A caller who proved nothing by token or certificate. A Unix user alone is anonymous: behind a local proxy it is the
    /// proxy's.
    pub anonymous: bool,
    /// A caller with a verified token or a verified certificate.
    pub authenticated: bool,
    /// Roles of a verified token.
    pub roles: Vec<String>,
    /// `sub` of a verified token.
    pub subjects: Vec<String>,
    /// Patterns for the URIs of a verified certificate, such as the SPIFFE ID `spiffe://prod.example/billing`. End a prefix
    /// with a slash: `spiffe://prod*` also means `spiffe://prod.attacker.example`.
    pub uris: Vec<String>,
    /// Patterns for the DNS names of a verified certificate, in any case. Begin an end with a dot: `*shop.example` also means
    /// `evilshop.example`.
    pub dns: Vec<String>,
    /// User ids of processes at the other end of a Unix socket.
    pub uids: Vec<u32>,
}
