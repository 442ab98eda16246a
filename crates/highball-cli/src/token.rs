//! `highball token`: keys and bearer tokens for development.
//!
//! Tokens for people come from an issuer that knows them; these are for trying things out, and for services that are
//! their own issuer.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use highball::net::{Os, Platform as _};
use highball_auth::duration;
use highball_auth::token::{Algorithm, Claims, Signer, generate};

use crate::say;

/// What `highball token` takes.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Print a token, signed with a key of yours.
    Mint(MintFlags),
    /// Make a key pair and a JWKS that holds its public half.
    Keys {
        /// Where the files go; made when it does not exist.
        #[arg(long, value_name = "DIR", default_value = "./keys")]
        dir: PathBuf,
        /// ES256, EdDSA or RS256.
        #[arg(long, value_name = "ALG", default_value = "ES256")]
        alg: Algorithm,
    },
}

#[derive(Debug, Args)]
struct MintFlags {
    /// A private key in PEM; its kind decides the algorithm.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "secret_file",
        conflicts_with = "secret_file"
    )]
    key: Option<PathBuf>,
    /// A shared secret of 32 bytes or more, for HS256.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Fail unless the key is for this algorithm: HS256, RS256, ES256 or EdDSA.
    #[arg(long, value_name = "ALG")]
    alg: Option<Algorithm>,
    /// Who the token is about (`sub`).
    #[arg(long, value_name = "NAME")]
    subject: String,
    /// A role (`roles`). May be given several times.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// Who says so (`iss`).
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// Whom it is for (`aud`). May be given several times.
    #[arg(long = "audience", value_name = "NAME")]
    audiences: Vec<String>,
    /// How long it is valid, such as 15m, 1h or 7d.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration::parse)]
    ttl: Duration,
    /// The name of the key (`kid`) [default: the RFC 7638 thumbprint, as in the JWKS of `token keys`; none for a secret].
    #[arg(long, value_name = "NAME")]
    kid: Option<String>,
}

/// Does one step, or says in a sentence what is wrong.
pub(crate) fn run(flags: Flags) -> Result<(), String> {
    match flags.step {
        Step::Mint(flags) => mint(flags),
        Step::Keys { dir, alg } => keys(&dir, alg),
    }
}

#[expect(clippy::print_stdout, reason = "the token is what this command is asked for; a shell reads it")]
fn mint(flags: MintFlags) -> Result<(), String> {
    let signer = signer(&flags)?;
    let claims = Claims {
        issuer: flags.issuer,
        audiences: flags.audiences,
        roles: flags.roles,
        ttl: flags.ttl,
        ..Claims::new(flags.subject, Os.wall_clock())
    };
    let token = signer.sign(&claims).map_err(|error| format!("the key file {error}"))?;
    println!("{token}");
    Ok(())
}

fn signer(flags: &MintFlags) -> Result<Signer, String> {
    let read =
        |path: &Path| fs::read(path).map_err(|cause| format!("cannot read {}: {cause}", path.display()));
    let (signer, path) = match (&flags.key, &flags.secret_file) {
        (Some(path), _) => (Signer::from_pem(&read(path)?), path),
        (None, Some(path)) => (Signer::from_secret(&read(path)?), path),
        (None, None) => return Err("there is no key; give --key or --secret-file".to_owned()),
    };
    let signer = signer.map_err(|error| format!("{} {error}", path.display()))?;
    if let Some(wanted) = flags.alg
        && wanted != signer.algorithm()
    {
        return Err(format!("{} is a key for {}, not for {wanted}", path.display(), signer.algorithm()));
    }
    Ok(match &flags.kid {
        Some(kid) => signer.with_kid(kid),
        None => signer,
    })
}

/// For the owner alone.
const PRIVATE: u32 = 0o600;
/// For everybody.
const PUBLIC: u32 = 0o644;

fn keys(dir: &Path, algorithm: Algorithm) -> Result<(), String> {
    let key = generate(algorithm).map_err(|error| error.to_string())?;
    fs::create_dir_all(dir)
        .map_err(|cause| format!("cannot make {}: {cause}; choose another with --dir", dir.display()))?;
    let files = [
        ("token-key.pem", &key.private_pem, PRIVATE, "signs tokens; for nobody else"),
        ("token.pem", &key.public_pem, PUBLIC, "verifies them"),
        ("jwks.json", &key.jwks, PUBLIC, "verifies them, and is where a next key is added"),
    ];
    // Before anything is written, so that no new public key ends up beside an old private one.
    if let Some(path) = files.iter().map(|(name, ..)| dir.join(name)).find(|path| path.exists()) {
        return Err(format!("{} is there already; choose another directory with --dir", path.display()));
    }
    for (name, text, mode, what) in files {
        let path = dir.join(name);
        write_new(&path, text, mode).map_err(|cause| format!("cannot write {}: {cause}", path.display()))?;
        say(format_args!("{}  {what}", path.display()));
    }
    say(format_args!(
        "\nnext   highball token mint --key {dir}/token-key.pem --subject ann --role reader\n       \
         [token]\n       keys = {{ type = \"jwks_file\", path = \"{dir}/jwks.json\" }}",
        dir = dir.display()
    ));
    Ok(())
}

fn write_new(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n".get(..usize::from(!text.ends_with('\n'))).unwrap_or_default())
}
