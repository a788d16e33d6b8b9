//! What ends a command of ours badly, and the exit code it ends with.

use std::fmt;
use std::io;

use api::Code;
use api::client::ClientError;

/// How this program ends. The guest's command keeps 0 to 240 for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The guest's own exit code, cut to the eight bits a process has.
    Command(i32),
    /// Ended by this signal, which came to us or to the command.
    Signal(i32),
    /// The guest has the file and cannot execute it.
    NotExecutable,
    /// The guest has no such executable.
    NoExecutable,
    /// Wrong usage or configuration; the set-up is not done.
    Usage,
    /// No such sandbox, command, image or file.
    NotFound,
    /// A limit of this machine: memory, disk, CPU, count.
    Limit,
    /// No server answers, or its connection was lost for good.
    Unreachable,
    /// The sandbox ended under the command, or had ended before.
    SandboxEnded,
    /// The server refused for another reason.
    Refused,
    /// A step of an image's build failed.
    Build,
    /// A file of this host could not be read or written.
    Host,
    /// A fault of ours.
    Internal,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Command(code) => u8::try_from(code & 0xff).expect("eight bits"),
            Self::Signal(signal) => u8::try_from(128 + (signal & 0x7f)).expect("eight bits"),
            Self::NotExecutable => 126,
            Self::NoExecutable => 127,
            Self::Usage => 241,
            Self::NotFound => 242,
            Self::Limit => 243,
            Self::Unreachable => 244,
            Self::SandboxEnded => 245,
            Self::Refused => 246,
            Self::Host => 247,
            Self::Build => 248,
            Self::Internal => 250,
        }
    }
}

/// The exit codes, for help and man pages.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0-240    the command's own; 128+n when signal n ended it (137: killed, also by a time limit)
  126,127  the guest cannot execute the command, or has none of that name
  130      interrupted (128+n for another signal that came to fumehood)
  241      wrong usage or configuration, or `fumehood setup` has to run first
  242      no such sandbox, command, image or file
  243      a limit of this machine was reached: memory, disk, CPU, count
  244      no server answers
  245      the sandbox ended under the command: time limit, out of memory, kernel panic, ...
  246      the server refused
  247      a file on this host could not be read or written
  248      a step of an image's build failed
  250      a fault of fumehood's own
A command's own code beyond 240 is passed through as well; what went wrong is on stderr then, and
in the `error` of --json.";

/// A sentence for a person and an exit code for a script.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    /// None: all has been said, or nobody is left to read.
    error: Option<anyhow::Error>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, error: Some(anyhow::anyhow!("{message}")) }
    }

    /// Ends with this code and says nothing.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self { exit, error: None }
    }

    /// A file or stream of this host failed while `doing`. A reader of ours that went away is no
    /// news to anybody.
    pub(crate) fn host(doing: impl fmt::Display, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            return Self::silent(Exit::Signal(rustix::process::Signal::PIPE.as_raw()));
        }
        Self {
            exit: Exit::Host,
            error: Some(anyhow::Error::new(source).context(doing.to_string())),
        }
    }

    /// Says first what it was about.
    pub(crate) fn about(self, context: impl fmt::Display) -> Self {
        let error = self.error.map(|error| error.context(context.to_string()));
        Self { error, ..self }
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The sentence, with its causes; none when there is nothing to say.
    pub(crate) fn message(&self) -> Option<String> {
        self.error.as_ref().map(|error| printable(&format!("{error:#}")))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Refused { code, .. } => exit_of(*code),
            ClientError::Unreachable { .. }
            | ClientError::Untrusted { .. }
            | ClientError::Broken { .. } => Exit::Unreachable,
            ClientError::Unsendable { .. } => Exit::Usage,
            ClientError::Nonsense { .. } => Exit::Internal,
        };
        Self { exit, error: Some(error.into()) }
    }
}

/// The exit code for a refusal by the server.
pub(crate) fn exit_of(code: Code) -> Exit {
    match code {
        Code::ExecutableNotFound => Exit::NoExecutable,
        Code::NotExecutable => Exit::NotExecutable,
        Code::SetupNeeded => Exit::Usage,
        Code::NotFound | Code::ImageNotFound | Code::SnapshotNotFound => Exit::NotFound,
        Code::LimitReached | Code::DiskFull => Exit::Limit,
        Code::Unavailable => Exit::Unreachable,
        Code::SandboxStopped | Code::SandboxStopping | Code::SandboxSnapshotting => {
            Exit::SandboxEnded
        }
        Code::BadRequest
        | Code::FileError
        | Code::CommandStdinUnavailable
        | Code::CommandStdinStalled
        | Code::SandboxTimeoutInvalid
        | Code::SourceFailed
        | Code::Unauthorized
        | Code::Forbidden
        | Code::Conflict
        | Code::DriveAttached
        | Code::DriveNotInitialized
        | Code::ImageForbidden
        | Code::ImageUnusable
        | Code::RegistryLimited
        | Code::RegistryFailed
        | Code::SandboxNotListening
        | Code::TooLarge => Exit::Refused,
        Code::MachineFailed | Code::Internal => Exit::Internal,
    }
}

/// Text that may come from a guest, without what would steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(
            |c| {
                if c.is_control() && c != '\n' && c != '\t' {
                    char::REPLACEMENT_CHARACTER
                } else {
                    c
                }
            },
        )
        .collect()
}

#[cfg(test)]
mod tests;
