//! May they: rules by method and caller.
//!
//! ```text
//!   health?  ── allow                                  (rule `health`, unless it is switched off)
//!   deny rules of the method  ── any that fits: deny
//!   allow rules of the method ── any that fits: allow
//!   else                      ── `default`: deny, unless the profile says otherwise
//! ```
//!
//! The rules of a method are gathered when the policy is built: those that name it, then those of its service, then `*`,
//! each in the order of the file. That order chooses the name in the audit log, never the outcome. A decision is one look-up
//! by method, two for a method that no rule names, and then the rules that can apply.
//!
//! ```
//! use highball_auth::policy::{Decision, Policy, Settings};
//! use highball_core::{Caller, Method};
//!
//! let settings: Settings = toml::from_str(r#"
//!     [[allow]]
//!     name = "read"
//!     methods = ["shop.v1.Orders/Get"]
//!     callers = { uids = [1000] }
//! "#).unwrap();
//! let policy = Policy::try_from(&settings).unwrap();
//! let method = Method::parse(&"/shop.v1.Orders/Get".parse().unwrap()).unwrap();
//! assert!(matches!(policy.decide(&method, &Caller::default()), Decision::Deny { rule } if &**rule == "default"));
//! ```

mod callers;
mod compile;
mod pattern;
mod settings;

use std::fmt;
use std::sync::Arc;

use highball_core::method::NameMap;
use highball_core::{Caller, Method};

use crate::{Denial, Reason};
use callers::Callers;

pub use settings::{CallerSettings, DefaultDecision, RuleSettings, Settings};

/// Rules, compiled. Immutable: a reload builds another one.
pub struct Policy {
    rules: Box<[Rule]>,
    /// By `package.Service/Method`.
    methods: NameMap<Box<str>, Lists>,
    /// By `package.Service`, for the methods that no rule names.
    services: NameMap<Box<str>, Lists>,
    /// For everything else.
    rest: Lists,
    /// The name of the rule, while the switch is on.
    health: Option<Arc<str>>,
    default: DefaultDecision,
    default_name: Arc<str>,
}

struct Rule {
    name: Arc<str>,
    callers: Callers,
    methods: Vec<compile::Methods>,
}

/// The rules of a method, as places in `rules`, in the order they are asked.
#[derive(Debug, Clone, Default)]
struct Lists {
    deny: Box<[usize]>,
    allow: Box<[usize]>,
}

/// What the policy says, and which rule said it: for the audit log, not for the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision<'a> {
    /// The RPC may go on.
    Allow {
        /// A rule of the file, `health`, `reflection` or `default`.
        rule: &'a Arc<str>,
    },
    /// It may not.
    Deny {
        /// A rule of the file, or `default`.
        rule: &'a Arc<str>,
    },
}

/// The service whose methods the rule `health` allows.
const HEALTH: &str = "grpc.health.v1.Health";
/// Not covered by `*`: a map of the service is not part of the service.
const REFLECTION: [&str; 2] =
    ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

impl Policy {
    /// Decides. Allocates nothing.
    #[must_use]
    pub fn decide(&self, method: &Method, caller: &Caller) -> Decision<'_> {
        if let Some(rule) = &self.health
            && method.service() == HEALTH
        {
            return Decision::Allow { rule };
        }
        let lists = self.lists(method.full_name(), method.service());
        if let Some(rule) = self.first(&lists.deny, caller) {
            return Decision::Deny { rule };
        }
        match (self.first(&lists.allow, caller), self.default) {
            (Some(rule), _) => Decision::Allow { rule },
            (None, DefaultDecision::Allow) => Decision::Allow { rule: &self.default_name },
            (None, DefaultDecision::Deny) => Decision::Deny { rule: &self.default_name },
        }
    }

    /// Decides, and says it as the walk needs it: the name of the rule that allowed, for the audit log.
    ///
    /// # Errors
    /// [`Denial`]: PERMISSION_DENIED "permission denied" with the rule that denied.
    pub fn authorise(&self, method: &Method, caller: &Caller) -> Result<Arc<str>, Denial> {
        match self.decide(method, caller) {
            Decision::Allow { rule } => Ok(rule.clone()),
            Decision::Deny { rule } => Err(Denial::new(Reason::Policy).by(rule.clone())),
        }
    }

    /// Of `methods` (`package.Service/Method`), those that no rule mentions: forgotten, most likely, and left to `default`.
    #[must_use]
    pub fn uncovered(&self, methods: &[String]) -> Vec<String> {
        let is_uncovered = |method: &&String| {
            let service = method.rsplit_once('/').map_or("", |(service, _)| service);
            let Lists { deny, allow } = self.lists(method, service);
            deny.is_empty() && allow.is_empty() && !(self.health.is_some() && service == HEALTH)
        };
        methods.iter().filter(is_uncovered).cloned().collect()
    }

    /// What the rules mention and `methods` does not hold, as `rule: pattern`: a misspelled deny rule denies nothing, and
    /// nobody would notice. Health and reflection may be mentioned either way.
    #[must_use]
    pub fn unmatched(&self, methods: &[String]) -> Vec<String> {
        let mut unmatched = Vec::new();
        for rule in &self.rules {
            for pattern in rule.methods.iter().filter(|pattern| !pattern.is_built_in()) {
                if !methods.iter().any(|method| pattern.matches(method)) {
                    unmatched.push(format!("{}: {pattern}", rule.name));
                }
            }
        }
        unmatched
    }

    fn lists(&self, method: &str, service: &str) -> &Lists {
        self.methods.get(method).or_else(|| self.services.get(service)).unwrap_or(&self.rest)
    }

    fn first(&self, list: &[usize], caller: &Caller) -> Option<&Arc<str>> {
        let rules = list.iter().filter_map(|index| self.rules.get(*index));
        rules.into_iter().find(|rule| rule.callers.hold(caller)).map(|rule| &rule.name)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.rules.iter().map(|rule| &rule.name).collect();
        f.debug_struct("Policy")
            .field("rules", &names)
            .field("default", &self.default)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
