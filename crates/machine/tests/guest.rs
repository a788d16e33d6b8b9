//! Machines with a real guest: the kernel named by FUMEHOOD_TEST_KERNEL (a vmlinux, with its modules
//! in `boot-modules` beside it) and, as agent, the little program in `guest/init.c`.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

/// Gives up a test, saying why, where there is nothing to run it with.
macro_rules! bench {
    () => {
        match Bench::set_up().await {
            Ok(bench) => bench,
            Err(why) => {
                eprintln!("SKIPPED: {why}");
                return;
            }
        }
    };
}

#[path = "guest/bench.rs"]
mod bench;
#[path = "guest/network.rs"]
mod network;

use std::time::Duration;

use bench::{Bench, Guest};
use machine::{
    Accel, Adoption, BootSpec, CloneSpec, Drive, Event, Exit, Format, Key, KvmState, Layer,
    Machine, MachineId, Ram, Root, RunState, Shape, Start, Step, Template, boot_until_ready,
    make_blank_overlay, probe_kvm, record_failure, strays,
};
use tokio::time::{Instant, sleep, timeout};

const SHAPE: Shape = Shape { vcpus: 1, memory_mib: 256 };

impl Bench {
    fn clone_spec(&self, name: &str, start: Start) -> CloneSpec {
        CloneSpec { id: MachineId::random(), folder: self.folder(name), root: Root::Blank, start }
    }

    /// A clone. QEMU 10.0 dies of a null pointer in one of thousands of restores; as for users, another
    /// is tried.
    async fn cloned(&self, template: &Template, spec: CloneSpec) -> Machine {
        for _ in 0..2 {
            match Machine::clone_from(&self.platform, template, spec.clone()).await {
                Err(failure) if failure.step == Step::Restore && failure.exit.is_some() => {
                    eprintln!("one more clone is tried: {failure}");
                }
                cloned => return cloned.unwrap(),
            }
        }
        Machine::clone_from(&self.platform, template, spec).await.unwrap()
    }

    /// A bare template of a guest that holds `dirty` MiB of its own.
    async fn template(&self, dirty: u32) -> Template {
        let key = Key::of(&self.platform, SHAPE, Some(&format!("dirty {dirty}")));
        let draft = self.templates.draft(&key, SHAPE).unwrap();
        let spec = BootSpec { ram: Ram::Shared(draft.ram()), ..self.boot_spec("origin", SHAPE) };
        let (machine, mut guest) = self.boot(spec).await;
        guest.ask(&format!("dirty {dirty} 7")).await;
        machine.save_template(draft).await.unwrap()
    }
}

/// All that a template is, byte for byte.
fn bytes(template: &Template) -> Vec<Vec<u8>> {
    ["ram", "state", "template.json"]
        .map(|name| std::fs::read(template.folder().join(name)).unwrap())
        .into()
}

#[tokio::test]
async fn a_guest_boots_answers_and_is_killed() {
    let bench = bench!();
    let spec = bench.boot_spec("m", SHAPE);
    let (id, folder) = (spec.id, spec.folder.clone());
    let (machine, mut guest) = bench.boot(spec).await;
    assert_eq!(guest.ask("echo hood").await, "hood");
    assert_eq!(machine.run_state().await.unwrap(), RunState::Running);
    assert_eq!(machine.id(), id);

    guest.ask("print seen on the console").await;
    machine.fetch_console().await.unwrap();
    let tail = String::from_utf8(machine.console_tail(4096)).unwrap();
    assert!(tail.contains("seen on the console\r\n"), "{tail}");
    assert!(std::fs::read_to_string(machine.console_log()).unwrap().ends_with(&tail));

    let mut events = machine.events();
    machine.stop().await.unwrap();
    assert_eq!(machine.run_state().await.unwrap(), RunState::Paused);
    machine.cont().await.unwrap();
    assert_eq!(events.recv().await.unwrap(), Event::Stopped);
    assert_eq!(events.recv().await.unwrap(), Event::Resumed);
    assert_eq!(guest.ask("echo again").await, "again");

    let found = strays(bench.root());
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].pid, found[0].id), (machine.pid(), Some(id)));
    assert_eq!(found[0].folder, folder.canonicalize().unwrap());
    let exited = machine.exited();
    assert_eq!(*exited.borrow(), None);
    assert_eq!(machine.kill().await, Exit::Signal(9));
    assert_eq!(*exited.borrow(), Some(Exit::Signal(9)));
    assert_eq!(strays(bench.root()), []);
}

