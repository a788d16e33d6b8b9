//! Files on their way out of the guest and into it.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::{
    AgentError,
    incoming::{Incoming, Over, Reader},
    outgoing::{Closed, Outgoing},
};

/// Content on its way out of the guest. Dropped before its end, the agent stops sending.
#[derive(Debug)]
pub struct Download {
    incoming: Arc<Incoming>,
    /// That it was cut short is said once.
    is_over: bool,
}

/// What a tar stream left in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub entries: u64,
    pub bytes: u64,
}

impl Download {
    pub(super) fn new(incoming: Arc<Incoming>) -> Self {
        Self { incoming, is_over: false }
    }
}

impl Stream for Download {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        self.incoming.poll_take(context).map(|taken| match taken {
            Some(batch) => {
                self.incoming.handled(&batch);
                Some(Ok(batch.into_bytes()))
            }
            None => {
                self.is_over = true;
                self.incoming.completed().err().map(|over| Err(cut_short(over)))
            }
        })
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let through = self.incoming.completed().is_ok();
        self.incoming.leave(if through { Reader::Through } else { Reader::Left });
    }
}

fn cut_short(over: Over) -> io::Error {
    let error = match over {
        Over::Gone => AgentError::Gone,
        Over::Reset | Over::Unknown => AgentError::Reset,
    };
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

/// A file on its way in. Dropped before the agent's answer, it is given up.
#[derive(Debug)]
pub(super) struct Upload(pub(super) Arc<Outgoing>);

impl Upload {
    /// Sends all of `body`. If the agent takes no more, its answer says why.
    pub(super) async fn send<B>(&self, body: B) -> Result<(), AgentError>
    where
        B: Stream<Item = io::Result<Bytes>> + Send,
    {
        let mut body = std::pin::pin!(body);
        while let Some(bytes) = body.next().await {
            if let Err(Closed) = self.0.write(bytes.map_err(AgentError::Body)?).await {
                return Ok(());
            }
        }
        self.0.end();
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.leave();
    }
}
