//! A gateway from its start to its end.

use std::{
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
};

use tokio::{runtime, task::LocalSet};

use super::{
    confine::{ConfineError, confine},
    control_server::ControlServer,
    recorder::Recorder,
    traffic::Traffic,
};
use crate::control::Configuration;

/// What a gateway is given by who starts it. It opens nothing by itself.
#[derive(Debug)]
pub struct Inherited {
    /// Connected to the network card of its guest.
    pub network: OwnedFd,
    /// Listens for the server ([`crate::control`]).
    pub control: OwnedFd,
    /// The two files of the audit log, opened to read and append.
    pub logs: [OwnedFd; 2],
}

/// Why a gateway ended, other than by the end of its guest.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error(transparent)]
    Confine(#[from] ConfineError),
    #[error("the audit log cannot be used")]
    Log(#[source] io::Error),
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
    #[error("the control socket broke")]
    Control(#[source] io::Error),
    #[error("the guest's network card broke")]
    Network(#[source] io::Error),
}

/// Holds one guest's network until the guest is gone. It confines the whole process for good, and
/// so is called in a process of its own, before anything else runs in it.
pub fn run(inherited: Inherited) -> Result<(), GatewayError> {
    let Inherited { network, control, logs } = inherited;
    let recorder = Recorder::open(logs.map(File::from)).map_err(GatewayError::Log)?;
    confine()?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(GatewayError::Runtime)?;
    LocalSet::new().block_on(&runtime, async {
        let network = nonblocking(UnixStream::from(network)).map_err(GatewayError::Network)?;
        let control = UnixListener::from(control);
        control.set_nonblocking(true).map_err(GatewayError::Control)?;
        let control = tokio::net::UnixListener::from_std(control).map_err(GatewayError::Control)?;
        hold(network, control, recorder).await
    })
}

fn nonblocking(stream: UnixStream) -> io::Result<tokio::net::UnixStream> {
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}

async fn hold(
    network: tokio::net::UnixStream,
    control: tokio::net::UnixListener,
    recorder: Recorder,
) -> Result<(), GatewayError> {
    let traffic = Traffic::default();
    let apply = |_configuration: Configuration| Ok(());
    let server = ControlServer { apply, revision: None, recorder, traffic };
    let serving = server.run(control);
    tokio::select! {
        result = serving => result.map_err(GatewayError::Control),
        result = network.readable() => result.map_err(GatewayError::Network),
    }
}
