//! The ring's shape, who owns a key, and what happens when the owner cannot take a call.

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::Endpoint;
use crate::balancer::tests::{Caller, backend, ready, set};

fn config() -> RingHashConfig {
    RingHashConfig {
        ring_size_min: 1024,
        ring_size_max: 4096,
        header: Some(HeaderName::from_static("user-id")),
    }
}

fn build(backends: &[Arc<Backend>]) -> Published {
    RingHash::new(config(), 0).build(backends, Instant::now())
}

fn ask(caller: &mut Caller, key: usize) -> &mut Caller {
    caller.headers.insert("user-id", HeaderValue::from(key as u64));
    caller
}

fn stakes(weights: &[u32]) -> Vec<Stake> {
    weights.iter().enumerate().map(|(index, weight)| (format!("10.0.0.{index}:80"), *weight)).collect()
}

fn points(ring: &Ring, count: usize) -> Vec<usize> {
    let mut shares = vec![0; count];
    ring.from(0).for_each(|index| shares[index] += 1);
    shares
}

#[test]
fn hashes_are_those_of_other_clients() {
    // XXH64 of the empty input and of "a" without a seed, as the xxHash project publishes them.
    assert_eq!(ring::hash(b""), 0xef46_db37_51d8_e999);
    assert_eq!(ring::hash(b"a"), 0xd24e_c4f1_a98c_6e5b);
}

#[test]
fn the_lightest_backend_has_a_whole_number_of_points() {
    let check = |weights: &[u32], min, max, want: &[usize]| {
        let ring = Ring::new(&stakes(weights), min, max);
        assert_eq!(points(&ring, weights.len()), want, "{weights:?}");
    };
    // The example of Envoy and grpc-go.
    check(&[3, 3, 4], 10, 20, &[3, 3, 4]);
    check(&[1, 1, 1], 10, 4096, &[4, 4, 4]);
    check(&[1, 3], 1024, 4096, &[256, 768]);
    // At the upper bound fractions are rounded along the order of keys.
    check(&[3, 3, 4], 7, 7, &[3, 2, 2]);
    check(&[1, u32::MAX, u32::MAX], 1024, u64::MAX, &[1, 2048, 2047]);
    assert_eq!(Ring::new(&[], 1024, 4096).len(), 0);
}