#[tokio::test]
async fn the_agent_is_reconnected_and_the_guest_goes_on() {
    let bench = bench!();
    let (machine, mut guest) = bench.boot(bench.boot_spec("m", SHAPE)).await;
    guest.ask("dirty 1 5").await;
    let sum = guest.ask("sum").await;
    drop(guest);
    let mut guest = Guest::over(machine.agent().await.unwrap());
    assert_eq!(guest.ask("sum").await, sum);
    machine.kill().await;
}

#[tokio::test]
async fn the_firmwares_tables_survive_any_size_of_initramfs_and_machine() {
    let bench = bench!();
    for (vcpus, extra) in [(1, 1), (2, 4095), (8, 700)] {
        let mut bench = bench.with_initramfs_longer_by(extra).await;
        bench.platform.accel = Accel::Tcg;
        let shape = Shape { vcpus, memory_mib: 384 };
        let (machine, mut guest) = bench.boot(bench.boot_spec("m", shape)).await;
        // A guest without its tables has no PCI bus and so no agent port; the log says the same.
        assert_eq!(guest.ask("echo hood").await, "hood");
        machine.fetch_console().await.unwrap();
        let log = String::from_utf8_lossy(&machine.console_tail(1 << 16)).into_owned();
        assert!(!log.contains("ACPI BIOS"), "{log}");
        machine.kill().await;
    }
}

#[tokio::test]
async fn clones_start_from_a_template_and_cannot_alter_it() {
    let bench = bench!();
    let template = bench.template(32).await;
    let before = bytes(&template);
    let one = bench.clone_spec("one", Start::Running);
    let started = Instant::now();
    let one = bench.cloned(&template, one).await;
    let restored = started.elapsed();
    let mut guest = Guest::over(one.agent().await.unwrap());
    let sum = guest.ask("sum").await;
    eprintln!("clone restored after {restored:?}, answered after {:?}", started.elapsed());
    // Most of its memory, where the template had something and where it had holes.
    guest.ask("dirty 128 1").await;
    assert_ne!(guest.ask("sum").await, sum);
    assert!(bytes(&template) == before, "a clone has changed its template");

    // What one wrote no other one sees.
    let two = bench.clone_spec("two", Start::Parked);
    let two = bench.cloned(&template, two).await;
    let mut other = Guest::over(two.agent().await.unwrap());
    assert_eq!(two.run_state().await.unwrap(), RunState::Paused);
    two.cont().await.unwrap();
    assert_eq!(other.ask("sum").await, sum);
    assert_ne!(guest.ask("sum").await, sum);
    one.kill().await;
    two.kill().await;
    assert!(bytes(&template) == before, "a clone has changed its template");
}

#[tokio::test]
async fn a_template_is_made_from_a_template() {
    let bench = bench!();
    let bare = bench.template(16).await;
    let before = bytes(&bare);
    let key = Key::of(&bench.platform, SHAPE, Some("warm"));
    let draft = bench.templates.draft(&key, SHAPE).unwrap();
    let pieces = bench.root().join("pieces");
    make_blank_overlay(&pieces, &draft.overlay()).await.unwrap();
    let root = |file| Root::Overlay { file, layers: Vec::new() };
    let spec = bench.clone_spec("warming", Start::Running);
    let spec = CloneSpec { root: root(draft.overlay()), ..spec };
    let machine = Machine::thaw(&bench.platform, &bare, &draft, spec).await.unwrap();
    let mut guest = Guest::over(machine.agent().await.unwrap());
    guest.ask("dirty 24 99").await;
    let sum = guest.ask("sum").await;
    assert_eq!(guest.ask("write root warm").await, "ok");
    let warm = machine.save_template(draft).await.unwrap();
    assert!(bytes(&bare) == before, "warming has changed the bare template");
    assert_eq!(bench.templates.find(&key).unwrap().as_ref(), Some(&warm));

    for name in ["one", "two"] {
        let file = bench.root().join(format!("{name}.qcow2"));
        warm.make_overlay(&pieces, &file).await.unwrap();
        let spec = bench.clone_spec(name, Start::Running);
        let clone = bench.cloned(&warm, CloneSpec { root: root(file), ..spec }).await;
        if name == "two" {
            // A template may be removed under its clones.
            bench.templates.remove(&key).unwrap();
        }
        let mut guest = Guest::over(clone.agent().await.unwrap());
        assert_eq!(guest.ask("sum").await, sum);
        assert_eq!(guest.ask("read root").await, "warm");
        assert_eq!(guest.ask(&format!("write root {name}")).await, "ok");
        clone.kill().await;
    }
}

