//! The methods this server knows, and where each is metered.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use buffa_descriptor::DescriptorPool;
use highball_core::{Method, MethodKind};
use highball_telemetry::{MethodMeter, Telemetry, names};

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
    pub(crate) meter: Arc<MethodMeter>,
    pub(crate) served_by: ServedBy,
}

/// Every method in the descriptors, and one entry for all others.
#[derive(Debug)]
pub(crate) struct Methods {
    known: HashMap<String, Entry>,
    other: Entry,
    pool: Arc<DescriptorPool>,
    services: Vec<String>,
}

impl Methods {
    /// Reads the built-in descriptors and `hosted`, encoded `FileDescriptorSet`s. Sets may overlap in files they import.
    pub(crate) fn new(
        hosted: &[&[u8]],
        reflection: bool,
        telemetry: &Telemetry,
    ) -> Result<Self, DescriptorError> {
        let mut pool = DescriptorPool::decode(BUILTIN).map_err(DescriptorError::new)?;
        let builtin = pool.services().len();
        for set in hosted {
            crate::reflection::merge(&mut pool, set).map_err(DescriptorError::new)?;
        }
        let entry = |label: &str, kind, served_by| Entry {
            kind,
            served_by,
            meter: telemetry.method(label),
        };
        let mut known = HashMap::new();
        for service in pool.services() {
            let served_by = match service.full_name() {
                "grpc.health.v1.Health" => ServedBy::Health,
                "grpc.reflection.v1.ServerReflection" | "grpc.reflection.v1alpha.ServerReflection"
                    if reflection =>
                {
                    ServedBy::Reflection
                }
                _ => ServedBy::Hosted,
            };
            for method in service.methods() {
                let streaming = method.is_client_streaming() || method.is_server_streaming();
                let kind = if streaming {
                    MethodKind::Streaming
                } else {
                    MethodKind::Unary
                };
                let name = format!("{}/{}", service.full_name(), method.name());
                known.insert(name.clone(), entry(&name, kind, served_by));
            }
        }
        let services = pool
            .services()
            .iter()
            .skip(builtin)
            .map(|service| service.full_name().to_owned())
            .collect();
        let other = entry(names::OTHER_METHOD, MethodKind::Unknown, ServedBy::Hosted);
        Ok(Self {
            known,
            other,
            pool: Arc::new(pool),
            services,
        })
    }

    pub(crate) fn find(&self, method: &Method) -> &Entry {
        self.known.get(method.full_name()).unwrap_or(&self.other)
    }

    /// Full names of the hosted services.
    pub(crate) fn services(&self) -> &[String] {
        &self.services
    }

    pub(crate) fn pool(&self) -> &Arc<DescriptorPool> {
        &self.pool
    }
}

/// Descriptors that cannot be used.
#[derive(Debug)]
pub struct DescriptorError(Box<dyn std::error::Error + Send + Sync>);

impl DescriptorError {
    fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for DescriptorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the descriptors are not an encoded FileDescriptorSet with its imports: {}",
            self.0
        )
    }
}

impl std::error::Error for DescriptorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}
