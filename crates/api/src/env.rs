//! Environment variables, whose values are often secrets.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// Environment variables by name. `Debug` shows the names alone.
#[derive(Clone, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Env(pub BTreeMap<String, String>);

impl Env {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says what is wrong with a name or value that no process could be given.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in &self.0 {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(format!("`env` has an impossible name {name:?}"));
            }
            if value.contains('\0') {
                return Err(format!("`env.{name}` has a NUL byte in its value"));
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Env {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Some clients send null for "none".
        Ok(Self(Option::deserialize(deserializer)?.unwrap_or_default()))
    }
}

impl FromIterator<(String, String)> for Env {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
