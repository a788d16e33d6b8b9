//! Ids and names as they are on the wire: opaque to clients, of Vercel's form.

use std::{borrow::Borrow, fmt};

use serde::{Deserialize, Serialize};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HEX: &[u8; 16] = b"0123456789abcdef";
const RANDOM_LEN: usize = 28;
/// Longest name of a sandbox.
pub(crate) const NAME_MAX: usize = 128;
/// Longest name of a drive.
const DRIVE_NAME_MAX: usize = 64;

/// Random bytes from the kernel.
///
/// # Panics
/// If the kernel has none to give: nothing safe can be done then.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

fn random_text(alphabet: &[u8]) -> String {
    let bytes: [u8; RANDOM_LEN] = random();
    text_of(&bytes, alphabet)
}

/// Bytes as letters and digits, one for each.
pub(crate) fn base62(bytes: &[u8]) -> String {
    text_of(bytes, BASE62)
}

/// The same in small letters, as a host name has them.
pub(crate) fn base36(bytes: &[u8]) -> String {
    text_of(bytes, b"0123456789abcdefghijklmnopqrstuvwxyz")
}

/// Of 256 values the last few are a little more likely than others: harmless in 28 of them.
fn text_of(bytes: &[u8], alphabet: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(alphabet[usize::from(*byte) % alphabet.len()])).collect()
}

/// A session: `sbx_` and 28 letters and digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct SessionId(String);