#[tokio::test]
async fn a_disk_is_an_overlay_and_survives_its_machine() {
    let bench = bench!();
    let overlay = bench.root().join("root.qcow2");
    make_blank_overlay(&bench.root().join("pieces"), &overlay).await.unwrap();
    let image = bench.root().join("image");
    std::fs::write(&image, bench::padded("from the image", 1 << 20)).unwrap();
    let layers = vec![Layer { path: image.clone(), format: Format::Raw }];
    let root = Root::Overlay { file: overlay, layers };
    let template = bench.template(1).await;
    for (expected, written) in [("from the image", "one"), ("one", "two")] {
        let name = format!("m-{written}");
        let spec = CloneSpec { root: root.clone(), ..bench.clone_spec(&name, Start::Running) };
        let machine = bench.cloned(&template, spec).await;
        let mut guest = Guest::over(machine.agent().await.unwrap());
        assert_eq!(guest.ask("read root").await, expected);
        assert_eq!(guest.ask(&format!("write root {written}")).await, "ok");
        machine.kill().await;
    }
    assert!(std::fs::read(&image).unwrap().starts_with(b"from the image"));
}

#[tokio::test]
async fn a_drive_is_plugged_into_a_clone() {
    let bench = bench!();
    let template = bench.template(1).await;
    let spec = bench.clone_spec("m", Start::Running);
    let machine = bench.cloned(&template, spec).await;
    let mut guest = Guest::over(machine.agent().await.unwrap());
    let path = bench.root().join("drive");
    std::fs::write(&path, bench::padded("a drive", 1 << 20)).unwrap();
    let layer = Layer { path: path.clone(), format: Format::Raw };
    let started = Instant::now();
    let drive = Drive::ReadOnly { layer: layer.clone(), serial: "first".to_owned() };
    machine.plug_drive(&drive).await.unwrap();
    assert_eq!(guest.ask_until("read first", |reply| reply != "absent").await, "a drive");
    eprintln!("a drive was seen after {:?}", started.elapsed());
    assert_ne!(guest.ask("write first scribble").await, "ok");
    assert!(std::fs::read(&path).unwrap().starts_with(b"a drive"));

    let scratch = bench.root().join("scratch");
    std::fs::write(&scratch, bench::padded("old", 1 << 20)).unwrap();
    let layer = Layer { path: scratch.clone(), format: Format::Raw };
    let drive = Drive::Writable { layer, serial: "second".to_owned() };
    machine.plug_drive(&drive).await.unwrap();
    assert_eq!(guest.ask_until("write second new", |reply| reply != "absent").await, "ok");
    assert!(std::fs::read(&scratch).unwrap().starts_with(b"new\0"));

    for serial in ["third", "fourth"] {
        let layer = Layer { path: path.clone(), format: Format::Raw };
        let drive = Drive::ReadOnly { layer, serial: serial.to_owned() };
        machine.plug_drive(&drive).await.unwrap();
    }
    let layer = Layer { path, format: Format::Raw };
    let fifth = Drive::ReadOnly { layer, serial: "fifth".to_owned() };
    let refused = machine.plug_drive(&fifth).await.unwrap_err();
    assert!(matches!(refused, machine::ControlError::NoFreeSlot), "{refused}");
    machine.kill().await;
}

#[tokio::test]
async fn a_machine_is_found_again_after_its_starter_is_gone() {
    let bench = bench!();
    let (machine, mut guest) = bench.boot(bench.boot_spec("m", SHAPE)).await;
    guest.ask("dirty 2 3").await;
    let sum = guest.ask("sum").await;
    let (id, pid, folder) = (machine.id(), machine.pid(), machine.folder().to_owned());
    drop((machine, guest));
    let adopted = async || match Machine::adopt(&folder).await.unwrap() {
        Adoption::Adopted(machine) => *machine,
        Adoption::Gone => panic!("the machine was not found"),
    };
    let machine = adopted().await;
    assert_eq!((machine.id(), machine.pid()), (id, pid));
    assert_eq!(Guest::over(machine.agent().await.unwrap()).ask("sum").await, sum);
    drop(machine);

    let record = folder.join("machine.json");
    let whole = std::fs::read_to_string(&record).unwrap();

    // A QEMU that its guest has taken over writes another machine's record into its own folder.
    let other = bench.root().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("machine.json"), &whole).unwrap();
    assert!(matches!(Machine::adopt(&other).await, Ok(Adoption::Gone)));

    // The record as it is when the starter was killed before it could write the process down.
    std::fs::write(&record, format!("{{\"id\":\"{id}\",\"process\":null}}")).unwrap();
    let machine = adopted().await;
    assert_eq!(machine.pid(), pid);
    machine.kill().await;
    assert!(matches!(Machine::adopt(&folder).await.unwrap(), Adoption::Gone));

    // A pid that is another process's by now.
    let mut reused: serde_json::Value = serde_json::from_str(&whole).unwrap();
    reused["process"]["pid"] = std::process::id().into();
    std::fs::write(&record, reused.to_string()).unwrap();
    assert!(matches!(Machine::adopt(&folder).await.unwrap(), Adoption::Gone));
    std::fs::remove_file(&record).unwrap();
    assert!(matches!(Machine::adopt(&folder).await.unwrap(), Adoption::Gone));
}

