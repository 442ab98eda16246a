//! Which resolver a target gets.

use std::time::Duration;

use tokio::time::timeout;

use super::testing::{Answer, Script};
use super::*;

fn opened(target: &str) -> Result<Box<dyn Resolver>, ResolveError> {
    let script: Arc<dyn Platform> = Script::new(|_, _| Answer::Addresses(&["10.0.0.9"], None));
    open(&Target::parse(target).unwrap(), &script, &Settings::default())
}

#[tokio::test(start_paused = true)]
async fn targets_without_names_are_told_once() {
    for (target, expected) in [
        ("dns:///10.0.0.1", "10.0.0.1:443"),
        ("static:///10.0.0.1:1,[::1]:2,10.0.0.1:1", "10.0.0.1:1 [::1]:2"),
        ("ipv4:10.0.0.2:1,10.0.0.1:1", "10.0.0.2:1 10.0.0.1:1"),
        ("ipv6:[::1]:2", "[::1]:2"),
        ("unix:///run/a", "unix:/run/a"),
        ("unix-abstract:a", "unix-abstract:a"),
    ] {
        let mut resolver = opened(target).unwrap();
        drop(resolver.next());
        let update = resolver.next().await.unwrap();
        let names: Vec<_> = update.endpoints.iter().map(Endpoint::name).collect();
        assert_eq!(names.join(" "), expected, "{target}");
        assert!(update.endpoints.iter().all(|endpoint| endpoint.attributes.hostname.is_none()));
        resolver.refresh();
        let more = timeout(Duration::from_secs(1000), resolver.next()).await;
        assert!(more.is_err(), "{target} has nothing more to tell");
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_asked_for() {
    for target in ["orders:50051", "static:///orders:50051"] {
        let update = opened(target).unwrap().next().await.unwrap();
        assert_eq!(update.endpoints[0].name(), "10.0.0.9:50051", "{target}");
    }
}

#[tokio::test]
async fn what_is_not_supported_says_so_at_once() {
    let error = opened("dns://8.8.8.8/orders:1").err().unwrap().to_string();
    assert_eq!(
        error,
        "dns://8.8.8.8:53/orders:1 wants 8.8.8.8:53 to be asked, which is not supported; write dns:///orders:1 to ask the \
         system's servers"
    );
    #[cfg(not(feature = "consul"))]
    {
        let error = opened("consul:///orders").err().unwrap().to_string();
        assert_eq!(error, "consul is not in this build; enable the cargo feature \"consul\"");
    }
}
