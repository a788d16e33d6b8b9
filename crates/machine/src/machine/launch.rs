//! Starting a QEMU process and getting hold of its control socket.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::{fd::AsRawFd, unix::fs::DirBuilderExt},
};

use tokio::time::{Duration, timeout};

use super::*;
use crate::{
    Detached, Platform, Ram, SocketFolder, Sockets,
    arguments::{Begin, Memory, VCPUS_MAX, arguments},
    confine::{self, Reach},
    console,
    failure::chain,
    machine::record::{ProcessRecord, Record},
    process::Leash,
    ram, tsc,
};

/// From the start of the process to QEMU's greeting. Milliseconds, but for a host in distress.
const GREETING: Duration = Duration::from_secs(30);

/// How much of console and log goes into a failure's record.
pub(super) const TAIL_BYTES: usize = 16 * 1024;

/// The initramfs is loaded to the end of memory, rounded down to a page.
const PAGE: u64 = 4096;

/// A machine to be started.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) platform: &'a Platform,
    pub(super) id: MachineId,
    pub(super) folder: &'a Path,
    pub(super) shape: Shape,
    pub(super) root: &'a Root,
    pub(super) memory: Memory<'a>,
    pub(super) origin: Origin<'a>,
}

/// Where the guest comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin<'a> {
    Boot,
    /// The file of saved devices, to be read later.
    Restore(&'a Path),
    /// The file of what a fork has saved, to be read later.
    Fork(&'a Path),
    /// What a machine was paused with, which is handed over later. The folder is as that one left it.
    Paused,
}

/// What a failure's record says of any machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) id: MachineId,
    pub(super) folder: &'a Path,
    pub(super) arguments: &'a [String],
    pub(super) started: Instant,
}

impl About<'_> {
    pub(super) fn failure(&self, step: Step, why: String) -> BootFailure {
        BootFailure {
            id: self.id,
            folder: self.folder.to_owned(),
            step,
            why,
            elapsed_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            attempt: 1,
            exit: None,
            run_state: None,
            console: String::new(),
            qemu_log: file_tail(&self.folder.join(QEMU_LOG)).unwrap_or_default(),
            arguments: self.arguments.to_vec(),
        }
    }
}

impl Machine {
    /// Starts QEMU and lets the guest go. Whether the guest is well is for the caller to find out
    /// over [`Machine::agent`]; see [`crate::boot_until_ready`].
    pub async fn boot(platform: &Platform, spec: BootSpec) -> Result<Self, Box<BootFailure>> {
        let memory = match &spec.ram {
            Ram::Private => Memory::Private,
            Ram::Shared(file) => Memory::Shared(file),
        };
        let launch = Launch {
            platform,
            id: spec.id,
            folder: &spec.folder,
            shape: spec.shape,
            root: &spec.root,
            memory,
            origin: Origin::Boot,
        };
        let machine = start(&launch).await?;
        let leash = machine.leash();
        match machine.cont().await {
            Ok(()) => {
                leash.release();
                Ok(machine)
            }
            Err(error) => Err(machine.fail(Step::Control, chain(&error)).await),
        }
    }
}

/// Starts the process, its guest held, and connects to it.
pub(super) async fn start(launch: &Launch<'_>) -> Result<Machine, Box<BootFailure>> {
    let started = Instant::now();
    let mut about = About { id: launch.id, folder: launch.folder, arguments: &[], started };
    let spawned = match spawn(launch) {
        Ok(spawned) => spawned,
        Err(error) => return Err(Box::new(about.failure(Step::Spawn, chain(&error)))),
    };
    let Spawned { folder, sockets, process, leash, arguments } = spawned;
    about.arguments = &arguments;
    let connected = async {
        let connected = connect(&sockets, &process, &folder).await?;
        connected.qmp.card_listens().await?;
        Ok::<_, ControlError>(connected)
    };
    match connected.await {
        Ok(Connected { qmp, console, events }) => {
            leash.release();
            let id = launch.id;
            Ok(Machine { id, folder, sockets, process, qmp, console, events, arguments, started })
        }
        Err(error) => {
            let exit = process.last_breath().await;
            let why = match exit {
                Some(exit) => format!("QEMU ended: {exit:?}"),
                None => chain(&error),
            };
            process.kill().await;
            Err(Box::new(BootFailure { exit, ..about.failure(Step::Control, why) }))
        }
    }
}

struct Spawned {
    folder: PathBuf,
    sockets: SocketFolder,
    process: Process,
    leash: Leash,
    arguments: Vec<String>,
}