#[tokio::test]
async fn the_guests_end_is_told() {
    let bench = bench!();
    let template = bench.template(1).await;
    let ends = [("off", Event::PoweredOff), ("reset", Event::Reset), ("panic", Event::Reset)];
    for (word, expected) in ends {
        let spec = bench.clone_spec(word, Start::Running);
        let machine = bench.cloned(&template, spec).await;
        let mut events = machine.events();
        let mut guest = Guest::over(machine.agent().await.unwrap());
        guest.say(word).await;
        let told = bench::event_until(&mut events, |event| {
            *event != Event::Resumed && *event != Event::Stopped
        });
        assert_eq!(told.await, expected, "{word}");
        let last_words = String::from_utf8(machine.console_tail(4096)).unwrap();
        assert_eq!(last_words.contains("Kernel panic"), word == "panic", "{last_words}");
        // The process stays for who wants to know more.
        assert_eq!(machine.run_state().await.unwrap(), RunState::Shutdown);
        assert_eq!(machine.kill().await, Exit::Signal(9));
    }
}

#[tokio::test]
async fn a_full_host_disk_holds_the_guest_until_there_is_space() {
    let bench = bench!();
    let small = match bench::SmallDisk::mount(bench.root()) {
        Ok(small) => small,
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            return;
        }
    };
    let overlay = small.path().join("root.qcow2");
    make_blank_overlay(&bench.root().join("pieces"), &overlay).await.unwrap();
    let ballast = small.path().join("ballast");
    small.fill(&ballast);
    let template = bench.template(1).await;
    let root = Root::Overlay { file: overlay, layers: Vec::new() };
    let spec = CloneSpec { root, ..bench.clone_spec("m", Start::Running) };
    let machine = bench.cloned(&template, spec).await;
    let mut events = machine.events();
    let mut guest = Guest::over(machine.agent().await.unwrap());
    guest.say("write root kept").await;
    let failed =
        bench::event_until(&mut events, |event| matches!(event, Event::DiskFailed { .. })).await;
    assert!(matches!(&failed, Event::DiskFailed { no_space: true, .. }), "{failed:?}");
    assert_eq!(machine.run_state().await.unwrap(), RunState::IoError);
    std::fs::remove_file(ballast).unwrap();
    machine.cont().await.unwrap();
    // The write is tried again: the guest has noticed nothing.
    assert_eq!(guest.line_in_time().await, "ok");
    assert_eq!(guest.ask("read root").await, "kept");
    machine.kill().await;
}

#[tokio::test]
async fn a_process_that_dies_is_noticed() {
    let bench = bench!();
    let template = bench.template(1).await;
    let spec = bench.clone_spec("m", Start::Running);
    let machine = bench.cloned(&template, spec).await;
    let mut exited = machine.exited();
    bench::kill(machine.pid());
    let exit = exited.wait_for(Option::is_some);
    assert_eq!(
        *timeout(Duration::from_secs(20), exit).await.unwrap().unwrap(),
        Some(Exit::Signal(9))
    );
    let refused = machine.stop().await.unwrap_err();
    assert!(matches!(refused, machine::ControlError::Gone), "{refused}");
    assert_eq!(machine.kill().await, Exit::Signal(9));
}

#[tokio::test]
async fn a_console_that_nobody_reads_does_not_hold_the_guest() {
    let bench = bench!();
    let (machine, mut guest) = bench.boot(bench.boot_spec("m", SHAPE)).await;
    // More than QEMU keeps, and than a socket would have taken.
    assert_eq!(guest.ask("flood 3").await, "ok");
    machine.fetch_console().await.unwrap();
    let tail = machine.console_tail(usize::MAX);
    assert_eq!(tail.len(), 64 * 1024);
    assert!(tail.ends_with(b"xxx\r\n"));
    machine.kill().await;
}

