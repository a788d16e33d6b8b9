//! One command, from its start until it is forgotten.

use protocol::{
    Body, CommandId, CommandState, Data, Exit, ExitCause, Progress, Refusal, RefusalCode, Reset,
    StreamId,
};
use rustix::{fd::OwnedFd, process::Pid};

use super::{
    SIGKILL,
    spawn::{self, Spawned},
};
use crate::{
    clock::now_ms,
    input::{Answer, Input},
    outgoing::Outgoing,
    output::{self, Output},
    poll::{Poll, Ready, Source},
    refusal::{refuse, refuse_io},
    sys,
};

#[derive(Debug)]
pub(crate) struct Command {
    id: CommandId,
    pid: Pid,
    time: Time,
    killer: Killer,
    exit: Option<Exit>,
    input: Option<Input>,
    outputs: Vec<Output>,
}

/// When it was started, and when it must have ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    started_ms: u64,
    deadline_ms: Option<u64>,
}

impl Time {
    /// From now on.
    pub(crate) fn limited(timeout_ms: Option<u64>) -> Self {
        let started_ms = now_ms();
        let deadline_ms = timeout_ms.map(|timeout| started_ms.saturating_add(timeout));
        Self { started_ms, deadline_ms }
    }
}

/// Who sent the command a SIGKILL, as far as the agent knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killer {
    Nobody,
    Host,
    Timeout,
}

impl Command {
    pub(crate) fn new(id: CommandId, spawned: Spawned, time: Time) -> Self {
        let ends = spawned.ends;
        let mut outputs = vec![Output::new(StreamId::stdout(id), ends.stdout)];
        outputs.extend(ends.stderr.map(|fd| Output::new(StreamId::stderr(id), fd)));
        Self {
            id,
            pid: spawned.pid,
            time,
            killer: Killer::Nobody,
            exit: None,
            input: ends.stdin.map(|fd| Input::new(StreamId::stdin(id), fd)),
            outputs,
        }
    }

    /// Begins its streams.
    pub(crate) fn open(&mut self, poll: &Poll, outgoing: &mut Outgoing) -> std::io::Result<()> {
        for stream in [StreamId::stdout(self.id), StreamId::stderr(self.id)] {
            outgoing.open(stream);
        }
        for output in &self.outputs {
            poll.watch(output.fd(), Source::Stream(output.stream))?;
        }
        if self.outputs.len() == 1 {
            // A terminal has no standard error of its own.
            outgoing.end(StreamId::stderr(self.id));
        }
        if let Some(fd) = self.input.as_ref().and_then(Input::fd) {
            poll.watch(fd, Source::Stream(StreamId::stdin(self.id)))?;
        }
        self.tell_input(outgoing);
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        u32::try_from(self.pid.as_raw_pid()).unwrap_or(0)
    }

    pub(crate) fn stdin(&self) -> StreamId {
        StreamId::stdin(self.id)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.exit.is_none()
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        self.time.deadline_ms
    }

    pub(crate) fn state(&self) -> CommandState {
        let progress = self.exit.map_or(Progress::Running { pid: self.pid() }, Progress::Exited);
        CommandState { command: self.id, progress }
    }

    /// Signals the whole process group. One that has ended cannot be signalled, and that is fine.
    pub(crate) fn signal(&mut self, signal: u8) -> Result<(), Refusal> {
        if !self.is_running() {
            return Ok(());
        }
        if signal == SIGKILL && self.killer == Killer::Nobody {
            self.killer = Killer::Host;
        }
        sys::kill_group(self.pid, signal).map_err(|error| refuse_io(&error, "signal"))
    }

    pub(crate) fn resize(&self, rows: u16, cols: u16) -> Result<(), Refusal> {
        // Only a terminal has one output.
        let [terminal] = self.outputs.as_slice() else {
            if !self.is_running() {
                return Ok(());
            }
            return Err(refuse(RefusalCode::Invalid, "the command has no terminal"));
        };
        spawn::resize(terminal.fd(), rows, cols).map_err(|error| refuse_io(&error, "resize"))
    }

