//! A resumed session is not verified again, so it must not outlive what verified it.

use highball_net::tls::{Accepted, ClientAuth, ServerTls};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::mtls::{asking, put_cas};
use crate::world::{Authority, Client, World};

#[tokio::test]
async fn without_client_certificates_a_session_resumes_until_the_files_change() {
    for version in [&TLS12, &TLS13] {
        let world = World::new();
        let server = world.load(world.settings());
        let client = world.client().speaking(version);
        assert!(!visit(&client, &server).await.resumed);
        assert!(visit(&client, &server).await.resumed);
        world.put_server(&world.ca.server());
        server.reload().unwrap();
        assert!(!visit(&client, &server).await.resumed);
    }
}

#[tokio::test]
async fn a_session_does_not_carry_a_client_past_the_removal_of_its_ca() {
    for version in [&TLS12, &TLS13] {
        for client_auth in [ClientAuth::Required, ClientAuth::Optional] {
            let (world, old, new) = (World::new(), Authority::new("old"), Authority::new("new"));
            let server = asking(&world, &old, client_auth);
            let client = world.client().showing(&old.client("billing")).speaking(version);
            visit(&client, &server).await;
            let again = visit(&client, &server).await;
            assert!(!again.resumed && again.certificate.is_some());
            put_cas(&world, &[&new]);
            server.reload().unwrap();
            let (label, _) = client.refused(&server).await;
            assert_eq!(label, "CERTIFICATE_AUTHORITY_INVALID");
        }
    }
}

/// A connection that lives long enough for the client to read the tickets.
async fn visit(client: &Client, server: &ServerTls) -> Accepted {
    let (mut accepted, mut stream) = client.accepted(server).await;
    accepted.io.write_all(b"x").await.unwrap();
    accepted.io.flush().await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    accepted
}
