//! What the gateway says that it decided.

use std::fmt;

use serde_json::Value;

/// One line of `fumehood audit --json`.
#[derive(Clone)]
pub(crate) struct Event(pub(crate) Value);

impl Event {
    pub(crate) fn seq(&self) -> u64 {
        self.0["seq"].as_u64().unwrap_or_default()
    }

    /// Milliseconds since 1970.
    pub(crate) fn at(&self) -> u64 {
        self.0["at"].as_u64().unwrap_or_default()
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// Whether it is a denial of this kind for this reason; an empty reason is any.
    pub(crate) fn denies(&self, kind: &str, reason: &str) -> bool {
        self.text("decision") == "deny"
            && self.text("kind") == kind
            && self.text("reason").contains(reason)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
