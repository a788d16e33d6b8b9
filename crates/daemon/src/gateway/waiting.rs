//! A gateway's process that has been started and not yet been told what to let through: nothing.

use std::os::fd::OwnedFd;

use machine::{Exit, Leash, Process};

use super::{
    Card, Place, Program, StartError,
    channel::{Channel, ChannelError},
    process,
};
use crate::store::Traffic;

/// It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(super) process: Process,
    pub(super) channel: Channel,
    pub(super) leash: Leash,
}

impl Waiting {
    /// For a session that has no gateway yet.
    pub(crate) async fn start(
        place: &Place,
        program: &Program,
        card: &Card,
    ) -> Result<Self, StartError> {
        let network = card().map_err(StartError::Card)?;
        Self::after(place, program, network, Traffic::default()).await
    }

    /// After others that have let so much pass.
    pub(super) async fn after(
        place: &Place,
        program: &Program,
        network: OwnedFd,
        before: Traffic,
    ) -> Result<Self, StartError> {
        let started = process::start(place, program, network, before);
        let (process, leash) = started.map_err(StartError::Process)?;
        match greet(place).await {
            Ok(channel) => Ok(Self { process, channel, leash }),
            Err(error) => Err(why_not(place, &process, error.into()).await),
        }
    }

    /// Ends it and waits until it is gone.
    pub(crate) async fn end(self) {
        self.process.kill().await;
    }
}

async fn greet(place: &Place) -> Result<Channel, ChannelError> {
    let stream = process::connect(place).await?;
    Ok(Channel::open(stream).await?.0)
}

/// Ends a gateway that did not come up. One that broke off has said why in its log.
pub(super) async fn why_not(place: &Place, process: &Process, error: StartError) -> StartError {
    let is_broken_off = matches!(error, StartError::Channel(ChannelError::Io(_)));
    // Its sockets close a little before it is gone.
    let exit = if is_broken_off { process.last_breath().await } else { None };
    process.kill().await;
    match exit {
        Some(exit) => StartError::Died(match place.last_words() {
            Some(words) => format!("{}: {words}", ended(exit)),
            None => ended(exit),
        }),
        None => error,
    }
}

pub(super) fn ended(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("it ended with code {code}"),
        Exit::Signal(signal) => format!("it was ended by signal {signal}"),
        Exit::Unknown => "it ended".to_owned(),
    }
}
