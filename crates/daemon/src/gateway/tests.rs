use std::{
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use egress::{
    event::{Event, Kind},
    policy::{Policy, Reach},
    secret::{SecretName, SecretText},
};
use machine::Process;
use tokio::{
    net::{UnixListener, UnixStream},
    time::Instant,
};

use super::{process::strays_below, *};
use crate::{
    audit::AuditReader,
    identity::{Issuer, tests::whom},
    ids::Project,
    network::Placeholders,
    seal::{KeySource, Seal},
    secrets::Secrets,
    store::Store,
    uplink::Uplink,
};

const PATIENCE: Duration = Duration::from_secs(60);
const VALUE: &str = "sk-never-in-an-argument";

/// A session's folder, the card of its guest, and whatever gateways are started for it.
struct World {
    folder: tempfile::TempDir,
    egress: Arc<Egress>,
    /// What is connected to the card.
    connected: Arc<Mutex<Vec<UnixStream>>>,
    connections: Arc<AtomicUsize>,
    news: watch::Sender<News>,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let seal = Seal::load(&KeySource::File(folder.path().join("seal.key"))).unwrap();
        let seal = Arc::new(seal);
        let (store, _) = Store::open(&folder.path().join("store.db")).unwrap();
        let secrets = Secrets::new(Arc::clone(&seal), store, Vec::new());
        let (name, value) = (SecretName::parse("KEY").unwrap(), SecretText::new(VALUE.to_owned()));
        secrets.put(&Project::default(), &name, &value).await.unwrap();
        let issuer = Issuer::new(folder.path().join("identity.key"));
        let egress = Arc::new(Egress { seal, secrets, uplink: Uplink::default(), issuer });
        let card = UnixListener::bind(folder.path().join("card.sock")).unwrap();
        let connected = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (held, counted) = (Arc::clone(&connected), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = card.accept().await {
                held.lock().unwrap().push(stream);
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { folder, egress, connected, connections, news: watch::Sender::default() }
    }

    fn place(&self) -> Place {
        Place::at(self.folder.path().join("sessions/sbx_test"))
    }

    fn spec(&self, how: &str) -> Spec {
        let card = self.folder.path().join("card.sock");
        let script = include_str!("tests/fake.pl");
        let arguments = ["-e", script, how, "gateway"].map(str::to_owned);
        Spec {
            place: self.place(),
            program: Program { path: PathBuf::from("/usr/bin/perl"), arguments: arguments.into() },
            card: Arc::new(move || Ok(std::os::unix::net::UnixStream::connect(&card)?.into())),
            egress: Arc::clone(&self.egress),
            tasks: Tasks::default(),
            whom: whom(),
            network: self.network("first.test"),
            before: Traffic::default(),
        }
    }

    /// A network that is told from others by a name in its policy, and uses the secret.
    fn network(&self, name: &str) -> Network {
        use egress::{host::Host, policy};
        let credential = policy::Credential {
            secret: SecretName::parse("KEY").unwrap(),
            place: policy::Place::Basic { user: name.to_owned() },
        };
        let edits = policy::Edits { credentials: vec![credential], ..policy::Edits::default() };
        let then = policy::Action::Send(edits);
        let rule = policy::Rule { when: policy::Match::default(), then };
        let domain = policy::Domain {
            pattern: policy::HostPattern::Exact(Host::parse("api.example.com").unwrap()),
            port: None,
            rules: vec![rule],
            preset: None,
        };
        let policy = Policy { reach: Reach::Listed, domains: vec![domain], ..Policy::default() };
        Network::new(&self.egress.seal, policy, Placeholders::random()).unwrap()
    }

    async fn start(&self, how: &str) -> Gateway {
        Gateway::start(self.spec(how), None, self.news.clone()).await.unwrap()
    }

    fn adopt(&self, how: &str) -> Gateway {
        Gateway::adopt(self.spec(how), self.news.clone())
    }

    /// What its gateways were configured with, in their order: process, revision, all of it.
    fn configured(&self) -> Vec<(u32, u64, String)> {
        let log = std::fs::read_to_string(self.place().folder.join("gateway.log"));
        let parse = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            let mut next = || words.next().unwrap_or_default();
            let (pid, revision) = (next().parse().ok()?, next().parse().ok()?);
            Some((pid, revision, unhex(&next())))
        };
        log.unwrap_or_default().lines().filter_map(parse).collect()
    }

    /// Waits until a gateway is configured for the so manieth time, and gives its process and
    /// revision.
    async fn configured_times(&self, times: usize) -> (u32, u64, String) {
        until("a gateway is configured", || times <= self.configured().len()).await;
        self.configured().swap_remove(times - 1)
    }

    fn hang_up(&self) {
        self.connected.lock().unwrap().clear();
    }

    fn alive(&self) -> Vec<u32> {
        strays_below(self.folder.path()).iter().map(process::Stray::pid).collect()
    }

    async fn notes(&self) -> Vec<String> {
        let (_, lines) = AuditReader::new(&self.place()).next().await.unwrap();
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let events = lines.map(|line| serde_json::from_slice::<Event>(line).unwrap());
        events.filter(|event| event.kind == Kind::Gateway).filter_map(|each| each.reason).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for stray in strays_below(self.folder.path()) {
            kill(stray.pid());
        }
    }
}

fn unhex(text: &str) -> String {
    let digits = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    let bytes: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may have gone by itself.
    let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_err();
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_gateway_is_given_everything_over_its_socket_and_ends_with_its_machine() {
    let world = World::new().await;
    let gateway = world.start("good").await;
    let (pid, revision, first) = world.configured_times(1).await;
    assert_eq!(revision, 1);
    assert!(first.contains("first.test") && first.contains(VALUE) && first.contains("PRIVATE KEY"));
    let read = |what: &str| std::fs::read(format!("/proc/{pid}/{what}")).unwrap();
    assert!(!String::from_utf8_lossy(&read("cmdline")).contains(VALUE));
    assert_eq!(read("environ"), b"");
    assert_eq!(world.alive(), [pid]);
    for file in std::fs::read_dir(&world.place().folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read(&path).unwrap_or_default();
        let is_own_log = path.ends_with("gateway.log");
        assert!(is_own_log || !String::from_utf8_lossy(&text).contains(VALUE), "{path:?}");
    }

    gateway.change(world.network("second.test")).await.unwrap();
    let (same, revision, second) = world.configured_times(2).await;
    assert_eq!((same, revision), (pid, 2));
    assert!(second.contains("second.test"));
    let told = Traffic { sent: 300, received: 3 };
    until("what passed is told", || world.news.borrow().traffic == told).await;
    assert!(world.news.borrow().logged >= 2);

    world.hang_up();
    gateway.end().await;
    assert!(world.alive().is_empty());
    let last = Traffic { sent: 700, received: 7 };
    assert_eq!(world.news.borrow().traffic, last, "its last words are heard");
    assert_eq!(world.notes().await, Vec::<String>::new(), "an end that was wished is no event");
}

#[tokio::test]
async fn a_gateway_that_is_killed_comes_back_as_it_was_last_configured() {
    let world = World::new().await;
    let gateway = world.start("good").await;
    gateway.change(world.network("second.test")).await.unwrap();
    let (pid, ..) = world.configured_times(2).await;
    kill(pid);
    let (other, revision, configuration) = world.configured_times(3).await;
    assert_ne!(other, pid);
    assert_eq!(revision, 3);
    assert!(configuration.contains("second.test"));
    assert_eq!(
        world.notes().await,
        ["the gateway ended and is started again: it was ended by signal 9"]
    );
    until("it is connected", || world.connections.load(Ordering::SeqCst) == 2).await;
    let both = Traffic { sent: 600, received: 6 };
    until("what passed is added up", || world.news.borrow().traffic == both).await;
    world.hang_up();
    gateway.end().await;
    assert!(world.alive().is_empty());
}

#[tokio::test]
async fn a_gateway_that_dies_again_and_again_is_not_hurried() {
    let world = World::new().await;
    let gateway = world.start("dying").await;
    world.configured_times(2).await;
    let second = Instant::now();
    world.configured_times(3).await;
    assert!(Duration::from_millis(900) < second.elapsed(), "{:?}", second.elapsed());
    // Closed, and asked to hold to something else meanwhile: the next one does.
    gateway.change(world.network("third.test")).await.unwrap();
    let (.., configuration) = world.configured_times(4).await;
    assert!(configuration.contains("third.test"));
    gateway.end().await;
    assert!(world.alive().is_empty());
}

#[tokio::test]
async fn a_server_takes_up_what_the_one_before_left() {
    let world = World::new().await;
    drop(world.start("good").await);
    let (pid, ..) = world.configured_times(1).await;
    let gateway = world.adopt("good");
    let (same, revision, _) = world.configured_times(2).await;
    assert_eq!((same, revision), (pid, 2), "configured anew, with a later revision");
    assert_eq!(world.connections.load(Ordering::SeqCst), 1);
    assert_eq!(world.notes().await, Vec::<String>::new());
    world.hang_up();
    gateway.end().await;
    assert!(world.alive().is_empty());
}

#[tokio::test]
async fn one_that_died_while_no_server_ran_is_replaced() {
    let world = World::new().await;
    drop(world.start("good").await);
    let (pid, ..) = world.configured_times(1).await;
    kill(pid);
    until("it is gone", || world.alive().is_empty()).await;
    let gateway = world.adopt("good");
    world.configured_times(2).await;
    assert_eq!(
        world.notes().await,
        ["the gateway ended and is started again: it ended while no server ran"]
    );
    world.hang_up();
    gateway.end().await;
}

#[tokio::test]
async fn one_that_speaks_another_version_is_replaced() {
    let world = World::new().await;
    drop(world.start("good").await);
    let (pid, ..) = world.configured_times(1).await;
    // As if this server were of the other version: what it starts is what it understands.
    let place = world.place();
    let stranger = process::start(
        &place,
        &world.spec("other-version").program,
        (world.spec("good").card)().unwrap(),
        Traffic::default(),
    );
    let (stranger, leash) = stranger.unwrap();
    let gateway = world.adopt("good");
    let (new, ..) = world.configured_times(2).await;
    assert!(new != pid && new != stranger.pid());
    assert_eq!(world.alive(), [new], "neither the stranger nor the unrecorded one is left");
    let notes = world.notes().await;
    assert!(notes[0].contains("version 99"), "{notes:?}");
    drop(leash);
    world.hang_up();
    gateway.end().await;
}

#[tokio::test]
async fn what_a_gateway_refuses_does_not_hold() {
    let world = World::new().await;
    let gateway = world.start("refusing").await;
    let refused = gateway.change(world.network("second.test")).await;
    assert!(matches!(refused, Err(ChangeError::Rejected(why)) if why == "no: "));
    assert_eq!(world.configured().len(), 1);
    world.hang_up();
    gateway.end().await;

    let world = World::new().await;
    let started = Gateway::start(world.spec("other-version"), None, world.news.clone()).await;
    assert!(matches!(started, Err(StartError::Channel(ChannelError::Version(99)))));
    assert!(world.alive().is_empty(), "nothing is left of one that does not come up");
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_is_ended_so_that_nothing_passes() {
    let world = World::new().await;
    let gateway = world.start("mute").await;
    let (pid, ..) = world.configured_times(1).await;
    let held = Process::hold(pid).unwrap().unwrap();
    gateway.change(world.network("second.test")).await.unwrap();
    assert!(held.exit().borrow().is_some(), "it is gone when the change has been made");
    until("it is told", || world.connections.load(Ordering::SeqCst) == 2).await;
    let notes = world.notes().await;
    assert!(notes[0].ends_with("it was ended: it did not answer in time"), "{notes:?}");
    world.hang_up();
    gateway.end().await;
    assert!(world.alive().is_empty());
}

#[tokio::test]
async fn a_gateway_that_has_hung_is_ended_and_replaced() {
    let (world, well) = (World::new().await, World::new().await);
    let gateway = world.start("hung").await;
    let other = well.start("good").await;
    let (pid, ..) = world.configured_times(1).await;
    let (same, ..) = well.configured_times(1).await;
    let (next, ..) = world.configured_times(2).await;
    assert_ne!(next, pid);
    let notes = world.notes().await;
    assert!(notes[0].ends_with("it was ended: it did not answer in time"), "{notes:?}");
    assert_eq!(well.alive(), [same], "one that answers is left alone");
    for (world, gateway) in [(world, gateway), (well, other)] {
        world.hang_up();
        gateway.end().await;
    }
}

#[tokio::test]
async fn without_a_card_nothing_is_started() {
    let world = World::new().await;
    std::fs::remove_file(world.folder.path().join("card.sock")).unwrap();
    let started = Gateway::start(world.spec("good"), None, world.news.clone()).await;
    assert!(matches!(started, Err(StartError::Card(_))));
    assert!(world.alive().is_empty());
}

#[tokio::test]
async fn gateways_of_other_folders_are_left_alone() {
    let (world, other) = (World::new().await, World::new().await);
    drop(world.start("good").await);
    drop(other.start("good").await);
    assert_eq!(world.alive().len(), 1);
    let sessions = world.folder.path().join("sessions");
    for stray in strays_below(&sessions) {
        assert_eq!(stray.session(), "sbx_test");
        stray.end().await;
    }
    assert_eq!((world.alive().len(), other.alive().len()), (0, 1));
}
