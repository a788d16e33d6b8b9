//! Control-C while an image comes or goes: what there is afterwards, and that the next one goes on from it.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::process::ExitStatusExt,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use crate::{
    hood::{Hood, entries, kill, wait_until},
    images::hood_of_its_own,
    registry::Registry,
};

const MIB: u64 = 1 << 20;
const LAYER_BYTES: u64 = 12 * MIB;

/// A registry behind a door that lets so many bytes of a direction through and then no more.
#[derive(Clone)]
struct Door(Arc<Counts>);

struct Counts {
    place: String,
    registry: String,
    /// What may still come from the registry, and what may still go there.
    left: [AtomicI64; 2],
    /// What has.
    passed: [AtomicU64; 2],
    open: AtomicUsize,
}

const FROM: usize = 0;
const TO: usize = 1;

impl Door {
    fn new(registry: &Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Self(Arc::new(Counts {
            place: listener.local_addr().unwrap().to_string(),
            registry: registry.place.clone(),
            left: [i64::MAX, i64::MAX].map(AtomicI64::new),
            passed: Default::default(),
            open: AtomicUsize::new(0),
        }));
        let doors = door.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (door, client) = (doors.clone(), client.unwrap());
                thread::spawn(move || door.serve(&client));
            }
        });
        door
    }

    /// From here on.
    fn let_through(&self, direction: usize, bytes: i64) {
        self.0.passed[direction].store(0, SeqCst);
        self.0.left[direction].store(bytes, SeqCst);
    }

    fn passed(&self, direction: usize) -> u64 {
        self.0.passed[direction].load(SeqCst)
    }

    fn is_shut(&self, direction: usize) -> bool {
        self.0.left[direction].load(SeqCst) <= 0
    }

    fn serve(&self, client: &TcpStream) {
        let server = TcpStream::connect(&self.0.registry).unwrap();
        self.0.open.fetch_add(1, SeqCst);
        thread::scope(|scope| {
            scope.spawn(|| self.carry(&server, client, FROM));
            scope.spawn(|| self.carry(client, &server, TO));
        });
        self.0.open.fetch_sub(1, SeqCst);
    }

    fn carry(&self, mut from: &TcpStream, mut to: &TcpStream, direction: usize) {
        let mut piece = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            let step = i64::try_from(count).unwrap();
            if self.0.left[direction].fetch_sub(step, SeqCst) < step {
                // It goes nowhere, until somebody goes away.
                self.0.left[direction].store(0, SeqCst);
                continue;
            }
            self.0.passed[direction].fetch_add(count as u64, SeqCst);
            if to.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        let _either_may_be_gone =
            (from.shutdown(Shutdown::Both).is_ok(), to.shutdown(Shutdown::Both).is_ok());
    }
}

/// Runs it until the door is shut and what has passed is there, and interrupts it as a terminal would.
fn interrupted(
    hood: &Hood,
    (door, direction): (&Door, usize),
    arguments: &[&str],
    is_there: impl Fn() -> bool,
) {
    door.let_through(direction, i64::try_from(LAYER_BYTES / 2).unwrap());
    let child = hood.spawn(arguments);
    wait_until("half of it has passed", || door.is_shut(direction) && is_there());
    kill(i32::try_from(child.id()).unwrap(), rustix::process::Signal::INT);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.signal(), Some(2), "{ended:?}");
    wait_until("nobody is connected any more", || door.0.open.load(SeqCst) == 0);
    door.let_through(direction, i64::MAX);
}

#[test]
fn an_interrupted_pull_or_push_leaves_nothing_half_and_the_next_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (hood, registry) = (hood_of_its_own(folder.path()), Registry::start());
    registry.push_with("large", &["--config.cmd=/busybox"], |root| {
        let mut noise = Vec::new();
        let random = fs::File::open("/dev/urandom").unwrap();
        random.take(LAYER_BYTES).read_to_end(&mut noise).unwrap();
        fs::write(root.join("noise"), noise).unwrap();
    });
    let door = Door::new(&registry);
    let place = &door.0.place;
    let image = format!("{place}/test/large:1");
    hood.ok(&["ls"]);

    let kept = |is_whole: bool| {
        let kept = entries(&folder.path().join("blobs/sha256")).into_iter();
        let kept = kept.filter(|path| is_whole != (path.extension() == Some("partial".as_ref())));
        kept.map(|path| fs::metadata(path).unwrap().len()).collect::<Vec<_>>()
    };
    let is_there = || matches!(kept(false)[..], [bytes] if bytes > LAYER_BYTES / 4);
    interrupted(&hood, (&door, FROM), &["image", "pull", &image], is_there);
    assert_eq!(hood.ok(&["image", "ls", "--json"]), "[]");
    let images = folder.path().join("x86_64/images");
    assert!(entries(&images).is_empty(), "no disk was begun");
    let partial = kept(false);
    assert!(matches!(partial[..], [bytes] if bytes > LAYER_BYTES / 4), "{partial:?}");
    assert!(kept(true).iter().all(|bytes| *bytes < MIB), "no layer, and no manifest");

    let digest = hood.ok(&["image", "pull", &image]);
    assert!(door.passed(FROM) < LAYER_BYTES * 3 / 4 + MIB, "{} came", door.passed(FROM));
    assert!(kept(false).is_empty());

    // Another registry: this one takes the layer from the repository that it came from.
    let second = Registry::start();
    let away = Door::new(&second);
    let target = format!("{}/other/large:2", away.0.place);
    interrupted(&hood, (&away, TO), &["image", "push", &image, &target], || true);
    let there = || {
        let target = format!("docker://{}/other/large:2", second.place);
        let found = Command::new("skopeo")
            .args(["inspect", "--tls-verify=false", "--format={{.Digest}}", &target])
            .output()
            .unwrap();
        String::from_utf8(found.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(there(), "", "what is not whole has no name");
    hood.ok(&["image", "push", &image, &target]);
    assert_eq!(there(), digest);
    hood.assert_nothing_left();
}
