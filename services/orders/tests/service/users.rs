use buffa::Message as _;
use buffa_types::google::protobuf::FieldMask;
use connectrpc::ErrorCode;
use orders::proto::user::{v1, v2};

use crate::world::{World, fields, key, reason, resource};

fn new(email: &str, name: &str) -> v1::CreateUserRequest {
    v1::CreateUserRequest { email: email.into(), name: name.into(), ..Default::default() }
}

async fn create(world: &World, email: &str, name: &str) -> v1::User {
    world.users_v1().create_user(new(email, name)).await.unwrap().into_owned()
}

fn full_user() -> v2::User {
    #[allow(deprecated)]
    v2::User {
        id: "id".into(),
        email: "ada@example.com".into(),
        name: "Ada".into(),
        phone_number: "+44 1".into(),
        email_verified: true,
        legacy_field: "old".into(),
        ..Default::default()
    }
}

#[test]
fn a_new_user_can_be_read_by_an_old_reader_and_comes_back_whole() {
    let new = full_user();
    let old = v1::User::decode_from_slice(&new.encode_to_vec()).unwrap();
    assert_eq!((old.id.as_str(), old.email.as_str(), old.name.as_str()), ("id", "ada@example.com", "Ada"));
    // What the old reader does not know it carries along.
    let back = v2::User::decode_from_slice(&old.encode_to_vec()).unwrap();
    assert_eq!(back, new);
}

#[test]
fn an_old_user_can_be_read_by_a_new_reader() {
    let old = v1::User { id: "id".into(), email: "a@b.c".into(), name: "Ada".into(), ..Default::default() };
    let new = v2::User::decode_from_slice(&old.encode_to_vec()).unwrap();
    assert_eq!((new.id.as_str(), new.email.as_str(), new.name.as_str()), ("id", "a@b.c", "Ada"));
    assert_eq!((new.phone_number.as_str(), new.email_verified), ("", false));
    let request = new_request_bytes();
    let read = v2::CreateUserRequest::decode_from_slice(&request).unwrap();
    assert_eq!((read.email.as_str(), read.phone_number.as_str()), ("a@b.c", ""));
}

fn new_request_bytes() -> Vec<u8> {
    new("a@b.c", "Ada").encode_to_vec()
}

#[tokio::test]
async fn both_versions_serve_the_same_users() {
    let world = World::new().await;
    let old = create(&world, "ada@example.com", "Ada").await;
    let get = v2::GetUserRequest { id: old.id.clone(), ..Default::default() };
    let new = world.users_v2().get_user(get).await.unwrap().into_owned();
    assert_eq!((new.id, new.email, new.name), (old.id, old.email, old.name));
    assert_eq!(world.users_created.value(), 1);
}

#[tokio::test]
async fn an_update_through_the_old_version_keeps_the_new_fields() {
    let world = World::new().await;
    let id = create(&world, "ada@example.com", "Ada").await.id;
    let full = v2::UpdateUserRequest {
        user: v2::User { id: id.clone(), ..full_user() }.into(),
        update_mask: FieldMask::from_paths(["*"]).into(),
        ..Default::default()
    };
    world.users_v2().update_user(full).await.unwrap();
    for mask in [None, Some(FieldMask::from_paths(["*"])), Some(FieldMask::from_paths(["name"]))] {
        let request = v1::UpdateUserRequest {
            user: v1::User {
                id: id.clone(),
                email: "ada@example.com".into(),
                name: "Countess".into(),
                ..Default::default()
            }
            .into(),
            update_mask: mask.into(),
            ..Default::default()
        };
        world.users_v1().update_user(request).await.unwrap();
    }
    let get = v2::GetUserRequest { id: id.clone(), ..Default::default() };
    let user = world.users_v2().get_user(get).await.unwrap().into_owned();
    assert_eq!(user, v2::User { id, name: "Countess".into(), ..full_user() });
}

#[tokio::test]
async fn a_mask_says_exactly_what_changes() {
    let world = World::new().await;
    let id = create(&world, "ada@example.com", "Ada").await.id;
    let update = async |mask: Option<&[&str]>, user: v2::User| {
        let request = v2::UpdateUserRequest {
            user: v2::User { id: id.clone(), ..user }.into(),
            update_mask: mask.map(|paths| FieldMask::from_paths(paths.iter().copied())).into(),
            ..Default::default()
        };
        world.users_v2().update_user(request).await.map(|user| user.into_owned())
    };
    let user = update(Some(&["phone_number", "email_verified"]), full_user()).await.unwrap();
    assert_eq!((user.name.as_str(), user.phone_number.as_str(), user.email_verified), ("Ada", "+44 1", true));
    let user = update(None, v2::User { name: "Countess".into(), ..Default::default() }).await.unwrap();
    assert_eq!(
        (user.name.as_str(), user.phone_number.as_str(), user.email_verified),
        ("Countess", "+44 1", true)
    );
    let user = update(Some(&["email_verified"]), v2::User::default()).await.unwrap();
    assert!(!user.email_verified);

    let error = update(Some(&["id", "age"]), v2::User::default()).await.unwrap_err();
    assert_eq!(fields(&error).len(), 2);
    let error =
        update(Some(&["email", "name"]), v2::User { email: "nobody".into(), ..Default::default() }).await;
    let wrong: Vec<_> = fields(&error.unwrap_err()).into_iter().map(|(_, sentence)| sentence).collect();
    assert_eq!(wrong, ["user.email must be an e-mail address", "user.name is required"]);
}

