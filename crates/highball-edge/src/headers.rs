//! What backends see of a request's headers, and callers of a response's.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use highball_core::{Connection, Peer};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::settings;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Headers that say who calls. Only a proxy may write them; from outside they are a lie.
const IDENTITY: [HeaderName; 2] =
    [HeaderName::from_static("x-forwarded-client-cert"), HeaderName::from_static("forwarded")];

/// What only a proxy in front may say of the request that it got.
const OF_PROXIES: [HeaderName; 3] = [
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
];

/// And all that begin like this. Those of Envoy are orders to the next proxy: to retry, or to take its time.
const IDENTITY_PREFIXES: [&str; 3] = ["x-peer-", "l5d-", "x-envoy-"];

/// What is known of where a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// At the other end of the connection; a Unix socket has none.
    peer: Option<IpAddr>,
    /// The client itself, as far as the proxies in front are believed.
    pub(crate) client: Option<IpAddr>,
}

impl Origin {
    /// `trusted_hops` proxies in front are believed what they appended to `x-forwarded-for`: the last entry is the last
    /// proxy's peer, and so on.
    pub(crate) fn of(connection: &Connection, headers: &HeaderMap, trusted_hops: usize) -> Self {
        let peer = match &connection.peer {
            Peer::Tcp(addr) => Some(addr.ip().to_canonical()),
            _ => None,
        };
        let told = trusted_hops.checked_sub(1).and_then(|hop| {
            let lists = headers.get_all(FORWARDED_FOR).iter().rev().map(HeaderValue::as_bytes);
            // As bytes: what a client put into its own entry must not hide what a proxy wrote behind it.
            let entries = lists.flat_map(|list| list.rsplit(|byte| *byte == b',')).take(hop + 1);
            // Fewer entries than hops: somebody came in by a shorter way, and the first entry is the furthest we are told.
            entries.last().and_then(entry)
        });
        Self { peer, client: told.or(peer) }
    }
}

/// An address as proxies write it, some with the port.
fn entry(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address| address.to_canonical())
}

/// Makes the request's headers those of a proxy: says where it came from, and removes what its caller must not say.
pub(crate) fn forward(headers: &mut HeaderMap, origin: Origin, trusted_hops: usize) {
    if headers.keys().any(is_identity) {
        let names: Vec<HeaderName> = headers.keys().filter(|name| is_identity(name)).cloned().collect();
        names.iter().for_each(|name| drop(headers.remove(name)));
    }
    let peer = origin.peer.and_then(value);
    if trusted_hops == 0 {
        headers.remove(FORWARDED_FOR);
        OF_PROXIES.iter().for_each(|name| drop(headers.remove(name)));
    }
    if let Some(peer) = &peer {
        // After what is there: their order counts.
        headers.append(FORWARDED_FOR, peer.clone());
    }
    let client = if origin.client == origin.peer { peer } else { origin.client.and_then(value) };
    match client {
        Some(client) => drop(headers.insert(REAL_IP, client)),
        None => drop(headers.remove(REAL_IP)),
    }
}

