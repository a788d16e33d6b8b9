//! The records as they are stored. A third type beside the lifecycle's state and the wire's: each
//! may change without the others.

use std::collections::BTreeMap;
use std::fmt;

use egress::secret::SecretName;
use machine::Shape;
use serde::{Deserialize, Serialize};

use crate::{
    clock,
    ids::{
        CommandName, LayerId, Lineage, Project, SandboxKey, SandboxName, SessionId, SnapshotId,
        TokenId,
    },
    route::Route,
    sandbox::EndReason,
    seal::Sealed,
    store::{
        AttachmentRecord, DriveRecord, MountRecord,
        snapshot::{Keeping, SnapshotPlan, SnapshotRecord},
        usage::{Traffic, Usage},
    },
};

/// Where a sandbox is to be, as its client named it. There is one place here: it is told again, and nothing
/// follows from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placement {
    pub(crate) region: Option<String>,
    pub(crate) failover_regions: Vec<String>,
    pub(crate) network_id: Option<String>,
}

/// A sandbox. Times are milliseconds since 1970.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) name: SandboxName,
    pub(crate) project: Project,
    /// Of the disk that its newest session has; what the next starts from may be of another.
    pub(crate) image: String,
    /// That disk's; sandboxes of earlier versions have none.
    #[serde(default)]
    pub(crate) image_digest: Option<String>,
    /// What tells its image from others of that disk, see [`image::catalog::Image::origin`]; sandboxes of
    /// earlier versions have none.
    #[serde(default)]
    pub(crate) image_origin: Option<String>,
    /// As the client named it; the old clients demand to see one.
    pub(crate) runtime: Option<String>,
    pub(crate) shape: Shape,
    pub(crate) timeout_ms: u64,
    /// After how long without use its sessions are paused; never if none.
    #[serde(default)]
    pub(crate) idle_timeout_ms: Option<u64>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) user: String,
    pub(crate) cwd: String,
    /// Its ports that are reached from outside.
    #[serde(default)]
    pub(crate) routes: Vec<Route>,
    pub(crate) tags: Option<BTreeMap<String, String>>,
    /// By path.
    #[serde(default)]
    pub(crate) mounts: BTreeMap<String, MountRecord>,
    #[serde(default)]
    pub(crate) placement: Placement,
    /// Whether the guest is given the certificate authorities that the host was given.
    #[serde(default)]
    pub(crate) trust_host_ca: bool,
    pub(crate) created_at: u64,
    #[serde(default)]
    pub(crate) keeping: Keeping,
    /// What its next session starts from; the image if none.
    #[serde(default)]
    pub(crate) current_snapshot: Option<SnapshotId>,
    /// The newest.
    pub(crate) session: SessionId,
    /// By those of its sessions that are forgotten.
    #[serde(default)]
    pub(crate) used_before: Usage,
}

impl SandboxRecord {
    pub(crate) fn key(&self) -> SandboxKey {
        SandboxKey { project: self.project.clone(), name: self.name.clone() }
    }

    /// Its session begins on this disk, which is of its own image, with that one's users and folders.
    pub(crate) fn start_from(&mut self, snapshot: &SnapshotRecord) {
        self.current_snapshot = Some(snapshot.id.clone());
        self.image.clone_from(&snapshot.image);
        self.image_digest.clone_from(&snapshot.image_digest);
        self.image_origin.clone_from(&snapshot.image_origin);
        self.user.clone_from(&snapshot.user);
        self.cwd.clone_from(&snapshot.cwd);
    }

    /// A sandbox that is forked live from this one, whose session runs: all but its name and its session,
    /// and what is told of it alone. It has no snapshot before its own first session ends: those of this one
    /// are of other disks than the one that it begins with.
    pub(crate) fn child(&self) -> Self {
        Self {
            // A drive is for one machine, and for the next session of this one.
            mounts: BTreeMap::new(),
            created_at: clock::now_ms(),
            current_snapshot: None,
            used_before: Usage::default(),
            ..self.clone()
        }
    }
}

