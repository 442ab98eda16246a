//! What a directive inherits.

use super::parse::Directive;

/// The blocks around a place, the innermost last.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope<'a> {
    levels: Vec<&'a [Directive]>,
}

impl<'a> Scope<'a> {
    /// This scope, and a block within it.
    pub(super) fn within(&self, block: &'a [Directive]) -> Self {
        let mut levels = self.levels.clone();
        levels.push(block);
        Self { levels }
    }

    /// The directives of a name at the innermost level that has any: nginx inherits all of them or none.
    pub(super) fn all(&self, name: &str) -> Vec<&'a Directive> {
        for level in self.levels.iter().rev() {
            let found: Vec<_> = level.iter().filter(|directive| directive.name == name).collect();
            if !found.is_empty() {
                found.iter().for_each(|directive| directive.settle());
                return found;
            }
        }
        Vec::new()
    }

    /// The first of them.
    pub(super) fn find(&self, name: &str) -> Option<&'a Directive> {
        self.all(name).first().copied()
    }

    /// Its first argument.
    pub(super) fn value(&self, name: &str) -> Option<&'a str> {
        self.find(name).map(Directive::arg)
    }

    /// Whether it is `on`.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.value(name) == Some("on")
    }
}
