//! From what went wrong inside to what a client is told: a code, a status and a sentence. The one
//! place where the two meet.

mod images;

use api::Code;
use axum::{
    Json,
    body::to_bytes,
    extract::Request,
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use image::{catalog::OpenError, recipe};
pub(crate) use images::image_code;
use protocol::RefusalCode;

use crate::{
    agent::AgentError,
    causes,
    command_log::LogError,
    drives::DriveError,
    gateway::ChangeError,
    platform::PlatformError,
    registry::{CreateError, ForkError, KeepError, ResumeError, WakeError},
    sandbox::{
        CommandError, ExtendError, FetchError, NotRunning, PauseError, PolicyError, PrepareError,
        Removed, SnapshotError, SplitError, WakingError,
    },
    secrets::PutError,
    store::StoreError,
    tokens::TokenError,
};

/// A reply that is not 2xx.
#[derive(Debug)]
pub(crate) struct Failure(pub api::Refusal);

pub(crate) type Reply<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self(api::Refusal::new(code, message))
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, message)
    }

    /// Of a request whose fields cannot be meant.
    pub(crate) fn invalid(text: impl std::fmt::Display) -> Self {
        Self::bad_request(format!("Invalid request: {text}"))
    }

    /// With the field that is malformed.
    pub(crate) fn about(self, field: &str) -> Self {
        if self.0.code != Code::BadRequest {
            return self;
        }
        Self::invalid(format!("`{field}`: {}", self.0.message))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.0.code.status();
        if status.is_server_error() {
            tracing::error!(code = %self.0.code, message = self.0.message, "a request failed");
        }
        (status, Json(api::ErrorBody { error: self.0 })).into_response()
    }
}

/// Gives the form of an error to what the framework refuses before a handler sees it.
pub(crate) async fn in_one_form(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let has_form = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if has_form || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let text = to_bytes(response.into_body(), TEXT_BYTES_MAX).await.unwrap_or_default();
    let code = match status {
        StatusCode::BAD_REQUEST => Code::BadRequest,
        status => Code::from_wire("", status),
    };
    let message = format!("Invalid request: {}", String::from_utf8_lossy(&text));
    Failure::new(code, message).into_response()
}

/// Of what the framework says.
const TEXT_BYTES_MAX: usize = 4096;

pub(crate) async fn no_route() -> Failure {
    Failure::new(Code::NotFound, "There is no such route.")
}

pub(crate) async fn no_method() -> Failure {
    Failure::bad_request("This route has no such method.")
}

