//! One question at a time, in time.

use std::sync::Mutex;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::time::{advance, sleep};

use super::*;
use crate::testing::Clock;

/// How long an answer takes.
const TAKES: Duration = Duration::from_secs(1);

/// Grants tokens by number, for 100 seconds, or fails.
#[derive(Debug, Clone, Default)]
struct Script(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    asked: usize,
    outage: bool,
}

impl Script {
    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }

    fn outage(&self, outage: bool) {
        self.0.lock().unwrap().outage = outage;
    }
}

impl Source for Script {
    fn ask(&self) -> BoxFuture<'_, Result<Granted, CredentialsError>> {
        Box::pin(async {
            let number = {
                let mut told = self.0.lock().unwrap();
                told.asked += 1;
                told.asked
            };
            sleep(TAKES).await;
            if self.0.lock().unwrap().outage {
                return Err(CredentialsError::new(format!("outage {number}")));
            }
            let value = HeaderValue::try_from(format!("Bearer {number}")).unwrap();
            Ok(Granted { value, lifetime: Duration::from_secs(100) })
        })
    }
}

fn renewal(script: &Script) -> Renewal {
    Renewal::new(Box::new(script.clone()), BackoffSettings::default(), Clock::new())
}

async fn token(renewal: &Renewal) -> Result<String, String> {
    let token = renewal.token().await.map_err(|error| error.to_string())?;
    Ok(token.to_str().unwrap().to_owned())
}

/// Without waiting.
fn now(renewal: &Renewal) -> Result<String, String> {
    token(renewal).now_or_never().expect("a call that waits for nobody")
}

fn bearer(number: usize) -> Result<String, String> {
    Ok(format!("Bearer {number}"))
}

#[tokio::test(start_paused = true)]
async fn many_calls_share_one_question() {
    let script = Script::default();
    let renewal = renewal(&script);
    let tokens = join_all((0..100).map(|_| token(&renewal))).await;
    assert!(tokens.iter().all(|token| *token == bearer(1)), "{tokens:?}");
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_early_and_calls_do_not_wait_for_it() {
    let script = Script::default();
    let renewal = renewal(&script);
    assert_eq!(token(&renewal).await, bearer(1));
    advance(Duration::from_secs(74)).await;
    assert_eq!(now(&renewal), bearer(1));
    sleep(TAKES).await;
    assert_eq!(script.asked(), 1, "it is not due before 76 % of its lifetime");
    advance(Duration::from_secs(9)).await;
    for _ in 0..10 {
        assert_eq!(now(&renewal), bearer(1));
    }
    sleep(2 * TAKES).await;
    assert_eq!(now(&renewal), bearer(2));
    assert_eq!(script.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_not_presented_at_its_very_end() {
    let script = Script::default();
    let renewal = renewal(&script);
    assert_eq!(token(&renewal).await, bearer(1));
    advance(Duration::from_secs(89)).await;
    assert_eq!(token(&renewal).await, bearer(2));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_takes_nothing_from_the_others() {
    let script = Script::default();
    let renewal = renewal(&script);
    assert!(tokio::time::timeout(TAKES / 2, renewal.token()).await.is_err());
    assert_eq!(token(&renewal).await, bearer(1));
    assert_eq!(script.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_all_who_wait_and_backs_off() {
    let script = Script::default();
    script.outage(true);
    let renewal = renewal(&script);
    let outage = |number: usize| Err(format!("outage {number}"));
    let tokens = join_all((0..10).map(|_| token(&renewal))).await;
    assert!(tokens.iter().all(|token| *token == outage(1)), "{tokens:?}");
    assert_eq!(now(&renewal), outage(1), "the backoff is not over");
    assert_eq!(script.asked(), 1);
    advance(Duration::from_millis(1_300)).await;
    assert_eq!(token(&renewal).await, outage(2));
    script.outage(false);
    advance(Duration::from_secs(2)).await;
    assert_eq!(token(&renewal).await, bearer(3));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_noticed_while_the_old_token_is_good() {
    let script = Script::default();
    let renewal = renewal(&script);
    assert_eq!(token(&renewal).await, bearer(1));
    script.outage(true);
    advance(Duration::from_secs(84)).await;
    assert_eq!(now(&renewal), bearer(1));
    sleep(TAKES * 2).await;
    assert_eq!((now(&renewal), script.asked()), (bearer(1), 2));
    advance(Duration::from_secs(10)).await;
    assert_eq!(token(&renewal).await, Err("outage 3".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn who_watches_hears_of_renewals_and_failures() {
    let script = Script::default();
    let renewal = renewal(&script);
    let heard = Mutex::new(Vec::new());
    let mut report = |event: &CredentialsEvent<'_>| heard.lock().unwrap().push(format!("{event:?}"));
    let story = async {
        assert_eq!(token(&renewal).await, bearer(1));
        sleep(Duration::from_secs(85)).await;
        script.outage(true);
        assert_eq!(now(&renewal), bearer(1));
        sleep(TAKES * 2).await;
    };
    tokio::select! {
        () = renewal.watch(&mut report) => panic!("there is more to come"),
        () = story => {}
    }
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert_eq!(heard[0], "Renewed");
    assert!(heard[1].contains("outage 2") && heard[1].contains("usable: true"), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_task_is_gone_is_a_failure_and_not_a_hang() {
    let script = Script::default();
    let renewal = renewal(&script);
    let aborted = async {
        sleep(TAKES / 2).await;
        renewal.tasks.abort_all();
    };
    let (outcome, ()) = tokio::join!(token(&renewal), aborted);
    assert_eq!(outcome, Err(interrupted().to_string()));
    advance(Duration::from_secs(2)).await;
    assert_eq!(token(&renewal).await, bearer(2));
}
