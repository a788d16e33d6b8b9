//! The gateway's end of the control socket.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf},
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{recorder::Recorder, traffic::Traffic};
use crate::control::{Configuration, FromGateway, MESSAGE_BYTES_MAX, ToGateway, VERSION};

/// A server that connects says hello at once.
const GREETING: Duration = Duration::from_secs(5);
/// A server that takes nothing off the socket for so long is not there.
const WRITE: Duration = Duration::from_secs(10);
/// How often traffic is told while there is some.
const TRAFFIC: Duration = Duration::from_secs(1);

/// What a message did not say rightly.
#[derive(Debug, thiserror::Error)]
enum ControlError {
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
    #[error("a message cannot be read")]
    Malformed(#[from] postcard::Error),
    #[error("the server speaks version {0}, and this gateway {VERSION}")]
    Version(u16),
    #[error("the server did not say hello")]
    Silent,
}

/// Takes configurations, and tells what the server wants to know.
pub(super) struct ControlServer<Apply> {
    /// Makes a configuration hold, or says why it cannot.
    pub(super) apply: Apply,
    pub(super) revision: Option<u64>,
    pub(super) recorder: Recorder,
    pub(super) traffic: Traffic,
}

impl<Apply: FnMut(Configuration) -> Result<(), String>> ControlServer<Apply> {
    /// Serves one server after another; a new one takes the place of the one before.
    pub(super) async fn run(mut self, listener: UnixListener) -> io::Result<()> {
        let mut waiting = None;
        loop {
            let stream = match waiting.take() {
                Some(stream) => stream,
                None => listener.accept().await?.0,
            };
            let ended = tokio::select! {
                result = self.serve(stream) => result,
                next = listener.accept() => {
                    waiting = Some(next?.0);
                    continue;
                }
            };
            if let Err(error) = ended {
                tracing::warn!(error = &error as &dyn std::error::Error, "a server went away");
            }
        }
    }

    async fn serve(&mut self, stream: UnixStream) -> Result<(), ControlError> {
        let (mut reader, mut writer) = stream.into_split();
        let hello = timeout(GREETING, receive(&mut reader)).await;
        match hello.map_err(|_elapsed| ControlError::Silent)?? {
            ToGateway::Hello { version: VERSION } => {}
            ToGateway::Hello { version } => return Err(ControlError::Version(version)),
            ToGateway::Configure(_) | ToGateway::Ping => return Err(ControlError::Silent),
        }
        send(&mut writer, &FromGateway::Hello { version: VERSION, revision: self.revision })
            .await?;
        let (asked, mut asks) = mpsc::channel(1);
        let written = self.recorder.written();
        let reading = async {
            loop {
                let message = receive(&mut reader).await?;
                if asked.send(message).await.is_err() {
                    return Ok(());
                }
            }
        };
        let talking = self.talk(&mut asks, &mut writer, written);
        tokio::select! {
            result = reading => result,
            result = talking => result,
        }
    }

    async fn talk(
        &mut self,
        asks: &mut mpsc::Receiver<ToGateway>,
        writer: &mut OwnedWriteHalf,
        mut written: watch::Receiver<u64>,
    ) -> Result<(), ControlError> {
        let mut told = (0, 0);
        let mut ticks = interval(TRAFFIC);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                asked = asks.recv() => match asked {
                    Some(ToGateway::Configure(configuration)) => self.configure(*configuration),
                    Some(ToGateway::Ping) => FromGateway::Pong,
                    // Said again, it changes nothing.
                    Some(ToGateway::Hello { .. }) => continue,
                    None => return Ok(()),
                },
                Ok(()) = written.changed() => FromGateway::Logged,
                _ = ticks.tick() => {
                    self.recorder.catch_up();
                    let now = self.traffic.now();
                    if std::mem::replace(&mut told, now) == now {
                        continue;
                    }
                    FromGateway::Traffic { sent: now.0, received: now.1 }
                }
            };
            send(writer, &message).await?;
        }
    }

    fn configure(&mut self, configuration: Configuration) -> FromGateway {
        let revision = configuration.revision;
        match (self.apply)(configuration) {
            Ok(()) => {
                self.revision = Some(revision);
                FromGateway::Applied { revision }
            }
            Err(reason) => FromGateway::Rejected { revision, reason },
        }
    }
}

async fn receive(reader: &mut OwnedReadHalf) -> Result<ToGateway, ControlError> {
    let length = usize::try_from(reader.read_u32().await?).unwrap_or(usize::MAX);
    if MESSAGE_BYTES_MAX < length {
        return Err(ControlError::TooLong(length));
    }
    // It may hold secrets, and is overwritten when it has been read.
    let mut bytes = zeroize::Zeroizing::new(vec![0; length]);
    reader.read_exact(&mut bytes).await?;
    Ok(postcard::from_bytes(&bytes)?)
}

async fn send(writer: &mut OwnedWriteHalf, message: &FromGateway) -> Result<(), ControlError> {
    let bytes = postcard::to_allocvec(message)?;
    let length = u32::try_from(bytes.len()).map_err(|_large| ControlError::TooLong(bytes.len()))?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(bytes);
    match timeout(WRITE, writer.write_all(&framed)).await {
        Ok(written) => Ok(written?),
        Err(_elapsed) => Err(ControlError::Io(io::ErrorKind::TimedOut.into())),
    }
}
