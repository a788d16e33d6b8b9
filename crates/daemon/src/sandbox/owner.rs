//! The one task that changes a sandbox's session: it asks the lifecycle what to do, does it, and
//! feeds back what happened.

use std::{pin::Pin, sync::Arc, time::Duration};

use machine::{Machine, Paused};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tracing::Instrument;

use super::{
    Activity, Commands, Disk, Durable, EndReason, PauseError, PrepareError, Sandbox, Session,
    WakingError, lost_connections,
    merging::{Merging, merged},
    meter::Meter,
    prepare::{Beginning, Job, Prepared, agent_of, gateway_of, machine_folder, prepare},
    saving::Wanted,
    session::{Ask, View},
    state::{Effect, Event, State},
    watched::Watched,
};
use crate::{
    agent::{Agent, Quiet},
    clock,
    context::Context,
    failpoint,
    gateway::{Gateway, News, Place, Spec},
    network::Network,
    store::{Change, CommandRecord, Phase, SandboxRecord, SessionRecord, StoreError},
};

const MAILBOX: usize = 64;
/// Guests' clocks drift under emulation.
const CLOCK_EVERY: Duration = Duration::from_secs(600);
/// Of what does not come.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// Of a machine that crashes, what it used since then is not known.
const METER_EVERY: Duration = Duration::from_secs(10);

type Preparing = Pin<Box<dyn Future<Output = Result<Prepared, PrepareError>> + Send>>;

/// What an earlier server left of a session.
#[derive(Debug)]
pub(crate) enum Adopted {
    /// The machine runs on.
    Machine(Box<Machine>),
    /// It is in a file.
    Paused,
    /// Nothing is there any more, or nothing that is of use; to be released.
    Ended(EndReason),
}

/// What is stored of a session.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) session: SessionRecord,
    pub(crate) commands: Vec<CommandRecord>,
}

/// Owns one session.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(super) context: Arc<Context>,
    pub(super) durable: Arc<Durable>,
    pub(super) session: SessionRecord,
    pub(super) state: State,
    pub(super) machine: Option<Machine>,
    pub(super) gateway: Option<Gateway>,
    pub(super) news: watch::Sender<News>,
    pub(super) agent: watch::Sender<Option<Agent>>,
    pub(super) view: watch::Sender<View>,
    mailbox: mpsc::Receiver<Ask>,
    pub(super) commands: Commands,
    pub(super) meter: Arc<Meter>,
    /// The snapshot that ends the session, if somebody asked for it.
    pub(super) wanted: Option<Wanted>,
    /// When its disk is tried to be kept again.
    pub(super) save_at: Option<Instant>,
    pub(super) merging: Option<Merging>,
    pub(super) watched: Watched,
    pub(super) activity: Activity,
    /// Held while it is paused: nothing is said to an agent that is not there.
    pub(super) quiet: Option<Quiet>,
    pub(super) pause_asked: Option<oneshot::Sender<Result<Paused, PauseError>>>,
    pub(super) wake_asked: Option<oneshot::Sender<Result<(), WakingError>>>,
}

/// Whether what was to be done is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Yes,
    NotYet,
}

impl Owner {
    /// Records a new sandbox and starts its first session.
    pub(crate) async fn create(
        context: &Arc<Context>,
        sandbox: SandboxRecord,
        session: SessionRecord,
        network: Network,
        beginning: Beginning,
    ) -> Result<Arc<Sandbox>, StoreError> {
        let mut changes = vec![Change::Sandbox(sandbox.clone()), Change::Session(session.clone())];
        changes.extend(network.made(&context.egress.seal, &sandbox.key())?);
        let current = sandbox.current_snapshot.clone();
        if let Err(error) = context.store.commit(changes).await {
            if let Some(parked) = beginning.parked {
                parked.end(context).await;
            }
            return Err(error);
        }
        context.snapshots.point(sandbox.key(), current);
        failpoint::pass("create-recorded");
        let durable = Arc::new(Durable::new(sandbox, Some(network.clone())));
        let session = Self::begin(context, &durable, session, network, beginning);
        Ok(Sandbox::new(durable, Vec::new(), session))
    }

