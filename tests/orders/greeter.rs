//! The smallest service.

use highball_tests::tonic_gen::greeter::HelloRequest;

use crate::shop::{Shop, fields};

#[tokio::test]
async fn a_name_is_greeted_and_a_bad_one_is_a_field_at_fault() {
    let shop = Shop::open().await;
    let mut greeter = shop.greeter().await;
    for name in ["Rail", "", "Z\u{fc}rich \u{2603}"] {
        let name = name.to_owned();
        let expected = format!("Hello {name}");
        let reply = greeter.say_hello(HelloRequest { name }).await.unwrap();
        assert_eq!(reply.into_inner().message, expected);
    }
    for name in ["invalid".to_owned(), "n".repeat(257)] {
        let status = greeter.say_hello(HelloRequest { name }).await.unwrap_err();
        assert_eq!(fields(&status), ["name"]);
    }
    shop.close().await;
}
