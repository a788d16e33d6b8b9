//! Reads a log's folder after its process is gone.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use protocol::Exit;

use super::{
    LogError, Offsets,
    record::{self, Found},
    segment::{self, Header, Segment},
};

/// What a folder holds.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub(super) segments: VecDeque<Segment>,
    pub(super) next_index: u64,
    pub(super) totals: Offsets,
    pub(super) exit: Option<Exit>,
}

/// Finds the whole records, and cuts off what follows them in the newest segment, whose file is
/// given back to be appended to.
pub(super) fn recover(folder: &Path) -> Result<(Recovered, Option<File>), LogError> {
    let mut recovered = Recovered::default();
    let mut newest = None;
    for index in indices(folder).map_err(|source| LogError::read(folder, source))? {
        let path = segment::path(folder, index);
        let opened = open(&path).map_err(|source| LogError::read(&path, source))?;
        recovered.next_index = index + 1;
        match opened.header {
            Header::Whole { index: named, start } if named == index => {
                recovered.segments.push_back(Segment { index, start, len: opened.len });
                newest = Some((path, opened.file));
            }
            Header::OtherVersion => return Err(LogError::Version { path }),
            // Cut off at its birth, or not ours: nothing of it can be read.
            Header::Whole { .. } | Header::Damaged => {
                std::fs::remove_file(&path).map_err(|source| LogError::write(&path, source))?;
            }
        }
    }
    let Some((path, file)) = newest else { return Ok((recovered, None)) };
    settle(&mut recovered, &file).map_err(|source| LogError::read(&path, source))?;
    Ok((recovered, Some(file)))
}

fn indices(folder: &Path) -> io::Result<Vec<u64>> {
    let mut indices = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        indices.extend(entry?.file_name().to_str().and_then(segment::index_of));
    }
    indices.sort_unstable();
    Ok(indices)
}

struct Opened {
    file: File,
    header: Header,
    len: u64,
}

fn open(path: &PathBuf) -> io::Result<Opened> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let header = segment::read_header(&mut file)?;
    let len = file.metadata()?.len();
    Ok(Opened { file, header, len })
}

/// Goes through the newest segment's records.
fn settle(recovered: &mut Recovered, file: &File) -> io::Result<()> {
    let Some(newest) = recovered.segments.back_mut() else { return Ok(()) };
    recovered.totals = newest.start;
    let from = segment::HEADER_LEN as u64;
    let len = usize::try_from(newest.len - from).map_err(io::Error::other)?;
    let mut rest = Bytes::from(segment::read_at(file, from, len)?);
    let mut whole = rest.len();
    loop {
        match record::take(&mut rest) {
            Found::Output(output, bytes) => {
                *recovered.totals.get_mut(output) += bytes.len() as u64;
            }
            Found::End(exit) => recovered.exit = Some(exit),
            Found::Cut | Found::Damaged => break,
        }
        whole = rest.len();
        if recovered.exit.is_some() {
            break;
        }
    }
    newest.len -= whole as u64;
    if whole > 0 {
        file.set_len(newest.len)?;
    }
    Ok(())
}
