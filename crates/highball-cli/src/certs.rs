//! `highball certs`: a CA for development, leaves from it, and its rotation.
//!
//! For machines that trust each other because you own them all. A public name needs a public CA.

mod authority;
mod store;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use highball::net::{Os, Platform as _};
use rcgen::{Error, ExtendedKeyUsagePurpose, SanType};
use time::{Duration, OffsetDateTime};

use crate::say;
use authority::{Authority, Leaf};
use store::Store;

/// What `highball certs` takes.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Where the files are and go; made when it does not exist.
    #[arg(long, value_name = "DIR", default_value = "./certs", global = true)]
    dir: PathBuf,
    #[command(subcommand)]
    step: Step,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Make a CA: ca.pem for everybody, ca-key.pem for nobody else.
    Init {
        /// How long the CA is valid, in days.
        #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = days())]
        days: i64,
        /// Replace the CA that is there; every certificate it issued becomes worthless.
        #[arg(long)]
        force: bool,
    },
    /// Issue or renew the server's certificate: server.pem, server-key.pem.
    Server {
        /// A DNS name or IP address that clients dial. May be given several times.
        #[arg(long = "name", value_name = "NAME", default_values = ["localhost", "127.0.0.1", "::1"])]
        names: Vec<String>,
        /// How long it is valid, in days.
        #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = days())]
        days: i64,
    },
    /// Issue or renew a client's certificate: client-NAME.pem, client-NAME-key.pem.
    Client {
        /// Who it is: the common name, and part of the file names.
        #[arg(value_name = "NAME")]
        client: String,
        /// A DNS name that is part of its identity. May be given several times.
        #[arg(long = "name", value_name = "NAME")]
        names: Vec<String>,
        /// Its SPIFFE ID, such as spiffe://example.org/billing.
        #[arg(long, value_name = "URI", value_parser = spiffe)]
        spiffe: Option<String>,
        /// How long it is valid, in days.
        #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = days())]
        days: i64,
    },
    /// Replace the CA without an outage, in three steps; it says which.
    Rotate {
        /// How long the new CA is valid, in days.
        #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = days())]
        days: i64,
        /// The last step: trust the old CA no longer.
        #[arg(long)]
        finish: bool,
        /// With --finish: even if a certificate in the directory still comes from the old CA.
        #[arg(long, requires = "finish")]
        force: bool,
    },
}

/// A century at most: beyond that, a date is a mistake.
fn days() -> clap::builder::RangedI64ValueParser<i64> {
    clap::value_parser!(i64).range(1..=36_525)
}

/// Does one step. Writes files, says which, and how to check them; or a sentence about what is wrong.
pub(crate) fn run(flags: Flags) -> Result<(), String> {
    let store = Store::new(flags.dir);
    let now = Os.wall_clock();
    match flags.step {
        Step::Init { days, force } => init(&store, validity(now, days), force),
        Step::Server { names, days } => server(&store, &names, validity(now, days)),
        Step::Client { client: name, names, spiffe, days } => {
            client(&store, &name, &names, spiffe, validity(now, days))
        }
        Step::Rotate { finish: true, force, .. } => finish(&store, force),
        Step::Rotate { days, .. } => rotate(&store, validity(now, days)),
    }
}

/// From a few minutes ago, because not every clock on the network agrees with this one.
fn validity(now: SystemTime, days: i64) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::from(now);
    (now - Duration::minutes(5), now + Duration::days(days))
}

type Validity = (OffsetDateTime, OffsetDateTime);

fn init(store: &Store, validity: Validity, force: bool) -> Result<(), String> {
    if store.has_ca() && !force {
        return Err(format!(
            "{} is there already, and certificates depend on it; `highball certs rotate` replaces it without an outage, --force at once",
            store.ca().display()
        ));
    }
    let ca = Authority::generate(validity)?;
    store.prepare()?;
    store.write_ca(&[ca.certificate()], Some(ca.key()))?;
    let (dir, bundle) = (store.dir().display(), store.ca());
    say(format_args!(
        "\nnext   highball certs server --dir {dir}\n       highball certs client NAME --dir {dir}\n\
         check  openssl x509 -in {} -noout -subject -enddate",
        bundle.display()
    ));
    Ok(())
}

fn server(store: &Store, names: &[String], validity: Validity) -> Result<(), String> {
    let ca = store.authority(validity.0)?;
    let mut leaf = Leaf::new(validity, ExtendedKeyUsagePurpose::ServerAuth);
    leaf.common_name = names.first().cloned();
    leaf.names = names.iter().map(|name| host(name)).collect::<Result<_, _>>()?;
    let (certificate, key) = ca.issue(leaf)?;
    store.write_leaf("server", &certificate, &key)?;
    let name = names.first().map_or("localhost", String::as_str);
    let flag = if name.parse::<IpAddr>().is_ok() { "-verify_ip" } else { "-verify_hostname" };
    let authority = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    let ca = store.ca();
    say(format_args!(
        "\ncheck  openssl verify -CAfile {ca} -purpose sslserver {flag} {name} {cert}\n       \
         curl -v --cacert {ca} https://{authority}:50051/",
        ca = ca.display(),
        cert = store.path("server.pem").display(),
    ));
    Ok(())
}

