//! What still stands between this server and a domain name.

use highball_net::ListenAddr;

use crate::Settings;

/// A box of the launch checklist that is not ticked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBox {
    /// Its short name.
    pub name: &'static str,
    /// What is open, and what closes it.
    pub what: String,
}

/// The boxes this server leaves open, as far as a server can see itself.
#[must_use]
pub fn open_boxes(settings: &Settings, listeners: &[ListenAddr]) -> Vec<OpenBox> {
    let mut open = Vec::new();
    let mut add = |name, what: &str| open.push(OpenBox { name, what: what.to_owned() });
    if listeners.iter().all(ListenAddr::is_local) {
        add(
            "tls",
            "plaintext, reachable from this machine only; put a TLS proxy in front before a domain points here",
        );
    } else {
        add(
            "tls",
            "plaintext, and reachable from other machines; listen on 127.0.0.1 or a Unix socket behind a TLS proxy",
        );
    }
    add("callers", "anyone who can connect may call every method; callers are not authenticated");
    if settings.rates.is_none() {
        add("rates", "callers are not rate limited; set `rates`");
    }
    add("traces", "no traces are exported; trace ids are logged");
    if settings.reflection {
        add("reflection", "clients may read the descriptors; turn reflection off");
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflection_is_an_open_box_only_when_it_is_on() {
        let local = ["127.0.0.1:1".parse().unwrap()];
        let has =
            |settings: &Settings| open_boxes(settings, &local).iter().any(|open| open.name == "reflection");
        assert!(!has(&Settings::default()));
        assert!(has(&Settings { reflection: true, ..Settings::default() }));
    }
}