impl SessionId {
    pub(crate) fn random() -> Self {
        Self(format!("sbx_{}", random_text(BASE62)))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A snapshot: `snap_` and 28 letters and digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct SnapshotId(String);

impl SnapshotId {
    pub(crate) fn random() -> Self {
        Self(format!("snap_{}", random_text(BASE62)))
    }

    /// As a client names one; it may not be there.
    pub(crate) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A sandbox and what is forked from it: 28 hexadecimal digits. Never told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Lineage(String);

impl Lineage {
    pub(crate) fn random() -> Self {
        Self(random_text(HEX))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A token: `tok_` and 28 letters and digits. It says nothing of the token's text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct TokenId(String);

impl TokenId {
    pub(crate) fn random() -> Self {
        Self(format!("tok_{}", random_text(BASE62)))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for TokenId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A command's public id: `cmd_` and 28 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct CommandName(String);

impl CommandName {
    pub(crate) fn random() -> Self {
        Self(format!("cmd_{}", random_text(HEX)))
    }

    /// One that a client chose.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("cmd_")?;
        let whole = digits.len() == RANDOM_LEN && digits.bytes().all(|byte| HEX.contains(&byte));
        whole.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name a user gives a sandbox: `^[a-zA-Z0-9_-]+$`, at most 128.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct SandboxName(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`name` must be 1 to 128 letters, digits, `_` or `-`")]
pub(crate) struct BadName;

impl SandboxName {
    pub(crate) fn parse(text: &str) -> Result<Self, BadName> {
        let fits = (1..=NAME_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        if fits { Ok(Self(text.to_owned())) } else { Err(BadName) }
    }

    /// A name to be read aloud, for who gives none.
    pub(crate) fn random() -> Self {
        let [adjective, noun, high, low] = random();
        let pick = |words: &[&str], byte: u8| words[usize::from(byte) % words.len()].to_owned();
        let (adjective, noun) = (pick(&ADJECTIVES, adjective), pick(&NOUNS, noun));
        Self(format!("{adjective}-{noun}-{high:02x}{low:02x}"))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SandboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name a user gives a snapshot: as a sandbox's, and none that could be a snapshot's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct SnapshotName(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`name` must be 1 to 128 letters, digits, `_` or `-`, and not begin with `snap_`")]
pub(crate) struct BadSnapshotName;

impl SnapshotName {
    pub(crate) fn parse(text: &str) -> Result<Self, BadSnapshotName> {
        let is_id = text.starts_with("snap_");
        let name = SandboxName::parse(text).ok().filter(|_| !is_id);
        name.map(|SandboxName(text)| Self(text)).ok_or(BadSnapshotName)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A drive's id: `drv_` and 28 letters and digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct DriveId(String);

impl DriveId {
    pub(crate) fn random() -> Self {
        Self(format!("drv_{}", random_text(BASE62)))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DriveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file that holds a part of a disk or a drive: 28 hexadecimal digits. Never told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct LayerId(String);

impl LayerId {
    pub(crate) fn random() -> Self {
        Self(random_text(HEX))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name a user gives a drive: `^[a-zA-Z0-9_-]+$`, at most 64.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct DriveName(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a drive's name is 1 to 64 letters, digits, `_` or `-`")]
pub(crate) struct BadDriveName;

impl DriveName {
    pub(crate) fn parse(text: &str) -> Result<Self, BadDriveName> {
        let fits = (1..=DRIVE_NAME_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        if fits { Ok(Self(text.to_owned())) } else { Err(BadDriveName) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DriveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A project: 1 to 128 letters, digits, `_`, `-` or `.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Project(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a project is 1 to 128 letters, digits, `_`, `-` or `.`")]
pub(crate) struct BadProject;

impl Project {
    pub(crate) fn parse(text: &str) -> Result<Self, BadProject> {
        let fits = (1..=NAME_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if fits { Ok(Self(text.to_owned())) } else { Err(BadProject) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Project {
    /// That of who names none.
    fn default() -> Self {
        Self("local".to_owned())
    }
}

impl fmt::Display for Project {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a sandbox is known by: its name says nothing without its project. Stored as
/// `project/name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct SandboxKey {
    pub(crate) project: Project,
    pub(crate) name: SandboxName,
}

impl fmt::Display for SandboxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.name)
    }
}

impl From<SandboxKey> for String {
    fn from(key: SandboxKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for SandboxKey {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        // Earlier versions took any text for a project.
        let (project, name) = text.rsplit_once('/').ok_or(BadName)?;
        Ok(Self { project: Project(project.to_owned()), name: SandboxName::parse(name)? })
    }
}

const ADJECTIVES: [&str; 32] = [
    "airy", "amber", "bold", "brisk", "calm", "clear", "cool", "crisp", "deft", "dry", "even",
    "fair", "fine", "firm", "fleet", "fresh", "gentle", "glad", "keen", "light", "lucid", "mild",
    "neat", "pale", "plain", "prime", "quick", "quiet", "rare", "sharp", "still", "swift",
];
const NOUNS: [&str; 32] = [
    "argon", "beaker", "boron", "buret", "carbon", "cobalt", "copper", "ether", "flask", "flint",
    "funnel", "helium", "indigo", "iodine", "iron", "krypton", "lens", "litmus", "neon", "nickel",
    "opal", "prism", "quartz", "radon", "retort", "silver", "sodium", "tin", "tripod", "vial",
    "xenon", "zinc",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_held_to_their_grammar() {
        for good in ["a", "A-b_9", &"x".repeat(128)] {
            assert_eq!(SandboxName::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a/b", "..", "ä", "a\0", &"x".repeat(129)] {
            assert_eq!(SandboxName::parse(bad), Err(BadName), "{bad:?}");
        }
        let name = SandboxName::random();
        assert_eq!(SandboxName::parse(name.as_str()), Ok(name));
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        for project in ["local", "prj_0.x-y", "of/an/earlier version"] {
            let key = SandboxKey {
                project: Project(project.to_owned()),
                name: SandboxName::parse("box").unwrap(),
            };
            let text = serde_json::to_string(&key).unwrap();
            assert_eq!(serde_json::from_str::<SandboxKey>(&text).unwrap(), key);
        }
        for bad in ["\"box\"", "\"local/\"", "\"local/a b\"", "1"] {
            assert!(serde_json::from_str::<SandboxKey>(bad).is_err(), "{bad}");
        }
        for bad in ["", "a/b", "a b", "ä", &"x".repeat(129)] {
            assert_eq!(Project::parse(bad), Err(BadProject), "{bad:?}");
        }
    }

    #[test]
    fn ids_have_the_form_of_the_wire() {
        let (session, command) = (SessionId::random(), CommandName::random());
        assert_eq!(session.as_str().len(), 4 + RANDOM_LEN);
        assert_eq!(CommandName::parse(command.as_str()), Some(command));
        assert_ne!(session, SessionId::random());
        for bad in ["", "cmd_", "cmd_xyz", "sbx_0123456789012345678901234567"] {
            assert_eq!(CommandName::parse(bad), None, "{bad}");
        }
    }
}