#[tokio::test]
async fn a_machine_reaches_only_its_own_files() {
    let bench = bench!();
    let elsewhere = bench.root().join("secret");
    std::fs::write(&elsewhere, bench::padded("secret", 1 << 20)).unwrap();
    let (machine, _guest) = bench.boot(bench.boot_spec("m", SHAPE)).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", machine.pid())).unwrap();
    let held = |line: &str| status.lines().any(|told| told == line);
    assert!(held("NoNewPrivs:\t1") && held("Seccomp:\t2"), "{status}");
    // Its own session, so that no terminal's signal reaches it.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", machine.pid())).unwrap();
    let session = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap();
    assert_eq!(session, machine.pid().to_string());
    let folder = machine.folder().to_owned();
    let own = folder.join("own");
    std::fs::write(&own, [0; 4096]).unwrap();
    // The control socket serves one at a time.
    drop(machine);
    let refused = bench::open_inside(&folder, &elsewhere).await;
    assert!(refused.contains("Permission denied"), "{refused}");
    assert_eq!(bench::open_inside(&folder, &own).await, "opened");
}

#[tokio::test]
async fn a_boot_that_fails_is_told_with_all_that_is_known() {
    let mut bench = bench!();
    let broken = bench.root().join("broken");
    std::fs::write(&broken, "no cpio").unwrap();
    bench.platform.initramfs = machine::Artifact::read(&broken).await.unwrap();
    let retry = bench::retry(2, Duration::from_secs(30));
    let spec = |attempt: u32| bench.boot_spec(&format!("m{attempt}"), SHAPE);
    let failures = boot_until_ready(&bench.platform, retry, spec, bench::hello).await.unwrap_err();
    assert_eq!(failures.iter().map(|failure| failure.attempt).collect::<Vec<_>>(), [1, 2]);
    let failure = &failures[0];
    assert_eq!((failure.step, &failure.run_state), (Step::Guest, &Some(RunState::Shutdown)));
    assert!(failure.console.contains("Kernel panic - not syncing: VFS"), "{}", failure.console);
    assert!(failure.arguments.iter().any(|word| word == "-uuid"));
    let path = record_failure(&bench.root().join("failures"), failure).unwrap();
    let kept: machine::BootFailure = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(kept.console, failure.console);
    assert_eq!(strays(bench.root()), []);
}

#[tokio::test]
async fn a_process_that_does_not_start_is_told_with_its_log() {
    let mut bench = bench!();
    bench.platform.kernel = machine::Artifact::known("/nonexistent".into(), String::new());
    let failure = Machine::boot(&bench.platform, bench.boot_spec("m", SHAPE)).await.unwrap_err();
    assert_eq!((failure.step, failure.exit), (Step::Control, Some(Exit::Code(1))));
    assert!(failure.qemu_log.contains("/nonexistent"), "{failure:?}");
    assert_eq!(strays(bench.root()), []);
}

#[tokio::test]
async fn a_template_that_is_damaged_does_not_become_a_machine() {
    let bench = bench!();
    let template = bench.template(1).await;
    let state = template.folder().join("state");
    std::fs::remove_file(&state).unwrap();
    std::fs::write(&state, "not a state").unwrap();
    let spec = bench.clone_spec("m", Start::Running);
    let failure = Machine::clone_from(&bench.platform, &template, spec).await.unwrap_err();
    assert!(matches!(failure.step, Step::Restore), "{failure:?}");
    assert_eq!(strays(bench.root()), []);
}

#[tokio::test]
async fn a_boot_that_is_given_up_leaves_nothing() {
    let bench = bench!();
    let retry = bench::retry(1, Duration::from_secs(60));
    let spec = |_| bench.boot_spec("m", SHAPE);
    let booting = boot_until_ready(&bench.platform, retry, spec, bench::hello);
    // Long enough for the process to be there, and not for the guest.
    assert!(timeout(Duration::from_millis(300), booting).await.is_err());
    let gone = async {
        while !strays(bench.root()).is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), gone).await.unwrap();
}

#[tokio::test]
async fn kvm_is_tried_once_and_the_answer_kept() {
    let bench = bench!();
    let (cache, scratch) = (bench.root().join("kvm.json"), bench.root().join("scratch"));
    let state = probe_kvm(&bench.platform, &cache, &scratch).await;
    eprintln!("KVM: {state:?}");
    let opens = std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    let tried = matches!(state, KvmState::Works | KvmState::OpensButDoesNotBoot { .. });
    assert_eq!(tried, opens);
    assert_eq!(strays(bench.root()), []);
    assert!(!scratch.exists());
    let started = Instant::now();
    assert_eq!(probe_kvm(&bench.platform, &cache, &scratch).await, state);
    assert!(started.elapsed() < Duration::from_millis(100), "it was tried again");
    assert_eq!(cache.exists(), opens);
}