    /// Starts a session that is recorded.
    pub(crate) fn begin(
        context: &Arc<Context>,
        durable: &Arc<Durable>,
        session: SessionRecord,
        network: Network,
        beginning: Beginning,
    ) -> Arc<Session> {
        let remembered = Remembered { session, commands: Vec::new() };
        let (mut owner, handle) = Self::new(context, durable, remembered);
        let preparing = owner.prepare_in_background(&handle.record, network, beginning);
        let span = tracing::info_span!("sandbox", name = %handle.record.key());
        context.tasks.spawn(async move { owner.run(Some(preparing)).await }.instrument(span));
        handle
    }

    /// Goes on with a session of an earlier server.
    pub(crate) async fn adopt(
        context: &Arc<Context>,
        durable: &Arc<Durable>,
        remembered: Remembered,
        adopted: Adopted,
    ) -> Arc<Session> {
        let span = tracing::info_span!("sandbox", name = %remembered.session.sandbox);
        let (mut owner, handle) = Self::new(context, durable, remembered);
        owner.hold_planned_name();
        match adopted {
            Adopted::Machine(machine) => {
                owner.state = match owner.session.phase {
                    Phase::Snapshotting => owner.ended_state(EndReason::Stopped),
                    Phase::Pausing => State::Pausing,
                    Phase::Waking => State::Waking,
                    Phase::Preparing
                    | Phase::Running
                    | Phase::Paused
                    | Phase::Stopping
                    | Phase::Stopped => State::Running,
                };
                if matches!(owner.state, State::Pausing | State::Waking) {
                    owner.activity.fall_asleep();
                }
                let agent = agent_of(context, &machine);
                owner.commands.adopt(&agent).await;
                let network = owner.view.borrow().network.clone();
                owner.gateway = network.map(|network| {
                    let spec = gateway_of(context, &machine, &handle.record, network);
                    let spec = Spec { before: handle.view().session.traffic, ..spec };
                    span.in_scope(|| Gateway::adopt(spec, owner.news.clone()))
                });
                owner.meter.start(machine.process(), owner.session.cpu_before_ms);
                owner.machine = Some(*machine);
                owner.agent.send_replace(Some(agent));
            }
            Adopted::Paused => owner.adopt_paused().await,
            Adopted::Ended(reason) => owner.state = owner.ended_state(reason),
        }
        context.tasks.spawn(async move { owner.take_up().await }.instrument(span));
        handle
    }

    fn new(
        context: &Arc<Context>,
        durable: &Arc<Durable>,
        remembered: Remembered,
    ) -> (Self, Arc<Session>) {
        let Remembered { session, commands } = remembered;
        let (mailbox, asked) = mpsc::channel(MAILBOX);
        let (agent, agent_seen) = watch::channel(None);
        let view = View { session: session.clone(), failure: None, network: durable.network() };
        let (view, seen) = watch::channel(view);
        let (news, news_seen) = watch::channel(News::default());
        tokio::spawn(lost_connections::reset(news_seen.clone(), agent_seen.clone()));
        let place = Place::of(&context.paths, &session.id);
        let console = machine_folder(context, &session.id).join("console.log");
        let first = session.forked.as_ref().map_or(1, |forked| forked.first_command);
        let activity = Activity::default();
        let commands =
            Commands::new(context, session.id.clone(), (first, commands), activity.clone());
        let meter = Arc::new(Meter::default());
        let owner = Self {
            context: Arc::clone(context),
            durable: Arc::clone(durable),
            session,
            state: State::Preparing { stop: None },
            machine: None,
            gateway: None,
            news,
            agent,
            view,
            mailbox: asked,
            commands: commands.clone(),
            meter: Arc::clone(&meter),
            wanted: None,
            save_at: None,
            merging: None,
            watched: Watched::default(),
            activity: activity.clone(),
            quiet: None,
            pause_asked: None,
            wake_asked: None,
        };
        let mut record = durable.record();
        record.shape = owner.session.shape.unwrap_or(record.shape);
        let handle = Session {
            id: owner.session.id.clone(),
            record,
            commands,
            view: seen,
            agent: agent_seen,
            mailbox,
            console,
            place,
            news: news_seen,
            meter,
            activity,
            waking: tokio::sync::Mutex::default(),
        };
        (owner, Arc::new(handle))
    }

