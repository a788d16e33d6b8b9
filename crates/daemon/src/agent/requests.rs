//! Requests that the agent has not answered.

use std::collections::{BTreeMap, VecDeque};

use protocol::{CommandId, Request, Response, StreamId};
use tokio::sync::oneshot;

use super::AgentError;

/// So many wait at a time; more wait with those who ask.
const REQUESTS_MAX: usize = 256;

pub(super) type Answer = oneshot::Sender<Result<Response, AgentError>>;

#[derive(Debug, Default)]
pub(super) struct Requests {
    open: BTreeMap<u64, Open>,
    /// To be sent in this epoch, in the order of their making.
    unsent: VecDeque<u64>,
    last: u64,
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) request: Request,
    pub(super) asker: Asker,
    /// In this epoch or an earlier one.
    was_sent: bool,
}

/// Who waits for the answer.
#[derive(Debug)]
pub(super) enum Asker {
    Caller(Answer),
    /// This end of the protocol itself, which wants to learn what ended. It had heard so many
    /// commands start.
    Census {
        heard: u64,
    },
    /// The same, which wants the guest's memory to be read and written in this epoch.
    Lending,
    Nobody,
}

impl Requests {
    pub(super) fn has_room(&self) -> bool {
        self.open.len() < REQUESTS_MAX
    }

    /// Drops what nobody waits for, if there is no room otherwise.
    pub(super) fn make_room(&mut self) {
        if !self.has_room() {
            self.forget_abandoned();
        }
    }

    pub(super) fn push(&mut self, request: Request, asker: Asker) {
        self.last += 1;
        self.open.insert(self.last, Open { request, asker, was_sent: false });
        self.unsent.push_back(self.last);
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// The next request to send.
    pub(super) fn next(&mut self) -> Option<(u64, Request)> {
        while let Some(id) = self.unsent.pop_front() {
            if let Some(open) = self.open.get_mut(&id) {
                open.was_sent = true;
                return Some((id, open.request.clone()));
            }
        }
        None
    }

    /// A request that was sent is answered.
    pub(super) fn take(&mut self, id: u64) -> Option<Open> {
        self.open.get(&id).filter(|open| open.was_sent)?;
        self.open.remove(&id)
    }

    /// All that is open is sent again.
    pub(super) fn on_epoch(&mut self) {
        self.forget_abandoned();
        self.open.retain(|_, open| !matches!(open.asker, Asker::Census { .. } | Asker::Lending));
        self.unsent = self.open.keys().copied().collect();
    }

    /// Drops what nobody waits for any more. Not a start that may have happened: the command is
    /// still to be dealt with.
    fn forget_abandoned(&mut self) {
        self.open.retain(|_, open| {
            let waits = !matches!(&open.asker, Asker::Caller(answer) if answer.is_closed());
            waits || (open.was_sent && open.starts().is_some())
        });
    }

    /// Whether a request that opens this stream has no answer yet.
    pub(super) fn opens(&self, stream: StreamId) -> bool {
        self.open.values().any(|open| {
            open.transfer() == Some(stream.forth())
                || stream.command().is_some_and(|command| open.starts() == Some(command))
        })
    }

    /// Everything ends without an answer.
    pub(super) fn fail(&mut self, why: impl Fn() -> AgentError) {
        self.unsent.clear();
        for open in std::mem::take(&mut self.open).into_values() {
            open.answer(Err(why()));
        }
    }
}

impl Open {
    /// The command that this starts.
    pub(super) fn starts(&self) -> Option<CommandId> {
        let Request::Start(start) = &self.request else { return None };
        Some(start.command)
    }

    /// The stream that this opens, if it is a file's or the one to a port.
    pub(super) fn transfer(&self) -> Option<StreamId> {
        let (Request::Read { stream, .. }
        | Request::ReadTar { stream, .. }
        | Request::WriteTar { stream, .. }
        | Request::Connect { stream, .. }) = &self.request
        else {
            return None;
        };
        Some(*stream)
    }

    /// Says whether somebody hears it.
    pub(super) fn answer(self, answer: Result<Response, AgentError>) -> Heard {
        let Asker::Caller(caller) = self.asker else { return Heard::ByNobody };
        caller.send(answer).map_or(Heard::ByNobody, |()| Heard::ByCaller)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    ByCaller,
    ByNobody,
}
