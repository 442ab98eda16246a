//! A plaintext port for probes beside addresses they cannot reach.

use highball::{Code, ListenAddr};
use highball_testkit::Client;

use crate::{CHECK, GET, server};

#[tokio::test]
async fn the_port_for_probes_answers_health_and_nothing_else() {
    let any: ListenAddr = "127.0.0.1:0".parse().unwrap();
    let bound = server().listen(any.clone()).health_only(any).bind().await.unwrap();
    let Some(ListenAddr::Tcp(addr)) = bound.health_only_addr() else { panic!("a TCP address") };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running =
        tokio::task::JoinSet::from_iter([bound.run(async move { stopped.await.unwrap_or_default() })]);
    let client = Client::tcp(addr).await;
    assert_eq!(client.unary(CHECK, b"").await.code(), Code::Ok);
    let refused = client.unary(GET, b"").await;
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.status().message().contains("health checks only"), "{}", refused.status());
    drop((stop, client));
    let report = running.join_all().await;
    assert_eq!(report[0].cut, 0);
}
