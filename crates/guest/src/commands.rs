//! The commands of the machine: started, fed, read, timed, reaped, remembered until forgotten.

mod command;
mod launch;
mod spawn;
pub(crate) mod warm;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    rc::Rc,
};

use protocol::{
    Body, CommandId, CommandState, Data, Event, Refusal, RefusalCode, Reset, StartCommand, StreamId,
};
use rustix::{
    fd::OwnedFd,
    io::Errno,
    process::{Pid, WaitOptions, WaitStatus},
};

use self::{
    command::{Command, Time},
    launch::Launch,
};
use crate::{
    clock::now_ms,
    identity::Identity,
    outgoing::Outgoing,
    place::Place,
    poll::{Poll, Ready, Source},
    refusal::{refuse, refuse_io},
};

const RUNNING_MAX: usize = 512;
const KNOWN_MAX: usize = 4096;
/// With so much output waiting for the host, nothing more is started.
const KEPT_MAX: u64 = 32 << 20;
/// Pipes that outlive their command; beyond it the oldest is closed.
const LEFT_OVER_MAX: usize = 1024;
/// Reads of such a pipe at a time, so that one that never dries up does not hold up the rest.
const LEFT_OVER_READS: usize = 4;
const SCRATCH: usize = 64 << 10;
const SIGKILL: u8 = 9;

#[derive(Debug)]
pub(crate) struct Commands {
    poll: Rc<Poll>,
    known: BTreeMap<CommandId, Command>,
    running: HashMap<Pid, CommandId>,
    /// Outputs of ended commands that others hold open: read and thrown away, so that these do not
    /// die of SIGPIPE.
    left_over: BTreeMap<StreamId, OwnedFd>,
    /// Inputs of processes that were commands.
    inputs: Vec<OwnedFd>,
    scratch: Vec<u8>,
    /// The kernel's count of processes killed for want of memory when it was last looked at.
    oom_kills: u64,
}

impl Commands {
    pub(crate) fn new(poll: Rc<Poll>) -> Self {
        Self {
            poll,
            known: BTreeMap::new(),
            running: HashMap::new(),
            left_over: BTreeMap::new(),
            inputs: Vec::new(),
            scratch: vec![0; SCRATCH],
            oom_kills: oom_kills(),
        }
    }

    /// Starts a command. One already known is said to be started again.
    pub(crate) fn start(
        &mut self,
        start: StartCommand,
        identity: &Identity,
        place: &Place,
        outgoing: &mut Outgoing,
    ) -> Result<u32, Refusal> {
        let id = start.command;
        if let Some(command) = self.known.get_mut(&id) {
            command.tell_input(outgoing);
            return Ok(command.pid());
        }
        if self.known.len() >= KNOWN_MAX || self.running.len() >= RUNNING_MAX {
            let message = format!("{} commands are running", self.running.len());
            return Err(refuse(RefusalCode::TooManyCommands, message));
        }
        if outgoing.kept() > KEPT_MAX {
            let message = "the output of other commands waits to be read";
            return Err(refuse(RefusalCode::TooManyCommands, message));
        }
        if id.0 > u32::MAX >> 2 {
            return Err(refuse(RefusalCode::Invalid, "the command's number is too large"));
        }
        let time = Time::limited(start.timeout_ms);
        let spawned = spawn::spawn(&Launch::new(start, identity, place)?)?;
        let pid = spawned.pid;
        let mut command = Command::new(id, spawned, time);
        if let Err(error) = command.open(&self.poll, outgoing) {
            // It is reaped like a stranger.
            drop(command.signal(SIGKILL));
            outgoing.close(StreamId::stdout(id));
            outgoing.close(StreamId::stderr(id));
            return Err(refuse_io(&error, "watching the command"));
        }
        self.running.insert(pid, id);
        self.known.insert(id, command);
        Ok(u32::try_from(pid.as_raw_pid()).unwrap_or(0))
    }

    /// A request about one command.
    pub(crate) fn signal(&mut self, id: CommandId, signal: u8) -> Result<(), Refusal> {
        if !(1..=64).contains(&signal) {
            return Err(refuse(RefusalCode::Invalid, format!("{signal} is no signal")));
        }
        self.command(id)?.signal(signal)
    }

    pub(crate) fn resize(&mut self, id: CommandId, rows: u16, cols: u16) -> Result<(), Refusal> {
        self.command(id)?.resize(rows, cols)
    }

    pub(crate) fn states(&self) -> Vec<CommandState> {
        self.known.values().map(|command| command.state()).collect()
    }

    /// Drops an ended command. One that is not known was forgotten before.
    pub(crate) fn forget(&mut self, id: CommandId, outgoing: &mut Outgoing) -> Result<(), Refusal> {
        let Some(command) = self.known.get_mut(&id) else { return Ok(()) };
        if command.is_running() {
            return Err(refuse(RefusalCode::Invalid, format!("command {} is running", id.0)));
        }
        let left_over = command.take_outputs();
        self.known.remove(&id);
        for (stream, fd) in left_over {
            self.keep_open(stream, fd);
        }
        outgoing.close(StreamId::stdout(id));
        outgoing.close(StreamId::stderr(id));
        Ok(())
    }