impl fmt::Debug for SandboxRecord {
    /// Without the environment: it may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxRecord")
            .field("name", &self.name)
            .field("project", &self.project)
            .field("image", &self.image)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

/// How far a session is known to have come. What was under way when the server died is found out
/// by looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Preparing,
    Running,
    Pausing,
    Paused,
    /// Its machine is about to go on, or has.
    Waking,
    Snapshotting,
    Stopping,
    Stopped,
}

/// One run of a sandbox's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    pub(crate) id: SessionId,
    pub(crate) sandbox: SandboxKey,
    pub(crate) phase: Phase,
    pub(crate) reason: Option<EndReason>,
    /// More about the reason, for people.
    pub(crate) detail: Option<String>,
    pub(crate) timeout_ms: u64,
    pub(crate) requested_at: u64,
    pub(crate) started_at: Option<u64>,
    pub(crate) stop_requested_at: Option<u64>,
    pub(crate) stopped_at: Option<u64>,
    pub(crate) updated_at: u64,
    /// The host's boot id: a machine does not outlive it.
    pub(crate) host_boot: String,
    /// What has passed the gateway, once the session has ended.
    #[serde(default)]
    pub(crate) traffic: Traffic,
    /// What its machine and gateways have used of the host's processors, once the session has ended.
    #[serde(default)]
    pub(crate) cpu_ms: u64,
    /// What its machine had used before it was the session's: one that was parked has run before.
    #[serde(default)]
    pub(crate) cpu_before_ms: u64,
    /// How large its machine is; that of its sandbox if none.
    #[serde(default)]
    pub(crate) shape: Option<Shape>,
    #[serde(default)]
    pub(crate) source_snapshot: Option<SnapshotId>,
    /// Between its overlay and the image, the uppermost first.
    #[serde(default)]
    pub(crate) layers: Vec<LayerId>,
    /// What its disk is becoming, or has become.
    #[serde(default)]
    pub(crate) plan: Option<SnapshotPlan>,
    #[serde(default)]
    pub(crate) snapshotted_at: Option<u64>,
    /// What its overlay is becoming while it is forked.
    #[serde(default)]
    pub(crate) forking: Option<LayerId>,
    /// The layer right below its overlay, by which that is called since it was forked.
    #[serde(default)]
    pub(crate) above: Option<LayerId>,
    #[serde(default)]
    pub(crate) forked: Option<ForkedRecord>,
    /// The memory that it shares with others of the same live fork, by the fork's layer.
    #[serde(default)]
    pub(crate) shared_memory: Option<LayerId>,
    /// Why it began without the memory that its snapshot has.
    #[serde(default)]
    pub(crate) memory_lost: Option<String>,
    /// Since when it is paused.
    #[serde(default)]
    pub(crate) paused_at: Option<u64>,
    /// How long it was paused before.
    #[serde(default)]
    pub(crate) paused_ms: u64,
    /// What it had used of the host's processors when it was last paused.
    #[serde(default)]
    pub(crate) paused_cpu_ms: u64,
}

/// What a session is that began as a live fork.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForkedRecord {
    pub(crate) from: SandboxName,
    /// Numbers below are those of commands of the other.
    pub(crate) first_command: u32,
    #[serde(default)]
    pub(crate) flaw: Option<ForkFlaw>,
}

/// What a fork lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ForkFlaw {
    /// Programs went on before the machine had randomness of its own.
    NotFrozen,
    /// The agent has not made it another machine.
    NoIdentity,
}

impl ForkFlaw {
    /// The sentence that a user reads.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::NotFrozen => {
                "the agent did not freeze the programs in time: some may have run before the machine had randomness of its own"
            }
            Self::NoIdentity => {
                "the agent did not answer in time: the machine has the name, the randomness and the clock of the other"
            }
        }
    }
}

