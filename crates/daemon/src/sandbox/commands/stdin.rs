//! A command's standard input in pieces that may come twice.

use std::time::Duration;

use bytes::Bytes;

use super::Command;
use crate::agent::{StdinClosed, StdinWriter};

/// How long a piece waits for a command that does not read.
const PATIENCE: Duration = Duration::from_secs(25);

/// A piece of input.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Where its first byte stands; after all that came before when absent.
    pub(crate) offset: Option<u64>,
    pub(crate) data: Bytes,
    /// Whether it is the last.
    pub(crate) last: bool,
}

/// Why a command did not get a piece of its input, or not all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FeedError {
    #[error("the command has no standard input, or has stopped reading it")]
    Unavailable,
    #[error("the piece stands at {offset}, and the {has} bytes before it are all that came")]
    Ahead { offset: u64, has: u64 },
    #[error("the command does not read; it has been given {given} bytes")]
    Stalled { given: u64 },
}

impl From<StdinClosed> for FeedError {
    fn from(_closed: StdinClosed) -> Self {
        Self::Unavailable
    }
}

impl Command {
    /// Gives a command a piece of its input and says how many bytes it has been given in all; the
    /// last of them, a few hundred thousand at most, may still be on their way. What it has of the
    /// piece already is passed over, so that a piece may be sent again. Should the server be killed
    /// and what was on its way be lost, the next piece is ahead.
    pub(crate) async fn feed(&self, piece: Piece) -> Result<u64, FeedError> {
        let stdin = self.stdin().ok_or(FeedError::Unavailable)?;
        let fed = async {
            // One after the other: where a piece stands is looked at and used.
            let _turn = self.feeding.lock().await;
            give(&stdin, piece).await
        };
        match tokio::time::timeout(PATIENCE, fed).await {
            Ok(fed) => fed,
            Err(_elapsed) => Err(FeedError::Stalled { given: stdin.written().await? }),
        }
    }
}

async fn give(stdin: &StdinWriter, piece: Piece) -> Result<u64, FeedError> {
    let Piece { offset, mut data, last } = piece;
    let has = stdin.written().await?;
    let offset = offset.unwrap_or(has);
    let known = has.checked_sub(offset).ok_or(FeedError::Ahead { offset, has })?;
    drop(data.split_to(usize::try_from(known).unwrap_or(usize::MAX).min(data.len())));
    let end = has + data.len() as u64;
    if !data.is_empty() {
        stdin.write(data).await?;
    }
    if last {
        stdin.close();
    }
    Ok(end)
}
