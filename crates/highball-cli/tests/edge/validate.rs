//! `highball validate`.

use crate::program::{Folder, highball};

const FINE: &str = "[[listeners]]\naddress = \"127.0.0.1:1\"\n[clusters.shop]\ntarget = \"dns:///nowhere.invalid:1\"\n\
                    [[routes]]\nname = \"shop\"\ncluster = \"shop\"\n";

async fn validate(text: &str) -> crate::program::Ran {
    let folder = Folder::new(text);
    highball(&["validate", folder.file().to_str().unwrap()]).await
}

#[tokio::test]
async fn a_file_that_would_start_is_ok_and_nothing_is_bound_or_connected() {
    // Port 1 cannot be bound twice, and the name does not exist.
    let ran = validate(FINE).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.stdout.starts_with("OK "), "{ran:?}");
    assert!(ran.stdout.ends_with("edge.toml: 1 listener, 1 route, 1 cluster, 0 warnings\n"), "{ran:?}");
}

#[tokio::test]
async fn what_is_probably_not_meant_is_a_warning() {
    let ran =
        validate(&format!("{FINE}[[routes]]\nname = \"late\"\nservice = \"s.S\"\ncluster = \"shop\"\n"))
            .await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.starts_with("warning: ") && ran.stderr.contains("edge.toml:8:"), "{ran:?}");
    assert!(ran.stderr.contains("late is never reached"), "{ran:?}");
    assert!(ran.stdout.ends_with("2 routes, 1 cluster, 1 warning\n"), "{ran:?}");
}

#[tokio::test]
async fn problems_of_the_file_are_shown_with_their_line_and_a_caret() {
    let ran = validate(&FINE.replace("cluster = \"shop\"", "cluster = \"shp\"\ndeadline = 5")).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.stderr.contains("edge.toml:7:11: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n  |\n7 | cluster = \"shp\"\n  |           ^\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("edge.toml:8:"), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("2 problems\n"), "{}", ran.stderr);
}

#[tokio::test]
async fn files_that_the_file_names_are_read_and_all_their_problems_told() {
    let text = format!(
        "descriptors = [\"shop.bin\"]\nprofile = \"production\"\n{}",
        FINE.replace(
            "address = \"127.0.0.1:1\"",
            "address = \"127.0.0.1:1\"\ntls = { certificate = \"a.pem\", key = \"b.pem\" }"
        )
    );
    let ran = validate(&text).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for says in
        ["edge.toml:4:11: listener 127.0.0.1:1: ", "a.pem", "edge.toml:1:17: descriptors ", "2 problems"]
    {
        assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn open_boxes_stop_production_before_a_start_does() {
    let ran = validate(&format!("profile = \"production\"\n{FINE}")).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("[ ] tls") && ran.stderr.contains("[ ] callers"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_file_that_is_not_there_has_a_code_of_its_own() {
    let ran = highball(&["validate", "nowhere.toml"]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.starts_with("highball: cannot read nowhere.toml: "), "{ran:?}");
}
