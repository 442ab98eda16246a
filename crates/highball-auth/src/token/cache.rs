//! The memory of verified tokens.
//!
//! Keyed by a SHA-256 of the token: no token is kept, so no dump of this memory lets anybody in. Sharded, and a hit takes a
//! read lock on one shard only: what callers at the same moment share is a counter, not a queue.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest;
use highball_core::caller::Token;

/// Verified tokens, up to a bound.
///
/// At the bound, a token that was not used since the hand last passed it goes first ("second chance"): a flood of tokens
/// that are used once does not drive out those in daily use. Tokens that cannot be used any more stay until the hand
/// finds them; they count towards the bound, and are never given out.
#[derive(Debug)]
pub(crate) struct Cache {
    shards: Box<[Shard]>,
    shard_entries_max: usize,
}

/// How the memory of verified tokens does. Counts start with the process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheReport {
    /// Tokens in it now, the ones past their time included.
    pub entries: usize,
    /// Tokens that needed no signature check. A token that is [`Shown`](super::Shown) again is not looked up, nor counted.
    pub hits: u64,
    /// Tokens that did, good or not.
    pub misses: u64,
    /// Tokens driven out by others at the bound.
    pub evictions: u64,
}

/// The SHA-256 of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest([u8; 32]);

#[derive(Debug, Default)]
struct Shard {
    inner: RwLock<Inner>,
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<Digest, Entry, BuildHasherDefault<FirstBytes>>,
    /// The keys of `entries`, each once; the hand is at the front.
    ring: VecDeque<Digest>,
}

#[derive(Debug)]
struct Entry {
    token: Arc<Token>,
    /// `exp`, since 1970. Without leeway, so that a remembered token never outlives it.
    expires: Duration,
    generation: u64,
    used: AtomicBool,
}

/// Below this many entries one lock is enough.
const SHARDING_FROM: usize = 1_024;
const SHARDS: usize = 16;

impl Cache {
    /// Remembers at most `entries_max` tokens; 0 remembers none.
    pub(crate) fn new(entries_max: usize) -> Self {
        let shards = match entries_max {
            0 => 0,
            1..SHARDING_FROM => 1,
            _ => SHARDS,
        };
        Self {
            shards: std::iter::repeat_with(Shard::default).take(shards).collect(),
            shard_entries_max: entries_max.checked_div(shards).unwrap_or(0),
        }
    }

