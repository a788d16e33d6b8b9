//! Refusals: from what went wrong here to what the host is told.

use protocol::{Refusal, RefusalCode};
use rustix::io::Errno;

/// A message names what the host asked for, which may be long.
const MESSAGE_MAX: usize = 1000;

pub(crate) fn refuse(code: RefusalCode, message: impl Into<String>) -> Refusal {
    let mut message = message.into();
    message.truncate(message.floor_char_boundary(MESSAGE_MAX));
    Refusal { code, message }
}

/// What the kernel said about `what`.
pub(crate) fn refuse_errno(errno: Errno, what: &str) -> Refusal {
    let code = match errno {
        Errno::NOENT => RefusalCode::NotFound,
        Errno::EXIST => RefusalCode::AlreadyExists,
        Errno::NOTDIR => RefusalCode::NotADirectory,
        Errno::ISDIR => RefusalCode::IsADirectory,
        Errno::NOTEMPTY => RefusalCode::NotEmpty,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => RefusalCode::PermissionDenied,
        Errno::NOSPC | Errno::DQUOT => RefusalCode::NoSpace,
        Errno::INVAL | Errno::NAMETOOLONG | Errno::LOOP => RefusalCode::Invalid,
        _ => RefusalCode::Io,
    };
    refuse(code, format!("{what}: {}", describe(errno)))
}

pub(crate) fn refuse_io(error: &std::io::Error, what: &str) -> Refusal {
    match Errno::from_io_error(error) {
        Some(errno) => refuse_errno(errno, what),
        None => refuse(RefusalCode::Io, format!("{what}: {error}")),
    }
}

/// The kernel's words without the number behind them.
fn describe(errno: Errno) -> String {
    let words = std::io::Error::from(errno).to_string();
    match words.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => words,
    }
}
