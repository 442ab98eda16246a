//! `highball explain --edge`.

use serde_json::Value;

use crate::program::{Folder, Program, backend, highball};

#[tokio::test]
async fn a_call_is_explained_with_its_route_its_endpoint_and_the_routes_before() {
    let shop = backend("shop").await;
    let folder = Folder::new(&format!(
        "admin = \"127.0.0.1:0\"\n[[listeners]]\naddress = \"127.0.0.1:0\"\n[clusters.shop]\ntarget = \"static:///{0}\"\n\
         [clusters.next]\ntarget = \"static:///{0}\"\n\
         [[routes]]\nname = \"canary\"\nheaders = {{ x-canary = \"yes\" }}\ncluster = \"next\"\n\
         [[routes]]\nname = \"orders\"\nhost = \"shop.example.com\"\nservice = \"shop.v1.Orders\"\ncluster = \"shop\"\n\
         retry = {{ attempts = 3, codes = [\"UNAVAILABLE\"] }}\n",
        shop.addr()
    ));
    let program = Program::start(&folder).await;
    let admin = program.admin();
    let ask = async |more: &[&str]| {
        let flags = ["explain", "--edge", &admin, "shop.v1.Orders/Get"];
        highball(&[&flags, more].concat()).await
    };
    let known = ask(&["--host", "shop.example.com"]).await;
    assert_eq!(known.code, Some(0), "{known:?}");
    for line in [
        "method    shop.v1.Orders/Get\n",
        "route     orders\n",
        "cluster shop, 100 per cent of the calls\n",
        "state     READY\n",
        &format!("endpoint  {} now, by round_robin\n", shop.addr()),
        "passed over before\n",
        "  canary           the header x-canary is not \"yes\"",
    ] {
        assert!(known.stdout.contains(line), "{line}\n{}", known.stdout);
    }
    assert!(known.stdout.contains("up to 3 attempts"), "{}", known.stdout);

    let canary = ask(&["-H", "x-canary: yes"]).await;
    assert!(
        canary.stdout.contains("route     canary\n") && !canary.stdout.contains("passed over"),
        "{canary:?}"
    );

    let nowhere = ask(&[]).await;
    assert_eq!(nowhere.code, Some(1));
    assert!(nowhere.stdout.contains("a call would fail, UNIMPLEMENTED"), "{nowhere:?}");
    assert!(nowhere.stdout.contains("the host is not shop.example.com"), "{nowhere:?}");

    let json = ask(&["--json", "--host", "shop.example.com"]).await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["route"]["name"], "orders");
    program.terminated().await;
    shop.drained().await;
}

#[tokio::test]
async fn who_does_not_answer_is_named() {
    let ran = highball(&["explain", "--edge", "127.0.0.1:1", "shop.v1.Orders/Get"]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.starts_with("highball: 127.0.0.1:1: "), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    let ran = highball(&["explain", "--edge", "127.0.0.1:1", "no method"]).await;
    assert!(ran.stderr.contains("expected package.Service/Method"), "{ran:?}");
    let ran = highball(&["explain", "--host", "x", "static:///a:1"]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
}
