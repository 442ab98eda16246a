//! A cluster for each host, subset and port that routes name.

use super::manifest::{Host, Rule, Service, Subset};
use super::{Making, policy, short};
use crate::import::names::{cluster_name, is_host};
use crate::import::toml::Table;

/// Of gRPC, where nothing says another.
const PORT_DEFAULT: u16 = 50_051;

/// The name of the cluster for a destination, made when there is none yet.
pub(super) fn cluster(
    host: &Host,
    subset: &str,
    port: Option<u16>,
    line: usize,
    making: &mut Making<'_>,
) -> Option<String> {
    let rule = making.rules.iter().find(|rule| rule.host == *host).cloned();
    let found =
        rule.as_ref().and_then(|rule| rule.subsets.iter().find(|known| known.name == subset)).cloned();
    if !subset.is_empty() && found.is_none() {
        let why = match &rule {
            Some(rule) => {
                format!("DestinationRule {} does not define it: calls to it fail in Istio", rule.name)
            }
            None => format!("no DestinationRule for {} defines it: calls to it fail in Istio", host.full()),
        };
        making.report.mistake(line, format!("subset {subset}"), why);
    }
    if !subset.is_empty() && !is_host(subset) {
        making.report.not_supported(
            line,
            format!("subset {subset}"),
            "left out: its name is none that a Service can have",
        );
        return None;
    }
    let (listed, dialled) = ports(host, port, rule.as_ref(), line, making);
    let key = (host.full(), subset.to_owned(), listed);
    if let Some(name) = making.clusters.get(&key) {
        return Some(name.clone());
    }
    let wanted = if subset.is_empty() { short(host).to_owned() } else { format!("{}-{subset}", short(host)) };
    let mut table = Table::noted(format!("istio: {}, line {line}", describe(host, subset)));
    table.set("target", target(host, subset, found.as_ref(), dialled, line, making)?);
    if let Some(rule) = &rule {
        policy::policy(rule, found.as_ref(), listed, &mut table, making);
    } else {
        table.set_noted("policy", "least_request", "Istio's default");
    }
    let name = cluster_name(&wanted, &making.file);
    making.file.clusters.push((name.clone(), table));
    making.clusters.insert(key, name.clone());
    Some(name)
}

fn describe(host: &Host, subset: &str) -> String {
    if subset.is_empty() { host.full() } else { format!("{} subset {subset}", host.full()) }
}

/// The Service behind a host.
fn service<'m, 'a>(host: &Host, making: &'m Making<'a>) -> Option<&'m Service<'a>> {
    let Host::Kubernetes { name, namespace } = host else { return None };
    making.services.iter().find(|service| service.name == name && service.namespace == namespace)
}

/// The port of the Service, and the one to dial.
fn ports(
    host: &Host,
    port: Option<u16>,
    rule: Option<&Rule<'_>>,
    line: usize,
    making: &mut Making<'_>,
) -> (u16, u16) {
    let by_rule = || {
        let mut ports = rule?.policy.at("portLevelSettings").items().iter();
        let only = ports.next()?.at("port").at("number").parse();
        only.filter(|_| ports.next().is_none())
    };
    let Some(service) = service(host, making) else {
        let number = port.or_else(by_rule);
        if number.is_none() {
            let how = format!(
                "no port is named and no Service manifest of {} is in the text: port {PORT_DEFAULT}; check it, or add \
                    the manifest",
                host.full()
            );
            making.report.approximated(line, short(host), how);
        }
        let number = number.unwrap_or(PORT_DEFAULT);
        return (number, number);
    };
    let wanted = port.or_else(by_rule);
    let found = match wanted {
        Some(number) => service.ports.iter().find(|port| port.number == number),
        None => service.ports.iter().find(|port| port.is_grpc()).or(service.ports.first()),
    };
    let (headless, service_line, service_name) = (service.headless, service.line, service.name.to_owned());
    let Some(found) = found else {
        let number = wanted.unwrap_or(PORT_DEFAULT);
        let why = format!("Service {service_name} has no port {number}");
        making.report.mistake(line, format!("port {number}"), why);
        return (number, number);
    };
    let (listed, target) = (found.number, found.target);
    if !found.is_grpc() {
        let why = "it is not named grpc or grpc-..., and has no appProtocol: Istio has to guess the protocol, and \
            what it takes for \
                   TCP is not routed, retried or balanced by request";
        making.report.mistake(
            found.line,
            format!("Service {service_name} port {} {listed}", found.name),
            why,
        );
    }
    if !headless {
        let how = "it has one address for all pods, so every connection stays with one pod: make it headless, \
            clusterIP: None, and \
                   check that the port is the pods'";
        making.report.approximated(service_line, format!("Service {service_name}"), how);
        return (listed, listed);
    }
    if target.is_none() {
        let how = "its targetPort is a name: a headless Service gives addresses of pods, so check that the port is theirs";
        making.report.approximated(service_line, format!("Service {service_name}"), how);
    }
    (listed, target.unwrap_or(listed))
}

fn target(
    host: &Host,
    name: &str,
    subset: Option<&Subset<'_>>,
    port: u16,
    line: usize,
    making: &mut Making<'_>,
) -> Option<String> {
    let Host::Kubernetes { name: service, namespace } = host else {
        if !name.is_empty() {
            let instead = "a host outside Kubernetes has no subsets: give each its own host";
            making.report.not_supported(line, format!("subset {name}"), instead);
            return None;
        }
        return Some(format!("dns:///{}:{port}", host.full()));
    };
    if name.is_empty() {
        if self::service(host, making).is_none() {
            let how = "check namespace and port; the Service must be headless, clusterIP: None, so that its name has \
                an address for \
                       each pod";
            making.report.approximated(line, host.full(), how);
        }
        return Some(format!("dns:///{service}.{namespace}.svc.cluster.local:{port}"));
    }
    let labels = subset.map(|subset| subset.labels.as_slice()).unwrap_or_default();
    let own = making.services.iter().find(|known| {
        let selects = |label: &(&str, &str)| known.selector.contains(label);
        known.name != service
            && known.namespace == namespace
            && !labels.is_empty()
            && labels.iter().all(selects)
    });
    let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    let (found, how) = match own {
        Some(own) => (own.name.to_owned(), "the Service of the text that selects its labels".to_owned()),
        None => {
            let name = format!("{service}-{name}");
            let which = match labels.as_slice() {
                [] => "the pods it is meant for".to_owned(),
                labels => format!("{{ {} }} beside the labels of {service}", labels.join(", ")),
            };
            let how = format!("DNS knows no labels: make a headless Service {name} that selects {which}");
            (name, how)
        }
    };
    making.report.approximated(subset.map_or(line, |subset| subset.line), format!("subset {name}"), how);
    Some(format!("dns:///{found}.{namespace}.svc.cluster.local:{port}"))
}
