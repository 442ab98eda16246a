//! `highball explain --edge`: what a running edge would do with a call, asked at its admin port.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use highball::net::fetch::{Plaintext, Settings};
use highball::net::{Fetcher, Os};
use http::Request;
use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::screen::{field, heading, wrapped};
use super::{method, print};

/// What is asked of an edge.
#[derive(Debug, Args)]
pub(super) struct Question {
    /// Ask the edge with this admin port, host:port or URL, what it would do with a call.
    #[arg(long, value_name = "ADMIN", help_heading = "Edge")]
    pub(super) edge: Option<String>,
    /// A header of the call. May be given several times.
    #[arg(short = 'H', long, value_name = "NAME:VALUE", requires = "edge", help_heading = "Edge")]
    header: Vec<String>,
    /// The host that is called (`:authority`).
    #[arg(long, value_name = "HOST", requires = "edge", help_heading = "Edge")]
    host: Option<String>,
}

/// As `highball_edge::explain` writes it. What a later edge says beside this is kept by `--json` only.
#[derive(Debug, Deserialize)]
struct Explanation {
    method: String,
    #[serde(default)]
    passed_over: Vec<PassedOver>,
    route: Option<Taken>,
}

#[derive(Debug, Deserialize)]
struct PassedOver {
    route: String,
    why: String,
}

#[derive(Debug, Deserialize)]
struct Taken {
    name: String,
    stream_idle: Option<String>,
    mirror: Option<String>,
    #[serde(default)]
    rate: bool,
    #[serde(default)]
    fault: bool,
    clusters: Vec<Way>,
}

#[derive(Debug, Deserialize)]
struct Way {
    cluster: String,
    percent: f64,
    deadline: Option<String>,
    repeat: String,
    state: String,
    endpoint: Option<(String, String)>,
    trouble: Option<String>,
}

/// Asks, and prints the answer. The exit code, or why there is no answer.
pub(super) async fn run(
    admin: &str,
    method: &str,
    flags: &Question,
    json: bool,
    timeout: Duration,
) -> Result<u8, String> {
    let name = method::parse(method).map_err(|problem| format!("{method:?}: {problem}"))?;
    let url = url(admin, name.full_name(), flags);
    let answer = fetch(&url, timeout).await.map_err(|problem| format!("{admin}: {problem}"))?;
    let explanation: Explanation = serde_json::from_slice(&answer)
        .map_err(|cause| format!("{admin}: this is not the admin port of an edge: {cause}"))?;
    let text = if json { String::from_utf8_lossy(&answer).into_owned() } else { screen(&explanation) };
    print(&text);
    let reached = |route: &Taken| route.clusters.iter().any(|way| way.endpoint.is_some());
    Ok(u8::from(!explanation.route.as_ref().is_some_and(reached)))
}

fn url(admin: &str, method: &str, flags: &Question) -> String {
    let base = if admin.contains("://") { admin.to_owned() } else { format!("http://{admin}") };
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut url = format!("{}/edge/explain?method={}", base.trim_end_matches('/'), encoded(method));
    if let Some(host) = &flags.host {
        write!(url, "&host={}", encoded(host)).ok();
    }
    for header in &flags.header {
        write!(url, "&header={}", encoded(header)).ok();
    }
    url
}

async fn fetch(url: &str, timeout: Duration) -> Result<Vec<u8>, String> {
    // An admin port speaks plaintext, and who asks it names it.
    let settings = Settings { timeout, plaintext: Plaintext::Allow, ..Settings::default() };
    let request = Request::get(url).body(Default::default()).map_err(|_| "this is no address".to_owned())?;
    let response = Fetcher::plaintext(Os::shared(), settings).fetch(request).await;
    let response = response.map_err(|cause| cause.to_string())?;
    let says = String::from_utf8_lossy(response.body());
    match response.status() {
        StatusCode::OK => Ok(response.body().to_vec()),
        // A sentence, in JSON.
        StatusCode::BAD_REQUEST => Err(serde_json::from_str(&says).unwrap_or_else(|_| says.into_owned())),
        StatusCode::NOT_FOUND => Err("this is not the admin port of an edge".to_owned()),
        status => Err(format!("the answer is {status}")),
    }
}

fn screen(explanation: &Explanation) -> String {
    let mut screen = String::new();
    field(&mut screen, "method", &explanation.method);
    match &explanation.route {
        Some(route) => taken(&mut screen, route),
        None => field(&mut screen, "route", "none matches: a call would fail, UNIMPLEMENTED"),
    }
    if !explanation.passed_over.is_empty() {
        heading(&mut screen, "passed over before");
        for PassedOver { route, why } in &explanation.passed_over {
            wrapped(&mut screen, &format!("  {route:<16} "), why);
        }
    }
    screen.truncate(screen.trim_end().len());
    screen
}

fn taken(screen: &mut String, route: &Taken) {
    field(screen, "route", &route.name);
    if let Some(silence) = &route.stream_idle {
        let says = if silence == "0ns" {
            "no silence ends a stream".to_owned()
        } else {
            format!("ended after {silence}")
        };
        field(screen, "silence", &says);
    }
    if let Some(mirror) = &route.mirror {
        field(screen, "mirror", &format!("a copy goes to cluster {mirror}"));
    }
    if route.rate {
        field(screen, "rate", "each caller has a budget here");
    }
    if route.fault {
        field(screen, "fault", "faults are injected here");
    }
    for way in &route.clusters {
        heading(screen, &format!("cluster {}, {} per cent of the calls", way.cluster, way.percent));
        field(screen, "state", &way.state);
        match &way.endpoint {
            Some((endpoint, why)) => field(screen, "endpoint", &format!("{endpoint} now, by {why}")),
            None => {
                field(screen, "endpoint", &format!("none: {}", way.trouble.as_deref().unwrap_or("not known")))
            }
        }
        let deadline = way.deadline.as_ref().map(|most| format!("at most {most} for a unary call"));
        field(screen, "deadline", deadline.as_deref().unwrap_or("the caller's, within the server's limits"));
        field(screen, "repeat", &way.repeat);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_survives_the_query() {
        let flags = Question {
            edge: None,
            header: vec!["x-tenant: a&b=c".to_owned()],
            host: Some("shop.example.com".to_owned()),
        };
        assert_eq!(
            url("127.0.0.1:9901", "shop.v1.Orders/Get", &flags),
            "http://127.0.0.1:9901/edge/explain?method=shop%2Ev1%2EOrders%2FGet&host=shop%2Eexample%2Ecom\
             &header=x%2Dtenant%3A%20a%26b%3Dc"
        );
        let bare = Question { edge: None, header: Vec::new(), host: None };
        assert!(url("http://admin:1/", "a.B/C", &bare).starts_with("http://admin:1/edge/explain?"));
    }
}