    /// An adopted session may have something to do at once.
    async fn take_up(&mut self) {
        if let Err(error) = self.settle_fork().await {
            tracing::error!(error = crate::causes(&error), "a fork has not come to its end");
        }
        match self.state {
            State::Saving { .. } => self.carry_out(Effect::Save).await,
            State::Stopping { .. } => self.carry_out(Effect::Release).await,
            State::Stopped { .. } => return,
            State::Pausing => {
                self.go_on().await;
                self.step(Event::PauseFailed).await;
            }
            State::Waking => self.carry_out(Effect::Wake).await,
            State::Preparing { .. } | State::Running | State::Paused => {}
        }
        self.run(None).await;
    }

    async fn run(&mut self, mut preparing: Option<Preparing>) {
        let mut clock_at = Instant::now() + CLOCK_EVERY;
        let mut meter_at = Instant::now() + METER_EVERY;
        while !matches!(self.state, State::Stopped { .. }) {
            self.watched.follow(self.machine.as_ref());
            let deadline = self.deadline();
            let idle_span = self.idle_span();
            let activity = self.activity.clone();
            let save_at = self.save_at;
            let event = tokio::select! {
                Some(ask) = self.mailbox.recv() => match self.hear(ask).await {
                    Some(event) => event,
                    None => continue,
                },
                outcome = option(&mut preparing), if preparing.is_some() => {
                    preparing = None;
                    self.prepared(outcome)
                }
                reason = self.watched.gone(self.machine.as_ref()),
                    if self.state == State::Running =>
                {
                    Event::MachineEnded(reason, self.disk())
                }
                () = sleep_until(deadline) => Event::DeadlinePassed(self.disk()),
                () = activity.idle(idle_span.unwrap_or(FAR)), if idle_span.is_some() => {
                    if !self.activity.fall_asleep_if_idle(idle_span.unwrap_or(FAR)) {
                        continue;
                    }
                    Event::PauseRequested
                }
                () = sleep_until(save_at.unwrap_or(deadline)), if save_at.is_some() => {
                    self.carry_out(Effect::Save).await;
                    continue;
                }
                () = merged(&mut self.merging) => {
                    self.layers_merged().await;
                    continue;
                }
                () = sleep_until(meter_at) => {
                    meter_at = Instant::now() + METER_EVERY;
                    self.meter.read_ms();
                    continue;
                }
                () = sleep_until(clock_at) => {
                    clock_at = Instant::now() + CLOCK_EVERY;
                    self.keep_up().await;
                    continue;
                }
            };
            self.step(event).await;
        }
    }

    async fn step(&mut self, event: Event) {
        let (next, effect) = self.state.on(event);
        if next != self.state {
            tracing::info!(?event, from = %self.state, to = %next, "session");
        }
        self.state = next;
        if let Some(effect) = effect {
            self.carry_out(effect).await;
        }
    }

    /// Goes on to where an event leads, and gives what is to be done there.
    fn advance(&mut self, event: Event) -> Option<Effect> {
        let (next, effect) = self.state.on(event);
        self.state = next;
        effect
    }

    async fn carry_out(&mut self, effect: Effect) {
        let mut effect = Some(effect);
        while let Some(now) = effect {
            effect = match now {
                Effect::Open => {
                    self.open().await;
                    None
                }
                Effect::Save => match self.save().await {
                    Ended::Yes => self.advance(Event::Saved),
                    Ended::NotYet => None,
                },
                Effect::Release => {
                    self.release().await;
                    self.advance(Event::Released)
                }
                Effect::Pause => {
                    let event = self.pause().await;
                    self.advance(event)
                }
                Effect::Wake => {
                    let event = self.wake().await;
                    self.advance(event)
                }
                Effect::Close => {
                    self.close().await;
                    None
                }
            };
        }
    }

