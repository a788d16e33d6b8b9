//! How promptly the agent has its turn beside the commands.
//!
//! Usually at once. While much passes, whoever writes it should go on until its pipe is full: each time
//! that the agent takes the processor from it costs what is known of both's memory, and under an emulator
//! that is much.

use crate::{
    clock::now_ms,
    sys::{self, Policy},
};

/// So long after the last large piece it is prompt again.
const REST_MS: u64 = 10;

#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// None while it is prompt.
    until_ms: Option<u64>,
}

impl Pace {
    /// A turn has passed; `large` pieces were taken in it.
    pub(crate) fn after_turn(&mut self, large: u64) {
        match (self.until_ms, large) {
            (None, 0) => {}
            (None, _) if sys::set_policy(Policy::Batch).is_err() => {}
            (_, 1..) => self.until_ms = Some(now_ms() + REST_MS),
            (Some(until_ms), 0) if now_ms() < until_ms => {}
            (Some(_), 0) => {
                // Who is not root cannot, and stays as it is.
                let _is_prompt = sys::set_policy(Policy::Normal).is_ok();
                self.until_ms = None;
            }
        }
    }

    /// How long until it is prompt again, if it is not.
    pub(crate) fn until_prompt(&self) -> Option<u64> {
        self.until_ms.map(|until_ms| until_ms.saturating_sub(now_ms()) + 1)
    }
}
