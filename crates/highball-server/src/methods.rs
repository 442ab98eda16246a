//! The methods this server knows, and where each is metered.

use std::fmt;
use std::sync::Arc;

use buffa::Message as _;
use buffa_descriptor::DescriptorPool;
use buffa_descriptor::generated::descriptor::{FileDescriptorProto, FileDescriptorSet};
use highball_core::method::NameMap;
use highball_core::{Method, MethodKind};
use highball_telemetry::{MethodMeter, Telemetry, names};

use crate::Settings;
use crate::admit::{Lane, Priority};
use crate::method_limits::MethodLimits;

/// The descriptors of this crate's own services.
const BUILTIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/builtin.bin"));

/// Who answers a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServedBy {
    /// The hosted service, which also answers for methods nobody knows.
    Hosted,
    /// [`crate::health`].
    Health,
    /// [`crate::reflection`].
    Reflection,
}

/// One method, resolved once at start.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: MethodKind,
    pub(crate) limits: MethodLimits,
    pub(crate) meter: Arc<MethodMeter>,
    pub(crate) served_by: ServedBy,
    pub(crate) lane: Lane,
}

/// Every method in the descriptors, and one entry for all others.
#[derive(Debug)]
pub(crate) struct Methods {
    known: NameMap<String, Arc<Entry>>,
    other: Arc<Entry>,
    pool: Arc<DescriptorPool>,
    services: Vec<String>,
    unary: Vec<String>,
}

impl Methods {
    /// Reads the built-in descriptors and `hosted`, encoded `FileDescriptorSet`s. Sets may overlap in files they import.
    pub(crate) fn new(
        hosted: &[&[u8]],
        settings: &Settings,
        telemetry: &Telemetry,
    ) -> Result<Self, DescriptorError> {
        let mut pool = DescriptorPool::decode(BUILTIN).map_err(DescriptorError::conflict)?;
        let builtin = pool.services().len();
        for set in hosted {
            merge(&mut pool, set)?;
        }
        let mut unary = Vec::new();
        let mut entry = |label: &str, kind, served_by| {
            let limits = MethodLimits::resolve(settings, label, kind, served_by != ServedBy::Hosted);
            let counted = kind == MethodKind::Unary && served_by == ServedBy::Hosted;
            let place = counted.then_some(unary.len());
            unary.extend(counted.then(|| label.to_owned()));
            // A watch on health is how a balancer knows the server: refused, it takes all other RPCs away.
            let watch = served_by == ServedBy::Health;
            let priority = if watch { Priority::Critical } else { limits.priority };
            let lane = Lane { priority, unary: place };
            Arc::new(Entry { kind, limits, served_by, lane, meter: telemetry.method(label) })
        };
        let mut known = NameMap::default();
        for service in pool.services() {
            let served_by = match service.full_name() {
                "grpc.health.v1.Health" => ServedBy::Health,
                "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection"
                    if settings.reflection =>
                {
                    ServedBy::Reflection
                }
                _ => ServedBy::Hosted,
            };
            for method in service.methods() {
                let streaming = method.is_client_streaming() || method.is_server_streaming();
                let kind = if streaming { MethodKind::Streaming } else { MethodKind::Unary };
                let name = format!("{}/{}", service.full_name(), method.name());
                known.insert(name.clone(), entry(&name, kind, served_by));
            }
        }
        let services =
            pool.services().iter().skip(builtin).map(|service| service.full_name().to_owned()).collect();
        let other = entry(names::OTHER_METHOD, MethodKind::Unknown, ServedBy::Hosted);
        Ok(Self { known, other, pool: Arc::new(pool), services, unary })
    }

    pub(crate) fn find(&self, method: &Method) -> &Arc<Entry> {
        self.known.get(method.full_name()).unwrap_or(&self.other)
    }

    /// Full names of all described methods.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.known.keys().map(String::as_str)
    }

    /// Full names of the hosted services.
    pub(crate) fn services(&self) -> &[String] {
        &self.services
    }

    /// Metric labels of the hosted unary methods, in the order of their lanes.
    pub(crate) fn unary(&self) -> &[String] {
        &self.unary
    }

    pub(crate) fn pool(&self) -> &Arc<DescriptorPool> {
        &self.pool
    }
}