    /// Kills it if its time is over.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        if self.time.deadline_ms.is_some_and(|deadline| deadline <= now_ms) {
            self.time.deadline_ms = None;
            self.killer = Killer::Timeout;
            // It fails only if the process is gone, and then it is reaped next.
            drop(sys::kill_group(self.pid, SIGKILL));
        }
    }

    pub(crate) fn was_killed_by_nobody(&self) -> bool {
        self.killer == Killer::Nobody
    }

    /// The process has ended. What it wrote is still to be read.
    pub(crate) fn end(&mut self, code: u8, signal: Option<u8>, outgoing: &mut Outgoing) -> Exit {
        let timed_out = self.killer == Killer::Timeout && signal == Some(SIGKILL);
        let exit = Exit {
            code,
            signal,
            cause: timed_out.then_some(ExitCause::TimedOut),
            duration_ms: now_ms().saturating_sub(self.time.started_ms),
        };
        self.exit = Some(exit);
        self.time.deadline_ms = None;
        for output in &mut self.outputs {
            output.finish();
        }
        if let Some(input) = &mut self.input {
            let answer = input.give_up();
            self.tell(answer, outgoing);
        }
        exit
    }

    pub(crate) fn ran_out_of_memory(&mut self, exit: Exit) -> Exit {
        let exit = Exit { cause: Some(ExitCause::OutOfMemory), ..exit };
        self.exit = Some(exit);
        exit
    }

    /// Moves output on. Gives back what is ended for the command and still open for others.
    pub(crate) fn pump(&mut self, outgoing: &mut Outgoing) -> Vec<(StreamId, OwnedFd)> {
        let mut left_over = Vec::new();
        for mut output in std::mem::take(&mut self.outputs) {
            match output.pump(outgoing) {
                output::Progress::Open => self.outputs.push(output),
                output::Progress::Ended | output::Progress::Failed => outgoing.end(output.stream),
                output::Progress::LeftOver => {
                    outgoing.end(output.stream);
                    left_over.push((output.stream, output.into_fd()));
                }
            }
        }
        left_over
    }

    pub(crate) fn on_ready(&mut self, stream: StreamId, ready: Ready, outgoing: &mut Outgoing) {
        if stream == StreamId::stdin(self.id) {
            let answer = self.input.as_mut().map(|input| input.on_ready(ready));
            self.tell(answer.unwrap_or(Answer::Nothing), outgoing);
        } else if let Some(output) = self.output(stream) {
            output.on_ready(ready);
        }
    }

    /// Bytes for its standard input.
    pub(crate) fn on_data(&mut self, data: &Data, outgoing: &mut Outgoing) {
        let answer = match &mut self.input {
            Some(input) => match input.on_data(data) {
                Ok(answer) => answer,
                // A peer that breaks the rules loses the stream.
                Err(_violation) => {
                    input.give_up();
                    Answer::Reset
                }
            },
            None => Answer::Reset,
        };
        self.tell(answer, outgoing);
    }

    /// The host gave a stream up. Gives back an output that nobody wants any more.
    pub(crate) fn on_reset(&mut self, stream: StreamId) -> Option<(StreamId, OwnedFd)> {
        if stream == StreamId::stdin(self.id) {
            self.input.as_mut().map(Input::give_up);
            return None;
        }
        let index = self.outputs.iter().position(|output| output.stream == stream)?;
        Some((stream, self.outputs.remove(index).into_fd()))
    }

    /// Says where its input stands.
    pub(crate) fn tell_input(&mut self, outgoing: &mut Outgoing) {
        let answer = self.input.as_mut().map(Input::state);
        self.tell(answer.unwrap_or(Answer::Nothing), outgoing);
    }

    pub(crate) fn take_outputs(&mut self) -> Vec<(StreamId, OwnedFd)> {
        self.outputs.drain(..).map(|output| (output.stream, output.into_fd())).collect()
    }

    pub(crate) fn take_input(&mut self) -> Option<OwnedFd> {
        self.input.take().and_then(Input::into_fd)
    }

    fn output(&mut self, stream: StreamId) -> Option<&mut Output> {
        self.outputs.iter_mut().find(|output| output.stream == stream)
    }

    fn tell(&self, answer: Answer, outgoing: &mut Outgoing) {
        match answer {
            Answer::Nothing => {}
            Answer::Ack(ack) => outgoing.say(Body::Ack(ack)),
            Answer::Reset => outgoing.say(Body::Reset(Reset { stream: StreamId::stdin(self.id) })),
        }
    }
}
