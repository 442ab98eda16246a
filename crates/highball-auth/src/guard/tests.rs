//! The two steps together, as a walk sees them.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use highball_core::caller::{Certificate, Process};
use highball_core::{Caller, Code, Method};
use highball_net::Tasks;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use crate::testing::{Clock, Script, claims, jwks, pair, signer, verifier};
use crate::token::Algorithm;
use crate::{Admitted, Authenticator, Denial, Guard, Policy, Reason, policy};

struct Stage {
    guard: Guard,
    script: Arc<Script>,
    _tasks: Tasks,
}

const RULES: &str = r#"
    deny = [{ name = "no-eve", methods = ["*"], callers = { subjects = ["eve"] } }]
    allow = [
        { name = "public", methods = ["shop.v1.Catalog/*"], callers = { anyone = true } },
        { name = "orders", methods = ["shop.v1.Orders/*"], callers = { roles = ["buyer"], uids = [7], uris = ["spiffe://shop/*"] } },
    ]
"#;

fn rules() -> Policy {
    let settings: policy::Settings = toml::from_str(RULES).unwrap();
    Policy::try_from(&settings).unwrap()
}

async fn stage(document: Option<String>) -> Stage {
    let (tasks, clock) = (Tasks::new(), Clock::new());
    let script = Script::new(document, Duration::from_millis(10));
    let authenticator = Authenticator::jwt(verifier(&script, &clock, tasks.spawner()).await);
    Stage { guard: Guard::new(authenticator, rules()), script, _tasks: tasks }
}

async fn ready() -> Stage {
    stage(Some(jwks(&[&pair(Algorithm::Es256).jwk]))).await
}

fn method(full_name: &str) -> Method {
    Method::parse(&format!("/{full_name}").parse().unwrap()).unwrap()
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    headers
}

fn token(subject: &str, roles: &[&str]) -> HeaderMap {
    let mut claims = claims();
    claims.subject = subject.to_owned();
    claims.roles = roles.iter().map(|role| (*role).to_owned()).collect();
    bearer(&signer(Algorithm::Es256).sign(&claims).unwrap())
}

fn certified() -> Caller {
    let certificate = Certificate { uris: vec!["spiffe://shop/billing".into()], ..Certificate::default() };
    Caller { certificate: Some(Arc::new(certificate)), ..Caller::default() }
}

fn local(uid: u32) -> Caller {
    Caller { process: Some(Process { uid, gid: 7, pid: None }), ..Caller::default() }
}

