//! The task that keeps one session's gateway up.

use std::time::Duration;

use egress::{
    control::FromGateway,
    event::{Decision, Event, Kind},
};
use machine::Process;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout},
};

use super::{
    ChangeError, News, Spec, StartError,
    channel::{Answer, Channel, ChannelError},
    process,
    waiting::{Waiting, ended, why_not},
};
use crate::{audit, causes, clock, failpoint, identity::RENEWAL, network::Network, store::Traffic};

/// How long it is waited before a gateway that has ended is started again, first and last.
const AGAIN: [u64; 7] = [0, 1, 2, 4, 8, 16, 30];
/// A gateway that has run for so long had a good start, and the next one is started at once.
const STEADY: Duration = Duration::from_secs(60);
/// A gateway whose machine is gone writes its last events and ends.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// So often what has passed is written down, for a server that comes after us.
const TRAFFIC_EVERY: Duration = Duration::from_secs(10);
/// So often it is asked whether a gateway is there, and so long it may take to say anything: one
/// that has hung holds up all of its machine, whose network card waits for it.
const PULSE: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 20 });
/// What a gateway gives as a reason is shown as far as this.
const REASON_BYTES_MAX: usize = 512;

/// What is asked of a supervisor.
#[derive(Debug)]
pub(super) enum Ask {
    Change { network: Box<Network>, reply: oneshot::Sender<Result<(), ChangeError>> },
    End(oneshot::Sender<()>),
}

/// A gateway that holds to its configuration.
#[derive(Debug)]
pub(super) struct Up {
    process: Process,
    channel: Channel,
    since: Instant,
    /// When what has passed was last written down.
    traffic_at: Instant,
    /// Why it is being ended, if we do that.
    doom: Option<String>,
    /// Whether it has said anything since it was last asked.
    heard: bool,
}

/// How a gateway's time came to its end.
enum End {
    /// By itself, or because it did not do as it should.
    Gone(String),
    Asked(oneshot::Sender<()>),
    /// The server is closing: the gateway runs on.
    LetGo,
}

/// Where the supervisor is.
enum State {
    /// Looking for what an earlier server left.
    Looking,
    Up(Box<Up>),
    /// None runs. `why` is to be told in the audit log, if it has not been told.
    Down {
        why: Option<String>,
        again_at: Instant,
    },
    Ending(Option<Box<Up>>, oneshot::Sender<()>),
    Over,
}

#[derive(Debug)]
pub(super) struct Supervisor {
    spec: Spec,
    news: watch::Sender<News>,
    asks: mpsc::Receiver<Ask>,
    revision: u64,
    /// How often in a row it was started and did not last.
    failures: usize,
    /// What had passed before the gateway that runs now.
    before: Traffic,
    cpu_before_ms: u64,
}

impl Supervisor {
    pub(super) fn new(spec: Spec, news: watch::Sender<News>, asks: mpsc::Receiver<Ask>) -> Self {
        let before = spec.before;
        Self { spec, news, asks, revision: 0, failures: 0, before, cpu_before_ms: 0 }
    }

    /// Starts the first gateway, or configures the one that waits, and then goes on in the background.
    pub(super) async fn start(mut self, waiting: Option<Waiting>) -> Result<(), StartError> {
        let up = match waiting {
            Some(waiting) => self.configure(waiting).await?,
            None => self.launch(None).await?,
        };
        self.go_on(State::Up(Box::new(up)));
        Ok(())
    }

    /// Looks for a gateway in the background, and starts one where there is none.
    pub(super) fn adopt(self) {
        self.go_on(State::Looking);
    }

    fn go_on(self, state: State) {
        let tasks = self.spec.tasks.clone();
        tasks.spawn(self.run(state));
    }

    async fn run(mut self, mut state: State) {
        loop {
            state = match state {
                State::Looking => self.look().await,
                State::Up(up) => self.keep(up).await,
                State::Down { why, again_at } => self.wait(why, again_at).await,
                State::Ending(up, reply) => {
                    self.finish(up).await;
                    // Who asked may have gone.
                    let _gone = reply.send(()).is_err();
                    State::Over
                }
                State::Over => return,
            };
        }
    }

    /// Takes up what an earlier server left, if it can be spoken with.
    async fn look(&mut self) -> State {
        self.before = self.spec.place.traffic().unwrap_or(self.before);
        self.tell_traffic(Traffic::default());
        let Some(process) = process::find(&self.spec.place).await else {
            let why = Some("it ended while no server ran".to_owned());
            return State::Down { why, again_at: Instant::now() };
        };
        if let Some(record) = self.spec.place.read() {
            self.before = record.before;
        }
        match self.take_up(process.clone()).await {
            Ok(up) => State::Up(Box::new(up)),
            Err(error) => {
                process.kill().await;
                let why = Some(format!("it could not be taken up again: {}", causes(&error)));
                State::Down { why, again_at: Instant::now() }
            }
        }
    }

