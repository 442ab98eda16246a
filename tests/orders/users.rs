//! Both versions of the user service, over the same users.

use highball_tests::tonic_gen::{user_v1, user_v2};
use prost_types::FieldMask;
use tonic::Code;

use crate::shop::{Shop, fields, keyed, reason, resource};

fn ada() -> user_v1::CreateUserRequest {
    user_v1::CreateUserRequest { email: "ada@example.com".into(), name: "Ada".into() }
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    let paths = paths.iter().map(ToString::to_string).collect();
    Some(FieldMask { paths })
}

#[tokio::test]
async fn an_update_through_the_old_version_keeps_the_fields_of_the_new_one() {
    let shop = Shop::open().await;
    let (mut old, mut new) = (shop.users_v1().await, shop.users_v2().await);
    let id = old.create_user(ada()).await.unwrap().into_inner().id;

    let phone = user_v2::UpdateUserRequest {
        user: Some(user_v2::User {
            id: id.clone(),
            name: "not in the mask".into(),
            phone_number: "+41 1".into(),
            email_verified: true,
            ..Default::default()
        }),
        update_mask: mask(&["phone_number", "email_verified"]),
    };
    let user = new.update_user(phone).await.unwrap().into_inner();
    assert_eq!((user.name.as_str(), user.phone_number.as_str()), ("Ada", "+41 1"));

    let name = user_v1::UpdateUserRequest {
        user: Some(user_v1::User { id: id.clone(), name: "Ada L.".into(), ..Default::default() }),
        update_mask: None,
    };
    old.update_user(name).await.unwrap();
    let user = new.get_user(user_v2::GetUserRequest { id: id.clone() }).await;
    let user = user.unwrap().into_inner();
    assert_eq!((user.email.as_str(), user.name.as_str()), ("ada@example.com", "Ada L."));
    assert_eq!((user.phone_number.as_str(), user.email_verified), ("+41 1", true));
    let user = old.get_user(user_v1::GetUserRequest { id }).await.unwrap();
    assert_eq!(user.into_inner().name, "Ada L.");
    shop.close().await;
}

#[tokio::test]
async fn users_are_listed_by_page_and_filter() {
    let shop = Shop::open().await;
    let mut users = shop.users_v2().await;
    for name in ["Ada", "Adam", "Bob"] {
        let email = format!("{name}@example.com");
        let wanted = user_v2::CreateUserRequest { email, name: name.into(), phone_number: "1".into() };
        users.create_user(wanted).await.unwrap();
    }
    let mut ask =
        user_v2::ListUsersRequest { page_size: 1, filter: "name : \"Ad\"".into(), ..Default::default() };
    let mut names = Vec::new();
    loop {
        let page = users.list_users(ask.clone()).await.unwrap().into_inner();
        assert_eq!(page.total_size, 2);
        names.extend(page.users.into_iter().map(|user| user.name));
        if page.next_page_token.is_empty() {
            break;
        }
        ask.page_token = page.next_page_token;
    }
    assert_eq!(names, ["Adam", "Ada"], "newest first");

    ask.filter = "name ~ \"Ad\"".into();
    let status = users.list_users(ask).await.unwrap_err();
    assert_eq!(fields(&status), ["filter"]);
    shop.close().await;
}

#[tokio::test]
async fn a_retry_makes_one_user_and_an_address_belongs_to_one() {
    let shop = Shop::open().await;
    let (mut old, mut new) = (shop.users_v1().await, shop.users_v2().await);
    let user = old.create_user(keyed("u1", ada())).await.unwrap().into_inner();
    let again = old.create_user(keyed("u1", ada())).await.unwrap().into_inner();
    assert_eq!(again, user);

    let renamed = user_v1::CreateUserRequest { name: "Eve".into(), ..ada() };
    let status = old.create_user(keyed("u1", renamed)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason(&status).0, "IDEMPOTENCY_KEY_REUSED");

    let shouted = user_v2::CreateUserRequest {
        email: "ADA@EXAMPLE.COM".into(),
        name: "Eve".into(),
        ..Default::default()
    };
    let status = new.create_user(shouted).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(resource(&status), ("user.v2.User".into(), "ADA@EXAMPLE.COM".into()));
    shop.close().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_named_in_both_versions() {
    let shop = Shop::open().await;
    let (mut old, mut new) = (shop.users_v1().await, shop.users_v2().await);
    let status = old.create_user(user_v1::CreateUserRequest::default()).await.unwrap_err();
    assert_eq!(fields(&status), ["email", "name"]);
    let wrong = user_v2::CreateUserRequest {
        email: "no address".into(),
        name: "Ada".into(),
        phone_number: "1".repeat(33),
    };
    let status = new.create_user(wrong).await.unwrap_err();
    assert_eq!(fields(&status), ["email", "phone_number"]);

    let update = user_v1::UpdateUserRequest {
        user: Some(user_v1::User { id: "x".into(), ..Default::default() }),
        update_mask: mask(&["phone_number"]),
    };
    let status = old.update_user(update).await.unwrap_err();
    assert_eq!(fields(&status), ["update_mask"], "the old version has no such field");

    for (kind, status) in [
        ("user.v1.User", old.get_user(user_v1::GetUserRequest { id: "x".into() }).await.unwrap_err()),
        ("user.v2.User", new.get_user(user_v2::GetUserRequest { id: "x".into() }).await.unwrap_err()),
    ] {
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(resource(&status), (kind.to_owned(), "x".to_owned()));
    }
    shop.close().await;
}
