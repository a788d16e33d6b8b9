//! What sessions use.

use serde::{Deserialize, Serialize};

/// Bytes that have passed a session's gateways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Traffic {
    /// Out of the guest.
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// What one session has used, or several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) traffic: Traffic,
    /// Of the host's processors.
    pub(crate) cpu_ms: u64,
    /// From starts to ends.
    pub(crate) duration_ms: u64,
}

impl Traffic {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            sent: self.sent.saturating_add(other.sent),
            received: self.received.saturating_add(other.received),
        }
    }
}

impl Usage {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            traffic: self.traffic.and(other.traffic),
            cpu_ms: self.cpu_ms.saturating_add(other.cpu_ms),
            duration_ms: self.duration_ms.saturating_add(other.duration_ms),
        }
    }
}
