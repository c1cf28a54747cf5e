//! Locks on directories, and who may still have them for a moment.
//!
//! Owns the patience with a lock that is about to be let go of. A process that this one starts shares its
//! open files until it runs its own program: so a lock outlives the file that was closed here, by the moment
//! between the two, and on a busy machine that moment can be long. `sled` lets go of its own on a thread that
//! ends a little after its handle.
//!
//! Does not: lock. Each place has its own way.

use std::{
    fs::{File, TryLockError},
    thread,
    time::Duration,
};

/// How long a lock may be held by who is about to let go of it.
const LET_GO: Duration = Duration::from_secs(5);

const PAUSE: Duration = Duration::from_millis(5);

/// Tries again for a while, as long as somebody else has the lock.
pub(super) fn patiently<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    held: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let mut waited = Duration::ZERO;
    loop {
        match attempt() {
            Err(error) if held(&error) && waited < LET_GO => {
                waited += PAUSE;
                thread::park_timeout(PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// Locks a file for this process.
pub(super) fn lock(file: &File) -> Result<(), TryLockError> {
    patiently(|| file.try_lock(), |error| matches!(error, TryLockError::WouldBlock))
}
