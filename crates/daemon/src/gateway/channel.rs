//! The server's end of a gateway's control socket.

use std::{io, time::Duration};

use egress::control::{Configuration, FromGateway, MESSAGE_BYTES_MAX, ToGateway, VERSION};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use zeroize::Zeroizing;

/// A gateway answers in milliseconds; one that does not in so long is ended.
const ANSWER: Duration = Duration::from_secs(5);
/// What a gateway says is short. It parses what hostile guests send, so it is not believed either.
const TOLD_BYTES_MAX: usize = 64 * 1024;
/// Messages waiting for the supervisor.
const QUEUE: usize = 16;

/// Why a gateway cannot be spoken with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    #[error("its control connection broke")]
    Io(#[from] io::Error),
    #[error("it closed its control connection")]
    Closed,
    #[error("it did not answer in time")]
    Silent,
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
    #[error("a message is malformed")]
    Malformed(#[from] postcard::Error),
    #[error("it speaks version {0} of the control protocol, and this server {VERSION}")]
    Version(u16),
    #[error("it spoke out of turn")]
    OutOfTurn,
}

/// What became of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Applied,
    Rejected(String),
}

/// A connection to a gateway that has said hello.
#[derive(Debug)]
pub(super) struct Channel {
    writer: OwnedWriteHalf,
    told: mpsc::Receiver<Result<FromGateway, ChannelError>>,
    reading: JoinHandle<()>,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Channel {
    /// Greets; gives the revision of the configuration that the gateway holds to, if there is one.
    pub(super) async fn open(stream: UnixStream) -> Result<(Self, Option<u64>), ChannelError> {
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        send(&mut writer, &ToGateway::Hello { version: VERSION }).await?;
        let hello = timeout(ANSWER, receive(&mut reader)).await;
        let revision = match hello.map_err(|_elapsed| ChannelError::Silent)?? {
            FromGateway::Hello { version: VERSION, revision } => revision,
            FromGateway::Hello { version, .. } => return Err(ChannelError::Version(version)),
            FromGateway::Applied { .. }
            | FromGateway::Rejected { .. }
            | FromGateway::Logged
            | FromGateway::Traffic { .. }
            | FromGateway::Pong => return Err(ChannelError::OutOfTurn),
        };
        let (tell, told) = mpsc::channel(QUEUE);
        let reading = tokio::spawn(async move {
            loop {
                let message = receive(&mut reader).await;
                let is_last = message.is_err();
                if tell.send(message).await.is_err() || is_last {
                    return;
                }
            }
        });
        Ok((Self { writer, told, reading }, revision))
    }

    /// The next thing that it says. Nothing is lost if this is not waited for to its end.
    pub(super) async fn next(&mut self) -> Result<FromGateway, ChannelError> {
        self.told.recv().await.unwrap_or(Err(ChannelError::Closed))
    }

    /// Asks whether it is there. It answers with [`FromGateway::Pong`].
    pub(super) async fn ping(&mut self) -> Result<(), ChannelError> {
        send(&mut self.writer, &ToGateway::Ping).await
    }

    /// Configures, and waits until the configuration holds. What else it says meanwhile is given to
    /// `besides`.
    pub(super) async fn configure(
        &mut self,
        configuration: Configuration,
        mut besides: impl FnMut(FromGateway),
    ) -> Result<Answer, ChannelError> {
        let asked = configuration.revision;
        send(&mut self.writer, &ToGateway::Configure(Box::new(configuration))).await?;
        let answered = async {
            loop {
                match self.told.recv().await.unwrap_or(Err(ChannelError::Closed))? {
                    FromGateway::Applied { revision } if revision == asked => {
                        return Ok(Answer::Applied);
                    }
                    FromGateway::Rejected { revision, reason } if revision == asked => {
                        return Ok(Answer::Rejected(reason));
                    }
                    other @ (FromGateway::Hello { .. }
                    | FromGateway::Applied { .. }
                    | FromGateway::Rejected { .. }
                    | FromGateway::Logged
                    | FromGateway::Traffic { .. }
                    | FromGateway::Pong) => besides(other),
                }
            }
        };
        timeout(ANSWER, answered).await.unwrap_or(Err(ChannelError::Silent))
    }
}

async fn receive(reader: &mut BufReader<OwnedReadHalf>) -> Result<FromGateway, ChannelError> {
    let length = usize::try_from(reader.read_u32().await?).unwrap_or(usize::MAX);
    if TOLD_BYTES_MAX < length {
        return Err(ChannelError::TooLong(length));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).await?;
    Ok(postcard::from_bytes(&bytes)?)
}

async fn send(writer: &mut OwnedWriteHalf, message: &ToGateway) -> Result<(), ChannelError> {
    // Its length first, so that the buffer, which may hold secrets, never moves and leaves a copy.
    let length = postcard::to_io(message, Counter(0))?.0;
    if MESSAGE_BYTES_MAX < length {
        return Err(ChannelError::TooLong(length));
    }
    let header = u32::try_from(length).map_err(|_large| ChannelError::TooLong(length))?;
    let mut framed = Zeroizing::new(Vec::with_capacity(4 + length));
    framed.extend(header.to_be_bytes());
    postcard::to_io(message, &mut *framed)?;
    match timeout(ANSWER, writer.write_all(&framed)).await {
        Ok(written) => Ok(written?),
        Err(_elapsed) => Err(ChannelError::Silent),
    }
}

struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
