//! Error replies: `{"error":{"code","message"}}` with a closed set of codes.

use std::borrow::Cow;

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// One row per code, so that none is without its text and its status.
macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $text:literal, $status:ident;)*) => {
        /// Why a request was refused. Each code has one HTTP status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $code,)*
        }

        impl Code {
            /// Every code there is; the first of a status is its general one.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The code as it is on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $text,)*
                }
            }

            /// The HTTP status that goes with the code.
            pub fn status(self) -> StatusCode {
                match self {
                    $(Self::$code => StatusCode::$status,)*
                }
            }
        }
    };
}

codes! {
    /// The request is malformed, or asks for something that is never possible.
    BadRequest = "bad_request", BAD_REQUEST;
    /// No such executable in the guest; nothing was started.
    ExecutableNotFound = "executable_not_found", BAD_REQUEST;
    /// The executable exists but cannot be executed; nothing was started.
    NotExecutable = "not_executable", BAD_REQUEST;
    /// A file operation failed in the guest; the message says how.
    FileError = "file_error", BAD_REQUEST;
    /// No image of this name: not here, nor where it would come from.
    ImageNotFound = "image_not_found", BAD_REQUEST;
    /// The registry does not give the image to who we are; the message says how to log in.
    ImageForbidden = "image_forbidden", BAD_REQUEST;
    /// The image is for another computer, damaged, or of a form that cannot be used.
    ImageUnusable = "image_unusable", BAD_REQUEST;
    /// The sandbox's source is not there, or not for who asks; nothing was made.
    SourceFailed = "source_failed", BAD_REQUEST;
    /// The command has no stdin, or its stdin is closed.
    CommandStdinUnavailable = "command_stdin_unavailable", BAD_REQUEST;
    /// The session would last longer than one may.
    SandboxTimeoutInvalid = "sandbox_timeout_invalid", BAD_REQUEST;
    /// The bearer token is missing or wrong.
    Unauthorized = "unauthorized", UNAUTHORIZED;
    /// The request comes from a place it may not come from (Host, Origin).
    Forbidden = "forbidden", FORBIDDEN;
    /// No such sandbox, session, command or file.
    NotFound = "not_found", NOT_FOUND;
    /// The name is taken, or another operation stands in the way.
    Conflict = "conflict", CONFLICT;
    /// A session writes to the drive, or has it mounted where it was to be deleted.
    DriveAttached = "drive_attached", CONFLICT;
    /// Nobody has written to the drive yet, so there is nothing to take a snapshot or fork of.
    DriveNotInitialized = "drive_not_initialized", CONFLICT;
    /// The session has ended.
    SandboxStopped = "sandbox_stopped", GONE;
    /// There is no snapshot to start from: it was deleted, has expired, or never was.
    SnapshotNotFound = "snapshot_not_found", GONE;
    /// `fumehood setup` has to run first, or what the server is configured with be mended; the message says what.
    SetupNeeded = "setup_needed", PRECONDITION_FAILED;
    /// The body is larger than this request may have.
    TooLarge = "too_large", PAYLOAD_TOO_LARGE;
    /// The session is ending.
    SandboxStopping = "sandbox_stopping", UNPROCESSABLE_ENTITY;
    /// The session is ending, and its disk becomes a snapshot.
    SandboxSnapshotting = "sandbox_snapshotting", UNPROCESSABLE_ENTITY;
    /// This machine cannot bear more: memory, disk, CPU or count.
    LimitReached = "limit_reached", TOO_MANY_REQUESTS;
    /// The registry gives out no more for now.
    RegistryLimited = "registry_limited", TOO_MANY_REQUESTS;
    /// A fault of ours.
    Internal = "internal", INTERNAL_SERVER_ERROR;
    /// The machine did not start, or broke.
    MachineFailed = "machine_failed", INTERNAL_SERVER_ERROR;
    /// Nothing listens on that port of the guest.
    SandboxNotListening = "sandbox_not_listening", BAD_GATEWAY;
    /// The registry cannot be reached or trusted, or broke off.
    RegistryFailed = "registry_failed", FAILED_DEPENDENCY;
    /// The server is closing or handing over to a newer one; ask again.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE;
    /// The command does not read its stdin; send the piece again.
    CommandStdinStalled = "command_stdin_stalled", GATEWAY_TIMEOUT;
    /// The host's disk is full.
    DiskFull = "disk_full", INSUFFICIENT_STORAGE;
}

impl Code {
    /// Reads a code off the wire. One that a newer server made up is taken for the first code of
    /// its status, so that a caller still learns what kind of refusal it was.
    pub fn from_wire(code: &str, status: StatusCode) -> Self {
        let general = if status.is_client_error() { Self::BadRequest } else { Self::Internal };
        let all = Self::ALL.iter().copied();
        all.clone()
            .find(|known| known.as_str() == code)
            .or_else(|| all.clone().find(|known| known.status() == status))
            .unwrap_or(general)
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl schemars::JsonSchema for Code {
    fn schema_name() -> Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let all: Vec<&str> = Self::ALL.iter().map(|code| code.as_str()).collect();
        schemars::json_schema!({
            "description": "Why a request was refused. Each code has one HTTP status.",
            "type": "string",
            "enum": all,
        })
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self::from_wire(&text, StatusCode::INTERNAL_SERVER_ERROR))
    }
}

/// A refusal: a code for programs and a sentence for people.
#[derive(
    Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, thiserror::Error,
)]
#[error("{message}")]
pub struct Refusal {
    pub code: Code,
    pub message: String,
}

impl Refusal {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The body of every reply that is not 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ErrorBody {
    pub error: Refusal,
}
