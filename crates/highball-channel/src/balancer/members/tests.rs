//! Subsets stay, orders do not.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::Address;
use crate::balancer::tests::balancing;

fn endpoints(count: u8) -> Vec<Endpoint> {
    (0..count).map(|number| Endpoint::new(Address::Tcp(([10, 0, 0, number], 80).into()))).collect()
}

fn pick_first(shuffle: bool) -> Balancing {
    balancing(PolicyConfig::PickFirst { shuffle })
}

proptest! {
    #[test]
    fn one_endpoint_less_changes_at_most_one_member(
        count in 1_u8..60,
        size in 1_u32..30,
        seed: u64,
        gone in any::<prop::sample::Index>(),
    ) {
        let subsetting = Balancing { subset: Some(size), ..balancing(PolicyConfig::RoundRobin) };
        let all = endpoints(count);
        let before = members(&subsetting, all.clone(), seed, 1);
        prop_assert_eq!(before.len(), (size as usize).min(all.len()));
        prop_assert_eq!(&members(&subsetting, all.clone(), seed, 2), &before);
        let mut fewer = all;
        fewer.remove(gone.index(fewer.len()));
        let names: HashSet<_> = before.iter().map(Endpoint::name).collect();
        let after = members(&subsetting, fewer, seed, 1);
        prop_assert!(after.iter().filter(|endpoint| !names.contains(&endpoint.name())).count() <= 1);
    }
}

#[test]
fn clients_choose_different_subsets_that_cover_all() {
    let subsetting = Balancing { subset: Some(5), ..balancing(PolicyConfig::RoundRobin) };
    let mut shares = [0; 20];
    for client in 0..400 {
        for endpoint in members(&subsetting, endpoints(20), mix(client), 0) {
            let Address::Tcp(address) = &endpoint.addresses[0] else { unreachable!() };
            let std::net::IpAddr::V4(ip) = address.ip() else { unreachable!() };
            shares[usize::from(ip.octets()[3])] += 1;
        }
    }
    assert!(shares.iter().all(|share| (60..=140).contains(share)), "{shares:?}");
}

#[test]
fn pick_first_gets_one_endpoint_with_all_addresses_once() {
    let mut list = endpoints(3);
    list.push(list[0].clone());
    list[0].attributes.priority = 1;
    let flat = members(&pick_first(false), list.clone(), 0, 0);
    let want = [&list[1], &list[2], &list[0]].map(|endpoint| endpoint.addresses[0].clone());
    // The copy of the first comes before it: its priority is better.
    assert_eq!(flat.len(), 1);
    assert_eq!(flat[0].addresses, want);
    assert!(members(&pick_first(false), Vec::new(), 0, 0).is_empty());
}

#[test]
fn a_name_is_kept_only_when_all_agree() {
    let mut list = endpoints(2);
    list[0].attributes.hostname = Some("a".to_owned());
    assert_eq!(members(&pick_first(false), list.clone(), 0, 0)[0].attributes.hostname, None);
    list[1].attributes.hostname = Some("a".to_owned());
    assert_eq!(members(&pick_first(false), list, 0, 0)[0].attributes.hostname.as_deref(), Some("a"));
}

#[test]
fn a_shuffle_puts_heavier_endpoints_first_more_often() {
    let mut list = endpoints(2);
    list[1].attributes.weight = Some(3);
    let heavy = list[1].addresses[0].clone();
    let first = |random| members(&pick_first(true), list.clone(), 0, random)[0].addresses[0].clone();
    let times = (0..4_000).filter(|random| first(mix(*random)) == heavy).count();
    assert!(times.abs_diff(3_000) < 150, "{times}");
    let still = |random| members(&pick_first(false), list.clone(), 0, random)[0].addresses[0].clone();
    assert!((0..20).all(|random| still(random) != heavy));
}
