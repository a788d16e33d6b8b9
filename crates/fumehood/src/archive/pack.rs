//! Files of this computer as a tar stream.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tar::{Builder, EntryType, Header, HeaderMode};
use tokio::sync::mpsc;

use crate::say;

const PIECE_BYTES: usize = 256 << 10;

/// What of a source goes into the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The source itself, under this name.
    Whole(OsString),
    /// What is in it, and not itself.
    Inside,
}

/// Packs on a thread of its own. A fault ends the stream as a fault, never as an end; it says
/// which file.
pub(crate) fn pack(
    source: PathBuf,
    content: Content,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    packed(source, content, |_: &Path| Pick::Take)
}

/// What is in a folder, as far as it is picked by its name there.
pub(crate) fn pack_some(
    source: PathBuf,
    pick: impl Fn(&Path) -> Pick + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    packed(source, Content::Inside, pick)
}

fn packed(
    source: PathBuf,
    content: Content,
    pick: impl Fn(&Path) -> Pick + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(2);
    std::thread::spawn(move || {
        let pieces = Pieces { sender: sender.clone(), piece: Vec::with_capacity(PIECE_BYTES) };
        if let Err(fault) = write(pieces, &source, &content, &pick) {
            // Nobody listens when the other side gave up first.
            drop(sender.blocking_send(Err(fault)));
        }
    });
    stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (piece, receiver))
    })
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pick {
    Take,
    /// Not itself, but perhaps something in it.
    LookInside,
    Leave,
}

fn write(
    pieces: Pieces,
    source: &Path,
    content: &Content,
    pick: &dyn Fn(&Path) -> Pick,
) -> io::Result<()> {
    let mut builder = Builder::new(pieces);
    let mut waiting = match content {
        Content::Whole(name) => vec![(source.to_owned(), PathBuf::from(name))],
        Content::Inside => inside(source, Path::new(""))?,
    };
    while let Some((path, name)) = waiting.pop() {
        let about =
            |fault: io::Error| io::Error::new(fault.kind(), format!("{}: {fault}", path.display()));
        let meta = fs::symlink_metadata(&path).map_err(about)?;
        let picked = pick(&name);
        if picked == Pick::Take {
            append(&mut builder, &path, &name, &meta).map_err(about)?;
        }
        if meta.is_dir() && picked != Pick::Leave {
            waiting.extend(inside(&path, &name).map_err(about)?);
        }
    }
    builder.into_inner()?.flush()
}

/// The entries of a folder, last first, so that they are taken in order from the end.
fn inside(folder: &Path, name: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let mut names: Vec<OsString> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(names.into_iter().map(|entry| (folder.join(&entry), name.join(&entry))).collect())
}

fn append(
    builder: &mut Builder<Pieces>,
    path: &Path,
    name: &Path,
    meta: &Metadata,
) -> io::Result<()> {
    let kind = meta.file_type();
    let mut header = Header::new_gnu();
    header.set_metadata_in_mode(meta, HeaderMode::Complete);
    if kind.is_file() {
        let file = File::open(path)?;
        header.set_size(file.metadata()?.len());
        header.set_entry_type(EntryType::Regular);
        let length = header.size()?;
        builder.append_data(&mut header, name, Exactly { file, left: length })
    } else if kind.is_dir() {
        header.set_size(0);
        header.set_entry_type(EntryType::Directory);
        builder.append_data(&mut header, name, io::empty())
    } else if kind.is_symlink() {
        header.set_size(0);
        header.set_entry_type(EntryType::Symlink);
        builder.append_link(&mut header, name, fs::read_link(path)?)
    } else {
        let what = if kind.is_socket() { "a socket" } else { "a device or pipe" };
        say::note(&format!("{} is {what} and is left out", path.display()));
        Ok(())
    }
}

/// A file's first bytes, as many as the header says: one that grew is cut, one that shrank is a
/// fault, since the stream could not go on.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let length = self.file.read(&mut buffer[..room])?;
        if length == 0 && room > 0 {
            return Err(io::Error::other("it became shorter while it was read"));
        }
        self.left -= u64::try_from(length).unwrap_or(u64::MAX);
        Ok(length)
    }
}

/// Collects what is written into pieces and waits for room for each.
struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(data);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        let sent = self.sender.blocking_send(Ok(piece.into()));
        sent.map_err(|_unsent| io::ErrorKind::BrokenPipe.into())
    }
}
