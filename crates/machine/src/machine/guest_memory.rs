//! Reading and writing what a guest keeps in its memory for us, instead of having it sent.

use std::{fs::File, io, path::PathBuf};

use super::{
    blocks,
    pages::Space,
    record::{ProcessRecord, Record},
};
use crate::{AgentPort, identity};

/// The memory of a machine that runs.
#[derive(Debug)]
pub struct GuestMemory {
    space: Space,
    to_write: File,
}

impl GuestMemory {
    /// Reads from these addresses, as the guest counts them, so many bytes each, one behind the other into
    /// all of `into`. What is not the guest's memory is an error.
    pub fn read(
        &self,
        places: impl Iterator<Item = (u64, usize)>,
        into: &mut [u8],
    ) -> io::Result<()> {
        self.space.read_places(found(places)?.into_iter(), into)
    }

    /// The same the other way.
    pub fn write(&self, places: impl Iterator<Item = (u64, usize)>, from: &[u8]) -> io::Result<()> {
        self.space.write_places(found(places)?.into_iter(), &self.to_write, from)
    }
}

/// In the memory's file.
fn found(places: impl Iterator<Item = (u64, usize)>) -> io::Result<Vec<(u64, usize)>> {
    let found = places.map(|(address, bytes)| Some((blocks::place(address)?, bytes)));
    found.collect::<Option<_>>().ok_or_else(|| io::ErrorKind::NotFound.into())
}

impl AgentPort {
    /// The memory of the machine that serves it now, which stands on a file below one of `bases`.
    pub fn memory(&self, bases: &[PathBuf]) -> io::Result<GuestMemory> {
        let folder = self.folder()?;
        let record = Record::read(&folder)?.ok_or(io::ErrorKind::NotFound)?;
        let ProcessRecord { pid, start_time } = record.process.ok_or(io::ErrorKind::NotFound)?;
        let space = Space::of(pid, bases)?;
        // Nobody waits for the process here, since that would take its exit from who does.
        let is_its_own = identity::start_time(pid)? == start_time && record.is_of(pid, &folder);
        let to_write = space.writable()?;
        is_its_own.then_some(GuestMemory { space, to_write }).ok_or(io::ErrorKind::NotFound.into())
    }
}
