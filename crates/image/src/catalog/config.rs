//! How a command runs in an image when its caller does not say.

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// Where an image does not say, as Docker has it.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an image says of the commands in it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// As the image has it: `name`, `uid`, `name:group` or `uid:gid`, and `root` where it says
    /// nothing. Who that is the guest finds in its own `/etc/passwd` and `/etc/group`.
    pub user: String,
    /// The same where a runtime is asked for, if that is somebody else. Only the default image has
    /// runtimes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_user: Option<String>,
    /// Absolute.
    pub cwd: String,
    /// In the image's order, each name once, always with a `PATH`.
    #[serde(serialize_with = "write_env", deserialize_with = "read_env")]
    pub env: Vec<(String, String)>,
    /// What `cmd` is given to, when they are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
}

impl std::fmt::Debug for Config {
    /// Without the environment and the arguments: images may hold secrets there.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Config")
            .field("user", &self.user)
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

/// As a list, since an object has no order.
fn write_env<S: Serializer>(env: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(env.iter().map(|(name, value)| format!("{name}={value}")))
}

/// Earlier records have an object.
fn read_env<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    deserializer.deserialize_any(EnvVisitor)
}

struct EnvVisitor;

impl<'de> Visitor<'de> for EnvVisitor {
    type Value = Vec<(String, String)>;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a list of NAME=VALUE, or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut env = Vec::new();
        while let Some(item) = items.next_element::<String>()? {
            let (name, value) =
                item.split_once('=').ok_or_else(|| de::Error::custom("no = in a variable"))?;
            env.push((name.to_owned(), value.to_owned()));
        }
        Ok(env)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut env = Vec::new();
        while let Some(item) = items.next_entry()? {
            env.push(item);
        }
        Ok(env)
    }
}

#[cfg(test)]
mod tests;
