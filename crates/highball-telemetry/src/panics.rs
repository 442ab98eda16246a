//! What a caught panic said, and where.
//!
//! `catch_unwind` hands back a payload without place or frames; only the panic hook sees those. The hook here keeps them
//! for the guard on the same thread, and passes every panic nobody guards on to the hook that was there before.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic;
use std::sync::Once;

/// A panic, for the log only: none of it may reach a peer.
#[derive(Debug)]
pub struct Caught {
    /// What it said and where.
    pub message: String,
    /// Frames at the moment of the panic.
    pub backtrace: String,
}

thread_local! {
    static GUARDED: Cell<Guard> = const { Cell::new(Guard::Off) };
    /// What was seen, while the guard says so. Apart, so that the usual way touches one byte.
    static SEEN: RefCell<Option<Caught>> = const { RefCell::new(None) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    Off,
    On,
    Caught,
}

/// Runs `work`, turning a panic into [`Caught`].
///
/// The caller must not use what `work` may have left half done: drop it.
///
/// # Errors
/// [`Caught`] when `work` panicked.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Caught> {
    install_hook();
    let outer = GUARDED.replace(Guard::On);
    // A guard around this one may have seen a panic that its work caught.
    let before = (outer == Guard::Caught).then(|| SEEN.take()).flatten();
    let outcome = panic::catch_unwind(panic::AssertUnwindSafe(work));
    let seen = (GUARDED.replace(outer) == Guard::Caught).then(|| SEEN.take()).flatten();
    if before.is_some() {
        SEEN.set(before);
    }
    match (outcome, seen) {
        (Ok(done), Some(swallowed)) => {
            tracing::warn!(panic = swallowed.message, "a panic was caught by the service itself");
            Ok(done)
        }
        (Ok(done), None) => Ok(done),
        (Err(_), Some(caught)) => Err(caught),
        (Err(payload), None) => Err(Caught { message: text(&*payload).to_owned(), backtrace: String::new() }),
    }
}

/// Puts the hook in place, once per process.
pub fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // Nothing is caught in a process that aborts: its last words must reach somebody.
            let guarded = !cfg!(panic = "abort") && GUARDED.get() != Guard::Off;
            if !guarded {
                return before(info);
            }
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let caught = Caught {
                message: format!("{} at {place}", text(info.payload())),
                backtrace: Backtrace::force_capture().to_string(),
            };
            // A panic on top of one that was not caught yet ends the process; one that the service caught itself does
            // not. Which it is cannot be known here, so the earlier one is said now.
            GUARDED.set(Guard::Caught);
            if let Some(earlier) = SEEN.replace(Some(caught)) {
                tracing::error!(
                    panic = earlier.message,
                    backtrace = earlier.backtrace,
                    "panic before a panic"
                );
                before(info);
            }
        }));
    });
}

fn text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;

    #[test]
    fn a_caught_panic_says_what_and_where() {
        let caught = catch(|| panic!("boom {}", 7)).unwrap_err();
        assert!(
            caught.message.contains("boom 7") && caught.message.contains("panics.rs"),
            "{}",
            caught.message
        );
        assert!(!caught.backtrace.is_empty());
        assert_eq!(catch(|| 3).unwrap(), 3);
    }

    /// What `work` logs.
    fn logged(work: impl FnOnce()) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::fmt().json().with_writer(Written(written.clone())).finish();
        tracing::subscriber::with_default(subscriber, work);
        let written = written.lock().unwrap();
        String::from_utf8_lossy(&written).into_owned()
    }

    #[derive(Clone)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Written {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn swallow(what: &str) {
        panic::catch_unwind(|| panic!("{what}")).unwrap_err();
    }

    #[test]
    fn a_panic_that_the_work_caught_itself_is_logged_and_the_work_goes_on() {
        let log = logged(|| {
            let done = catch(|| {
                swallow("a broken parser");
                3
            });
            assert_eq!(done.unwrap(), 3);
        });
        assert!(log.contains("a broken parser") && log.contains("caught by the service itself"), "{log}");
    }

    #[test]
    fn the_panic_that_ended_the_work_is_reported_and_those_before_it_are_logged() {
        let log = logged(|| {
            let ended = catch(|| {
                swallow("a broken parser");
                panic!("out of ideas");
            });
            let said = ended.unwrap_err().message;
            assert!(said.contains("out of ideas") && !said.contains("parser"), "{said}");
        });
        assert!(log.contains("a broken parser") && !log.contains("out of ideas"), "{log}");
    }

    #[test]
    fn a_guard_inside_another_keeps_its_panic_to_itself() {
        let log = logged(|| {
            let outer = catch(|| {
                let inner = catch(|| panic!("inner")).unwrap_err();
                assert!(inner.message.contains("inner"), "{}", inner.message);
            });
            assert!(outer.is_ok());
        });
        assert_eq!(log, "", "caught once, told once");
    }
}