fn spawn(launch: &Launch<'_>) -> io::Result<Spawned> {
    if !(1..=VCPUS_MAX).contains(&launch.shape.vcpus) {
        let why = format!("a machine has 1 to {VCPUS_MAX} processors");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(launch.folder)?;
    let folder = launch.folder.canonicalize()?;
    let sockets = SocketFolder::open(&folder)?;
    let mut record = Record { id: launch.id, process: None };
    record.write(&folder)?;
    // What an attempt before this one left is not this one's.
    if !matches!(launch.origin, Origin::Paused) {
        for name in [console::LOG, console::OLDER_LOG, QEMU_LOG] {
            remove_if_there(&folder.join(name))?;
        }
    }
    let initramfs = prepare(launch, &folder)?;
    let (control, agent) = (sockets.listen(CONTROL)?, sockets.listen(AGENT)?);
    let network = sockets.listen_for_packets(NETWORK)?;
    let id = launch.id.to_string();
    let parts = Parts {
        id: &id,
        accel: launch.platform.accel,
        shape: launch.shape,
        modules: launch.platform.modules.as_ref().map(crate::Artifact::path),
        root: launch.root,
        memory: launch.memory,
        control: control.as_raw_fd(),
        agent: agent.as_raw_fd(),
        network: network.as_raw_fd(),
        begin: match &initramfs {
            None if matches!(launch.origin, Origin::Fork(_) | Origin::Paused) => Begin::Fork,
            None => Begin::Restore,
            Some(initramfs) => Begin::Boot {
                kernel: launch.platform.kernel.path(),
                initramfs,
                tsc_khz: tsc::khz(),
            },
        },
    };
    let arguments = arguments(&parts);
    let detached = Detached {
        program: launch.platform.qemu.program(),
        arguments: &arguments,
        folder: &folder,
        log: OpenOptions::new().create(true).append(true).open(folder.join(QEMU_LOG))?,
        inherit: vec![control.into(), agent.into(), network],
        ruleset: confine::ruleset(&reach(launch, &parts, &folder)).map_err(io::Error::other)?,
        sockets: Sockets::Denied,
    };
    let process = detached.spawn()?;
    let leash = Leash::on(&process);
    let (pid, start_time) = (process.pid(), process.start_time());
    record.process = Some(ProcessRecord { pid, start_time });
    record.write(&folder)?;
    Ok(Spawned { folder, sockets, process, leash, arguments })
}

fn reach<'a>(launch: &Launch<'a>, parts: &Parts<'a>, folder: &'a Path) -> Reach<'a> {
    let (written, mut read) = launch.root.files();
    let mut written: Vec<&Path> = written.into_iter().collect();
    read.extend(parts.modules);
    match parts.begin {
        Begin::Boot { kernel, initramfs, .. } => read.extend([kernel, initramfs]),
        Begin::Restore | Begin::Fork => {}
    }
    match launch.origin {
        Origin::Boot | Origin::Paused => {}
        Origin::Restore(state) | Origin::Fork(state) => read.push(state),
    }
    match launch.memory {
        Memory::Private => {}
        Memory::Shared(file) => written.push(file),
        Memory::CopyOnWrite(file) => read.push(file),
    }
    Reach { program: Some(launch.platform.qemu.program()), folder: Some(folder), written, read }
}

/// Makes what a boot needs, and tells which initramfs it is.
fn prepare(launch: &Launch<'_>, folder: &Path) -> io::Result<Option<PathBuf>> {
    match launch.origin {
        Origin::Restore(_) | Origin::Fork(_) | Origin::Paused => Ok(None),
        Origin::Boot => {
            if let Memory::Shared(file) = launch.memory {
                remove_if_there(file)?;
                ram::make(file, launch.shape.memory_mib)?;
            }
            whole_pages(launch.platform.initramfs.path(), folder).map(Some)
        }
    }
}

/// The initramfs in whole pages, a copy if need be.
///
/// QEMU loads it up to the last page of memory, where the firmware has put the ACPI tables. Only if
/// its size is a multiple of a page does it end before them; otherwise it runs over them, and
/// whether the guest then boots depends on how long the tables are.
fn whole_pages(original: &Path, folder: &Path) -> io::Result<PathBuf> {
    let size = original.metadata()?.len();
    if size.is_multiple_of(PAGE) {
        return Ok(original.to_owned());
    }
    let padded = folder.join("initramfs");
    remove_if_there(&padded)?;
    std::fs::copy(original, &padded)?;
    OpenOptions::new().write(true).open(&padded)?.set_len(size.next_multiple_of(PAGE))?;
    Ok(padded)
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(super) struct Connected {
    pub(super) qmp: Qmp,
    pub(super) console: Arc<Console>,
    pub(super) events: broadcast::Sender<Event>,
}

/// Connects to a process that listens.
pub(super) async fn connect(
    sockets: &SocketFolder,
    process: &Process,
    folder: &Path,
) -> Result<Connected, ControlError> {
    let stream = sockets.connect(CONTROL).await?;
    let (raw, received) = mpsc::channel(EVENTS_KEPT);
    let slow = || ControlError::Timeout { command: "its own start".to_owned() };
    let greeted = timeout(GREETING, Qmp::over(stream, raw));
    let qmp = tokio::select! {
        qmp = greeted => qmp.unwrap_or_else(|_elapsed| Err(slow()))?,
        _ = process.exited() => return Err(ControlError::Gone),
    };
    let console = Arc::new(Console::open(folder)?);
    let events = broadcast::Sender::new(EVENTS_KEPT);
    tokio::spawn(tell_events(received, events.clone(), qmp.downgrade(), Arc::clone(&console)));
    Ok(Connected { qmp, console, events })
}

fn file_tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(TAIL_BYTES as u64)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
