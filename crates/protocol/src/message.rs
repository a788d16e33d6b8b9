//! Messages: what the host asks of the agent, and what the agent says.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Place,
    frame::{PAYLOAD_MAX, StreamId},
    network::Network,
};

/// Version of this contract. Host and agent come from one build, but a machine may outlive the
/// server that started it, so the two still check.
pub const VERSION: u16 = 4;

/// Host to guest: begins an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u16,
    /// Drawn at random by whoever numbers requests and transfers from the start. Transfers and
    /// answers of another instance are dropped; commands are kept.
    pub instance: u64,
}

/// Guest to host: the epoch has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub version: u16,
    pub phase: Phase,
}

/// How far the agent has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Ready; no root file system is mounted.
    Bare,
    /// The root file system is mounted, guarded from being written, and its caches are warm; nothing runs.
    Warm,
    /// Claimed: it has an identity and a writable root, and commands may run.
    Live,
    /// As if live, of nobody.
    Rehearsing,
}

/// What the host asks. Every request can be sent again after a lost connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    Ping,
    /// Bare → warm: mount the root, let nothing write to it, and run commands that fill its caches.
    Warm(Box<Warm>),
    /// Bare, warm or rehearsing → live: identity, clock, entropy, a writable root, whom to trust.
    Claim(Claim),
    /// Sets the clock: guests have no other source of time.
    SetClock {
        unix_nanos: u64,
    },
    /// Starts a command; one already known by this id is reported as started again.
    Start(StartCommand),
    /// Sends a signal to a command's process group.
    Signal {
        command: CommandId,
        signal: u8,
    },
    Resize {
        command: CommandId,
        rows: u16,
        cols: u16,
    },
    /// All commands that the agent remembers.
    Commands,
    /// Drops an ended command from the agent's memory.
    Forget {
        command: CommandId,
    },
    /// Sends a file's content on `stream`.
    Read {
        stream: StreamId,
        path: String,
    },
    /// Sends a file or folder as a tar stream, with names relative to the parent of `path`. `path`
    /// itself is followed, links below it are sent as links; other file systems are left empty.
    ReadTar {
        stream: StreamId,
        path: String,
    },
    /// Takes in a tar stream below `base`, which is made if missing. Replied to at its end.
    WriteTar {
        stream: StreamId,
        base: String,
        owner: Owner,
    },
    Mkdir {
        path: String,
        parents: Parents,
    },
    /// What `path` leads to; a link that leads nowhere is itself.
    Stat {
        path: String,
    },
    /// Up to `limit` entries of a folder in the order of their names, those after `after`.
    List {
        path: String,
        after: Option<String>,
        limit: u16,
    },
    Remove {
        path: String,
        mode: RemoveMode,
    },
    /// Writes everything to the disks.
    Sync,
    /// Connects to a TCP port of the guest itself: on the loopback addresses first, so that a
    /// server which listens on nothing else is reached as well. Bytes to it go on `stream`, bytes
    /// from it come on [`StreamId::back`] of it, which is opened with the answer.
    Connect {
        stream: StreamId,
        port: u16,
    },
    /// Mounts the disk of this serial number, an ext4 file system, at a folder that is made if it is
    /// missing. Refused as not found while the guest's kernel has not seen the disk.
    Mount(Mount),
    /// Writes everything to the disk, and keeps the root from being written until [`Request::Release`],
    /// or for so long: the host reads the disk meanwhile. At most a minute.
    Hold {
        for_ms: u64,
    },
    /// Ends a [`Request::Hold`]; refused if that has ended by itself.
    Release,
    /// Puts all processes but the agent into one group, so that [`Request::Freeze`] is quick.
    Gather,
    /// Has no process but the agent go on until [`Request::Thaw`], or, in a machine that is forked from
    /// this one, [`Request::Fork`]. Commands that are asked for meanwhile start afterwards. Refused
    /// while the root is held.
    Freeze,
    /// Ends a [`Request::Freeze`] and a [`Request::SetAside`]; nothing happens where nothing is frozen.
    Thaw,
    /// In a machine that has another's memory: it is another machine from now on. Its connections to
    /// the outside are reset; the processes of the commands go on, and are no commands any more: what
    /// they write to their streams is thrown away. Ends a [`Request::Freeze`] at last.
    Fork(Claim),
    /// Bare or warm → rehearsing: all that a claim does, with an identity that is nobody's. Commands may
    /// be started until the claim, which ends and forgets them, and takes nothing from this one but its
    /// certificates, if they are the same. Then little runs for the first time, which is slow under
    /// emulation.
    Rehearse(Claim),
    /// In a machine that was paused after a [`Request::Freeze`] and goes on: the time is another, nobody
    /// knows what its random generator comes to, and its connections to the outside are reset. Ends the
    /// freeze at last; where nothing is frozen only the clock is set.
    Wake(Wake),
    /// Blocks of memory, of 2 MiB and numbered by their addresses: those that are free now stay so
    /// until [`Request::Thaw`] or what else ends a freeze, as far as that can be done at once. The
    /// answer tells of which it seems to be done, and the one to [`Request::Freeze`] of which it was.
    SetAside {
        blocks: Vec<u32>,
    },
    /// Resets the connections to the outside: what carried them is gone, and whoever only waits for more
    /// would wait for ever. An agent of an earlier server does not know this and does not answer.
    ResetConnections,
    /// The host can read the guest's memory: until the next epoch what is sent from a place that stays is said
    /// by [`Lent`](crate::Lent) frames, and the other way by [`Filled`](crate::Filled) ones. An agent of an
    /// earlier server does not know this and does not answer.
    Lend,
}