impl From<NotRunning> for Failure {
    fn from(error: NotRunning) -> Self {
        let code = match error {
            NotRunning::Starting | NotRunning::Paused => Code::Conflict,
            NotRunning::Snapshotting(_) => Code::SandboxSnapshotting,
            NotRunning::Stopping(_) => Code::SandboxStopping,
            NotRunning::Stopped(_) => Code::SandboxStopped,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ExtendError> for Failure {
    fn from(error: ExtendError) -> Self {
        match error {
            ExtendError::NotRunning(error) => error.into(),
            ExtendError::TooLong(_) => Self::new(Code::SandboxTimeoutInvalid, error.to_string()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = if error.is_disk_full() { Code::DiskFull } else { Code::Internal };
        Self::new(code, causes(&error))
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        let code = match error {
            LogError::DiskFull(_) => Code::DiskFull,
            LogError::Write { .. } | LogError::Read { .. } | LogError::Version { .. } => {
                Code::Internal
            }
        };
        Self::new(code, causes(&error))
    }
}

impl From<PlatformError> for Failure {
    fn from(error: PlatformError) -> Self {
        Self::new(error.code(), causes(&error))
    }
}

impl PlatformError {
    fn code(&self) -> Code {
        match self {
            Self::Image(error) => match &**error {
                OpenError::Missing { name, .. } if name == recipe::NAME => Code::SetupNeeded,
                OpenError::Missing { .. } => Code::ImageNotFound,
                OpenError::Cache(_) | OpenError::Names(_) => Code::Internal,
            },
            Self::Qemu(_) | Self::Kernel(_) => Code::SetupNeeded,
            Self::Cache(_) | Self::Initramfs(_) | Self::Write { .. } | Self::Closing => {
                Code::Internal
            }
        }
    }
}

impl From<CreateError> for Failure {
    fn from(error: CreateError) -> Self {
        let code = match error {
            CreateError::Exists(_) => Code::BadRequest,
            CreateError::TooMany | CreateError::NoRoom(_) => Code::LimitReached,
            CreateError::Memory(_) => Code::DiskFull,
            CreateError::Host(_) => Code::Internal,
            CreateError::NoSnapshot(_) => Code::SnapshotNotFound,
            CreateError::Store(error) => return error.into(),
            CreateError::Ended(error) => return error.into(),
            CreateError::Prepare(failure) => {
                let code = prepare_code(&failure);
                return Self::new(code, causes(&*failure));
            }
        };
        Self::new(code, causes(&error))
    }
}

impl From<ResumeError> for Failure {
    fn from(error: ResumeError) -> Self {
        let code = match error {
            ResumeError::NoSnapshot(_) => Code::SnapshotNotFound,
            ResumeError::Removed(error) => return error.into(),
            ResumeError::Begin(error) => return CreateError::from(error).into(),
            ResumeError::Prepare(failure) => return CreateError::Prepare(failure).into(),
            ResumeError::Ended(error) => return error.into(),
            ResumeError::Waking(error) => return error.into(),
        };
        Self::new(code, causes(&error))
    }
}

impl From<ForkError> for Failure {
    fn from(error: ForkError) -> Self {
        match error {
            ForkError::Create(error) => error.into(),
            ForkError::Wake(error) => error.into(),
            ForkError::Split(error) => error.into(),
        }
    }
}

impl From<SplitError> for Failure {
    fn from(error: SplitError) -> Self {
        let code = match &error {
            SplitError::NotRunning(error) => return error.clone().into(),
            SplitError::Drives | SplitError::Refused(_) => Code::Conflict,
            SplitError::Machine(machine::ForkError::TooMuch { .. }) => Code::LimitReached,
            SplitError::Machine(machine::ForkError::Io(error))
                if error.kind() == std::io::ErrorKind::StorageFull =>
            {
                Code::DiskFull
            }
            SplitError::Machine(_) | SplitError::Disk(_) => Code::MachineFailed,
        };
        Self::new(code, causes(&error))
    }
}

impl From<KeepError> for Failure {
    fn from(error: KeepError) -> Self {
        let code = match error {
            KeepError::Wake(error) => return error.into(),
            KeepError::Split(error) => return error.into(),
            KeepError::Platform(error) => return error.into(),
            KeepError::Store(error) => return error.into(),
            KeepError::NoNetwork => Code::Conflict,
            KeepError::Disk(_) => Code::Internal,
        };
        Self::new(code, causes(&error))
    }
}

impl From<WakeError> for Failure {
    fn from(error: WakeError) -> Self {
        match error {
            WakeError::NotRunning(error) => error.into(),
            WakeError::Begin(error) => CreateError::from(error).into(),
            WakeError::Waking(error) => error.into(),
        }
    }
}

impl From<WakingError> for Failure {
    fn from(error: WakingError) -> Self {
        let code = match error {
            WakingError::NotRunning(error) => return error.into(),
            WakingError::Platform(error) => return error.into(),
            WakingError::Store(error) => return error.into(),
            WakingError::Image(ref error) => image_code(error),
            WakingError::Lost(_) | WakingError::Machine(_) | WakingError::Gateway(_) => {
                Code::MachineFailed
            }
            WakingError::NoNetwork => Code::Conflict,
            WakingError::Io(_) => Code::Internal,
        };
        Self::new(code, causes(&error))
    }
}

impl From<PauseError> for Failure {
    fn from(error: PauseError) -> Self {
        let code = match error {
            PauseError::NotRunning(error) => return error.into(),
            PauseError::Platform(error) => return error.into(),
            PauseError::Store(error) => return error.into(),
            PauseError::Drives | PauseError::Refused(_) => Code::Conflict,
            PauseError::Machine(ref error) if error.is_disk_full() => Code::DiskFull,
            PauseError::Agent(_) | PauseError::Machine(_) => Code::MachineFailed,
        };
        Self::new(code, causes(&error))
    }
}

impl From<Removed> for Failure {
    fn from(error: Removed) -> Self {
        Self::new(Code::NotFound, error.to_string())
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::NotRunning(error) => error.into(),
            SnapshotError::Lost(_) => Self::new(Code::MachineFailed, error.to_string()),
        }
    }
}

fn prepare_code(error: &PrepareError) -> Code {
    match error {
        PrepareError::Platform(error) => error.code(),
        PrepareError::Image(error) => image_code(error),
        PrepareError::Disk { .. } if error.is_disk_full() => Code::DiskFull,
        PrepareError::Disk { .. } => Code::Internal,
        PrepareError::Claim(AgentError::Refused(refusal))
            if matches!(refusal.code, RefusalCode::UnknownUser | RefusalCode::Invalid) =>
        {
            Code::BadRequest
        }
        PrepareError::Drive(error) => drive_code(error),
        PrepareError::Mount(AgentError::Refused(refusal))
            if matches!(refusal.code, RefusalCode::Invalid | RefusalCode::NotADirectory) =>
        {
            Code::BadRequest
        }
        PrepareError::Source(
            FetchError::Refused(_) | FetchError::Failed { .. } | FetchError::TooLong,
        ) => Code::SourceFailed,
        PrepareError::Source(FetchError::Log(_)) | PrepareError::Policy(_) => Code::Internal,
        PrepareError::Source(FetchError::Agent(_))
        | PrepareError::Plug(_)
        | PrepareError::Mount(_)
        | PrepareError::Template(_)
        | PrepareError::Clone(_)
        | PrepareError::Claim(_)
        | PrepareError::Gateway(_)
        | PrepareError::Agent(_)
        | PrepareError::Control(_)
        | PrepareError::Authority(_)
        | PrepareError::Log(_) => Code::MachineFailed,
    }
}

impl From<DriveError> for Failure {
    fn from(error: DriveError) -> Self {
        Self::new(drive_code(&error), causes(&error))
    }
}

fn drive_code(error: &DriveError) -> Code {
    match error {
        DriveError::NotFound(_) => Code::NotFound,
        DriveError::Attached { .. } => Code::DriveAttached,
        DriveError::NotInitialized(_) => Code::DriveNotInitialized,
        DriveError::Exists(_) | DriveError::Region { .. } => Code::Conflict,
        DriveError::TooMany | DriveError::TooDeep(_) => Code::LimitReached,
        DriveError::Store(error) if error.is_disk_full() => Code::DiskFull,
        DriveError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            Code::DiskFull
        }
        DriveError::Store(_) | DriveError::Format(_) | DriveError::Io { .. } => Code::Internal,
    }
}

impl From<PutError> for Failure {
    fn from(error: PutError) -> Self {
        let code = match error {
            PutError::Length | PutError::Control => {
                return Self::bad_request(format!("Invalid request: {error}"));
            }
            PutError::TooMany => Code::LimitReached,
            PutError::Store(error) => return error.into(),
        };
        Self::new(code, causes(&error))
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        let code = match error {
            TokenError::TooMany => Code::LimitReached,
            TokenError::Store(error) => return error.into(),
            TokenError::Sign(_) | TokenError::Key(_) => Code::Internal,
        };
        Self::new(code, causes(&error))
    }
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        let code = match error {
            PolicyError::NotRunning(error) => return error.into(),
            PolicyError::Store(error) => return error.into(),
            PolicyError::NoNetwork => Code::Conflict,
            PolicyError::Gateway(ChangeError::TooLong) => Code::TooLarge,
            PolicyError::Gateway(ChangeError::Ending) => Code::SandboxStopping,
            PolicyError::Gateway(ChangeError::Rejected(_) | ChangeError::Configure(_)) => {
                Code::Internal
            }
        };
        Self::new(code, causes(&error))
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let code = match error {
            CommandError::Exists(_) => Code::Conflict,
            CommandError::TooMany => Code::LimitReached,
            CommandError::Refused(refusal) => return refused(&refusal),
            CommandError::Agent(error) => return error.into(),
            CommandError::Log(error) => return error.into(),
            CommandError::Store(error) => return error.into(),
            CommandError::Folder(_) => Code::Internal,
            CommandError::Closing => Code::Unavailable,
        };
        Self::new(code, causes(&error))
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let code = match error {
            AgentError::Refused(refusal) => return refused(&refusal),
            AgentError::Gone => Code::SandboxStopped,
            AgentError::TooLong => Code::TooLarge,
            AgentError::Body(_) => Code::BadRequest,
            AgentError::TimedOut
            | AgentError::VersionMismatch { .. }
            | AgentError::Confused
            | AgentError::Reset => Code::MachineFailed,
        };
        Self::new(code, causes(&error))
    }
}

/// What the guest's agent said is shown, as the guest's.
fn refused(refusal: &protocol::Refusal) -> Failure {
    let code = match refusal.code {
        RefusalCode::ExecutableNotFound => Code::ExecutableNotFound,
        RefusalCode::NotExecutable => Code::NotExecutable,
        RefusalCode::NotFound
        | RefusalCode::AlreadyExists
        | RefusalCode::NotADirectory
        | RefusalCode::IsADirectory
        | RefusalCode::NotEmpty
        | RefusalCode::PermissionDenied
        | RefusalCode::NoSpace
        | RefusalCode::BadArchive
        | RefusalCode::Io => Code::FileError,
        RefusalCode::UnknownUser | RefusalCode::Invalid => Code::BadRequest,
        RefusalCode::UnknownCommand => Code::NotFound,
        RefusalCode::TooManyCommands | RefusalCode::TooManyConnections => Code::LimitReached,
        RefusalCode::NotListening => Code::SandboxNotListening,
        RefusalCode::WrongPhase => Code::MachineFailed,
    };
    Failure::new(code, refusal.message.clone())
}