#[tokio::test]
async fn an_address_belongs_to_one_user() {
    let world = World::new().await;
    create(&world, "ada@example.com", "Ada").await;
    let bob = create(&world, "bob@example.com", "Bob").await;
    let error = world.users_v1().create_user(new("ADA@example.com", "Other")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::AlreadyExists);
    assert_eq!(resource(&error), ("user.v1.User".into(), "ADA@example.com".into()));

    let request = v1::UpdateUserRequest {
        user: v1::User { email: "ada@example.com".into(), ..bob.clone() }.into(),
        ..Default::default()
    };
    let error = world.users_v1().update_user(request).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::AlreadyExists);
    // One's own address, written otherwise, is no other user's.
    let request = v1::UpdateUserRequest {
        user: v1::User { email: "Bob@Example.com".into(), ..bob }.into(),
        ..Default::default()
    };
    assert_eq!(world.users_v1().update_user(request).await.unwrap().into_owned().email, "Bob@Example.com");
}

#[tokio::test]
async fn one_of_many_with_the_same_address_wins() {
    let world = World::new().await;
    let clients: Vec<_> = (0..20).map(|_| world.users_v1()).collect();
    let calls = clients.iter().map(|client| client.create_user(new("ada@example.com", "Ada")));
    let results = futures_util::future::join_all(calls).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(world.users_created.value(), 1);
}

#[tokio::test]
async fn a_retry_with_the_same_key_answers_the_same_user() {
    let world = World::new().await;
    let first =
        world.users_v1().create_user_with_options(new("a@b.c", "Ada"), key("k")).await.unwrap().into_owned();
    let again =
        world.users_v1().create_user_with_options(new("a@b.c", "Ada"), key("k")).await.unwrap().into_owned();
    assert_eq!(first, again);
    let error = world.users_v1().create_user_with_options(new("a@b.c", "Eve"), key("k")).await.unwrap_err();
    assert_eq!(reason(&error), "IDEMPOTENCY_KEY_REUSED");
    assert_eq!(world.users_created.value(), 1);
}

#[tokio::test]
async fn unknown_users_are_not_found() {
    let world = World::new().await;
    let get = v2::GetUserRequest { id: "nobody".into(), ..Default::default() };
    let error = world.users_v2().get_user(get).await.unwrap_err();
    assert_eq!(
        (error.code, resource(&error)),
        (ErrorCode::NotFound, ("user.v2.User".into(), "nobody".into()))
    );
    let user = v1::User { id: "nobody".into(), name: "x".into(), ..Default::default() };
    let request = v1::UpdateUserRequest { user: user.into(), ..Default::default() };
    assert_eq!(world.users_v1().update_user(request).await.unwrap_err().code, ErrorCode::NotFound);
    let error = world.users_v1().update_user(v1::UpdateUserRequest::default()).await.unwrap_err();
    assert_eq!(fields(&error), [("user".into(), "user is required".into())]);
}

async fn list(world: &World, size: i32, token: &str, filter: &str) -> v1::ListUsersResponse {
    let request = v1::ListUsersRequest {
        page_size: size,
        page_token: token.into(),
        filter: filter.into(),
        ..Default::default()
    };
    world.users_v1().list_users(request).await.unwrap().into_owned()
}

#[tokio::test]
async fn users_are_paged_filtered_and_counted() {
    let world = World::new().await;
    for n in 0..7 {
        create(&world, &format!("ada{n}@example.com"), &format!("Ada {n}")).await;
    }
    create(&world, "100%_real@example.com", "Percy").await;

    let first = list(&world, 5, "", r#"name : "Ada""#).await;
    assert_eq!((first.users.len(), first.total_size), (5, 7));
    assert_eq!(first.users[0].name, "Ada 6", "newest first");
    let second = list(&world, 5, &first.next_page_token, r#"name : "Ada""#).await;
    assert_eq!((second.users.len(), second.total_size, second.next_page_token.as_str()), (2, 7, ""));

    let count = async |filter: &str| list(&world, 0, "", filter).await.total_size;
    assert_eq!(count("").await, 8);
    assert_eq!(count(r#"email = "ADA3@example.com""#).await, 1);
    assert_eq!(count(r#"email : "ADA""#).await, 7);
    assert_eq!(count(r#"email : "100%_""#).await, 1);
    assert_eq!(count(r#"email : "%""#).await, 0, "a beginning is no pattern");
    assert_eq!(count(r#"name : "ada""#).await, 0, "names compare with letter case");
    assert_eq!(count("role = CUSTOMER").await, 8);
    assert_eq!(count("role = ADMIN").await, 0);
    assert_eq!(count(r#"name : "Ada" AND email = "ada1@example.com""#).await, 1);
}

#[tokio::test]
async fn a_bad_filter_names_the_place_and_a_token_its_filter() {
    let world = World::new().await;
    for n in 0..3 {
        create(&world, &format!("ada{n}@example.com"), "Ada").await;
    }
    let request = |token: &str, filter: &str| v1::ListUsersRequest {
        page_size: 1,
        page_token: token.into(),
        filter: filter.into(),
        ..Default::default()
    };
    let error = world.users_v1().list_users(request("", "name = Ada")).await.unwrap_err();
    let expected = "filter: expected a text in double quotes at character 8";
    assert_eq!(fields(&error), [("filter".into(), expected.into())]);

    let token = list(&world, 1, "", "").await.next_page_token;
    let error = world.users_v1().list_users(request(&token, "role = CUSTOMER")).await.unwrap_err();
    assert_eq!(fields(&error)[0].0, "page_token");
    // The versions share their pages.
    let request = v2::ListUsersRequest { page_token: token, ..Default::default() };
    assert_eq!(world.users_v2().list_users(request).await.unwrap().into_owned().users.len(), 2);
}
