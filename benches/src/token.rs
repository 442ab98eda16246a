//! The one token of the load, and the guard that knows it.

use std::error::Error;
use std::io::Write as _;
use std::time::SystemTime;

use highball::auth::policy::{self, CallerSettings, RuleSettings};
use highball::auth::token::{self, Claims, KeySource, Signer};
use highball::auth::{Guard, Settings, World};
use highball::net::Spawner;

/// Signs nothing but benchmarks. Shared, so that a server and a load started by hand agree.
const SECRET: &[u8] = b"no secret: it signs nothing but benchmarks";
const ISSUER: &str = "https://login.shop.example/realms/production";
const AUDIENCE: &str = "https://api.shop.example";
const KEY_ID: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

/// A token with the claims, and the length of about 450 bytes, that issuers give to services. How it is signed does not
/// matter here: it is verified once, then remembered.
pub(crate) fn signed() -> Result<String, Box<dyn Error>> {
    #[expect(clippy::disallowed_methods, reason = "a token begins to be valid now")]
    let mut claims = Claims::new("8a0c2f0e-6f0b-4d3c-9a38-0d5f4a4f3f6b", SystemTime::now());
    claims.issuer = Some(ISSUER.to_owned());
    claims.audiences = vec![AUDIENCE.to_owned()];
    claims.roles = vec!["shop.reader".to_owned(), "shop.writer".to_owned()];
    Ok(Signer::from_secret(SECRET)?.with_kid(KEY_ID).sign(&claims)?)
}

/// Verifies the token, and lets one of its roles call the service.
pub(crate) async fn guard(spawner: Spawner) -> Result<Guard, Box<dyn Error>> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(SECRET)?;
    let path = file.path().to_owned();
    let token = token::Settings {
        keys: Some(KeySource::SecretFile { path, kid: Some(KEY_ID.to_owned()) }),
        issuer: Some(ISSUER.to_owned()),
        audiences: vec![AUDIENCE.to_owned()],
        ..token::Settings::default()
    };
    let rule = |name: &str, methods: &str, role: &str| RuleSettings {
        name: name.to_owned(),
        methods: vec![methods.to_owned()],
        callers: CallerSettings { roles: vec![role.to_owned()], ..CallerSettings::default() },
    };
    let policy = policy::Settings {
        deny: vec![rule("suspended", "*", "suspended")],
        allow: vec![
            rule("read", "shop.v1.Shop/Get", "shop.reader"),
            rule("rest", "shop.v1.Shop/*", "shop.writer"),
        ],
        ..policy::Settings::default()
    };
    // The file is read here and may go.
    Ok(Guard::start(&Settings { token: Some(token), policy }, World::new(spawner)).await?)
}
