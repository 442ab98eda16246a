//! Other people's files, and what becomes of them: each file below `tests/import` has its TOML and its report beside it.
//!
//! `HIGHBALL_BLESS=1 cargo test -p highball-edge --test import` writes both anew; then read the difference.

use std::fs;
use std::path::{Path, PathBuf};

use highball_edge::import::{self, ImportError, Imported, Kind};
use highball_edge::settings::read::read;

type Import = fn(&str) -> Result<Imported, ImportError>;

fn golden(folder: &str, import: Import) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(folder);
    let mut sources: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension().is_some_and(|end| ["conf", "yaml", "json"].iter().any(|known| end == *known))
        })
        .collect();
    sources.sort();
    assert!(sources.len() >= 3, "{sources:?}");
    for source in sources {
        let imported = import(&fs::read_to_string(&source).expect("a source")).expect("a translation");
        compare(&source.with_extension("toml"), &imported.toml);
        compare(&source.with_extension("report"), &imported.report.to_string());
        if let Err(problems) = read(&imported.toml, &folder) {
            panic!("{} makes a file that cannot be read:\n{problems}\n{}", source.display(), imported.toml);
        }
    }
}

#[track_caller]
fn compare(path: &Path, found: &str) {
    if std::env::var_os("HIGHBALL_BLESS").is_some() {
        fs::write(path, found).expect("a file that can be written");
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    for (number, (expected, found)) in expected.lines().zip(found.lines()).enumerate() {
        assert_eq!(expected, found, "{}:{}", path.display(), number + 1);
    }
    assert_eq!(expected.lines().count(), found.lines().count(), "{}: {found}", path.display());
}

#[test]
fn an_imported_nginx_site_is_what_stands_beside_it() {
    golden("nginx", import::nginx);
}

#[test]
fn an_imported_envoy_configuration_is_what_stands_beside_it() {
    golden("envoy", import::envoy);
}

#[test]
fn imported_istio_manifests_are_what_stands_beside_them() {
    golden("istio", import::istio);
}

/// What each importer promises to find, in some file.
const MISTAKES: &[(&str, Import, &[&str])] = &[
    (
        "nginx",
        import::nginx,
        &[
            "without http2",
            "no keepalive",
            "one request at a time",
            "grpc_ssl_verify is off",
            "quiet for 60 s",
            "quiet for so long",
            "client's connection after 100 requests",
            "no limit_req_zone",
            "nginx never sees it",
            "not HTTP statuses",
        ],
    ),
    (
        "envoy",
        import::envoy,
        &[
            "speaks HTTP/1.1 to these",
            "15 s, Envoy's default",
            "timeout 600s",
            "max_stream_duration",
            "request_timeout",
            "codec_type HTTP1",
            "retry_on 5xx",
            "retriable_status_codes",
            "goes to a random backend",
            "never takes a backend out",
            "gateway failures are UNAVAILABLE",
            "without enforcing_consecutive_gateway_failure",
            "without a trusted_ca",
            "no cluster of this name",
        ],
    ),
    (
        "istio",
        import::istio,
        &[
            "subset v1: DestinationRule order-service does not define it",
            "consecutiveErrors 5: deprecated",
            "never trips on gRPC errors",
            "never trips on other gRPC errors",
            "not named grpc",
            "the weights sum to 70",
            "retry_on 5xx",
            "timeout 15s",
            "it has no labels",
            "never GET",
            "no query",
            "it is never used",
            "has no port 1",
            "insecureSkipVerify",
            "maxRequestsPerConnection",
        ],
    ),
];

/// Every mistake that an importer promises to find is in some file.
#[test]
fn every_mistake_an_import_promises_to_find_is_found_in_some_file() {
    for (folder, import, wanted) in MISTAKES {
        let mut mistakes = String::new();
        for name in ["classic", "mistakes"] {
            let end = if *folder == "nginx" { "conf" } else { "yaml" };
            let path = format!("{}/tests/import/{folder}/{name}.{end}", env!("CARGO_MANIFEST_DIR"));
            let imported = import(&fs::read_to_string(path).expect("a source")).expect("a translation");
            for entry in imported.report.entries().iter().filter(|entry| entry.kind == Kind::Mistake) {
                mistakes.push_str(&format!("{entry}\n"));
            }
        }
        for wanted in *wanted {
            assert!(mistakes.contains(wanted), "{folder}: {wanted:?} is not among\n{mistakes}");
        }
    }
}