    fn prepare_in_background(
        &self,
        sandbox: &SandboxRecord,
        network: Network,
        beginning: Beginning,
    ) -> Preparing {
        let context = Arc::clone(&self.context);
        let Beginning { parked, source, split } = beginning;
        let layers = self.session.layers.iter().map(|layer| context.snapshots.file(layer));
        let layers = layers.collect();
        let sandbox = sandbox.clone();
        let job = Job { sandbox, layers, network, source, split, news: self.news.clone() };
        Box::pin(async move { prepare(&context, &job, parked).await })
    }

    fn prepared(&mut self, outcome: Result<Prepared, PrepareError>) -> Event {
        match outcome {
            Ok(Prepared { machine, agent, gateway, cpu_before_ms, flaw, memory_lost }) => {
                self.session.cpu_before_ms = cpu_before_ms;
                self.meter.start(machine.process(), cpu_before_ms);
                if let Some(forked) = &mut self.session.forked {
                    forked.flaw = flaw;
                }
                if memory_lost.is_some() {
                    self.session.forked = None;
                    self.session.memory_lost = memory_lost;
                }
                self.machine = Some(machine);
                self.gateway = Some(gateway);
                self.agent.send_replace(Some(agent));
                Event::Prepared
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "it did not start");
                let reason = match error.is_disk_full() {
                    true => EndReason::DiskFull,
                    false => EndReason::FailedToStart,
                };
                self.session.detail = Some(crate::causes(&error));
                self.view.send_modify(|view| view.failure = Some(Arc::new(error)));
                Event::PrepareFailed(reason)
            }
        }
    }

    async fn open(&mut self) {
        self.session.started_at = Some(clock::now_ms());
        self.session.phase = Phase::Running;
        self.record().await;
        failpoint::pass("running-recorded");
        self.merge_layers().await;
    }

    /// Stores the session and shows it. If it cannot be stored it goes on: after a restart what is
    /// there is looked at anyway.
    pub(super) async fn record(&mut self) {
        if let Err(error) = self.store_session().await {
            tracing::error!(error = &error as &dyn std::error::Error, "a session was not recorded");
        }
    }

    /// Stores the session, and shows it in any case.
    pub(super) async fn store_session(&mut self) -> Result<(), StoreError> {
        self.session.updated_at = clock::now_ms();
        let stored = self.context.store.commit(vec![Change::Session(self.session.clone())]).await;
        self.show();
        stored
    }

    pub(super) fn show(&self) {
        let session = self.session.clone();
        self.view.send_modify(|view| view.session = session);
    }

    pub(super) fn agent(&self) -> Option<Agent> {
        self.agent.borrow().clone()
    }

    /// When the session ends by itself; far away while it has not started.
    fn deadline(&self) -> Instant {
        let left = self
            .session
            .deadline_ms()
            .filter(|_| matches!(self.state, State::Running))
            .map_or(u64::from(u32::MAX), |deadline| deadline.saturating_sub(clock::now_ms()));
        Instant::now() + Duration::from_millis(left)
    }

    /// A session whose end is recorded is over. Of any other the disk is still to be kept, or all of it
    /// to be released.
    fn ended_state(&self, reason: EndReason) -> State {
        let reason = self.session.reason.unwrap_or(reason);
        match (self.session.phase, self.disk()) {
            (Phase::Stopped, _) => State::Stopped { reason },
            (Phase::Snapshotting, _)
            | (Phase::Running | Phase::Pausing | Phase::Paused | Phase::Waking, Disk::Keep) => {
                State::Saving { reason }
            }
            (Phase::Running | Phase::Pausing | Phase::Paused | Phase::Waking, Disk::Drop)
            | (Phase::Preparing | Phase::Stopping, _) => State::Stopping { reason },
        }
    }
}

async fn option<T>(future: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