/// Packages this crate brings itself. Services often vendor these files, under names of their own.
const BUILTIN_PACKAGES: [&str; 3] = ["grpc.health.v1", "grpc.reflection.v1", "grpc.reflection.v1alpha"];

/// Adds an encoded `FileDescriptorSet` to a pool, leaving out files the pool already has.
fn merge(pool: &mut DescriptorPool, set: &[u8]) -> Result<(), DescriptorError> {
    let mut set = FileDescriptorSet::decode_from_slice(set).map_err(DescriptorError::malformed)?;
    set.file.retain(|file| !BUILTIN_PACKAGES.contains(&file.package.as_deref().unwrap_or_default()));
    for file in &set.file {
        let name = file.name.as_deref().unwrap_or_default();
        if pool.file_by_name(name).is_some()
            && let Some(symbol) = symbols(file).find(|symbol| pool.file_containing_symbol(symbol).is_none())
        {
            let text = format!("two different files are called {name}, and only one declares {symbol}");
            return Err(DescriptorError::conflict(text));
        }
    }
    set.file.retain(|file| pool.file_by_name(file.name.as_deref().unwrap_or_default()).is_none());
    pool.add_file_descriptor_set(set).map_err(DescriptorError::conflict)
}

/// The fully qualified names of what a file declares at its top level.
fn symbols(file: &FileDescriptorProto) -> impl Iterator<Item = String> {
    let package = file.package.as_deref().unwrap_or_default();
    let services = file.service.iter().map(|service| &service.name);
    let messages = file.message_type.iter().map(|message| &message.name);
    let names = services.chain(messages).chain(file.enum_type.iter().map(|kind| &kind.name)).flatten();
    names.map(move |name| if package.is_empty() { name.clone() } else { format!("{package}.{name}") })
}

/// Descriptors that cannot be used.
#[derive(Debug)]
pub struct DescriptorError {
    malformed: bool,
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl DescriptorError {
    fn malformed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { malformed: true, cause: cause.into() }
    }

    fn conflict(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { malformed: false, cause: cause.into() }
    }
}

impl fmt::Display for DescriptorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = &self.cause;
        if self.malformed {
            write!(f, "the descriptors are not an encoded FileDescriptorSet: {cause}")
        } else {
            write!(f, "the descriptors contradict each other or lack an import: {cause}")
        }
    }
}

impl std::error::Error for DescriptorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use buffa_descriptor::generated::descriptor::ServiceDescriptorProto;

    fn set(name: &str, package: &str, service: &str) -> Vec<u8> {
        let service = ServiceDescriptorProto { name: Some(service.to_owned()), ..Default::default() };
        let file = FileDescriptorProto {
            name: Some(name.to_owned()),
            package: Some(package.to_owned()),
            syntax: Some("proto3".to_owned()),
            service: vec![service],
            ..Default::default()
        };
        FileDescriptorSet { file: vec![file], ..Default::default() }.encode_to_vec()
    }

    fn methods(sets: &[&[u8]]) -> Result<Methods, DescriptorError> {
        Methods::new(sets, &Settings::default(), &Telemetry::new())
    }

    #[test]
    fn the_same_file_in_two_sets_is_one_file() {
        let one = set("a.proto", "a.v1", "A");
        let methods = methods(&[&one, &one, &set("b.proto", "b.v1", "B")]).unwrap();
        assert_eq!(methods.services(), ["a.v1.A", "b.v1.B"]);
    }

    #[test]
    fn two_different_files_of_one_name_are_an_error_that_names_them() {
        let error = methods(&[&set("service.proto", "a.v1", "A"), &set("service.proto", "b.v1", "B")]);
        let text = error.unwrap_err().to_string();
        assert!(text.contains("service.proto") && text.contains("b.v1.B"), "{text}");
    }

    #[test]
    fn a_vendored_health_proto_does_not_clash_with_ours() {
        let methods =
            methods(&[&set("health.proto", "grpc.health.v1", "Health"), &set("a.proto", "a.v1", "A")]);
        assert_eq!(methods.unwrap().services(), ["a.v1.A"]);
    }

    #[test]
    fn bytes_that_are_no_descriptors_are_said_to_be() {
        assert!(methods(&[b"\xff\xff"]).unwrap_err().to_string().contains("FileDescriptorSet"));
    }
}
