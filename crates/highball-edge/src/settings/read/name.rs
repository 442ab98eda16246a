//! Names: of clusters, hosts and headers.

use highball_core::units::ByteSize;
use http::{HeaderName, HeaderValue};

use super::table::Item;
use super::value::quoted;

/// Characters of the name of a cluster or a route.
const NAME_MAX: usize = 64;

/// Of a host (RFC 1035, section 2.3.4).
const HOST_MAX: usize = 253;

/// Of a header's name and of its value. Together they must fit the header list that a server takes.
const HEADER_MAX: ByteSize = ByteSize(8 << 10);

/// Headers of a connection, which end at every hop (RFC 9110, section 7.6.1), and those HTTP/2 makes itself.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The name of a cluster or a route: metrics and messages carry it.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

/// What to say of a name that is none.
pub(super) fn not_a_name(name: &str) -> String {
    format!(
        "{} is not a name; write 1 to {NAME_MAX} letters, digits, dots, dashes or underscores",
        quoted(name)
    )
}

impl<'a> Item<'a> {
    /// A host in lower case: exact, or `*.` and what every name below it ends with.
    pub(super) fn host(self) -> Option<String> {
        let text = self.string()?;
        let host = text.to_ascii_lowercase();
        let name = host.strip_prefix("*.").unwrap_or(&host);
        let literal = |text: &str| text.parse::<std::net::IpAddr>().is_ok();
        let bracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        if is_dns_name(name) || (bracketed.is_some_and(literal) && !host.starts_with('*')) {
            return Some(host);
        }
        let fix = match host.rsplit_once(':') {
            _ if host == "*" => "a host; leave it out to match every host",
            _ if literal(&host) => "a host; write an IPv6 address in brackets",
            Some((before, _)) if is_dns_name(before) => "a host; leave the port out",
            _ => {
                "a host; write a name such as \"api.example.com\", or \"*.example.com\" for every name below"
            }
        };
        self.malformed(text, fix)
    }

    /// A host that is a name and no address.
    pub(super) fn dns_name(self) -> Option<String> {
        let host = self.host()?;
        if host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok() {
            return self.malformed(&host, "a name; nobody asks for an address (RFC 6066, section 3)");
        }
        Some(host)
    }

    /// The name of a header, in lower case.
    pub(super) fn header_name(self) -> Option<HeaderName> {
        let text = self.string()?;
        self.header_named(text)
    }

    /// The same, of a name that stands elsewhere than in the value.
    pub(super) fn header_named(&self, text: &str) -> Option<HeaderName> {
        if text.starts_with(':') {
            return self.malformed(text, "a header but a part of the request; use host, path or method");
        }
        let name = text.to_ascii_lowercase();
        // What gRPC allows in metadata (PROTOCOL-HTTP2, "Custom-Metadata"), which is less than HTTP does.
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        let header = HeaderName::from_bytes(name.as_bytes()).ok();
        header.filter(|_| name.bytes().all(allowed) && name.len() <= HEADER_MAX.0).or_else(|| {
            self.malformed(text, "the name of a header; write letters, digits, dashes, dots or underscores")
        })
    }

    /// The name of a header that a rewrite may touch.
    pub(super) fn header_rewritten(&self, text: &str) -> Option<HeaderName> {
        let name = self.header_named(text)?;
        let what = match name.as_str() {
            "content-type" => "it says what the body is",
            name if name.starts_with("grpc-") => "it belongs to the protocol",
            name if HOP_BY_HOP.contains(&name) => "it belongs to the connection",
            _ => return Some(name),
        };
        self.problem(|| format!("{name} cannot be rewritten: {what}; leave it out"))
    }

    /// The value of a header.
    pub(super) fn header_value(self, name: &HeaderName) -> Option<HeaderValue> {
        let text = self.string()?;
        // "ASCII-Value" of gRPC; spaces around it are lost on the way.
        let sendable = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) && text.trim() == text;
        if !sendable || text.len() > HEADER_MAX.0 {
            let fix = format!(
                "a value that can be sent; write at most {HEADER_MAX} of printable ASCII without spaces around it"
            );
            return self.malformed(text, fix);
        }
        let base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
        if name.as_str().ends_with("-bin") && !text.bytes().all(base64) {
            return self.malformed(text, "base64, which a header that ends with -bin carries");
        }
        HeaderValue::from_str(text).ok()
    }
}

fn is_dns_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed);
    name.len() <= HOST_MAX && name.split('.').all(is_label)
}