    /// A token that was verified with keys of this generation and has not expired at `now`, and when it does.
    pub(crate) fn get(
        &self,
        digest: &Digest,
        generation: u64,
        now: Duration,
    ) -> Option<(Arc<Token>, Duration)> {
        let shard = self.shard(digest)?;
        let inner = shard.inner.read().unwrap_or_else(PoisonError::into_inner);
        let usable = |entry: &&Entry| entry.generation == generation && now < entry.expires;
        let Some(entry) = inner.entries.get(digest).filter(usable) else {
            shard.misses.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        // Reading first keeps the line shared between processors; most hits find it set.
        if !entry.used.load(Ordering::Relaxed) {
            entry.used.store(true, Ordering::Relaxed);
        }
        shard.hits.fetch_add(1, Ordering::Relaxed);
        Some((entry.token.clone(), entry.expires))
    }

    /// Whether [`get`](Self::get) would find it; counts nothing.
    pub(crate) fn contains(&self, digest: &Digest, generation: u64, now: Duration) -> bool {
        let Some(shard) = self.shard(digest) else { return false };
        let inner = shard.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.entries.get(digest).is_some_and(|entry| entry.generation == generation && now < entry.expires)
    }

    /// Remembers a token that was verified with keys of this generation.
    pub(crate) fn insert(&self, digest: Digest, token: Arc<Token>, expires: Duration, generation: u64) {
        let Some(shard) = self.shard(&digest) else { return };
        let mut inner = shard.inner.write().unwrap_or_else(PoisonError::into_inner);
        let entry = Entry { token, expires, generation, used: AtomicBool::new(false) };
        if let Some(old) = inner.entries.get_mut(&digest) {
            *old = entry;
            return;
        }
        if inner.entries.len() >= self.shard_entries_max {
            inner.evict_one(generation);
            shard.evictions.fetch_add(1, Ordering::Relaxed);
        }
        inner.entries.insert(digest, entry);
        inner.ring.push_back(digest);
    }

    pub(crate) fn report(&self) -> CacheReport {
        self.shards.iter().fold(CacheReport::default(), |sum, shard| CacheReport {
            entries: sum.entries + shard.inner.read().unwrap_or_else(PoisonError::into_inner).entries.len(),
            hits: sum.hits + shard.hits.load(Ordering::Relaxed),
            misses: sum.misses + shard.misses.load(Ordering::Relaxed),
            evictions: sum.evictions + shard.evictions.load(Ordering::Relaxed),
        })
    }

    fn shard(&self, digest: &Digest) -> Option<&Shard> {
        // The last byte, because the table inside a shard goes by the first ones.
        let [.., last] = digest.0;
        self.shards.get(usize::from(last) % self.shards.len().max(1))
    }
}

impl Inner {
    /// Removes one entry. Ends: each one passed over has its chance taken away.
    fn evict_one(&mut self, generation: u64) {
        while let Some(digest) = self.ring.pop_front() {
            let Some(entry) = self.entries.get_mut(&digest) else { continue };
            if entry.generation == generation && std::mem::take(entry.used.get_mut()) {
                self.ring.push_back(digest);
            } else {
                self.entries.remove(&digest);
                return;
            }
        }
    }
}

impl Digest {
    pub(crate) fn of(token: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
        Self(bytes)
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// A SHA-256 is as even as any hash of it. Only verified tokens get in, so nobody can pile them up in one place.
#[derive(Debug, Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(cache: &Cache, name: &str, expires: u64, generation: u64) {
        let token = Token { subject: name.to_owned(), ..Token::default() };
        cache.insert(Digest::of(name.as_bytes()), Arc::new(token), Duration::from_secs(expires), generation);
    }

    fn has(cache: &Cache, name: &str, generation: u64, now: u64) -> bool {
        let found = cache.get(&Digest::of(name.as_bytes()), generation, Duration::from_secs(now));
        found.is_some_and(|(token, _)| token.subject == name)
    }

    #[test]
    fn an_entry_ends_with_its_time_and_with_its_keys() {
        let cache = Cache::new(10);
        insert(&cache, "a", 100, 1);
        assert!(has(&cache, "a", 1, 99));
        assert!(!has(&cache, "a", 1, 100));
        assert!(!has(&cache, "a", 2, 99));
        insert(&cache, "a", 200, 2);
        assert!(has(&cache, "a", 2, 199));
        let CacheReport { entries, hits, misses, evictions } = cache.report();
        assert_eq!((entries, hits, misses, evictions), (1, 2, 2, 0));
    }

    #[test]
    fn a_flood_of_tokens_used_once_does_not_drive_out_one_in_use() {
        let cache = Cache::new(4);
        insert(&cache, "daily", 100, 1);
        for n in 0..100 {
            assert!(has(&cache, "daily", 1, 1), "driven out by {n}");
            insert(&cache, &format!("once {n}"), 100, 1);
        }
        let report = cache.report();
        assert_eq!((report.entries, report.evictions), (4, 97));
    }

    #[test]
    fn the_bound_holds_over_all_shards_and_when_everything_is_in_use() {
        for bound in [0, 1, 1_023, 1_024, 2_000] {
            let cache = Cache::new(bound);
            for n in 0..3_000 {
                let name = n.to_string();
                insert(&cache, &name, 100, 1);
                assert_eq!(has(&cache, &name, 1, 1), bound > 0);
            }
            let report = cache.report();
            assert!(report.entries <= bound, "{report:?}");
            let rings: usize = cache.shards.iter().map(|shard| shard.inner.read().unwrap().ring.len()).sum();
            assert_eq!(rings, report.entries);
        }
    }

    #[test]
    fn entries_of_older_keys_go_first() {
        let cache = Cache::new(2);
        insert(&cache, "old", 100, 1);
        assert!(has(&cache, "old", 1, 1));
        insert(&cache, "new", 100, 2);
        insert(&cache, "newer", 100, 2);
        assert!(has(&cache, "new", 2, 1) && has(&cache, "newer", 2, 1));
    }
}