impl SessionRecord {
    /// A new one of a sandbox, from its image.
    pub(crate) fn of(sandbox: &SandboxRecord, host_boot: &str) -> Self {
        let now = clock::now_ms();
        Self {
            id: sandbox.session.clone(),
            sandbox: sandbox.key(),
            phase: Phase::Preparing,
            reason: None,
            detail: None,
            timeout_ms: sandbox.timeout_ms,
            requested_at: now,
            started_at: None,
            stop_requested_at: None,
            stopped_at: None,
            updated_at: now,
            host_boot: host_boot.to_owned(),
            traffic: Traffic::default(),
            cpu_ms: 0,
            cpu_before_ms: 0,
            shape: Some(sandbox.shape),
            source_snapshot: None,
            layers: Vec::new(),
            plan: None,
            snapshotted_at: None,
            forking: None,
            above: None,
            forked: None,
            shared_memory: None,
            memory_lost: None,
            paused_at: None,
            paused_ms: 0,
            paused_cpu_ms: 0,
        }
    }

    /// When it is to end by itself: the time that it is paused does not count.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let lasts = self.timeout_ms.saturating_add(self.paused_ms);
        self.started_at.map(|started| started.saturating_add(lasts))
    }

    /// How long it has run.
    pub(crate) fn ran_ms(&self) -> u64 {
        let Some(started) = self.started_at else { return 0 };
        let until = self.stopped_at.unwrap_or_else(clock::now_ms);
        let paused = self.paused_at.map_or(0, |at| until.saturating_sub(at));
        until.saturating_sub(started).saturating_sub(paused.saturating_add(self.paused_ms))
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandRecord {
    pub(crate) id: CommandName,
    pub(crate) session: SessionId,
    /// What the guest's agent knows it by.
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) args: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) stdin: bool,
    pub(crate) started_at: u64,
    pub(crate) exit: Option<ExitRecord>,
}

impl fmt::Debug for CommandRecord {
    /// Without the arguments: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandRecord")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("exit", &self.exit)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExitRecord {
    pub(crate) code: i32,
    pub(crate) signal: Option<i32>,
    pub(crate) reason: Option<api::attach::ExitReason>,
    pub(crate) duration_ms: u64,
}

/// What a sandbox's network is made with. A sandbox of an earlier version has none, and its guest no
/// network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    pub(crate) sandbox: SandboxKey,
    /// Whose certificate authority signs for it.
    pub(crate) lineage: Lineage,
    /// A [`crate::network::Private`].
    pub(crate) sealed: Sealed,
}

/// The certificate authority of a sandbox and of all that are forked from it: their processes
/// trust it already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuthorityRecord {
    pub(crate) lineage: Lineage,
    /// DER.
    #[serde(with = "base64_text")]
    pub(crate) certificate: Vec<u8>,
    /// The key: PKCS#8, PEM.
    pub(crate) sealed: Sealed,
}

/// A secret of a project's. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SecretRecord {
    pub(crate) project: Project,
    pub(crate) name: SecretName,
    /// The value.
    pub(crate) sealed: Sealed,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
}

/// A token of a project's. Its text is stored nowhere. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    pub(crate) id: TokenId,
    pub(crate) project: Project,
    pub(crate) scope: api::TokenScope,
    pub(crate) created_at: u64,
    pub(crate) expires_at: Option<u64>,
}

mod base64_text {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        BASE64_STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// All that is in a store.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) tokens: Vec<TokenRecord>,
    pub(crate) secrets: Vec<SecretRecord>,
    pub(crate) authorities: Vec<AuthorityRecord>,
    pub(crate) networks: Vec<NetworkRecord>,
    pub(crate) sandboxes: Vec<SandboxRecord>,
    pub(crate) sessions: Vec<SessionRecord>,
    pub(crate) commands: Vec<CommandRecord>,
    pub(crate) drives: Vec<DriveRecord>,
    pub(crate) attachments: Vec<AttachmentRecord>,
    pub(crate) snapshots: Vec<SnapshotRecord>,
}
