//! `trafficPolicy`.

use std::time::Duration;

use super::Making;
use super::manifest::{Rule, Subset};
use crate::import::names::{is_header, is_host};
use crate::import::report::Report;
use crate::import::toml::{Table, Value};
use crate::import::values::{DURATION_MAX, Outlier, duration};
use crate::import::yaml::Node;

/// Of Istio, where nothing is said.
const CONSECUTIVE_5XX_DEFAULT: u32 = 5;

/// Sets what a rule says of a cluster: a port of the subset first, then the subset, then a port of the rule, then the rule.
pub(super) fn policy(
    rule: &Rule<'_>,
    subset: Option<&Subset<'_>>,
    port: u16,
    cluster: &mut Table,
    making: &mut Making<'_>,
) {
    let mut levels: Vec<&Node> = Vec::new();
    for policy in [subset.map(|subset| subset.policy), Some(rule.policy)].into_iter().flatten() {
        for entry in policy.at("portLevelSettings").items() {
            if entry.at("port").at("number").parse() == Some(port) {
                levels.push(entry);
            }
        }
        levels.push(policy);
    }
    let report = &mut making.report;
    let mut find = |name: &str| {
        let mut found = levels.iter().filter_map(|level| level.get(name));
        let closest = found.next();
        for hidden in found {
            hidden.settle();
        }
        closest
    };
    let [balancer, pool, detection, tls] =
        ["loadBalancer", "connectionPool", "outlierDetection", "tls"].map(&mut find);
    match balancer {
        Some(balancer) => load_balancer(balancer, cluster, report),
        None => cluster.set_noted("policy", "least_request", "Istio's default"),
    }
    if let Some(pool) = pool {
        connection_pool(pool, cluster, report);
    }
    if let Some(detection) = detection {
        outlier(detection, cluster, report);
    }
    if let Some(node) = tls {
        self::tls(node, cluster, report);
    }
    report.translated(rule.line, format!("DestinationRule {}", rule.name), "");
}

fn time(node: &Node, name: &str) -> Option<Duration> {
    let time = duration(node.get(name)?.text()?)?;
    (!time.is_zero()).then_some(time.min(DURATION_MAX))
}

fn load_balancer(balancer: &Node, cluster: &mut Table, report: &mut Report) {
    let line = balancer.line;
    let warmup = time(balancer, "warmupDurationSecs").or_else(|| time(balancer.at("warmup"), "duration"));
    if let Some(hash) = balancer.get("consistentHash") {
        consistent_hash(hash, cluster, report);
        return;
    }
    let simple = balancer.at("simple").text().unwrap_or("UNSPECIFIED");
    let what = format!("loadBalancer {simple}");
    match simple {
        "ROUND_ROBIN" => report.translated(line, what, ""),
        "LEAST_REQUEST" | "LEAST_CONN" | "UNSPECIFIED" => {
            cluster.set("policy", "least_request");
            report.translated(line, what, "");
        }
        "RANDOM" => report.approximated(line, what, "round_robin, which spreads calls more evenly"),
        _ => report.not_supported(line, what, "set `policy` of the cluster; round_robin until then"),
    }
    if let Some(warmup) = warmup {
        cluster.set("slow_start", warmup);
        report.translated(line, "warmup", "");
    }
}

fn consistent_hash(hash: &Node, cluster: &mut Table, report: &mut Report) {
    let header = hash.at("httpHeaderName").text().map(str::to_ascii_lowercase);
    let size = hash.get("minimumRingSize").or_else(|| hash.at("ringHash").get("minimumRingSize"));
    let size = size.and_then(Node::parse::<u64>).filter(|size| *size > 0 && *size != 1024);
    hash.at("maglev").settle();
    let Some(header) = header.filter(|name| is_header(name) && !name.ends_with("-bin")) else {
        hash.settle();
        let instead = "only a header can be hashed: hash_header = \"NAME\"; round_robin until then";
        report.not_supported(hash.line, "consistentHash", instead);
        return;
    };
    match size {
        Some(size) => {
            let ring =
                [("header", Value::from(header.as_str())), ("ring_size_min", Value::Whole(size.min(4096)))];
            cluster.set("policy", Value::map([("ring_hash", Value::map(ring))]));
        }
        None => cluster.set("hash_header", header.as_str()),
    }
    let how = format!(
        "a ring of at most 4,096 points with XXH64 over {header}: keys move to other backends once; calls without the \
            header go to a \
         random one"
    );
    report.approximated(hash.line, "consistentHash", how);
}