    async fn take_up(&mut self, process: Process) -> Result<Up, StartError> {
        let stream = process::connect(&self.spec.place).await.map_err(ChannelError::from)?;
        let (channel, revision) = Channel::open(stream).await?;
        self.revision = self.revision.max(revision.unwrap_or(0));
        self.configured(process, channel).await
    }

    /// Starts a gateway and configures it. If one went before, `why` it ended is told first, as the
    /// new one goes on with the same log; and not at all if the machine is gone too.
    async fn launch(&mut self, why: Option<&str>) -> Result<Up, StartError> {
        let network = (self.spec.card)().map_err(StartError::Card)?;
        if let Some(why) = why {
            self.note(why).await;
        }
        let Spec { place, program, .. } = &self.spec;
        let waiting = Waiting::after(place, program, network, self.before).await?;
        self.configure(waiting).await
    }

    async fn configure(&mut self, waiting: Waiting) -> Result<Up, StartError> {
        let Waiting { process, channel, leash } = waiting;
        match self.configured(process.clone(), channel).await {
            Ok(up) => {
                leash.release();
                failpoint::pass("gateway-configured");
                Ok(up)
            }
            Err(error) => Err(why_not(&self.spec.place, &process, error).await),
        }
    }

    async fn configured(
        &mut self,
        process: Process,
        mut channel: Channel,
    ) -> Result<Up, StartError> {
        self.revision += 1;
        let Spec { egress, whom, network, .. } = &self.spec;
        let configuration = network.configuration(egress, whom, self.revision)?;
        match channel.configure(configuration, |message| self.heard(&message)).await? {
            Answer::Applied => {}
            Answer::Rejected(reason) => return Err(StartError::Rejected(shortened(reason))),
        }
        let now = Instant::now();
        Ok(Up { process, channel, since: now, traffic_at: now, doom: None, heard: true })
    }