impl Request {
    /// Whether it is short enough for a frame.
    pub fn fits(&self) -> bool {
        postcard::experimental::serialized_size(self).is_ok_and(|len| len <= PAYLOAD_MAX)
    }
}

/// Bare → warm, or warm and warmer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warm {
    /// Commands run one after another as the user of `stand_in`; their output and exit are ignored.
    pub commands: Vec<Vec<String>>,
    /// An identity of nobody's. What it puts on the disk the claim writes over, which is less work than to
    /// make it.
    pub stand_in: Claim,
}

/// Gives a clone its own identity. The host makes all of it anew for every claim.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub hostname: String,
    pub machine_id: [u8; 16],
    pub entropy: Entropy,
    pub unix_nanos: u64,
    /// Name of the user that commands run as unless they ask otherwise.
    pub user: String,
    /// Working directory of commands that name none.
    pub cwd: String,
    /// Environment of every command, under its own.
    pub env: Vec<(String, String)>,
    pub network: Network,
}

impl fmt::Debug for Claim {
    /// Without the environment: it may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}

/// What a machine that goes on is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    pub unix_nanos: u64,
    pub entropy: Entropy,
}

/// Seed of the kernel's random generator. It is a secret: it cannot be printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entropy(pub [u8; 32]);

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy(…)")
    }
}

/// A command of a machine; numbered by the host, never used twice in a machine's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CommandId(pub u32);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartCommand {
    pub command: CommandId,
    /// The executable, looked up in the command's `PATH` if it has no slash, and its arguments.
    pub argv: Vec<String>,
    /// Over the environment of the claim.
    pub env: Vec<(String, String)>,
    /// The claim's working directory if `None`; relative to it if relative.
    pub cwd: Option<String>,
    pub user: User,
    pub stdin: Stdin,
    pub io: Io,
    /// After this long the process group is killed, and the exit code is 137.
    pub timeout_ms: Option<u64>,
}

