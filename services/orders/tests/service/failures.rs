use std::time::Duration;

use connectrpc::ErrorCode;
use futures_util::future::join_all;
use highball::{Counter, Draining, Health};
use orders::proto::ecommerce::v1::GetOrderRequest;
use orders::proto::user::v1::CreateUserRequest;
use orders::{App, Database, OpenError, Seams};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::world::{World, request};

async fn raw(database: &Database) -> SqliteConnection {
    SqliteConnectOptions::new().filename(database.path()).create_if_missing(true).connect().await.unwrap()
}

async fn open(database: &Database) -> Result<App, OpenError> {
    let seams = Seams {
        draining: Draining::never(),
        database: Health::new().ready_when("database"),
        orders_created: Counter::default(),
        users_created: Counter::default(),
        writes_dropped: Counter::default(),
    };
    App::open(database, seams).await
}

async fn refusal(database: &Database) -> String {
    open(database).await.unwrap_err().to_string()
}

/// Nobody calls: the writer finds out by itself.
async fn recovered(world: &World) {
    tokio::time::timeout(Duration::from_secs(10), async {
        while world.health.readiness().is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_database_that_fails_is_masked_reported_and_recovered_from() {
    let world = World::new().await;
    let kept = world.an_order().await;
    assert_eq!(world.health.readiness(), Ok(()));

    let mut intruder = raw(&world.database()).await;
    // It undoes the transaction of the writer, as a disk that fails would.
    let sabotage =
        "CREATE TRIGGER sabotage BEFORE INSERT ON orders BEGIN SELECT RAISE(ROLLBACK, 'secret'); END";
    sqlx::query(sabotage).execute(&mut intruder).await.unwrap();
    let error = world.orders().create_order(request("ada", &[(1, 1.0)])).await.unwrap_err();
    assert_eq!((error.code, error.message.as_deref()), (ErrorCode::Internal, Some("failed to create order")));
    assert_eq!(world.health.readiness(), Err(vec!["database: the database failed to write".to_owned()]));
    // Reads go on.
    let get = GetOrderRequest { order_id: kept.id.clone(), ..Default::default() };
    world.orders().get_order(get).await.unwrap();

    sqlx::query("DROP TRIGGER sabotage").execute(&mut intruder).await.unwrap();
    recovered(&world).await;
    world.an_order().await;
    assert_eq!(world.orders_created.value(), 2);
}

#[tokio::test]
async fn a_database_that_another_process_holds_for_too_long_is_busy_and_recovered_from() {
    let world = World::new().await;
    let mut intruder = raw(&world.database()).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut intruder).await.unwrap();
    let error = world.orders().create_order(request("ada", &[(1, 1.0)])).await.unwrap_err();
    assert_eq!(
        (error.code, error.message.as_deref()),
        (ErrorCode::Unavailable, Some("the database is busy"))
    );
    let reason = "database: another process holds the database";
    assert_eq!(world.health.readiness(), Err(vec![reason.to_owned()]));
    // Still, and while it is known to be down.
    let error = world.orders().create_order(request("ada", &[(1, 1.0)])).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    sqlx::query("ROLLBACK").execute(&mut intruder).await.unwrap();
    recovered(&world).await;
    world.an_order().await;
    assert_eq!(world.orders_created.value(), 1, "nothing was written for the others");
}

#[tokio::test]
async fn the_first_write_that_succeeds_reports_the_database_up() {
    let world = World::new().await;
    let mut intruder = raw(&world.database()).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut intruder).await.unwrap();
    world.orders().create_order(request("ada", &[(1, 1.0)])).await.unwrap_err();
    sqlx::query("ROLLBACK").execute(&mut intruder).await.unwrap();
    world.an_order().await;
    assert_eq!(world.health.readiness(), Ok(()));
}

#[tokio::test]
async fn a_write_that_fails_leaves_the_others_of_its_commit_alone() {
    let world = World::new().await;
    let mut intruder = raw(&world.database()).await;
    sqlx::query("DROP TABLE order_items").execute(&mut intruder).await.unwrap();
    let (orders, users) = (world.orders(), world.users_v1());
    let user = |n: i32| CreateUserRequest {
        email: format!("ada{n}@example.com"),
        name: "Ada".into(),
        ..Default::default()
    };
    let failing = join_all((0..20).map(|_| orders.create_order(request("ada", &[(1, 1.0)]))));
    let working = join_all((0..20).map(|n| users.create_user(user(n))));
    let (failed, worked) = tokio::join!(failing, working);
    assert!(failed.into_iter().all(|result| result.unwrap_err().code == ErrorCode::Internal));
    assert!(worked.iter().all(Result::is_ok));
    let (rows,): (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM orders").fetch_one(&mut intruder).await.unwrap();
    assert_eq!(rows, 0, "an order without its items is undone");
    assert_eq!((world.orders_created.value(), world.users_created.value()), (0, 20));
    assert_eq!(world.health.readiness(), Ok(()));
}

#[tokio::test]
async fn closing_finishes_what_is_queued_and_refuses_the_rest() {
    let mut world = World::new().await;
    let client = world.orders();
    let calls: Vec<_> = (0..200).map(|_| world.orders()).collect();
    let creating =
        futures_util::future::join_all(calls.iter().map(|c| c.create_order(request("ada", &[(1, 1.0)]))));
    let (created, ()) = tokio::join!(creating, world.close());
    let answered = created.iter().filter(|result| result.is_ok()).count();
    for refused in created.into_iter().filter_map(Result::err) {
        assert_eq!(refused.code, ErrorCode::Unavailable, "{refused:?}");
    }
    assert_eq!(world.orders_created.value(), answered as u64, "answered is written, and the other way round");
    let error = client.create_order(request("ada", &[(1, 1.0)])).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(world.health.readiness().is_err());
}

#[tokio::test]
async fn a_closed_database_is_one_file_and_its_lock() {
    let mut world = World::new().await;
    let id = world.an_order().await.id;
    let get = GetOrderRequest { order_id: id, ..Default::default() };
    world.orders().get_order(get).await.unwrap();
    world.close().await;
    let dir = world.database().path().parent().unwrap().to_owned();
    let mut left: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["orders.db", "orders.db.lock"]);
}

/// Holds the lock of somebody who opens the file, or of a program from before it could be shared.
fn held(database: &Database) -> std::fs::File {
    let lock = std::fs::File::options().write(true).open(database.path().with_extension("db.lock")).unwrap();
    lock.try_lock().expect("an open database leaves it free");
    lock
}

#[tokio::test]
async fn a_database_that_another_process_keeps_to_itself_is_not_opened() {
    let mut world = World::new().await;
    let database = world.database();
    let lock = held(&database);
    let expected = format!("the database {} is in use by another process", database.path().display());
    assert_eq!(refusal(&database).await, expected);
    world.an_order().await;
    world.close().await;
    drop(lock);
    open(&database).await.unwrap().close().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_to_a_database_is_that_database() {
    let world = World::new().await;
    let file = world.database().path().to_owned();
    let link = Database::sqlite(file.with_file_name("link.db")).with_busy_timeout(Duration::from_millis(50));
    std::os::unix::fs::symlink(&file, link.path()).unwrap();
    let lock = held(&world.database());
    assert!(refusal(&link).await.ends_with("link.db is in use by another process"));
    drop(lock);
    open(&link).await.unwrap().close().await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Database::sqlite(dir.path().join("missing/orders.db"));
    let sentence = refusal(&missing).await;
    assert!(
        sentence.starts_with("cannot write to the database ") && sentence.contains("No such file"),
        "{sentence}"
    );
    let not_a_directory = dir.path().join("file");
    std::fs::write(&not_a_directory, "").unwrap();
    let sentence = refusal(&Database::sqlite(not_a_directory.join("orders.db"))).await;
    assert!(sentence.contains("Not a directory"), "{sentence}");
}

#[tokio::test]
async fn a_file_of_somebody_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let notes = dir.path().join("notes.txt");
    std::fs::write(&notes, "my notes, which are long enough to have the size of a header ".repeat(20))
        .unwrap();
    let expected = |path: &std::path::Path| format!("{} is not a database of this program", path.display());
    assert_eq!(refusal(&Database::sqlite(&notes)).await, expected(&notes));
    assert!(std::fs::read_to_string(&notes).unwrap().starts_with("my notes"));
    assert_eq!(refusal(&Database::sqlite(dir.path())).await, expected(dir.path()));

    let other = Database::sqlite(dir.path().join("other.db"));
    let mut connection = raw(&other).await;
    sqlx::query("CREATE TABLE songs (title TEXT)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let before = std::fs::read(other.path()).unwrap();
    assert_eq!(refusal(&other).await, expected(other.path()));
    assert!(std::fs::read(other.path()).unwrap() == before, "not even its mode");
}

#[tokio::test]
async fn a_schema_from_the_future_is_refused() {
    let mut world = World::new().await;
    world.close().await;
    let database = world.database();
    let mut connection = raw(&database).await;
    let future = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                  VALUES (99, 'future', TRUE, x'00', 0)";
    sqlx::query(future).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let sentence = refusal(&database).await;
    assert!(
        sentence.ends_with(
            "has schema version 99, and this program knows only up to version 2: use a newer program"
        ),
        "{sentence}"
    );
}
