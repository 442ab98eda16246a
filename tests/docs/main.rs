//! Documentation that is generated from the code is what the code says now.

use std::fmt::Write as _;
use std::path::Path;

use highball::Settings;

const LIMITS: &str = "../docs/operate/limits.md";

fn limits() -> String {
    let mut page = String::from(
        "# Limits\n\n\
         Every limit of a server with its default. Generated: `HIGHBALL_WRITE_DOCS=1 cargo test -p highball-tests --test docs`\n\
         writes this page, and the same test without the variable fails when it is stale. Settings are fields of\n\
         `highball::Settings`; single methods may have their own through `methods`.\n\n\
         | limit | default | setting | metric | at the bound |\n|---|---|---|---|---|\n",
    );
    for limit in Settings::default().limits() {
        let metric = if limit.metric == "-" { "-".to_owned() } else { format!("`{}`", limit.metric) };
        writeln!(
            page,
            "| {} | {} | `{}` | {metric} | {} |",
            limit.what, limit.value, limit.setting, limit.at_the_bound
        )
        .expect("a String takes everything");
    }
    page
}

#[test]
fn the_table_of_limits_is_what_the_server_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(LIMITS);
    let want = limits();
    if std::env::var_os("HIGHBALL_WRITE_DOCS").is_some() {
        std::fs::write(&path, &want).expect("the page can be written");
    }
    let have = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(have == want, "{LIMITS} is stale: run with HIGHBALL_WRITE_DOCS=1");
}
