//! Images, under `/v1/fumehood/images` (ours).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Refusal;
use crate::sandbox::Resources;

/// `GET /v1/fumehood/images`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageList {
    pub images: Vec<Image>,
    /// Bytes of layers and other blobs that are kept, so that they need not be fetched again.
    #[serde(default)]
    pub blobs_bytes: u64,
}

/// An image that sandboxes of this server can be made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The first of its names, or else what always leads to it.
    pub name: String,
    /// All that it is called.
    #[serde(default)]
    pub names: Vec<String>,
    /// Of everything on its disk.
    pub digest: String,
    /// That of its manifest, `sha256:…`; none for what is made from packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Bytes that its disk takes of the host's.
    pub size_bytes: u64,
    /// Bytes that its templates take.
    #[serde(default)]
    pub templates_bytes: u64,
    /// Milliseconds since 1970.
    pub created_at: u64,
    /// When a sandbox was last made of it, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<u64>,
    /// Whether a sandbox stands on it.
    #[serde(default)]
    pub in_use: bool,
    #[serde(default)]
    pub config: ImageConfig,
}

/// How commands run in an image unless they say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageConfig {
    pub user: String,
    pub cwd: String,
    pub env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
}

/// When an image is fetched from its registry.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum PullPolicy {
    /// When it is not here.
    #[default]
    Missing,
    /// When the registry has another one than is here, too.
    Always,
    Never,
}

/// `POST /v1/fumehood/images/pull`: the image is here when the answer ends, in lines of
/// [`PullEvent`]. Who goes away breaks it off; what has come is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PullImage {
    pub image: String,
    #[serde(default)]
    pub pull: PullPolicy,
    /// What the image of a file is to be called from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Makes the template for sandboxes of this size as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<Resources>,
}

/// A line of the answer to a pull. The last one is `Done` or `Error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum PullEvent {
    Progress(PullProgress),
    Done { image: Box<Image> },
    Error(Refusal),
}

/// How far a pull is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PullProgress {
    /// What is being done, for people.
    pub step: String,
    /// How much of it is done, where that is counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// `POST /v1/fumehood/images/push`: the registry has the image when the answer ends, in lines of
/// [`PushEvent`]. Who goes away breaks it off; what has been sent need not be sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PushImage {
    /// The name or digest of an image here.
    pub image: String,
    /// `REGISTRY/REPOSITORY:TAG`; what the image is called if it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// `POST /v1/fumehood/images/commit`: what the disk of a running sandbox is now becomes an image, in lines
/// of [`PullEvent`]. The sandbox goes on.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommitImage {
    /// The name of the sandbox.
    pub sandbox: String,
    /// What the image is to be called: a name that a registry could have.
    pub image: String,
    /// Over the image's own variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// What follows is as in the image that the sandbox stands on, where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
}

impl std::fmt::Debug for CommitImage {
    /// Without the environment and the arguments: they may hold secrets.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = out.debug_struct("CommitImage");
        shown.field("sandbox", &self.sandbox).field("image", &self.image).finish_non_exhaustive()
    }
}

/// A line of the answer to a push. The last one is `Done` or `Error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum PushEvent {
    Progress(PullProgress),
    Done(PushedImage),
    Error(Refusal),
}

/// What was pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PushedImage {
    /// Its full name in the registry.
    pub target: String,
    /// That of its manifest, `sha256:…`.
    pub digest: String,
    /// How many bytes were sent.
    pub sent_bytes: u64,
    /// Layers and other blobs that were sent, that the registry took from another repository, and
    /// that were there.
    pub sent: u64,
    pub mounted: u64,
    pub present: u64,
}

/// `DELETE /v1/fumehood/images?name=`, `GET /v1/fumehood/images/inspect?name=` and
/// `GET /v1/fumehood/images/save?name=`: their query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ImageQuery {
    pub name: String,
}

/// `POST /v1/fumehood/images/prune`: images that no sandbox stands on are removed with their
/// templates and layers, the one that was used longest ago first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PruneImages {
    /// Those alone that were not used for so long, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<u64>,
    /// No more than needed to come down to so many bytes in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_bytes: Option<u64>,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemovedImages {
    pub images: Vec<Image>,
    /// Disks, templates and layers.
    pub freed_bytes: u64,
}
