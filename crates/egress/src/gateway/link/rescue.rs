//! When what was lost on the way to the guest is sent anew by us.
//!
//! A guest that has no room any more drops what is on its way. smoltcp asks from then on when there is
//! room, and once there is, forgets that something may be lost: without more to send it waits until the
//! guest has answered three signs of life, three minutes later.

use std::time::Duration;

use smoltcp::time::{self, Instant};

use super::pace;
use crate::gateway::{craft::Heard, packet::Segment};

/// The guest has been silent for so long: longer than smoltcp waits where it has not forgotten.
const SILENT: time::Duration = pace::told(Duration::from_millis(300));

/// Once after each time that the guest was heard.
#[derive(Debug, Default)]
pub(super) enum Rescue {
    #[default]
    Done,
    Possible(Heard),
    Planned {
        heard: Heard,
        at: Instant,
    },
}

impl Rescue {
    /// The guest has said something.
    pub(super) fn heard(&mut self, segment: &Segment<'_>) {
        if segment.flags.acknowledges() {
            let Segment { acknowledgement, window, .. } = *segment;
            // While there is no room smoltcp asks for it.
            *self = match window {
                0 => Self::Done,
                _ => Self::Possible(Heard { acknowledgement, window }),
            };
        }
    }

    /// When it is to be looked at again, if the next thing that smoltcp does by itself is so late.
    pub(super) fn by(&mut self, next: Option<Instant>, now: Instant) -> Option<Instant> {
        match *self {
            Self::Done => None,
            Self::Planned { at, .. } => Some(at),
            Self::Possible(heard) => {
                let at = now + SILENT;
                if next.is_some_and(|next| next <= at) {
                    return None;
                }
                *self = Self::Planned { heard, at };
                Some(at)
            }
        }
    }

    /// What the guest has said last, if it is time.
    pub(super) fn is_due(&mut self, now: Instant) -> Option<Heard> {
        match *self {
            Self::Planned { heard, at } if at <= now => {
                *self = Self::Done;
                Some(heard)
            }
            Self::Done | Self::Possible(_) | Self::Planned { .. } => None,
        }
    }
}
