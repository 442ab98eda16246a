//! What the descriptors say of the methods: their messages, their shape, how they are reached over plain HTTP.

mod rules;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use buffa::{DecodeOptions, Message as _};
use buffa_descriptor::generated::descriptor::method_options::IdempotencyLevel;
use buffa_descriptor::generated::descriptor::{FileDescriptorProto, FileDescriptorSet};
use buffa_descriptor::{DescriptorPool, DynamicMessage, MessageIndex, MethodDescriptor};
use highball_core::method::NameMap;

pub(crate) use rules::texts;
pub use rules::{BodyRule, HttpRule};

/// What decoded descriptors may take in memory; some hundred files take a tenth of it.
const DESCRIPTORS_SIZE_BYTES_MAX: usize = 256 << 20;

/// The types every gateway knows: `google.rpc` error details, `google.api.HttpBody`, the well-known types.
static STANDARD: LazyLock<Arc<DescriptorPool>> = LazyLock::new(|| {
    let set = include_bytes!(concat!(env!("OUT_DIR"), "/standard.bin"));
    // The build script wrote the set; a test decodes it.
    Arc::new(DescriptorPool::decode(set).unwrap_or_default())
});

/// The methods a gateway translates for. Cheap to clone.
#[derive(Clone)]
pub struct Schema(Arc<Inner>);

struct Inner {
    pool: Arc<DescriptorPool>,
    methods: NameMap<String, Arc<MethodInfo>>,
    /// In the order of the descriptors, so that what comes of them is the same every time.
    order: Vec<Arc<MethodInfo>>,
    problems: Vec<String>,
}

/// What the descriptors say of one method.
#[derive(Debug, Clone)]
pub struct MethodInfo {
    full_name: String,
    input: MessageIndex,
    output: MessageIndex,
    client_streaming: bool,
    server_streaming: bool,
    idempotency: IdempotencyLevel,
    rules: Vec<HttpRule>,
    comment: String,
}

/// Why a set of descriptors is not a schema.
#[derive(Debug, thiserror::Error)]
#[error("descriptors cannot be used: {0}")]
pub struct SchemaError(String);

impl Schema {
    /// Reads encoded `FileDescriptorSet`s. A file that stands in several sets counts once, by its name; imports must be among
    /// the files. Decoded descriptors take at most 256 MiB.
    ///
    /// # Errors
    /// A set that cannot be decoded, a type that nothing defines, a symbol that two files define.
    pub fn new(sets: &[&[u8]]) -> Result<Self, SchemaError> {
        let options = DecodeOptions::new().with_element_memory_limit(DESCRIPTORS_SIZE_BYTES_MAX);
        let mut names = HashSet::new();
        let mut all = FileDescriptorSet::default();
        for set in sets {
            let set = options.decode_from_slice::<FileDescriptorSet>(set).map_err(SchemaError::of)?;
            let new = |file: &FileDescriptorProto| names.insert(file.name.clone());
            all.file.extend(set.file.into_iter().filter(new));
        }
        let pool = DescriptorPool::new(all).map_err(SchemaError::of)?;
        Ok(Self::of(pool))
    }

    fn of(pool: DescriptorPool) -> Self {
        let pool = Arc::new(pool);
        let mut order = Vec::new();
        let mut problems = Vec::new();
        for service in pool.services() {
            for method in service.methods() {
                let full_name = format!("{}/{}", service.full_name(), method.name());
                order.push(Arc::new(MethodInfo::of(&pool, full_name, method, &mut problems)));
            }
        }
        let methods = order.iter().map(|method| (method.full_name.clone(), Arc::clone(method))).collect();
        Self(Arc::new(Inner { pool, methods, order, problems }))
    }

    /// The method of this name, `package.Service/Method`.
    #[must_use]
    pub fn method(&self, full_name: &str) -> Option<&Arc<MethodInfo>> {
        self.0.methods.get(full_name)
    }

    /// The method of this path, `/package.Service/Method`.
    #[must_use]
    pub fn method_at(&self, path: &str) -> Option<&Arc<MethodInfo>> {
        self.method(path.strip_prefix('/')?)
    }

    /// Every method, in the order of the descriptors.
    pub fn methods(&self) -> impl Iterator<Item = &Arc<MethodInfo>> {
        self.0.order.iter()
    }

    /// What was left out, a sentence each: rules for HTTP that cannot be followed. For the banner and the log.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.0.problems
    }

    /// The descriptors themselves.
    #[must_use]
    pub fn pool(&self) -> &Arc<DescriptorPool> {
        &self.0.pool
    }

    /// Decodes a message of a type that only its bytes' sender named, such as one in a `google.protobuf.Any`: by these
    /// descriptors, or by the standard ones. `None` for an unknown type or for bytes that are none.
    #[must_use]
    pub fn decode_named(&self, type_name: &str, bytes: &[u8]) -> Option<DynamicMessage> {
        [self.pool(), &*STANDARD].into_iter().find_map(|pool| {
            let index = pool.message_index(type_name)?;
            DynamicMessage::decode(Arc::clone(pool), index, bytes).ok()
        })
    }

    /// The full name of a message.
    pub(crate) fn name_of(&self, message: MessageIndex) -> &str {
        self.0.pool.message(message).full_name()
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").field("methods", &self.0.order.len()).finish_non_exhaustive()
    }
}

