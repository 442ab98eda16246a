//! What still stands between this server and a domain name.

use std::fmt;

use highball_net::ListenAddr;

use crate::Settings;

/// How strict a start is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Open boxes are listed, and the server starts.
    #[default]
    Development,
    /// An open box that is not allowed by its name stops the start.
    Production,
}

/// A box of the launch checklist that is not ticked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBox {
    /// Its short name, by which a setting may allow it.
    pub name: &'static str,
    /// What is open.
    pub what: &'static str,
    /// What closes it.
    pub fix: &'static str,
    /// It is worth knowing, and does not stop a start in production.
    pub advice: bool,
}

impl fmt::Display for OpenBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.fix)
    }
}

/// What the checklist looks at beside the settings.
#[derive(Debug, Clone)]
pub(crate) struct Posture {
    /// Addresses for RPCs, and whether each speaks TLS.
    pub(crate) listeners: Vec<(ListenAddr, bool)>,
    /// Somebody decides who may call.
    pub(crate) guarded: bool,
}

/// The boxes this server leaves open, as far as a server can see itself.
pub(crate) fn open_boxes(settings: &Settings, posture: &Posture) -> Vec<OpenBox> {
    let mut open = Vec::new();
    let mut add = |name, what, fix, advice| open.push(OpenBox { name, what, fix, advice });
    let plain = || posture.listeners.iter().filter(|(addr, tls)| !tls && matches!(addr, ListenAddr::Tcp(_)));
    if plain().any(|(addr, _)| !addr.is_local()) {
        add("tls", "plaintext, and reachable from other machines", "give a certificate and key", false);
    } else if plain().next().is_some() {
        add("tls", "plaintext, reachable from this machine only", "give a certificate and key", false);
    }
    if !posture.guarded {
        add("callers", "anyone who can connect may call every method", "give rules for callers", false);
    }
    if settings.rates.is_none() {
        add("rates", "callers are not rate limited", "set a rate", false);
    }
    if settings.reflection {
        add("reflection", "clients may read the descriptors", "turn reflection off", false);
    }
    add("traces", "no traces are exported; trace ids are logged", "collect the log by trace id", true);
    open
}

/// Open boxes that a start in production does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady(pub(crate) Vec<OpenBox>);

impl NotReady {
    /// The boxes.
    #[must_use]
    pub fn open_boxes(&self) -> &[OpenBox] {
        &self.0
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not ready for production; close these boxes, or allow each by its name:")?;
        self.0.iter().try_for_each(|open| write!(f, "\n  [ ] {:<12} {open}", open.name))
    }
}

impl std::error::Error for NotReady {}

/// Whether a server with these open boxes may start.
pub(crate) fn check(settings: &Settings, posture: &Posture) -> Result<(), NotReady> {
    if settings.profile == Profile::Development {
        return Ok(());
    }
    let allowed =
        |open: &OpenBox| open.advice || settings.open_boxes_allowed.iter().any(|name| name == open.name);
    let open: Vec<OpenBox> =
        open_boxes(settings, posture).into_iter().filter(|open| !allowed(open)).collect();
    if open.is_empty() { Ok(()) } else { Err(NotReady(open)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rates;

    fn posture(addr: &str, tls: bool, guarded: bool) -> Posture {
        Posture { listeners: vec![(addr.parse().unwrap(), tls)], guarded }
    }

    fn names(settings: &Settings, posture: &Posture) -> Vec<&'static str> {
        let blocking = open_boxes(settings, posture).into_iter().filter(|open| !open.advice);
        blocking.map(|open| open.name).collect()
    }

    #[test]
    fn each_setting_closes_its_box() {
        let mut settings = Settings { reflection: true, ..Settings::default() };
        let open = posture("0.0.0.0:1", false, false);
        assert_eq!(names(&settings, &open), ["tls", "callers", "rates", "reflection"]);
        settings.reflection = false;
        settings.rates = Some(Rates::new(1.0, 1));
        assert_eq!(names(&settings, &posture("0.0.0.0:1", true, true)), [""; 0]);
        assert_eq!(names(&settings, &posture("unix:/run/x.sock", false, true)), [""; 0]);
        assert_eq!(names(&settings, &posture("127.0.0.1:1", false, true)), ["tls"]);
    }

    #[test]
    fn production_refuses_open_boxes_that_are_not_allowed_by_name() {
        let open = posture("127.0.0.1:1", false, false);
        let mut settings = Settings::default();
        assert_eq!(check(&settings, &open), Ok(()), "development lists and starts");
        settings.profile = Profile::Production;
        let text = check(&settings, &open).unwrap_err().to_string();
        for part in ["tls", "certificate and key", "callers", "rates"] {
            assert!(text.contains(part), "{text}");
        }
        settings.open_boxes_allowed = ["tls", "callers", "rates"].map(str::to_owned).into();
        assert_eq!(check(&settings, &open), Ok(()));
    }
}
