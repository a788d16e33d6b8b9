//! The root kept as it is for a moment, so that the host can read its disk as a whole. There is one root,
//! and so one hold at a time.

use std::{
    fs::File,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use protocol::{Refusal, RefusalCode, Response};

use super::Over;
use crate::{
    refusal::{refuse, refuse_io},
    sys,
};

const MOST: Duration = Duration::from_secs(60);

/// Whether it is held.
static HELD: Mutex<bool> = Mutex::new(false);
static RELEASED: Condvar = Condvar::new();

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Root,
    /// It is somebody's computer.
    Nothing,
}

/// Answers when nothing is written any more, and stays until it is released, or the time is over.
pub(super) fn hold(what: What, for_ms: u64, over: &Over) {
    let most = Duration::from_millis(for_ms).min(MOST);
    // Most of it while programs may still go on.
    rustix::fs::sync();
    let mut held = lock();
    let begun = begin(what, &mut held);
    let is_held = begun.is_ok();
    over.answer(begun.map(|()| Response::Done));
    if is_held {
        let waited = RELEASED.wait_timeout_while(held, most, |held| *held);
        let (mut held, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *held {
            *held = false;
            // What cannot be let go has never been held.
            drop(end(what));
        }
    }
}

pub(crate) fn is_held() -> bool {
    *lock()
}

/// Lets it be written again.
pub(super) fn release(what: What) -> Result<(), Refusal> {
    let mut held = lock();
    if !std::mem::take(&mut *held) {
        return Err(refuse(RefusalCode::Invalid, "the root is not held any more"));
    }
    RELEASED.notify_all();
    end(what)
}

fn begin(what: What, held: &mut bool) -> Result<(), Refusal> {
    if *held {
        return Err(refuse(RefusalCode::AlreadyExists, "the root is held already"));
    }
    if what == What::Root {
        let frozen = File::open("/").and_then(sys::freeze);
        frozen.map_err(|error| refuse_io(&error, "hold the root"))?;
    }
    *held = true;
    Ok(())
}

fn end(what: What) -> Result<(), Refusal> {
    match what {
        What::Root => {
            let thawed = File::open("/").and_then(sys::thaw);
            thawed.map_err(|error| refuse_io(&error, "let the root go"))
        }
        What::Nothing => Ok(()),
    }
}

fn lock() -> MutexGuard<'static, bool> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}