fn is_identity(name: &HeaderName) -> bool {
    IDENTITY.contains(name) || IDENTITY_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

fn value(ip: IpAddr) -> Option<HeaderValue> {
    /// The longest, of IPv6.
    const SIZE_MAX: usize = 45;
    let mut text = String::with_capacity(SIZE_MAX);
    write!(text, "{ip}").ok()?;
    HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
}

/// What a route changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rewrite(pub(crate) settings::Rewrite);

impl Rewrite {
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        let settings::Rewrite { remove, set, add } = &self.0;
        for name in remove {
            headers.remove(name);
        }
        for (name, value) in set {
            headers.insert(name, value.clone());
        }
        for (name, value) in add {
            headers.append(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highball_core::Caller;

    fn from(peer: &str) -> Connection {
        Connection { id: 1, peer: Peer::Tcp(peer.parse().unwrap()), caller: Caller::default() }
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let value = |text| HeaderValue::from_static(text);
        lines.iter().map(|(name, text)| (HeaderName::from_static(name), value(text))).collect()
    }

    fn sent(mut headers: HeaderMap, connection: &Connection, trusted_hops: usize) -> HeaderMap {
        let origin = Origin::of(connection, &headers, trusted_hops);
        forward(&mut headers, origin, trusted_hops);
        headers
    }

    fn list(headers: &HeaderMap, name: &str) -> Vec<String> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_client_cannot_say_where_it_comes_from() {
        let forged = headers(&[("x-forwarded-for", "1.1.1.1"), ("x-real-ip", "1.1.1.1")]);
        let seen = sent(forged, &from("10.0.0.9:1"), 0);
        assert_eq!(list(&seen, "x-forwarded-for"), ["10.0.0.9"]);
        assert_eq!(list(&seen, "x-real-ip"), ["10.0.0.9"]);
    }

    #[test]
    fn proxies_in_front_are_believed_as_far_as_the_setting_says() {
        let chain = || headers(&[("x-forwarded-for", "6.6.6.6, 1.1.1.1"), ("x-real-ip", "6.6.6.6")]);
        let seen = sent(chain(), &from("10.0.0.9:1"), 1);
        assert_eq!(list(&seen, "x-forwarded-for"), ["6.6.6.6, 1.1.1.1", "10.0.0.9"]);
        assert_eq!(list(&seen, "x-real-ip"), ["1.1.1.1"]);
        assert_eq!(list(&sent(chain(), &from("10.0.0.9:1"), 2), "x-real-ip"), ["6.6.6.6"]);
        assert_eq!(list(&sent(chain(), &from("10.0.0.9:1"), 9), "x-real-ip"), ["6.6.6.6"]);
        let nonsense = headers(&[("x-forwarded-for", "unknown")]);
        assert_eq!(list(&sent(nonsense, &from("10.0.0.9:1"), 1), "x-real-ip"), ["10.0.0.9"]);
    }

    #[test]
    fn a_client_cannot_hide_what_the_proxy_in_front_wrote() {
        let told = |lines: &[&[u8]]| {
            let values = lines.iter().map(|line| HeaderValue::from_bytes(line).unwrap());
            let chain = values.map(|value| (FORWARDED_FOR, value)).collect();
            Origin::of(&from("10.0.0.9:1"), &chain, 1).client.unwrap().to_string()
        };
        assert_eq!(told(&[b"6.6.6.6", b"\xff, 203.0.113.7"]), "203.0.113.7");
        assert_eq!(told(&[b"6.6.6.6", b"203.0.113.7:4242"]), "203.0.113.7");
        assert_eq!(told(&[b"[2001:db8::7]:4242"]), "2001:db8::7");
        assert_eq!(told(&[b"[2001:db8::7]"]), "2001:db8::7");
        assert_eq!(told(&[b"::ffff:203.0.113.7"]), "203.0.113.7");
        // What it wrote itself is nothing: then it is the proxy that calls.
        assert_eq!(told(&[b"6.6.6.6, \xff"]), "10.0.0.9");
    }

    #[test]
    fn headers_that_name_an_identity_do_not_come_from_outside() {
        let forged = headers(&[
            ("x-forwarded-client-cert", "By=me"),
            ("x-peer-id", "root"),
            ("l5d-client-id", "root"),
            ("forwarded", "for=1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-envoy-retry-on", "5xx"),
            ("x-request-id", "7"),
        ]);
        let seen = sent(forged, &from("[::ffff:10.0.0.9]:1"), 0);
        let mut names: Vec<&str> = seen.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["x-forwarded-for", "x-real-ip", "x-request-id"]);
        assert_eq!(list(&seen, "x-real-ip"), ["10.0.0.9"]);
    }

    #[test]
    fn a_rewrite_removes_then_sets_then_adds() {
        let name = HeaderName::from_static;
        let value = HeaderValue::from_static;
        let rewrite = Rewrite(settings::Rewrite {
            remove: vec![name("a"), name("b")],
            set: vec![(name("b"), value("2")), (name("c"), value("3"))],
            add: vec![(name("c"), value("4"))],
        });
        let mut map = headers(&[("a", "1"), ("b", "1"), ("c", "1")]);
        rewrite.apply(&mut map);
        assert_eq!((list(&map, "a"), list(&map, "b")), (vec![], vec!["2".to_owned()]));
        assert_eq!(list(&map, "c"), ["3", "4"]);
    }
}
