//! Token files that change, go and end.

use std::fs;
use std::sync::Mutex;

use tokio::time::{advance, sleep};

use super::*;
use crate::testing::{Clock, NOW, claims, signer};
use crate::token::{Algorithm, Claims};

struct Stage {
    clock: Arc<Clock>,
    dir: tempfile::TempDir,
}

impl Stage {
    fn new(first: &str) -> Self {
        let stage = Self { clock: Clock::new(), dir: tempfile::tempdir().unwrap() };
        stage.put(first);
        stage
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    fn put(&self, content: &str) {
        fs::write(self.path(), content).unwrap();
    }

    fn remove(&self) {
        fs::remove_file(self.path()).unwrap();
    }

    fn open(&self) -> Result<TokenFile, CredentialsError> {
        TokenFile::open(self.path(), self.clock.clone())
    }
}

/// A JWT that ends so many seconds after [`NOW`].
fn jwt(seconds: u64) -> String {
    let ttl = Duration::from_secs(seconds);
    signer(Algorithm::Hs256).sign(&Claims { ttl, ..claims() }).unwrap()
}

#[track_caller]
fn check(token: &TokenFile, want: &str) {
    assert_eq!(token.token().unwrap(), format!("Bearer {want}"));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_changes_is_read_again_after_a_second() {
    let stage = Stage::new("  one\n");
    let token = stage.open().unwrap();
    stage.put("two");
    advance(REREAD_INTERVAL - Duration::from_millis(2)).await;
    check(&token, "one");
    advance(Duration::from_millis(2)).await;
    check(&token, "two");
    stage.put("three");
    check(&token, "two");
    advance(REREAD_INTERVAL).await;
    check(&token, "three");
}

#[tokio::test(start_paused = true)]
async fn a_token_without_an_end_outlives_its_file_for_a_while() {
    let stage = Stage::new("opaque");
    let token = stage.open().unwrap();
    advance(STALE_MAX).await;
    check(&token, "opaque");
    stage.remove();
    advance(STALE_MAX - Duration::from_millis(10)).await;
    check(&token, "opaque");
    advance(REREAD_INTERVAL).await;
    let error = token.token().unwrap_err().to_string();
    assert!(error.contains(stage.path().to_str().unwrap()), "{error}");
    stage.put("again");
    advance(REREAD_INTERVAL).await;
    check(&token, "again");
}

#[tokio::test(start_paused = true)]
async fn a_jwt_outlives_its_file_until_its_own_end() {
    let good = jwt(7_200);
    let stage = Stage::new(&good);
    let token = stage.open().unwrap();
    stage.put("half a tok");
    advance(2 * STALE_MAX).await;
    stage.clock.set(NOW + 7_199);
    check(&token, &good);
    stage.clock.set(NOW + 7_200);
    assert!(token.token().is_err());
    let next = jwt(9_000);
    stage.put(&next);
    advance(REREAD_INTERVAL).await;
    check(&token, &next);
}

#[tokio::test(start_paused = true)]
async fn a_jwt_in_the_file_that_has_ended_is_not_presented() {
    let stage = Stage::new(&jwt(60));
    let token = stage.open().unwrap();
    stage.clock.set(NOW + 61);
    let error = token.token().unwrap_err().to_string();
    assert!(error.ends_with("has ended"), "{error}");
    assert!(stage.open().is_err());
}

#[tokio::test]
async fn what_is_no_token_is_refused_without_repeating_it() {
    for content in ["", " \n", "hunter2 hunter2", "hunter2\u{7f}", &"hunter2".repeat(4_000)] {
        let error = Stage::new(content).open().unwrap_err().to_string();
        assert!(error.contains("token") && !error.contains("hunter2"), "{error}");
    }
    let stage = Stage::new("hunter2");
    let token = stage.open().unwrap();
    let headers = token.headers("https://shop.example").await.unwrap();
    let shown = format!("{token:?} {headers:?}");
    assert!(shown.contains("Sensitive") && !shown.contains("hunter2"), "{shown}");
    stage.remove();
    assert!(stage.open().is_err());
}

#[tokio::test(start_paused = true)]
async fn who_watches_hears_of_changes_once() {
    let stage = Stage::new("one");
    let token = stage.open().unwrap();
    let heard = Mutex::new(Vec::new());
    let mut report = |event: &CredentialsEvent<'_>| heard.lock().unwrap().push(format!("{event:?}"));
    let story = async {
        for content in [Some("two"), Some("two"), None, None, Some("two"), Some("two")] {
            match content {
                Some(content) => stage.put(content),
                None => drop(fs::remove_file(stage.path())),
            }
            sleep(REREAD_INTERVAL).await;
            token.headers("").await.unwrap();
            // Let the watcher run.
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = token.watch(&mut report) => panic!("there is more to come"),
        () = story => {}
    }
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 3, "{heard:?}");
    assert!(heard[0] == "Renewed" && heard[1].contains("usable: true") && heard[2] == "Renewed", "{heard:?}");
}