/// The rule that admitted, or the code, the reason and the rule that refused.
fn said(outcome: Result<Admitted, Denial>) -> String {
    match outcome {
        Ok(admitted) => format!("{} by {}", admitted.caller, admitted.rule),
        Err(denial) => {
            format!("{} {} {}", denial.status, denial.reason, denial.rule.as_deref().unwrap_or("-"))
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_known_before_it_is_allowed() {
    let Stage { guard, .. } = &ready().await;
    let none = HeaderMap::new();
    let missing = "UNAUTHENTICATED: missing authorization token missing default";
    let denied = "PERMISSION_DENIED: permission denied policy default";
    for (headers, transport, called, expected) in [
        (token("ann", &["buyer"]), Caller::default(), "shop.v1.Orders/Get", "ann by orders"),
        (token("ann", &[]), Caller::default(), "shop.v1.Orders/Get", denied),
        (
            token("eve", &["buyer"]),
            Caller::default(),
            "shop.v1.Orders/Get",
            "PERMISSION_DENIED: permission denied policy no-eve",
        ),
        (none.clone(), Caller::default(), "shop.v1.Orders/Get", missing),
        (none.clone(), Caller::default(), "shop.v1.Catalog/List", "anonymous by public"),
        (none.clone(), Caller::default(), "grpc.health.v1.Health/Check", "anonymous by health"),
        // A bad token is refused where none is needed.
        (
            bearer("a.b.c"),
            Caller::default(),
            "grpc.health.v1.Health/Check",
            "UNAUTHENTICATED: invalid token malformed -",
        ),
        // A certificate goes without a token; a Unix user only where a rule names it.
        (none.clone(), certified(), "shop.v1.Orders/Get", "spiffe://shop/billing by orders"),
        (none.clone(), certified(), "shop.v1.Other/Get", denied),
        (none.clone(), local(7), "shop.v1.Orders/Get", "uid 7 by orders"),
        (none.clone(), local(8), "shop.v1.Orders/Get", missing),
        // Both proofs count.
        (token("ann", &[]), certified(), "shop.v1.Orders/Get", "spiffe://shop/billing by orders"),
        (
            token("eve", &[]),
            certified(),
            "shop.v1.Orders/Get",
            "PERMISSION_DENIED: permission denied policy no-eve",
        ),
    ] {
        let outcome = guard.check(&method(called), &headers, transport.clone()).await;
        assert_eq!(said(outcome), expected, "{called} by {transport}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_step_alone_asks_for_a_token() {
    let Stage { guard, .. } = &ready().await;
    let authenticator = guard.authenticator();
    let reason = |outcome: Result<Caller, Denial>| outcome.unwrap_err().reason;
    let none = HeaderMap::new();
    assert_eq!(reason(authenticator.authenticate(&none, Caller::default()).await), Reason::Missing);
    assert_eq!(reason(authenticator.authenticate(&none, local(7)).await), Reason::Missing);
    assert_eq!(authenticator.authenticate(&none, certified()).await, Ok(certified()));
    let mut twice = token("ann", &[]);
    let first = twice[AUTHORIZATION].clone();
    twice.append(AUTHORIZATION, first);
    assert_eq!(reason(authenticator.authenticate(&twice, Caller::default()).await), Reason::Malformed);
    let caller = authenticator.authenticate(&token("ann", &["buyer"]), local(7)).await.unwrap();
    assert_eq!((caller.token.unwrap().subject.as_str(), caller.process.unwrap().uid), ("ann", 7));
}

#[tokio::test(start_paused = true)]
async fn without_a_verifier_tokens_are_not_looked_at() {
    let guard = Guard::new(Authenticator::anonymous(), rules());
    let check = |called: &str, headers: HeaderMap| {
        let (guard, method) = (guard.clone(), method(called));
        async move { said(guard.check(&method, &headers, Caller::default()).await) }
    };
    assert_eq!(check("shop.v1.Catalog/List", bearer("garbage")).await, "anonymous by public");
    // Nothing to ask the caller for, so this is not UNAUTHENTICATED.
    assert_eq!(
        check("shop.v1.Orders/Get", bearer("garbage")).await,
        "PERMISSION_DENIED: permission denied policy default"
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_without_keys_refuses_without_calling_the_token_bad() {
    let stage = stage(None).await;
    let orders = method("shop.v1.Orders/Get");
    let denial = stage.guard.check(&orders, &token("ann", &["buyer"]), Caller::default()).await.unwrap_err();
    assert_eq!((denial.status.code(), denial.reason), (Code::Unavailable, Reason::KeysUnavailable));
    stage.script.set(Some(jwks(&[&pair(Algorithm::Es256).jwk])));
    tokio::time::sleep(Duration::from_secs(34)).await;
    assert!(stage.guard.check(&orders, &token("ann", &["buyer"]), Caller::default()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_common_path_neither_waits_nor_is_large() {
    let Stage { guard, .. } = &ready().await;
    let (orders, headers) = (method("shop.v1.Orders/Get"), token("ann", &["buyer"]));
    for _ in 0..2 {
        let check = guard.check(&orders, &headers, Caller::default());
        assert!(size_of_val(&check) <= 512, "{} bytes in every RPC", size_of_val(&check));
        let polled = std::pin::pin!(check).as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Ok(_))));
    }
    let report = guard.authenticator().verifier().unwrap().cache();
    assert_eq!((report.hits, report.misses), (1, 1));
}

proptest! {
    #[test]
    fn no_header_bytes_panic_or_get_in(
        scheme in prop_oneof![Just("Bearer "), Just("bearer  "), Just("")],
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        twice in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let Stage { guard, .. } = &ready().await;
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&[scheme.as_bytes(), &bytes].concat()) {
                headers.append(AUTHORIZATION, value.clone());
                if twice {
                    headers.append(AUTHORIZATION, value);
                }
            }
            assert!(guard.check(&method("shop.v1.Orders/Get"), &headers, Caller::default()).await.is_err());
        });
    }
}
