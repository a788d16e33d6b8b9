//! What the threads do, one function for each request.

use std::path::PathBuf;

use protocol::{Refusal, RefusalCode, Request, Response, StreamId};

use super::{
    Job, MadeBy, Over, Work, hold, list, paths, read, read_tar, remove,
    write_tar::{self, Ownership},
};
use crate::{identity::Identity, place::Place, refusal::refuse};

impl Work {
    pub(super) fn of(
        request: Request,
        identity: &Identity,
        place: &Place,
    ) -> Result<Self, Refusal> {
        let resolve = |path: &str| -> Result<PathBuf, Refusal> {
            if path.is_empty() || path.contains('\0') {
                return Err(refuse(RefusalCode::Invalid, "a path is empty or holds a zero byte"));
            }
            Ok(place.resolve(&identity.cwd, path))
        };
        let made_by: MadeBy =
            place.switch_to(identity.user.clone()).map(|user| (user.uid, user.gid));
        Ok(match request {
            Request::Read { stream, path } => Self::Read { stream, path: resolve(&path)? },
            Request::ReadTar { stream, path } => Self::ReadTar { stream, path: resolve(&path)? },
            Request::WriteTar { stream, base, owner } => {
                Self::WriteTar { stream, base: resolve(&base)?, made_by, owner }
            }
            Request::Mkdir { path, parents } => {
                Self::Mkdir { path: resolve(&path)?, parents, made_by }
            }
            Request::Stat { path } => Self::Stat { path: resolve(&path)? },
            Request::List { path, after, limit } => {
                Self::List { path: resolve(&path)?, after, limit }
            }
            Request::Remove { path, mode } => Self::Remove { path: resolve(&path)?, mode },
            Request::Sync => Self::Sync,
            Request::Hold { for_ms } => Self::Hold { what: held(place), for_ms },
            Request::Release => Self::Release { what: held(place) },
            Request::Ping
            | Request::Warm(_)
            | Request::Rehearse(_)
            | Request::Claim(_)
            | Request::SetClock { .. }
            | Request::Start(_)
            | Request::Signal { .. }
            | Request::Resize { .. }
            | Request::Commands
            | Request::Forget { .. }
            | Request::Connect { .. }
            | Request::Mount(_)
            | Request::Gather
            | Request::SetAside { .. }
            | Request::ResetConnections
            | Request::Freeze
            | Request::Thaw
            | Request::Lend
            | Request::Fork(_)
            | Request::Wake(_) => {
                return Err(refuse(RefusalCode::Invalid, "this is about no file"));
            }
        })
    }

    pub(super) fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Read { stream, .. }
            | Self::ReadTar { stream, .. }
            | Self::WriteTar { stream, .. } => Some(*stream),
            Self::Mkdir { .. }
            | Self::Stat { .. }
            | Self::List { .. }
            | Self::Remove { .. }
            | Self::Sync
            | Self::Hold { .. }
            | Self::Release { .. } => None,
        }
    }
}

fn held(place: &Place) -> hold::What {
    match place {
        Place::Machine(_) => hold::What::Root,
        Place::Process { .. } => hold::What::Nothing,
    }
}

impl Job {
    /// Does it, and says the answer.
    pub(super) fn run(self, over: &Over) {
        let pipe = &*self.pipe;
        let done = |()| Response::Done;
        let answer = match self.work {
            Work::Read { path, .. } => return read::read(&path, pipe, over),
            Work::ReadTar { path, .. } => return read_tar::read_tar(&path, pipe, over),
            Work::WriteTar { base, made_by, owner, .. } => {
                write_tar::write_tar(&base, Ownership { made_by, owner }, pipe.reader())
            }
            Work::Mkdir { path, parents, made_by } => {
                paths::mkdir(&path, parents, made_by).map(done)
            }
            Work::Stat { path } => paths::stat(&path).map(Response::Stat),
            Work::List { path, after, limit } => {
                list::list(&path, after.as_deref(), limit).map(Response::Entries)
            }
            Work::Remove { path, mode } => remove::remove(&path, mode).map(done),
            Work::Hold { what, for_ms } => return hold::hold(what, for_ms, over),
            Work::Release { what } => hold::release(what).map(done),
            Work::Sync => {
                rustix::fs::sync();
                Ok(Response::Done)
            }
        };
        if answer.is_err() {
            pipe.break_off();
        }
        over.answer(answer);
    }
}
