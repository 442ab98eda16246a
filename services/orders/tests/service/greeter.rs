use connectrpc::ErrorCode;
use orders::proto::greeter::HelloRequest;

use crate::world::{World, fields};

#[tokio::test]
async fn a_name_is_greeted() {
    let world = World::new().await;
    for (name, expected) in [("World", "Hello World"), ("", "Hello "), ("Zoë", "Hello Zoë")] {
        let request = HelloRequest { name: name.into(), ..Default::default() };
        assert_eq!(world.greeter().say_hello(request).await.unwrap().into_owned().message, expected);
    }
}

#[tokio::test]
async fn the_name_invalid_is_invalid() {
    let world = World::new().await;
    let request = HelloRequest { name: "invalid".into(), ..Default::default() };
    let error = world.greeter().say_hello(request).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert_eq!(error.message.as_deref(), Some("name cannot be 'invalid'"));
    assert_eq!(fields(&error), [("name".into(), "name cannot be 'invalid'".into())]);
}