impl MethodInfo {
    fn of(
        pool: &DescriptorPool,
        full_name: String,
        method: &MethodDescriptor,
        problems: &mut Vec<String>,
    ) -> Self {
        let options = method.options();
        let rules = options.map(|options| rules::read(&options.encode_to_vec())).unwrap_or(Ok(Vec::new()));
        let rules = rules.unwrap_or_else(|problem| {
            problems.push(format!("{full_name}: {problem}"));
            Vec::new()
        });
        let comment = comment(pool, &full_name).unwrap_or_default();
        Self {
            full_name,
            input: method.input(),
            output: method.output(),
            client_streaming: method.is_client_streaming(),
            server_streaming: method.is_server_streaming(),
            idempotency: options
                .and_then(|options| options.idempotency_level)
                .unwrap_or(IdempotencyLevel::IDEMPOTENCY_UNKNOWN),
            rules,
            comment,
        }
    }

    /// `package.Service/Method`.
    #[must_use]
    pub fn full_name(&self) -> &str {
        &self.full_name
    }

    /// `/package.Service/Method`, as a gRPC request spells it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}", self.full_name)
    }

    /// The request message, in the pool of the schema.
    #[must_use]
    pub fn input(&self) -> MessageIndex {
        self.input
    }

    /// The response message, in the pool of the schema.
    #[must_use]
    pub fn output(&self) -> MessageIndex {
        self.output
    }

    /// Whether the caller sends a stream.
    #[must_use]
    pub fn is_client_streaming(&self) -> bool {
        self.client_streaming
    }

    /// Whether the service answers with a stream.
    #[must_use]
    pub fn is_server_streaming(&self) -> bool {
        self.server_streaming
    }

    /// Whether calling it changes nothing: `idempotency_level = NO_SIDE_EFFECTS`.
    #[must_use]
    pub fn has_no_side_effects(&self) -> bool {
        self.idempotency == IdempotencyLevel::NO_SIDE_EFFECTS
    }

    /// Whether calling it twice is like calling it once.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.idempotency != IdempotencyLevel::IDEMPOTENCY_UNKNOWN
    }

    /// The rules of `google.api.http`, `additional_bindings` included.
    #[must_use]
    pub fn rules(&self) -> &[HttpRule] {
        &self.rules
    }

    /// The comment above the method; empty when the descriptors carry none.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }
}

impl SchemaError {
    fn of(cause: impl fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

/// The comment above a method. Places are paths of field numbers and indices: 6 are the services of a file, 2 the methods of
/// a service (descriptor.proto, SourceCodeInfo).
fn comment(pool: &DescriptorPool, method: &str) -> Option<String> {
    let (service, name) = method.rsplit_once('/')?;
    let file = pool.file_containing_symbol(service)?;
    let package = file.package.as_deref().unwrap_or_default();
    let (at_service, described) = file.service.iter().enumerate().find(|(_, described)| {
        let short = described.name.as_deref().unwrap_or_default();
        service.strip_suffix(short).is_some_and(|rest| rest.trim_end_matches('.') == package)
    })?;
    let at_method = described.method.iter().position(|found| found.name.as_deref() == Some(name))?;
    let place = [6, i32::try_from(at_service).ok()?, 2, i32::try_from(at_method).ok()?];
    let info = file.source_code_info.as_option()?;
    let location = info.location.iter().find(|location| location.path == place)?;
    let text = location.leading_comments.as_deref()?;
    Some(text.lines().map(str::trim).collect::<Vec<_>>().join("\n").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_standard_types_are_there() {
        for name in
            ["google.rpc.RetryInfo", "google.rpc.BadRequest", "google.api.HttpBody", "google.rpc.Status"]
        {
            assert!(STANDARD.message_index(name).is_some(), "{name}");
        }
    }

    #[test]
    fn methods_are_known_by_name_with_their_shape_and_comment() {
        let schema = testing::schema();
        let watch = schema.method_at("/shop.v1.Orders/Watch").unwrap();
        assert!(watch.is_server_streaming() && !watch.is_client_streaming());
        assert!(watch.has_no_side_effects());
        assert_eq!(watch.comment(), "Follows an order.\nFor ever.");
        assert_eq!(schema.name_of(watch.output()), "shop.v1.Order");
        assert!(schema.method("shop.v1.Orders/Nothing").is_none());
    }

    #[test]
    fn a_file_in_two_sets_counts_once_and_nonsense_is_an_error() {
        let set = testing::set();
        let methods = Schema::new(&[&set, &set]).unwrap().methods().count();
        assert_eq!(methods, testing::schema().methods().count());
        assert!(Schema::new(&[b"nonsense"]).is_err());
    }
}
