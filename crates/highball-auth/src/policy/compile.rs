//! From settings to the form that decides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use highball_core::method::NameMap;

use super::callers::Callers;
use super::settings::{RuleSettings, Settings};
use super::{HEALTH, Lists, Policy, REFLECTION, Rule};
use crate::settings::{Problems, SettingsError};

/// The methods a rule mentions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Methods {
    All,
    Service(Box<str>),
    One(Box<str>),
}

impl Methods {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        let (service, method) = text.split_once('/')?;
        let is_name = |name: &str| {
            !name.is_empty() && !name.contains(|c: char| c == '/' || c == '*' || c.is_whitespace())
        };
        match method {
            _ if !is_name(service) => None,
            "*" => Some(Self::Service(service.into())),
            _ => is_name(method).then(|| Self::One(text.into())),
        }
    }

    fn service(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Service(service) => Some(service),
            Self::One(method) => method.split_once('/').map(|(service, _)| service),
        }
    }

    pub(super) fn matches(&self, full_name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Service(service) => full_name.rsplit_once('/').is_some_and(|(of, _)| of == &**service),
            Self::One(method) => **method == *full_name,
        }
    }

    pub(super) fn is_built_in(&self) -> bool {
        self.service().is_some_and(|service| service == HEALTH || REFLECTION.contains(&service))
    }
}

impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Service(service) => write!(f, "{service}/*"),
            Self::One(method) => f.write_str(method),
        }
    }
}

impl TryFrom<&Settings> for Policy {
    type Error = SettingsError;

    /// Compiles the rules. Fails with every problem they have.
    fn try_from(settings: &Settings) -> Result<Self, SettingsError> {
        let mut problems = Problems::default();
        let mut names = BTreeSet::from(["default", "health", "reflection"]);
        let mut rules = Vec::new();
        for (kind, list) in [("deny", &settings.deny), ("allow", &settings.allow)] {
            for (index, rule) in list.iter().enumerate() {
                rules.push(compile_rule(rule, &format!("policy.{kind}[{index}]"), &mut names, &mut problems));
            }
        }
        let denying = settings.deny.len();
        if let Some(callers) = &settings.reflection {
            rules.push(Rule {
                name: "reflection".into(),
                callers: Callers::compile(callers, "policy.reflection", &mut problems),
                methods: REFLECTION.iter().map(|service| Methods::Service((*service).into())).collect(),
            });
        }
        problems.into_result()?;
        let gathered = Gathered::new(&rules, denying);
        let (methods, services) = gathered.index();
        Ok(Self {
            methods,
            services,
            rest: gathered.lists("", None),
            rules: rules.into(),
            health: settings.health.then(|| Arc::from("health")),
            default: settings.default,
            default_name: "default".into(),
        })
    }
}

fn compile_rule<'a>(
    rule: &'a RuleSettings,
    place: &str,
    names: &mut BTreeSet<&'a str>,
    problems: &mut Problems,
) -> Rule {
    let RuleSettings { name, methods, callers } = rule;
    let whose = if name.is_empty() { place.to_owned() } else { format!("{place} {name:?}") };
    problems.require(!name.is_empty(), || format!("{place} has no name; the audit log needs one"));
    problems.require(names.insert(name), || format!("{whose} has a name that is taken; give it another"));
    problems.require(!methods.is_empty(), || format!("{whose} mentions no method; add some, or \"*\""));
    let mut parsed = Vec::new();
    for text in methods {
        match Methods::parse(text) {
            Some(methods) => parsed.push(methods),
            None => problems.add(format!(
                "{whose} mentions {text:?}; write package.Service/Method, package.Service/* or *, without a leading slash"
            )),
        }
    }
    Rule { name: name.as_str().into(), callers: Callers::compile(callers, &whose, problems), methods: parsed }
}

/// Which rules mention what.
struct Gathered<'a> {
    rules: &'a [Rule],
    /// Rules before this one deny.
    denying: usize,
}

impl<'a> Gathered<'a> {
    fn new(rules: &'a [Rule], denying: usize) -> Self {
        Self { rules, denying }
    }

    /// The lists of every method and every service that is mentioned.
    fn index(&self) -> (NameMap<Box<str>, Lists>, NameMap<Box<str>, Lists>) {
        let mut methods = BTreeMap::new();
        // Always there, so that reflection never falls to the rules for `*`.
        let mut services: BTreeSet<&str> = BTreeSet::from(REFLECTION);
        for pattern in self.rules.iter().flat_map(|rule| &rule.methods) {
            match (pattern, pattern.service()) {
                (Methods::One(method), Some(service)) => {
                    methods.insert(&**method, service);
                }
                (_, Some(service)) => {
                    services.insert(service);
                }
                (_, None) => {}
            }
        }
        let methods =
            methods.into_iter().map(|(method, service)| (method.into(), self.lists(service, Some(method))));
        let services = services.into_iter().map(|service| (service.into(), self.lists(service, None)));
        (methods.collect(), services.collect())
    }

    /// The rules for `method` of `service`: those that name it, those of the service, those for all.
    fn lists(&self, service: &str, method: Option<&str>) -> Lists {
        let specific = |pattern: &Methods| match pattern {
            Methods::One(name) => (Some(&**name) == method).then_some(0),
            Methods::Service(name) => (**name == *service).then_some(1),
            Methods::All => Some(2),
        };
        let mut ranked: Vec<(u8, usize)> = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let Some(rank) = rule.methods.iter().filter_map(specific).min() else { continue };
            let opens_reflection = rank == 2 && index >= self.denying && REFLECTION.contains(&service);
            if !opens_reflection {
                ranked.push((rank, index));
            }
        }
        // By rank, and within a rank by the order of the file.
        ranked.sort_unstable();
        let (deny, allow): (Vec<usize>, Vec<usize>) =
            ranked.into_iter().map(|(_, index)| index).partition(|index| *index < self.denying);
        Lists { deny: deny.into(), allow: allow.into() }
    }
}
