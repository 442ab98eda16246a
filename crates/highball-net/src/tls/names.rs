//! Which certificate is for which name.

use std::collections::HashMap;

use rustls_pki_types::DnsName;

/// What is looked for: an exact name as it is, a wildcard without its asterisk, so `.example.com`. No exact name begins with
/// a dot. `None` for what no client can ask for.
pub(super) fn key(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let (exact, key) = match name.strip_prefix("*.") {
        Some(parent) => (parent, name.strip_prefix('*')?),
        None => (name, name),
    };
    DnsName::try_from(exact).ok()?;
    Some(key.to_ascii_lowercase())
}

/// The names of all certificates, by their number.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<String, usize>);

impl Names {
    /// Says that certificate `number` is for `name`. A name that nobody can ask for is passed over.
    ///
    /// # Errors
    /// The number of another certificate that is for the same name.
    pub(super) fn claim(&mut self, name: &str, number: usize) -> Result<(), usize> {
        let Some(key) = key(name) else { return Ok(()) };
        match *self.0.entry(key).or_insert(number) {
            holder if holder == number => Ok(()),
            other => Err(other),
        }
    }

    /// The certificate for the name that a client asks for: by its exact name, else by a wildcard, which covers one label
    /// (RFC 9525, section 6.3).
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        // That would be the key of a wildcard, and is nobody's name.
        if name.starts_with('.') {
            return None;
        }
        let parent = || name.get(name.find('.')?..);
        self.0.get(&name).or_else(|| self.0.get(parent()?)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_exactly_first_and_then_by_one_label() {
        let mut names = Names::default();
        names.claim("*.Example.com", 1).unwrap();
        names.claim("shop.example.com.", 2).unwrap();
        for (name, number) in [
            ("shop.example.com", Some(2)),
            ("SHOP.example.com.", Some(2)),
            ("cart.example.com", Some(1)),
            ("a.cart.example.com", None),
            ("a.shop.example.com", None),
            ("example.com", None),
            (".example.com", None),
            ("com", None),
            ("", None),
        ] {
            assert_eq!(names.find(name), number, "{name}");
        }
        assert_eq!(names.claim("*.example.com", 0), Err(1));
        assert_eq!(names.claim("*.example.com", 1), Ok(()));
    }

    #[test]
    fn what_no_client_can_ask_for_is_no_name() {
        for name in [
            "",
            "*",
            "*.",
            "a*.example.com",
            "*.*.example.com",
            "a b",
            "10.0.0.1",
            "bücher.example",
            ".example.com",
        ] {
            assert_eq!(key(name), None, "{name}");
        }
        assert_eq!(key("*.example.com").as_deref(), Some(".example.com"));
    }
}
