//! What a pick costs, by the number of endpoints.

use std::hint::black_box;

use highball::channel::balancer::{Ask, Pick, ready_picker};
use highball::channel::service_config::ServiceConfig;
use highball::core::Method;
use http::HeaderMap;
use http::uri::PathAndQuery;
use tokio::time::Instant;

const PICKS: u32 = 2_000_000;

const POLICIES: [(&str, &str); 5] = [
    ("round_robin", "{}"),
    ("least_request_experimental", "{}"),
    ("peak_ewma", "{}"),
    ("weighted_round_robin", "{}"),
    ("ring_hash_experimental", "{}"),
];

/// Prints a table: nanoseconds for one pick, and for the guard that counts it.
#[expect(clippy::print_stdout, reason = "a command for people")]
pub(crate) fn print() {
    println!("ns per pick, all endpoints ready; median of 5 runs of {PICKS}\n");
    println!("| policy | 3 | 100 | 10,000 |\n|---|---|---|---|");
    for (name, config) in POLICIES {
        let cells: Vec<String> = [3, 100, 10_000].map(|endpoints| cell(name, config, endpoints)).to_vec();
        println!("| {name} | {} |", cells.join(" | "));
    }
}

fn cell(name: &str, config: &str, endpoints: usize) -> String {
    let json = format!(r#"{{"loadBalancingConfig":[{{"{name}":{config}}}]}}"#);
    let Ok(config) = ServiceConfig::parse(&json) else { return "bad config".to_owned() };
    let picker = ready_picker(config.balancing.as_ref(), endpoints);
    let Ok(method) = Method::parse(&PathAndQuery::from_static("/shop.v1.Shop/Get")) else {
        return String::new();
    };
    let headers = HeaderMap::new();
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut runs: Vec<f64> = (0..5)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..PICKS {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let ask =
                    Ask { method: &method, headers: &headers, tried: &[], random: random ^ (random >> 29) };
                if let Pick::To(backend, _) = picker.pick(&ask) {
                    black_box(backend);
                }
            }
            started.elapsed().as_secs_f64() * 1e9 / f64::from(PICKS)
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    format!("{:.0}", runs[2])
}