    /// Forgets all of them. Their processes go on: what they write is thrown away, and their input
    /// stays open and empty.
    pub(crate) fn let_go(&mut self, outgoing: &mut Outgoing) {
        self.running.clear();
        for (id, mut command) in std::mem::take(&mut self.known) {
            outgoing.close(StreamId::stdout(id));
            outgoing.close(StreamId::stderr(id));
            for (stream, fd) in command.take_outputs() {
                self.keep_open(stream, fd);
            }
            self.inputs.extend(command.take_input());
        }
    }

    /// Where every input stands, for a new epoch.
    pub(crate) fn tell_inputs(&mut self, outgoing: &mut Outgoing) {
        for command in self.known.values_mut() {
            command.tell_input(outgoing);
        }
    }

    pub(crate) fn on_ready(&mut self, stream: StreamId, ready: Ready, outgoing: &mut Outgoing) {
        let Some(id) = stream.command() else { return };
        if let Some(command) = self.known.get_mut(&id) {
            command.on_ready(stream, ready, outgoing);
        }
        self.pump(id, outgoing);
        self.drain_left_over(stream);
    }

    /// There is room in a stream again.
    pub(crate) fn on_room(&mut self, stream: StreamId, outgoing: &mut Outgoing) {
        if let Some(id) = stream.command() {
            self.pump(id, outgoing);
        }
    }

    /// Takes in bytes of a standard input. One that is not known is over.
    pub(crate) fn on_data(&mut self, data: &Data, outgoing: &mut Outgoing) {
        let command = data.stream.command().and_then(|id| self.known.get_mut(&id));
        match command {
            Some(command) if data.stream == command.stdin() => command.on_data(data, outgoing),
            Some(_) | None => outgoing.say(Body::Reset(Reset { stream: data.stream })),
        }
    }

    /// The host gave a stream up: no more input, or output that nobody wants.
    pub(crate) fn on_reset(&mut self, stream: StreamId, outgoing: &mut Outgoing) {
        let Some(id) = stream.command() else { return };
        outgoing.close(stream);
        let unwanted = self.known.get_mut(&id).and_then(|command| command.on_reset(stream));
        if let Some((stream, fd)) = unwanted {
            self.keep_open(stream, fd);
        }
    }

    /// Collects the dead: ours and those that only PID 1 can collect.
    pub(crate) fn reap(&mut self, outgoing: &mut Outgoing) {
        let mut oom_kills_now = None;
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let Some((code, signal)) = end_of(status) else { continue };
            let Some(id) = self.running.remove(&pid) else { continue };
            let Some(command) = self.known.get_mut(&id) else { continue };
            let mut exit = command.end(code, signal, outgoing);
            if code == 128 + SIGKILL && command.was_killed_by_nobody() {
                let now = *oom_kills_now.get_or_insert_with(oom_kills);
                if now > self.oom_kills {
                    exit = command.ran_out_of_memory(exit);
                }
            }
            self.pump(id, outgoing);
            outgoing.say(Body::Event(Event::Exited { command: id, exit }));
        }
        self.oom_kills = oom_kills_now.unwrap_or(self.oom_kills);
    }

    /// Kills what has run for too long.
    pub(crate) fn expire(&mut self) {
        let now = now_ms();
        for id in self.running.values() {
            if let Some(command) = self.known.get_mut(id) {
                command.expire(now);
            }
        }
    }

    /// How long until the next command has run for too long.
    pub(crate) fn until_deadline(&self) -> Option<u64> {
        let running = self.running.values().filter_map(|id| self.known.get(id));
        let next = running.filter_map(Command::deadline).min()?;
        // One more, as the clock's milliseconds are rounded down.
        Some(next.saturating_sub(now_ms()) + 1)
    }

    fn command(&mut self, id: CommandId) -> Result<&mut Command, Refusal> {
        let unknown = || refuse(RefusalCode::UnknownCommand, format!("no command {}", id.0));
        self.known.get_mut(&id).ok_or_else(unknown)
    }

    fn pump(&mut self, id: CommandId, outgoing: &mut Outgoing) {
        let Some(command) = self.known.get_mut(&id) else { return };
        for (stream, fd) in command.pump(outgoing) {
            self.keep_open(stream, fd);
        }
    }

    fn keep_open(&mut self, stream: StreamId, fd: OwnedFd) {
        self.left_over.insert(stream, fd);
        self.drain_left_over(stream);
        while self.left_over.len() > LEFT_OVER_MAX {
            self.left_over.pop_first();
        }
    }

    fn drain_left_over(&mut self, stream: StreamId) {
        let Some(fd) = self.left_over.get(&stream) else { return };
        for _ in 0..LEFT_OVER_READS {
            match rustix::io::read(fd, &mut self.scratch) {
                Ok(0) => {
                    self.left_over.remove(&stream);
                    return;
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.left_over.remove(&stream);
                    return;
                }
            }
        }
        // There is more: be told of it again.
        if self.poll.watch_again(fd, Source::Stream(stream)).is_err() {
            self.left_over.remove(&stream);
        }
    }
}

/// Exit code and signal, as a shell would say it; none if the process has not ended.
fn end_of(status: WaitStatus) -> Option<(u8, Option<u8>)> {
    let small = |number: i32| u8::try_from(number).ok();
    if let Some(signal) = status.terminating_signal().and_then(small) {
        return Some((128 + signal, Some(signal)));
    }
    status.exit_status().and_then(small).map(|code| (code, None))
}

/// How many processes the kernel has killed for want of memory.
fn oom_kills() -> u64 {
    let vmstat = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let count = vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}