proptest! {
    #[test]
    fn a_ring_is_within_its_bounds(
        weights in prop::collection::vec(1_u32.., 1..50),
        min in 1_u64..5_000,
        max in 1_u64..10_000,
    ) {
        let ring = Ring::new(&stakes(&weights), min, max);
        prop_assert!(ring.len() as u64 <= max.min(4096));
        prop_assert!(ring.len() as u64 >= min.min(max).min(4096));
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_keys_of_a_backend_that_fails_move() {
    let backends = ready(10);
    let picker = build(&backends).picker;
    let mut caller = Caller::new(0);
    let owners: Vec<_> = (0..10_000).map(|key| ask(&mut caller, key).to(&*picker)).collect();
    backends[0].set_state(State::TransientFailure);
    let picker = build(&backends).picker;
    let mut moved = 0;
    for (key, owner) in owners.iter().enumerate() {
        if Arc::ptr_eq(owner, &backends[0]) {
            moved += 1;
        } else {
            assert!(Arc::ptr_eq(owner, &ask(&mut caller, key).to(&*picker)), "key {key}");
        }
    }
    assert!((500..=1_500).contains(&moved), "{moved} of 10,000");
}

#[tokio::test(start_paused = true)]
async fn few_keys_move_when_a_backend_leaves() {
    let backends = ready(10);
    let (all, fewer) = (build(&backends).picker, build(&backends[1..]).picker);
    let mut caller = Caller::new(0);
    let mut moved = 0;
    for key in 0..10_000 {
        let before = ask(&mut caller, key).to(&*all);
        moved += usize::from(!Arc::ptr_eq(&before, &caller.to(&*fewer)));
    }
    // Those that belonged to the one that left, about a tenth.
    assert!((500..=1_500).contains(&moved), "{moved} of 10,000");
}

#[tokio::test(start_paused = true)]
async fn keys_spread_in_proportion_to_weights() {
    let backends = ready(3);
    let mut heavy = Endpoint::clone(&backends[2].endpoint());
    heavy.attributes.weight = Some(2);
    backends[2].set_endpoint(heavy);
    let picker = build(&backends).picker;
    let mut caller = Caller::new(0);
    let mut shares: HashMap<String, usize> = HashMap::new();
    for key in 0..20_000 {
        *shares.entry(ask(&mut caller, key).to(&*picker).endpoint().name()).or_default() += 1;
    }
    for (backend, want) in backends.iter().zip([5_000_usize, 5_000, 10_000]) {
        let share = shares[&backend.endpoint().name()];
        assert!(share.abs_diff(want) < want / 6, "{shares:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hash_key_keeps_its_place_when_the_address_changes() {
    let before = ready(5);
    for (number, backend) in before.iter().enumerate() {
        let mut endpoint = Endpoint::clone(&backend.endpoint());
        endpoint.attributes.hash_key = Some(format!("pod-{number}"));
        backend.set_endpoint(endpoint);
    }
    let after: Vec<_> = before
        .iter()
        .enumerate()
        .map(|(number, old)| {
            let moved = backend(100 + number as u8);
            let mut endpoint = Endpoint::clone(&moved.endpoint());
            endpoint.attributes.hash_key.clone_from(&old.endpoint().attributes.hash_key);
            moved.set_endpoint(endpoint);
            moved.set_state(State::Ready);
            moved
        })
        .collect();
    let (one, other) = (build(&before).picker, build(&after).picker);
    let mut caller = Caller::new(0);
    for key in 0..200 {
        let (one, other) = (ask(&mut caller, key).to(&*one), caller.to(&*other));
        assert_eq!(one.endpoint().attributes.hash_key, other.endpoint().attributes.hash_key);
    }
}

#[tokio::test(start_paused = true)]
async fn several_values_are_one_key_and_no_text_is_none() {
    let backends = ready(10);
    let picker = build(&backends).picker;
    let mut caller = Caller::new(0);
    caller.headers.insert("user-id", HeaderValue::from_static("a,b"));
    let joined = caller.to(&*picker);
    caller.headers.insert("user-id", HeaderValue::from_static("a"));
    caller.headers.append("user-id", HeaderValue::from_static("b"));
    assert!(Arc::ptr_eq(&joined, &caller.to(&*picker)));
    for headers in [
        http::HeaderMap::new(),
        http::HeaderMap::from_iter([(HeaderName::from_static("user-id"), HeaderValue::from_static(""))]),
    ] {
        caller.headers = headers;
        let mut seen: Vec<_> = (0..100).map(|_| caller.to(&*picker).endpoint().name()).collect();
        seen.sort();
        seen.dedup();
        assert!(seen.len() > 5, "{seen:?}");
    }
}

/// A ring of three and a key, with the backends in the order in which the ring offers them to it.
fn three() -> (Vec<Arc<Backend>>, Caller) {
    let backends = ready(3);
    let mut caller = Caller::new(0);
    let mut order: Vec<Arc<Backend>> = Vec::new();
    for _ in 0..3 {
        let next = ask(&mut caller, 1).to(&*build(&backends).picker);
        caller.tried.push(Arc::clone(&next));
        order.push(next);
    }
    caller.tried.clear();
    (order, caller)
}

async fn is_wanted(backend: &Backend) -> bool {
    tokio::time::timeout(Duration::from_millis(1), backend.wanted()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn the_first_that_has_not_failed_decides() {
    use State::{Connecting, Idle, Ready, TransientFailure};
    let (order, mut caller) = three();
    for (states, answer, woken) in [
        ([Ready, Idle, Idle], Some(0), None),
        ([Idle, Ready, Ready], None, Some(0)),
        ([Connecting, Ready, Ready], None, None),
        ([TransientFailure, Ready, Ready], Some(1), None),
        ([TransientFailure, Idle, Ready], None, Some(1)),
        ([TransientFailure, TransientFailure, Ready], Some(2), None),
    ] {
        set(&order, &states);
        let picker = build(&order).picker;
        match (caller.pick(&*picker), answer) {
            (Pick::To(to, _), Some(place)) => assert!(Arc::ptr_eq(&to, &order[place]), "{states:?}"),
            (Pick::Queue, None) => {}
            (other, _) => panic!("{states:?}: {other:?}"),
        }
        for (place, backend) in order.iter().enumerate() {
            assert_eq!(is_wanted(backend).await, woken == Some(place), "{states:?}: {place}");
        }
    }
    set(&order, &[TransientFailure; 3]);
    assert!(matches!(caller.pick(&*build(&order).picker), Pick::Fail(_)));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_key_takes_what_is_ready_and_wakes_one() {
    use State::{Connecting, Idle, Ready, TransientFailure};
    let (order, mut caller) = three();
    caller.headers.clear();
    let mut check = async |states: [State; 3], answer: &str, woken: usize| {
        set(&order, &states);
        // The policy wakes one by itself when none is ready; here the picker is looked at.
        let picker = build(&order).picker;
        for backend in &order {
            is_wanted(backend).await;
        }
        let pick = format!("{:?}", caller.pick(&*picker));
        assert!(pick.starts_with(answer), "{states:?}: {pick}");
        let mut found = 0;
        for backend in &order {
            found += usize::from(is_wanted(backend).await);
        }
        assert!(found <= woken, "{states:?}: {found}");
        found
    };
    check([TransientFailure, Ready, TransientFailure], "To", 0).await;
    assert!(check([Ready, Idle, Idle], "To", 1).await <= 1);
    assert_eq!(check([Idle, Idle, Idle], "Queue", 1).await, 1);
    check([Connecting, Idle, Idle], "Queue", 0).await;
    check([TransientFailure, TransientFailure, TransientFailure], "Fail", 0).await;
}

#[test]
fn the_state_of_the_whole_is_that_of_a42() {
    use State::{Connecting, Idle, Ready, TransientFailure};
    for (states, want) in [
        (vec![Ready, TransientFailure, TransientFailure], Ready),
        (vec![TransientFailure, TransientFailure, Connecting, Idle], TransientFailure),
        (vec![Connecting, Idle, TransientFailure], Connecting),
        (vec![TransientFailure, Idle, Idle], Connecting),
        (vec![Idle, Idle], Idle),
        (vec![TransientFailure], TransientFailure),
        (vec![], TransientFailure),
    ] {
        assert_eq!(aggregate(&states), want, "{states:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_calls_somebody_connects_after_a_failure() {
    let (order, _) = three();
    set(&order, &[State::Idle; 3]);
    build(&order);
    for backend in &order {
        assert!(!is_wanted(backend).await, "nobody asked yet");
    }
    order[0].set_state(State::TransientFailure);
    // Changes in between do not wake another one.
    let mut policy = RingHash::new(config(), 0);
    let mut woken = 0;
    for _ in 0..10 {
        policy.build(&order, Instant::now());
    }
    for backend in &order {
        woken += usize::from(is_wanted(backend).await);
    }
    assert_eq!(woken, 1);
    order[1].set_state(State::Connecting);
    build(&order);
    assert!(!is_wanted(&order[2]).await, "one at a time");
}
