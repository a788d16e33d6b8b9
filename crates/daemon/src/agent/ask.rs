//! What is asked of the task that owns a connection.

use std::sync::Arc;

use protocol::{CommandId, Request, StreamId};

use super::{incoming::Incoming, outgoing::Outgoing, quiet::BeQuiet, requests::Answer};

/// What the handles ask of the task.
#[derive(Debug)]
pub(super) enum Ask {
    Request { request: Request, opens: Opens, answer: Answer },
    Adopt(Opening),
    Quiet(BeQuiet),
}

/// Streams that come with a request.
#[derive(Debug)]
pub(super) enum Opens {
    Nothing,
    Command(Opening),
    Download(StreamId, Arc<Incoming>),
    Upload(StreamId, Arc<Outgoing>),
    /// Both directions; the stream is the one to the port.
    Tunnel(StreamId, Arc<Incoming>, Arc<Outgoing>),
}

#[derive(Debug)]
pub(super) struct Opening {
    pub(super) command: CommandId,
    pub(super) incoming: Arc<Incoming>,
    pub(super) stdin: Option<Arc<Outgoing>>,
}
