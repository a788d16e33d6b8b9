//! The public REST contract, both ends: requests, replies, error codes, and the client.
//!
//! The HTTP API is Vercel Sandbox's. A type here is what their clients demand on the wire:
//! camelCase, optional members absent and never null (but for [`Command::exit_code`]), unknown
//! members of a request ignored. What Vercel has no word for is added in the same style.

pub mod attach;
pub mod client;
mod command;
mod drive;
mod env;
mod error;
mod fault;
mod files;
mod image;
pub mod network_policy;
mod object;
mod sandbox;
mod secrets;
mod server;
mod session;
mod snapshot;
mod tokens;
mod update;

pub use command::{
    Command, CommandLine, CommandList, CommandReply, Kill, LogLine, PtySize, StartCommand,
    StdinReply, Stream, WriteStdin,
};
pub use drive::{
    CreateDrive, DRIVE_BYTES, DRIVE_BYTES_MAX, DRIVE_BYTES_MIN, Drive, DriveList, DriveQuery,
    DriveReply, DriveSort, ForkDrive, MOUNT_PATH_BYTES_MAX, MOUNTS_MAX, Mount, MountMode,
};
pub use env::Env;
pub use error::{Code, ErrorBody, Refusal};
pub use fault::fault_in_words;
pub use files::{
    CWD_HEADER, FileKind, FileStat, FsMkdir, FsPath, GZIP, OWNER_HEADER, OWNER_KEEP, TAR,
};
pub use image::{
    CommitImage, Image, ImageConfig, ImageList, ImageQuery, PruneImages, PullEvent, PullImage,
    PullPolicy, PullProgress, PushEvent, PushImage, PushedImage, RemovedImages,
};
pub use network_policy::{Explain, Explanation, NetworkPolicy, NetworkPolicyReply};
pub use sandbox::{
    CreateSandbox, DeleteReply, Pagination, Resources, Sandbox, SandboxList, SandboxQuery,
    SandboxReply, SortBy, SortOrder, Source,
};
pub use secrets::{PutSecret, SECRET_BYTES_MAX, Secret, SecretList, SecretValue};
pub use server::{API, Listener, ParkedMachines, Pool, Version};
pub use session::{
    EndCode, ExtendTimeout, Forked, Interactive, MakePass, NetworkTransfer, Pass, Route, Session,
    SessionReply, Status, StopReply, TUNNEL_PROTOCOL,
};
pub use snapshot::{
    CreateSnapshot, CreateSnapshotReply, CreationMethod, KeepLastSnapshots, PageQuery, SessionList,
    Snapshot, SnapshotList, SnapshotMemory, SnapshotReply, SnapshotStatus, SnapshotTree, TreeNode,
    TreeQuery,
};
pub use tokens::{CreateToken, NewToken, RevokedTokens, Token, TokenList, TokenScope};
pub use update::{ForkLive, ForkLiveReply, ForkSandbox, PauseReply, UpdateSandbox};

/// The content type of line-delimited JSON, spelt as the clients compare it.
pub const NDJSON: &str = "application/x-ndjson";

#[cfg(test)]
mod tests;
