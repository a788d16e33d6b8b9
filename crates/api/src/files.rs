//! Files of a sandbox.

use serde::{Deserialize, Serialize};

use crate::command::is_false;

/// `POST …/fs/write`: the folder the stream is unpacked in.
pub const CWD_HEADER: &str = "x-cwd";
/// `POST …/fs/write`: with [`OWNER_KEEP`], uid and gid of the stream are kept (ours). Without it
/// everything belongs to the sandbox's default user.
pub const OWNER_HEADER: &str = "x-fumehood-owner";
pub const OWNER_KEEP: &str = "keep";
/// The content type of a gzipped tar stream.
pub const GZIP: &str = "application/gzip";
/// The content type of a plain tar stream (ours).
pub const TAR: &str = "application/x-tar";

/// `POST …/fs/read` and `POST …/fs/stat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FsPath {
    pub path: String,
    /// What a relative `path` starts from; the session's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
}

/// `POST …/fs/mkdir`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FsMkdir {
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Make parents too, and accept a folder that is there already.
    #[serde(default, skip_serializing_if = "is_false")]
    pub recursive: bool,
}

/// `POST …/fs/stat`, its reply (ours). Symbolic links are followed; 404 when nothing is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FileStat {
    pub kind: FileKind,
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Other,
}
