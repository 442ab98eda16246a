//! Names that move while the world runs, and dialling what they say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use highball::Server;
use highball::net::{Address, Dialer, LookupError, Platform};
use highball_testkit::sim::{Names, TTL, Turmoil};
use highball_testkit::{Client, stub};

use crate::{PORT, listen};

fn host(sim: &mut turmoil::Sim<'_>, name: &'static str) {
    sim.host(name, move || async move {
        let answer = move |_| async move { stub::messages(&[name.as_bytes()]) };
        listen(Server::new(stub::service(answer))).bind().await?.run(std::future::pending()).await;
        Ok(())
    });
}

/// Who answers at the one address of `shop`.
async fn who(platform: &Arc<dyn Platform>) -> Result<String, LookupError> {
    let lookup = platform.lookup("shop").await?;
    assert_eq!(lookup.ttl, Some(TTL));
    let address = Address::Tcp(SocketAddr::new(lookup.records[0], PORT));
    let dialled = Dialer::plaintext(platform.clone()).dial(&address, "shop").await.expect("it listens");
    let reply = Client::over(dialled.io).await.unary("/shop.v1.Shop/Get", b"").await;
    Ok(String::from_utf8_lossy(&reply.messages[0]).into_owned())
}

#[test]
fn a_name_that_moves_is_dialled_where_it_is_now() {
    let mut sim = turmoil::Builder::new().simulation_duration(Duration::from_secs(60)).build();
    host(&mut sim, "one");
    host(&mut sim, "two");
    let names = Names::new();
    let table = names.clone();
    sim.client("client", async move {
        let platform: Arc<dyn Platform> = Arc::new(Turmoil.with_names(table.clone()));
        assert!(matches!(who(&platform).await, Err(LookupError::NotFound { .. })));
        table.set("shop", &["one"]);
        assert_eq!(who(&platform).await, Ok("one".to_owned()));
        table.set("shop", &["two", "one"]);
        assert_eq!(who(&platform).await, Ok("two".to_owned()));
        table.fail("no server answered");
        assert!(matches!(who(&platform).await, Err(LookupError::Unavailable { .. })));
        table.mend();
        table.set_texts("_grpc_config.shop", &["grpc_config=[]"]);
        let texts = platform.lookup_txt("_grpc_config.shop").await?;
        assert_eq!(texts.records, ["grpc_config=[]"]);
        let nobody = Address::Tcp(SocketAddr::new(turmoil::lookup("one"), PORT + 1));
        assert!(Dialer::plaintext(platform).dial(&nobody, "").await.is_err());
        Ok(())
    });
    sim.run().expect("the simulation ends by itself");
}
