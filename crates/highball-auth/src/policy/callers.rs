//! The callers a rule is about.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use highball_core::Caller;
use highball_core::method::NameHasher;

use super::CallerSettings;
use super::pattern::Pattern;
use crate::settings::Problems;

/// Names of the policy, which nobody else chooses. Most rules have one or two.
#[derive(Debug)]
enum Names {
    Few(Box<[Box<str>]>),
    Many(HashSet<Box<str>, BuildHasherDefault<NameHasher>>),
}

/// From here on a look-up is cheaper than comparing.
const MANY: usize = 8;

impl Default for Names {
    fn default() -> Self {
        Self::Few(Box::default())
    }
}

impl FromIterator<Box<str>> for Names {
    fn from_iter<I: IntoIterator<Item = Box<str>>>(names: I) -> Self {
        let names: Vec<_> = names.into_iter().collect();
        if names.len() < MANY { Self::Few(names.into()) } else { Self::Many(names.into_iter().collect()) }
    }
}

impl Names {
    fn contains(&self, name: &str) -> bool {
        match self {
            Self::Few(names) => names.iter().any(|known| **known == *name),
            Self::Many(names) => names.contains(name),
        }
    }
}

/// Callers, compiled.
#[derive(Debug, Default)]
pub(super) struct Callers {
    anyone: bool,
    anonymous: bool,
    authenticated: bool,
    roles: Names,
    subjects: Names,
    uris: Box<[Pattern]>,
    dns: Box<[Pattern]>,
    uids: Box<[u32]>,
}

impl Callers {
    /// `whose` names the rule in problems.
    pub(super) fn compile(settings: &CallerSettings, whose: &str, problems: &mut Problems) -> Self {
        let CallerSettings { anyone, anonymous, authenticated, roles, subjects, uris, dns, uids } = settings;
        let lists = [roles, subjects, uris, dns];
        let names_nobody = lists.iter().all(|list| list.is_empty()) && uids.is_empty();
        problems.require(*anyone || *anonymous || *authenticated || !names_nobody, || {
            format!("{whose} is about no caller; name some in callers, or set callers.anyone = true")
        });
        let names = |list: &[String], what: &str, problems: &mut Problems| {
            problems.require(list.iter().all(|name| !name.is_empty() && !name.contains('*')), || {
                format!("{whose} has an empty name or a star in callers.{what}; those are compared exactly")
            });
            list.iter().map(|name| name.as_str().into()).collect()
        };
        let patterns = |list: &[String], what: &str, problems: &mut Problems| {
            let parse = |text: &String| {
                let pattern = Pattern::parse(text);
                problems.require(pattern.is_some(), || {
                    format!("{whose} has {text:?} in callers.{what}; a star may stand at one end only")
                });
                pattern
            };
            list.iter().filter_map(parse).collect()
        };
        Self {
            anyone: *anyone,
            anonymous: *anonymous,
            authenticated: *authenticated,
            roles: names(roles, "roles", problems),
            subjects: names(subjects, "subjects", problems),
            uris: patterns(uris, "uris", problems),
            dns: patterns(dns, "dns", problems),
            uids: uids.as_slice().into(),
        }
    }

    /// Whether `caller` is one of them.
    pub(super) fn hold(&self, caller: &Caller) -> bool {
        if self.anyone {
            return true;
        }
        let is_known = caller.token.is_some() || caller.certificate.is_some();
        if self.authenticated && is_known || self.anonymous && !is_known {
            return true;
        }
        let by_token = caller.token.as_ref().is_some_and(|token| {
            self.subjects.contains(token.subject.as_str())
                || token.roles.iter().any(|role| self.roles.contains(role.as_str()))
        });
        by_token
            || caller.certificate.as_ref().is_some_and(|certificate| {
                let uri = |uri: &String| self.uris.iter().any(|pattern| pattern.matches(uri));
                let dns = |name: &String| self.dns.iter().any(|pattern| pattern.matches_any_case(name));
                certificate.uris.iter().any(uri) || certificate.dns_names.iter().any(dns)
            })
            || caller.process.is_some_and(|process| self.uids.contains(&process.uid))
    }
}