    /// While a gateway is up.
    async fn keep(&mut self, mut up: Box<Up>) -> State {
        let mut pulse = interval_at(Instant::now() + PULSE, PULSE);
        let mut renewal = interval_at(Instant::now() + RENEWAL, RENEWAL);
        for interval in [&mut pulse, &mut renewal] {
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let end = loop {
            tokio::select! {
                exit = up.process.exited() => {
                    break End::Gone(up.doom.take().unwrap_or_else(|| ended(exit)));
                }
                message = up.channel.next() => match message {
                    Ok(message) => self.take(&mut up, &message),
                    Err(error) => break End::Gone(self.broken(&mut up, &error).await),
                },
                _ = pulse.tick() => if let Err(error) = Self::ask_again(&mut up).await {
                    break End::Gone(self.broken(&mut up, &error).await);
                },
                _ = renewal.tick(), if self.spec.network.runs_out() => {
                    if let Err(error) = self.change(&mut up, self.spec.network.clone()).await {
                        tracing::error!(error = causes(&error), "what the gateway has runs out");
                    }
                }
                ask = self.asks.recv() => match ask {
                    Some(Ask::Change { network, reply }) => {
                        let changed = self.change(&mut up, *network).await;
                        // Who asked may have gone.
                        let _gone = reply.send(changed).is_err();
                    }
                    Some(Ask::End(reply)) => {
                        self.tell_cpu(&up);
                        break End::Asked(reply);
                    }
                    None => break End::LetGo,
                },
            }
        };
        match end {
            End::Gone(why) => {
                if STEADY <= up.since.elapsed() {
                    self.failures = 0;
                }
                let news = *self.news.borrow();
                (self.before, self.cpu_before_ms) = (news.traffic, news.cpu_ms);
                tracing::debug!(%why, "the gateway has ended");
                self.down(Some(why))
            }
            End::Asked(reply) => State::Ending(Some(up), reply),
            End::LetGo => State::Over,
        }
    }

    async fn ask_again(up: &mut Up) -> Result<(), ChannelError> {
        if !std::mem::take(&mut up.heard) {
            return Err(ChannelError::Silent);
        }
        up.channel.ping().await
    }

    /// A gateway that cannot be spoken with is ended: it could not be told of a new policy.
    async fn broken(&self, up: &mut Up, error: &ChannelError) -> String {
        if let Some(doom) = up.doom.take() {
            return doom;
        }
        // Its sockets close a little before it is gone.
        if matches!(error, ChannelError::Io(_) | ChannelError::Closed)
            && let Some(exit) = up.process.last_breath().await
        {
            return ended(exit);
        }
        up.process.kill().await;
        format!("it was ended: {}", causes(error))
    }

    async fn change(&mut self, up: &mut Up, network: Network) -> Result<(), ChangeError> {
        let revision = self.revision + 1;
        let Spec { egress, whom, .. } = &self.spec;
        let configuration = network.configuration(egress, whom, revision)?;
        self.revision = revision;
        match up.channel.configure(configuration, |message| self.heard(&message)).await {
            Ok(Answer::Applied) => {}
            Ok(Answer::Rejected(reason)) => return Err(ChangeError::Rejected(shortened(reason))),
            Err(ChannelError::TooLong(_)) => return Err(ChangeError::TooLong),
            // Nothing passes any more, and the next one is configured so.
            Err(error) => {
                let why = self.broken(up, &error).await;
                up.doom = Some(why);
            }
        }
        self.spec.network = network;
        Ok(())
    }

    /// While none is up, until the next is started.
    async fn wait(&mut self, why: Option<String>, again_at: Instant) -> State {
        loop {
            tokio::select! {
                () = sleep_until(again_at) => break,
                ask = self.asks.recv() => match ask {
                    Some(Ask::Change { network, reply }) => {
                        // Nothing passes until the next one, which is configured so.
                        self.spec.network = *network;
                        let _gone = reply.send(Ok(())).is_err();
                    }
                    Some(Ask::End(reply)) => return State::Ending(None, reply),
                    None => return State::Over,
                },
            }
        }
        match self.launch(why.as_deref()).await {
            Ok(up) => {
                tracing::info!("the gateway is back");
                self.news.send_modify(|news| news.replaced += 1);
                State::Up(Box::new(up))
            }
            // The machine is gone or going: its owner will say so. It was not the gateway's fault.
            Err(error @ StartError::Card(_)) => {
                tracing::debug!(error = causes(&error), "no gateway is started");
                self.down(why)
            }
            Err(error) => {
                tracing::error!(error = causes(&error), "the gateway is not back");
                self.down(None)
            }
        }
    }

    fn down(&mut self, why: Option<String>) -> State {
        let wait = AGAIN[self.failures.min(AGAIN.len() - 1)];
        self.failures += 1;
        State::Down { why, again_at: Instant::now() + Duration::from_secs(wait) }
    }

    /// The machine is being ended: the gateway has some time for its last words.
    async fn finish(&mut self, up: Option<Box<Up>>) {
        if let Some(mut up) = up {
            let words = async {
                while let Ok(message) = up.channel.next().await {
                    self.heard(&message);
                }
                up.process.exited().await;
            };
            if timeout(LAST_WORDS, words).await.is_err() {
                up.process.kill().await;
            }
        }
        self.news.send_modify(|news| news.logged += 1);
    }

    fn take(&self, up: &mut Up, message: &FromGateway) {
        self.heard(message);
        self.tell_cpu(up);
        up.heard = true;
        let now = Instant::now();
        if matches!(message, FromGateway::Traffic { .. }) && TRAFFIC_EVERY <= now - up.traffic_at {
            up.traffic_at = now;
            self.write_traffic();
        }
    }

    /// What it says by itself.
    fn heard(&self, message: &FromGateway) {
        match message {
            FromGateway::Logged => self.news.send_modify(|news| news.logged += 1),
            FromGateway::Traffic { sent, received } => {
                self.tell_traffic(Traffic { sent: *sent, received: *received });
            }
            // Late answers of something already given up, and signs of life.
            FromGateway::Hello { .. }
            | FromGateway::Applied { .. }
            | FromGateway::Rejected { .. }
            | FromGateway::Pong => {}
        }
    }

    fn tell_traffic(&self, told: Traffic) {
        let traffic = self.before.and(told);
        self.news.send_modify(|news| news.traffic = traffic);
    }

    /// While its process is there.
    fn tell_cpu(&self, up: &Up) {
        let Some(used) = up.process.cpu_time() else { return };
        let used_ms = u64::try_from(used.as_millis()).unwrap_or(u64::MAX);
        let cpu_ms = self.cpu_before_ms.saturating_add(used_ms);
        self.news.send_modify(|news| news.cpu_ms = cpu_ms);
    }

    fn write_traffic(&self) {
        let Some(mut record) = self.spec.place.read() else { return };
        let traffic = self.news.borrow().traffic;
        record.told = Traffic {
            sent: traffic.sent.saturating_sub(record.before.sent),
            received: traffic.received.saturating_sub(record.before.received),
        };
        if let Err(error) = self.spec.place.write(&record) {
            tracing::warn!(%error, "what has passed was not written down");
        }
    }

    /// Tells in the audit log that the gateway has ended. No gateway runs now.
    async fn note(&self, why: &str) {
        tracing::error!(%why, "the gateway has ended, and is started again");
        let mut event = Event::new(clock::now_ms(), Decision::Note, Kind::Gateway, "default");
        event.reason = Some(format!("the gateway ended and is started again: {why}"));
        let place = self.spec.place.clone();
        if let Err(error) = audit::append(&place, event).await {
            tracing::error!(%error, "the audit log could not be written");
        }
        self.news.send_modify(|news| news.logged += 1);
    }
}

/// A gateway that its guest has taken over may say anything, at any length.
fn shortened(mut reason: String) -> String {
    let cut = reason.floor_char_boundary(REASON_BYTES_MAX);
    reason.truncate(cut);
    reason
}
