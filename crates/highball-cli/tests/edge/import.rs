//! `highball import`.

use crate::program::{Folder, highball};

const SITE: &str = "upstream shop { server 10.0.0.1:50051; server 10.0.0.2:50051; }\n\
                    server {\n  listen 8443;\n  http2 on;\n  location /shop.v1.Orders/ { grpc_pass grpc://shop; }\n}\n";

#[tokio::test]
async fn the_toml_goes_where_it_is_wanted_and_the_report_to_standard_error() {
    let folder = Folder::new("");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("site.conf"), SITE).unwrap();
    let shown = highball(&["import", "nginx", &path("site.conf")]).await;
    assert!(shown.stdout.contains("[clusters.shop]"), "{shown:?}");
    assert!(shown.stderr.contains("line 1: ") && shown.stderr.contains(" translated, "), "{shown:?}");
    let written = highball(&["import", "nginx", &path("site.conf"), "-o", &path("out.toml")]).await;
    assert_eq!((written.code, written.stdout.as_str()), (shown.code, ""));
    assert_eq!(std::fs::read_to_string(path("out.toml")).unwrap(), shown.stdout);
    assert!(
        written.stderr.ends_with(&format!("next: highball validate {}\n", path("out.toml"))),
        "{written:?}"
    );
    let valid = highball(&["validate", &path("out.toml")]).await;
    assert_eq!(valid.code, Some(0), "{valid:?}\n{}", shown.stdout);
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_said_with_its_place() {
    let folder = Folder::new("");
    let file = folder.path().join("site.conf");
    std::fs::write(&file, "server {\n  listen 80;\n").unwrap();
    let ran = highball(&["import", "nginx", file.to_str().unwrap()]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:?}");
    assert!(ran.stderr.starts_with(&format!("{}:", file.display())), "{ran:?}");
    let ran = highball(&["import", "nginx", "nowhere.conf"]).await;
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.starts_with("highball: cannot read nowhere.conf: "), "{ran:?}");
}
