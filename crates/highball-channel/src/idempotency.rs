//! Which methods may be repeated, as their descriptors say.

use std::collections::HashSet;
use std::time::Duration;

use buffa::Message as _;
use buffa_descriptor::generated::descriptor::method_options::IdempotencyLevel;
use buffa_descriptor::generated::descriptor::{FileDescriptorSet, MethodDescriptorProto};
use highball_core::{Code, Method};

use crate::service_config::RetryPolicy;

/// Methods whose `idempotency_level` is NO_SIDE_EFFECTS or IDEMPOTENT, with the policy they are repeated by.
#[derive(Debug)]
pub(crate) struct Idempotent {
    methods: HashSet<String>,
    policy: RetryPolicy,
}

/// An encoded `FileDescriptorSet` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an encoded FileDescriptorSet: {0}")]
pub struct DescriptorsError(String);

impl Idempotent {
    /// Reads encoded `FileDescriptorSet`s.
    pub(crate) fn read(sets: &[Vec<u8>]) -> Result<Self, DescriptorsError> {
        let mut methods = HashSet::new();
        for set in sets {
            let set = FileDescriptorSet::decode_from_slice(set)
                .map_err(|error| DescriptorsError(error.to_string()))?;
            for file in &set.file {
                let package = file.package.as_deref().unwrap_or_default();
                for service in &file.service {
                    let name = service.name.as_deref().unwrap_or_default();
                    let repeatable = service.method.iter().filter(|method| is_repeatable(method));
                    methods.extend(repeatable.map(|method| {
                        let dot = if package.is_empty() { "" } else { "." };
                        format!("{package}{dot}{name}/{}", method.name.as_deref().unwrap_or_default())
                    }));
                }
            }
        }
        Ok(Self { methods, policy: default_policy() })
    }

    /// How a method is repeated about which the service config is silent.
    pub(crate) fn policy(&self, method: &Method) -> Option<&RetryPolicy> {
        self.methods.contains(method.full_name()).then_some(&self.policy)
    }
}

fn is_repeatable(method: &MethodDescriptorProto) -> bool {
    let level = method.options.as_option().and_then(|options| options.idempotency_level);
    matches!(level, Some(IdempotencyLevel::NO_SIDE_EFFECTS | IdempotencyLevel::IDEMPOTENT))
}

/// Three attempts in all, and only after UNAVAILABLE: the one code that says that trying elsewhere may help.
fn default_policy() -> RetryPolicy {
    RetryPolicy {
        max_attempts: 3,
        initial_backoff: Duration::from_millis(50),
        max_backoff: Duration::from_secs(1),
        backoff_multiplier: 2.0,
        retryable_codes: [Code::Unavailable].into_iter().collect(),
        per_attempt_timeout: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_descriptor_set_is_refused() {
        assert!(Idempotent::read(&[vec![0xff, 0xff]]).is_err());
        assert!(Idempotent::read(&[Vec::new()]).unwrap().methods.is_empty());
    }
}