fn client(
    store: &Store,
    name: &str,
    names: &[String],
    spiffe: Option<String>,
    validity: Validity,
) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
        return Err(format!(
            "{name:?} cannot be part of a file name; use 1 to 64 letters, digits, '-', '_' and '.'"
        ));
    }
    let ca = store.authority(validity.0)?;
    let mut leaf = Leaf::new(validity, ExtendedKeyUsagePurpose::ClientAuth);
    leaf.common_name = Some(name.to_owned());
    leaf.names = names.iter().map(|name| host(name)).collect::<Result<_, _>>()?;
    if let Some(uri) = spiffe {
        leaf.names.push(SanType::URI(uri.try_into().map_err(spoken)?));
    }
    if leaf.names.is_empty() {
        // A certificate without a subject alternative name is refused by many verifiers.
        leaf.names.push(host(name)?);
    }
    let (certificate, key) = ca.issue(leaf)?;
    let stem = format!("client-{name}");
    store.write_leaf(&stem, &certificate, &key)?;
    let (ca, cert, key) =
        (store.ca(), store.path(&format!("{stem}.pem")), store.path(&format!("{stem}-key.pem")));
    say(format_args!(
        "\ncheck  openssl verify -CAfile {ca} -purpose sslclient {cert}\n       \
         curl -v --cacert {ca} --cert {cert} --key {key} https://localhost:50051/",
        ca = ca.display(),
        cert = cert.display(),
        key = key.display(),
    ));
    Ok(())
}

fn rotate(store: &Store, validity: Validity) -> Result<(), String> {
    let (current, others) = store.read_ca()?;
    if !others.is_empty() {
        return Err(format!(
            "{} holds two CAs, so a rotation is under way; end it with `highball certs rotate --finish`",
            store.ca().display()
        ));
    }
    let next = Authority::generate(validity)?;
    // The bundle first: if nothing comes after it, the old key still issues, and everybody already trusts both.
    store.write_ca(&[next.certificate(), current.certificate()], Some(next.key()))?;
    say(format_args!(
        "\nThe new CA issues from now on; the old one is trusted, and its key is gone.\n\
         1. distribute {ca} to every server (client_ca) and every client; a highball server takes it within 10 s\n\
         2. then issue every certificate again: highball certs server|client ... --dir {dir}\n\
         3. when all of them are in use: highball certs rotate --finish --dir {dir}, and distribute {ca} again\n\
         \ncheck  openssl crl2pkcs7 -nocrl -certfile {ca} | openssl pkcs7 -print_certs -noout",
        ca = store.ca().display(),
        dir = store.dir().display(),
    ));
    Ok(())
}

fn finish(store: &Store, force: bool) -> Result<(), String> {
    let (current, others) = store.read_ca()?;
    if others.is_empty() {
        return Err(format!(
            "{} holds one CA, so there is no rotation to finish; begin one with `highball certs rotate`",
            store.ca().display()
        ));
    }
    let old = store.leaves_not_from(&current)?;
    if !old.is_empty() && !force {
        return Err(format!(
            "{} would no longer be trusted; issue again with `highball certs server` or `client`, or insist with --force",
            old.join(", ")
        ));
    }
    store.write_ca(&[current.certificate()], None)?;
    say(format_args!(
        "\nThe old CA is trusted no longer wherever this file arrives: distribute {ca} to every server and client.\n\
         \ncheck  openssl x509 -in {ca} -noout -subject -enddate",
        ca = store.ca().display(),
    ));
    Ok(())
}

/// A DNS name, also `*.example.org`, or an IP address.
fn host(name: &str) -> Result<SanType, String> {
    if let Ok(ip) = name.parse() {
        return Ok(SanType::IpAddress(ip));
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    let rest = name.strip_prefix("*.").unwrap_or(name);
    if name.len() > 253 || !rest.split('.').all(label) {
        return Err(format!(
            "{name:?} is neither a DNS name nor an IP address; give one without scheme and port"
        ));
    }
    Ok(SanType::DnsName(name.to_owned().try_into().map_err(spoken)?))
}

/// A SPIFFE ID: `spiffe://`, a trust domain in lower case, and a path of plain segments (SPIFFE-ID §2).
fn spiffe(uri: &str) -> Result<String, String> {
    let plain = |extra: &'static str| move |c: char| c.is_ascii_alphanumeric() || extra.contains(c);
    let is_id = uri.strip_prefix("spiffe://").is_some_and(|rest| {
        let (domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
        let segment =
            |segment: &str| !matches!(segment, "" | "." | "..") && segment.chars().all(plain("-_."));
        (1..=255).contains(&domain.len())
            && domain.chars().all(|c| !c.is_ascii_uppercase() && plain("-_.")(c))
            && path.is_none_or(|path| path.split('/').all(segment))
    });
    if is_id && uri.len() <= 2048 {
        Ok(uri.to_owned())
    } else {
        Err("a SPIFFE ID looks like spiffe://example.org/billing".to_owned())
    }
}

/// What is left when names were checked: the library's words are better than none.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn spoken(error: Error) -> String {
    format!("the certificate cannot be made: {error}")
}