impl StartCommand {
    /// As the default user, in the default folder, with nothing to read and no terminal, for as long as it
    /// takes.
    pub fn plain(command: CommandId, argv: Vec<String>) -> Self {
        Self {
            command,
            argv,
            env: Vec::new(),
            cwd: None,
            user: User::Default,
            stdin: Stdin::Null,
            io: Io::Pipes,
            timeout_ms: None,
        }
    }
}

impl fmt::Debug for StartCommand {
    /// Without the environment and the arguments: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartCommand")
            .field("command", &self.command)
            .field("executable", &self.argv.first())
            .finish_non_exhaustive()
    }
}

/// Whom a command runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum User {
    /// The claim's user.
    Default,
    /// Root, with the environment that `sudo` gives (`HOME=/root`, `SUDO_USER`).
    Sudo,
    /// A name or a number.
    Named(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdin {
    /// `/dev/null`.
    Null,
    /// The command's stdin stream.
    Stream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Io {
    /// Standard output and standard error apart.
    Pipes,
    /// A terminal; all output comes on the standard output stream.
    Pty { rows: u16, cols: u16 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    /// Everything written belongs to the claim's user.
    DefaultUser,
    /// As the tar stream says, by number.
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parents {
    MustExist,
    /// Missing parents are made, and a folder already there is no error.
    Create,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RemoveMode {
    /// A file, a link or an empty folder.
    One,
    /// A whole tree; nothing there is no error.
    Tree,
}

/// A disk to be mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub serial: String,
    /// Absolute, beneath the root file system.
    pub path: String,
    pub access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    ReadOnly,
    Writable,
    /// Writable, and its topmost folder is given to the claim's user: nobody had it before.
    New,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    Done,
    Started {
        pid: u32,
    },
    Commands(Vec<CommandState>),
    /// A file's content follows on the stream.
    Reading(Stat),
    Written {
        entries: u64,
        bytes: u64,
    },
    Stat(Stat),
    Entries(Vec<Entry>),
    /// What the server sends follows on the stream.
    Connected,
    /// Nothing goes on, and what is in these blocks, set aside before, nobody needs.
    Frozen {
        free: Vec<u32>,
    },
    /// These blocks seem to be free, and are likely to stay so. An agent of an earlier server says [`Response::Done`].
    Aside {
        free: Vec<u32>,
    },
    /// To [`Request::Lend`]: slots that the host may fill, each with its number and where it is.
    Lending {
        slots: Vec<(u16, Vec<Place>)>,
    },
}

/// Why the agent did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: RefusalCode,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalCode {
    /// The executable does not exist; nothing was started.
    ExecutableNotFound,
    /// It exists and cannot be executed; nothing was started.
    NotExecutable,
    NotFound,
    AlreadyExists,
    NotADirectory,
    IsADirectory,
    NotEmpty,
    PermissionDenied,
    NoSpace,
    UnknownUser,
    UnknownCommand,
    TooManyCommands,
    /// The message is not welcome in this phase.
    WrongPhase,
    /// The tar stream is damaged, or an entry of it would leave its folder.
    BadArchive,
    /// An argument is not of its form.
    Invalid,
    /// Anything else that the guest's kernel said.
    Io,
    /// Nothing listens on the port.
    NotListening,
    TooManyConnections,
}

/// What the agent says unasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A command ended. Sent once an epoch; [`Request::Commands`] tells it again.
    Exited { command: CommandId, exit: Exit },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandState {
    pub command: CommandId,
    pub progress: Progress,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    Running { pid: u32 },
    Exited(Exit),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The process's own, or 128 + the signal that ended it.
    pub code: u8,
    pub signal: Option<u8>,
    pub cause: Option<ExitCause>,
    pub duration_ms: u64,
}

/// Why a command was killed, where the agent knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitCause {
    /// Its own time limit.
    TimedOut,
    /// The guest's memory was used up.
    OutOfMemory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    pub kind: EntryKind,
    /// In bytes.
    pub size: u64,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    File,
    Folder,
    Link,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub name: String,
    pub stat: Stat,
}
