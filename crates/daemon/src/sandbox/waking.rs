//! A session that is paused goes on: a machine is made of the file that has its memory, and a gateway as at
//! its start.
//!
//! Nothing is recorded before the machine is there, held: whatever is left of one that was being made is
//! ended by the next server. That it is about to go on is recorded, and the file has its other name, before
//! it does.

use std::time::Duration;

use machine::{BootFailure, CloneSpec, Machine, MachineId, Root, SavedMemory, Start, Step};
use protocol::{Entropy, Request, Wake};

use super::{
    NotRunning, Owner,
    prepare::{gateway_of, layers_on, machine_folder, overlay_of, record},
    state::{Event, Memory},
};
use crate::{
    agent::AgentError,
    causes, clock, failpoint,
    gateway::{self, Gateway, Spec},
    ids,
    images::ImageError,
    network::Network,
    platform::{self, PlatformError},
    store::{Phase, StoreError},
};

/// One that does not take its memory back is thrown away for another.
const ATTEMPTS: u32 = 2;
const TOLD_DEADLINE: Duration = Duration::from_secs(30);

/// Why a session does not wake.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WakingError {
    #[error(transparent)]
    NotRunning(#[from] NotRunning),
    /// It ends, and its disk is kept.
    #[error("its memory could not be brought back: {0}")]
    Lost(String),
    #[error(transparent)]
    Platform(#[from] PlatformError),
    #[error(transparent)]
    Image(#[from] Box<ImageError>),
    #[error("it was made without a network")]
    NoNetwork,
    #[error("its saved memory cannot be used")]
    Io(#[from] std::io::Error),
    #[error("no machine came up")]
    Machine(#[source] Box<BootFailure>),
    #[error("no gateway came up")]
    Gateway(#[source] gateway::StartError),
    #[error("that it goes on could not be recorded")]
    Store(#[from] StoreError),
}

/// A machine that was made of the file, held, and its gateway.
struct Rebuilt {
    machine: Machine,
    gateway: Gateway,
}

impl Owner {
    /// Wakes it, for who has asked; what an earlier server began is brought to its end.
    pub(super) async fn wake(&mut self) -> Event {
        let asked = self.wake_asked.take();
        let woken = self.try_to_wake().await;
        let event = match &woken {
            Ok(()) => {
                self.activity.wake_up();
                Event::Woken
            }
            Err(WakingError::Lost(why)) => {
                tracing::error!(why, "a saved memory is lost");
                self.session.detail = Some(why.clone());
                Event::WakeFailed(Memory::Lost)
            }
            Err(error) => {
                tracing::error!(error = causes(error), "it does not wake");
                self.memory_place().put_back();
                Event::WakeFailed(Memory::Kept)
            }
        };
        if let Some(asked) = asked {
            // Who asked may have gone.
            drop(asked.send(woken));
        }
        event
    }

    async fn try_to_wake(&mut self) -> Result<(), WakingError> {
        if self.machine.is_none() {
            let Rebuilt { machine, gateway } = self.rebuild().await?;
            failpoint::pass("wake-launched");
            self.session.phase = Phase::Waking;
            self.session.host_boot.clone_from(&self.context.host_boot);
            if let Err(error) = self.store_session().await {
                self.session.phase = Phase::Paused;
                self.show();
                tokio::join!(machine.kill(), gateway.end());
                return Err(error.into());
            }
            failpoint::pass("wake-recorded");
            self.meter.start(machine.process(), 0);
            (self.machine, self.gateway) = (Some(machine), Some(gateway));
        }
        self.let_go().await?;
        let asleep =
            self.session.paused_at.take().map_or(0, |at| clock::now_ms().saturating_sub(at));
        self.session.paused_ms = self.session.paused_ms.saturating_add(asleep);
        self.session.phase = Phase::Running;
        self.record().await;
        if let Err(error) = self.memory_place().forget() {
            tracing::warn!(%error, "a saved memory is left that is of no more use");
        }
        self.merge_layers().await;
        tracing::info!("the session is awake");
        Ok(())
    }

    async fn rebuild(&self) -> Result<Rebuilt, WakingError> {
        let platform = self.context.platform().await?;
        let place = self.memory_place();
        let saved = SavedMemory::open(&place.take()?).map_err(unreadable)?;
        saved.check(platform).map_err(|misfit| WakingError::Lost(causes(&misfit)))?;
        let network = self.view.borrow().network.clone().ok_or(WakingError::NoNetwork)?;
        // Meanwhile its new name comes to the disk.
        let (synced, rebuilt) = tokio::join!(place.sync(), self.rebuild_from(&saved, network));
        match (synced, rebuilt) {
            (Ok(()), rebuilt) => rebuilt,
            (Err(error), Ok(Rebuilt { machine, gateway })) => {
                tokio::join!(machine.kill(), gateway.end());
                Err(error.into())
            }
            (Err(error), Err(_)) => Err(error.into()),
        }
    }

    async fn rebuild_from(
        &self,
        saved: &SavedMemory,
        network: Network,
    ) -> Result<Rebuilt, WakingError> {
        for _ in 1..ATTEMPTS {
            match self.attempt(saved, network.clone()).await {
                Err(WakingError::Lost(why)) => {
                    tracing::warn!(why, "one more machine is made of a saved memory");
                }
                outcome => return outcome,
            }
        }
        self.attempt(saved, network).await
    }

    async fn attempt(&self, saved: &SavedMemory, network: Network) -> Result<Rebuilt, WakingError> {
        let (context, sandbox) = (&self.context, self.durable.record());
        let platform = context.platform().await?;
        let image = context.images.recall((&sandbox).into()).await;
        let image = platform::base_image(&image.map_err(Box::new)?);
        let layers = self.session.layers.iter().map(|layer| context.snapshots.file(layer));
        let spec = CloneSpec {
            id: MachineId::random(),
            folder: machine_folder(context, &self.session.id),
            root: Root::Overlay {
                file: overlay_of(context, &self.session),
                layers: layers_on(layers, &image),
            },
            start: Start::Parked,
        };
        let machine = Machine::launch_paused(platform, saved, &spec).await.map_err(|failure| {
            record(context, &failure);
            WakingError::Machine(failure)
        })?;
        let leash = machine.leash();
        let spec = Spec {
            before: self.session.traffic,
            ..gateway_of(context, &machine, &sandbox, network)
        };
        let started = Gateway::start(spec, None, self.news.clone());
        let (recalled, started) = tokio::join!(machine.recall(saved), started);
        match (recalled, started) {
            (Ok(()), Ok(gateway)) => {
                leash.release();
                Ok(Rebuilt { machine, gateway })
            }
            (Ok(()), Err(error)) => {
                machine.kill().await;
                Err(WakingError::Gateway(error))
            }
            (Err(error), started) => {
                let why = causes(&error);
                let failed = machine.fail(Step::Restore, why.clone());
                let ended = async {
                    if let Ok(gateway) = started {
                        gateway.end().await;
                    }
                };
                let (failure, ()) = tokio::join!(failed, ended);
                record(context, &failure);
                Err(WakingError::Lost(why))
            }
        }
    }

    /// Lets the guest go on, and tells it that it has slept.
    async fn let_go(&mut self) -> Result<(), WakingError> {
        let gone = || WakingError::Lost("the machine is gone".to_owned());
        let machine = self.machine.as_ref().ok_or_else(gone)?;
        let agent = self.agent().ok_or_else(gone)?;
        machine.cont().await.map_err(|error| WakingError::Lost(causes(&error)))?;
        self.quiet = None;
        failpoint::pass("wake-let-go");
        let wake = Wake { unix_nanos: clock::now_ns(), entropy: Entropy(ids::random()) };
        let process = machine.process();
        let told = tokio::select! {
            told = agent.request(Request::Wake(wake), TOLD_DEADLINE) => told.map(drop),
            _ = process.exited() => Err(AgentError::Gone),
        };
        told.map_err(|error| WakingError::Lost(causes(&error)))?;
        failpoint::pass("wake-told");
        Ok(())
    }
}

/// What is not there, or no saved memory, will not become one.
fn unreadable(error: std::io::Error) -> WakingError {
    use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    match [InvalidData, NotFound, UnexpectedEof].contains(&error.kind()) {
        true => WakingError::Lost(causes(&error)),
        false => error.into(),
    }
}
