//! The manifests of a text, and the hosts they name.

use crate::import::names::is_host;
use crate::import::report::Report;
use crate::import::yaml::Node;

/// A manifest.
#[derive(Debug)]
pub(super) struct Manifest<'a> {
    pub(super) node: &'a Node,
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    pub(super) spec: &'a Node,
}

/// All of them, those in lists too.
pub(super) fn all(documents: &[Node]) -> Vec<Manifest<'_>> {
    let mut found = Vec::new();
    for node in documents.iter().filter(|node| !node.is_null()) {
        let kind = node.at("kind").text().unwrap_or_default();
        if kind == "List" {
            for name in ["apiVersion", "metadata"] {
                node.at(name).settle();
            }
            found.extend(all(node.at("items").items()));
            continue;
        }
        let metadata = node.at("metadata");
        let text = |name| metadata.at(name).text();
        found.push(Manifest {
            node,
            kind,
            name: text("name").unwrap_or_default(),
            namespace: text("namespace").unwrap_or("default"),
            spec: node.at("spec"),
        });
    }
    found
}

impl Manifest<'_> {
    /// Looks at what every manifest has.
    pub(super) fn settle(&self) {
        for name in ["apiVersion", "metadata", "status"] {
            self.node.at(name).settle();
        }
    }
}

/// Whom a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// A Service.
    Kubernetes {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// Anything else.
    Other(String),
}

impl Host {
    /// Reads a host as it is written in a namespace; `None` when it is no name.
    pub(super) fn read(text: &str, namespace: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if !is_host(&text) || !is_host(namespace) {
            return None;
        }
        let local = text.strip_suffix(".svc.cluster.local").or_else(|| text.strip_suffix(".svc"));
        Some(match (local.and_then(|local| local.split_once('.')), text.contains('.')) {
            (Some((name, namespace)), _) if !namespace.contains('.') && name != "*" => {
                Self::Kubernetes { name: name.to_owned(), namespace: namespace.to_owned() }
            }
            (_, false) => Self::Kubernetes { name: text, namespace: namespace.to_owned() },
            _ => Self::Other(text),
        })
    }

    /// Its whole name.
    pub(super) fn full(&self) -> String {
        match self {
            Self::Kubernetes { name, namespace } => format!("{name}.{namespace}.svc.cluster.local"),
            Self::Other(name) => name.clone(),
        }
    }

    /// How callers write it.
    pub(super) fn spellings(&self) -> Vec<String> {
        match self {
            Self::Kubernetes { name, namespace } => {
                ["", &format!(".{namespace}"), &format!(".{namespace}.svc")]
                    .iter()
                    .map(|rest| format!("{name}{rest}"))
                    .chain([self.full()])
                    .collect()
            }
            Self::Other(name) => vec![name.clone()],
        }
    }
}

/// A `Service`.
#[derive(Debug)]
pub(super) struct Service<'a> {
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    pub(super) line: usize,
    pub(super) headless: bool,
    pub(super) ports: Vec<Port<'a>>,
    pub(super) selector: Vec<(&'a str, &'a str)>,
}

/// A port of a `Service`.
#[derive(Debug)]
pub(super) struct Port<'a> {
    pub(super) line: usize,
    pub(super) name: &'a str,
    pub(super) number: u16,
    /// What pods listen at, when it is a number.
    pub(super) target: Option<u16>,
    pub(super) protocol: &'a str,
}

impl Port<'_> {
    /// Whether Istio takes it for gRPC, or for the HTTP/2 that gRPC is.
    pub(super) fn is_grpc(&self) -> bool {
        let starts = |start: &str| self.name == start || self.name.starts_with(&format!("{start}-"));
        let app = matches!(self.protocol, "grpc" | "http2" | "kubernetes.io/h2c" | "grpc-web");
        app || (self.protocol.is_empty() && ["grpc", "http2", "grpc-web"].into_iter().any(starts))
    }
}

impl<'a> Service<'a> {
    /// Reads it.
    pub(super) fn of(manifest: &Manifest<'a>) -> Self {
        let spec = manifest.spec;
        spec.settle();
        let ports = spec.at("ports").items().iter().filter_map(|port| {
            let number = port.get("port")?.parse()?;
            let text = |name: &str| port.get(name).and_then(Node::text).unwrap_or_default();
            let target = match port.get("targetPort") {
                None => Some(number),
                Some(target) => target.parse(),
            };
            Some(Port { line: port.line, name: text("name"), number, target, protocol: text("appProtocol") })
        });
        Self {
            name: manifest.name,
            namespace: manifest.namespace,
            line: manifest.node.line,
            headless: spec.at("clusterIP").text() == Some("None"),
            ports: ports.collect(),
            selector: labels(spec.at("selector")),
        }
    }
}

fn labels(node: &Node) -> Vec<(&str, &str)> {
    node.fields().filter_map(|(key, _, value)| Some((key, value.text()?))).collect()
}

/// A `DestinationRule`.
#[derive(Debug, Clone)]
pub(super) struct Rule<'a> {
    pub(super) name: &'a str,
    pub(super) line: usize,
    pub(super) host: Host,
    pub(super) policy: &'a Node,
    pub(super) subsets: Vec<Subset<'a>>,
    known: bool,
}

/// A subset of a rule.
#[derive(Debug, Clone)]
pub(super) struct Subset<'a> {
    pub(super) name: &'a str,
    pub(super) line: usize,
    pub(super) labels: Vec<(&'a str, &'a str)>,
    pub(super) policy: &'a Node,
}

impl<'a> Rule<'a> {
    /// Reads it.
    pub(super) fn of(manifest: &Manifest<'a>) -> Self {
        let spec = manifest.spec;
        let host = spec.at("host").text().unwrap_or_default();
        let read = Host::read(host, manifest.namespace).filter(|_| !host.starts_with('*'));
        let subsets = spec.at("subsets").items().iter().map(|subset| Subset {
            name: subset.at("name").text().unwrap_or_default(),
            line: subset.line,
            labels: labels(subset.at("labels")),
            policy: subset.at("trafficPolicy"),
        });
        Self {
            name: manifest.name,
            line: manifest.node.line,
            known: read.is_some(),
            host: read.unwrap_or_else(|| Host::Other("unknown".to_owned())),
            policy: spec.at("trafficPolicy"),
            subsets: subsets.collect(),
        }
    }

    /// Says what is wrong with it, whoever uses it.
    pub(super) fn check(&self, report: &mut Report) {
        if !self.known {
            let instead = "its host is not one name: write a rule for each Service";
            report.not_supported(self.line, format!("DestinationRule {}", self.name), instead);
        }
        for subset in self.subsets.iter().filter(|subset| subset.labels.is_empty()) {
            let why = "it has no labels, so it is all pods of the Service";
            report.mistake(subset.line, format!("subset {}", subset.name), why);
        }
    }
}
