//! A table of names that a test changes while it runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use highball_net::LookupError;

use super::TTL;

/// What a simulated name server says. Clones share one table. Addresses and texts of a name are two entries; a name without
/// an entry does not exist.
#[derive(Debug, Clone, Default)]
pub struct Names(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    hosts: HashMap<String, Vec<String>>,
    texts: HashMap<String, Vec<Bytes>>,
    /// Why nobody can be asked.
    fault: Option<String>,
}

impl Names {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on, `name` has the addresses of these simulated hosts; literal addresses stand for themselves. None removes it.
    pub fn set(&self, name: &str, hosts: &[&str]) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        put(&mut self.table().hosts, name, hosts);
    }

    /// From now on, `name` has these texts. None removes it.
    pub fn set_texts(&self, name: &str, texts: &[&str]) {
        let texts: Vec<Bytes> = texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect();
        put(&mut self.table().texts, name, texts);
    }

    /// From now on, nobody can be asked, until [`mend`](Self::mend).
    pub fn fail(&self, cause: &str) {
        self.table().fault = Some(cause.to_owned());
    }

    /// The name server is back.
    pub fn mend(&self) {
        self.table().fault = None;
    }

    pub(super) fn hosts(&self, name: &str) -> Result<Vec<String>, LookupError> {
        self.find(name, |table| &table.hosts)
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<Bytes>, LookupError> {
        self.find(name, |table| &table.texts)
    }

    fn find<T: Clone>(
        &self,
        name: &str,
        among: impl Fn(&Table) -> &HashMap<String, Vec<T>>,
    ) -> Result<Vec<T>, LookupError> {
        let table = self.table();
        if let Some(cause) = &table.fault {
            return Err(LookupError::Unavailable { name: name.to_owned(), cause: cause.clone() });
        }
        among(&table).get(name).cloned().ok_or_else(|| not_found(name))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn not_found(name: &str) -> LookupError {
    LookupError::NotFound { name: name.to_owned(), ttl: Some(TTL) }
}

fn put<T>(map: &mut HashMap<String, Vec<T>>, name: &str, values: Vec<T>) {
    if values.is_empty() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), values);
    }
}