fn connection_pool(pool: &Node, cluster: &mut Table, report: &mut Report) {
    let (tcp, http) = (pool.at("tcp"), pool.at("http"));
    if let Some(time) = time(tcp, "connectTimeout").filter(|time| *time != Duration::from_secs(5)) {
        cluster.set("connect_timeout", time);
    }
    for (node, name, key) in [
        (http, "http2MaxRequests", "calls_per_endpoint_max"),
        (http, "http1MaxPendingRequests", "waiting_max"),
    ] {
        let Some(found) = node.get(name) else { continue };
        match found.parse::<u32>().filter(|count| *count > 0) {
            Some(count) if count != 1024 => cluster.set(key, u64::from(count)),
            _ => {}
        }
        let how = if name == "http2MaxRequests" {
            "for each backend here, for the whole Service in Istio"
        } else {
            "calls that wait for a connection, for each worker"
        };
        report.approximated(found.line, name, how);
    }
    if let Some(found) = http.get("maxRequestsPerConnection") {
        let count = found.parse::<u32>().unwrap_or(0);
        if count == 0 {
            report.translated(
                found.line,
                "maxRequestsPerConnection 0",
                "connections are not counted in requests",
            );
        } else {
            let why = format!(
                "each connection is closed after {count} calls, and gRPC carries many on one: left out; backends say \
                    with GOAWAY when \
                 one is too old"
            );
            report.mistake(found.line, "maxRequestsPerConnection", why);
        }
    }
    for (node, name, how) in [
        (tcp, "maxConnections", "left out: one connection for each worker and backend carries many calls"),
        (tcp, "tcpKeepalive", "HTTP/2 pings do it: keepalive_time of the cluster"),
        (tcp, "maxConnectionDuration", "left out: backends say with GOAWAY when a connection is too old"),
        (tcp, "idleTimeout", "left out: connections to backends are kept"),
        (http, "maxRetries", "left out: retries stop while most calls fail, by retry_tokens (gRFC A6)"),
        (http, "idleTimeout", "left out: connections to backends are kept"),
        (http, "h2UpgradePolicy", "HTTP/2 is spoken"),
        (http, "useClientProtocol", "HTTP/2 is spoken"),
        (http, "maxConcurrentStreams", "left out: backends say it in SETTINGS"),
    ] {
        if let Some(found) = node.get(name) {
            found.settle();
            report.approximated(found.line, name, how);
        }
    }
}

fn outlier(detection: &Node, cluster: &mut Table, report: &mut Report) {
    let number = |name: &str| detection.get(name).and_then(Node::parse::<u32>);
    let (old, gateway, errors) =
        (number("consecutiveErrors"), number("consecutiveGatewayErrors"), number("consecutive5xxErrors"));
    for name in ["splitExternalLocalOriginErrors", "consecutiveLocalOriginFailures", "minHealthPercent"] {
        detection.at(name).settle();
    }
    let line = detection.line;
    if let Some(count) = old {
        let why = "deprecated, and never counted errors: it means consecutiveGatewayErrors, which for gRPC are UNAVAILABLE and \
                   DEADLINE_EXCEEDED only; consecutive_failures here";
        report.mistake(line, format!("consecutiveErrors {count}"), why);
    }
    let by_errors = errors.filter(|count| *count > 0);
    // Five errors of any kind count where nothing is said, also beside a number of gateway errors.
    let most = if errors.is_none() { CONSECUTIVE_5XX_DEFAULT } else { u32::MAX };
    let by_gateway =
        gateway.filter(|count| *count > 0).map(|count| count.min(most)).or(old.filter(|count| *count > 0));
    let percent = number("maxEjectionPercent");
    if (errors == Some(0) && by_gateway.is_none()) || percent == Some(0) {
        let why = "as its numbers are, it never trips on gRPC errors; here five failures in a row do";
        report.mistake(line, "outlierDetection", why);
    } else if errors == Some(0) {
        let why = "gateway errors are UNAVAILABLE and DEADLINE_EXCEEDED only, so it never trips on other gRPC errors: \
            here INTERNAL, \
                   UNKNOWN and DATA_LOSS count too";
        report.mistake(line, "consecutiveGatewayErrors without consecutive5xxErrors", why);
    }
    let how = "failures are gRPC statuses: UNAVAILABLE, INTERNAL, UNKNOWN, DATA_LOSS; the last backend that is ready \
        stays, as there \
               is no panic threshold";
    report.approximated(line, "outlierDetection", how);
    Outlier {
        consecutive: by_errors.or(by_gateway),
        interval: time(detection, "interval"),
        base: time(detection, "baseEjectionTime"),
        longest: None,
        percent: Some(percent.unwrap_or(10)).filter(|percent| *percent > 0),
    }
    .write(cluster);
}

fn tls(node: &Node, cluster: &mut Table, report: &mut Report) {
    let mode = node.at("mode").text().unwrap_or("DISABLE");
    let what = format!("tls {mode}");
    let text = |name: &str| node.get(name).and_then(Node::text);
    let mut tls = Value::Map(Vec::new());
    match mode {
        "DISABLE" => {
            report.translated(node.line, what, "plaintext");
            return;
        }
        "SIMPLE" | "MUTUAL" => {}
        _ => {
            node.settle();
            let instead = "the mesh's own certificates are not to be had: name files in tls of the cluster, or take it out for \
                           plaintext";
            report.not_supported(node.line, what, instead);
            let names = [("ca", "ca.pem"), ("certificate", "client.crt"), ("key", "client.key")];
            cluster.set("tls", Value::map(names.map(|(key, file)| (key, file.into()))));
            return;
        }
    }
    if let Some(ca) = text("caCertificates") {
        tls.push("ca", ca);
    }
    if let (Some(certificate), Some(key)) = (text("clientCertificate"), text("privateKey")) {
        tls.push("certificate", certificate);
        tls.push("key", key);
    } else if mode == "MUTUAL" {
        report.not_supported(node.line, &what, "name files: certificate and key in tls of the cluster");
    }
    let names = node.at("subjectAltNames");
    let name = names.items().first().and_then(Node::text).or(text("sni"));
    if let Some(name) = name.filter(|name| is_host(name) && !name.starts_with("*.")) {
        tls.push("server_name", name);
    }
    if node.get("insecureSkipVerify").is_some_and(Node::is_true) {
        let why = "it encrypts to whoever answers; here certificates are verified: set `ca` in tls";
        report.mistake(node.line, "insecureSkipVerify", why);
    }
    if let Some(found) = node.get("credentialName") {
        report.not_supported(
            found.line,
            "credentialName",
            "mount the secret, and name its files in tls of the cluster",
        );
    }
    report.translated(node.line, what, "certificates of backends are verified");
    cluster.set("tls", if tls == Value::Map(Vec::new()) { Value::Flag(true) } else { tls });
}
