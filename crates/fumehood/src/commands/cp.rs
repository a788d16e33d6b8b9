//! `fumehood cp`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use api::client::{Owner, Packing, Unpack};
use api::{Code, FileKind, FsPath};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};

use super::{Context, running};
use crate::archive::{self, Content, Rename};
use crate::attached::Output;
use crate::cli::Cp;
use crate::failure::{Exit, Failure};
use crate::place::{Form, GuestPath, Place};
use crate::say;
use crate::server::Server;

type Upload = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

pub(crate) async fn run(args: Cp, context: &Context) -> Result<Exit, Failure> {
    let (sandbox, path, other, direction) = match (args.source, args.target) {
        (Place::Guest { .. }, Place::Guest { .. }) => {
            return Err(usage("one side is in a sandbox, the other is here: copy in two steps"));
        }
        (Place::Guest { sandbox, path }, other) => (sandbox, path, other, Direction::Out),
        (other, Place::Guest { sandbox, path }) => (sandbox, path, other, Direction::In),
        _ => return Err(usage("one side has to be NAME:PATH")),
    };
    if direction == Direction::Out && args.archive {
        return Err(usage("--archive is for copies into a sandbox: what comes out is yours"));
    }
    let server = Server::reach(&context.server).await?;
    let session = running(&server, &sandbox).await?.session;
    let guest = Guest {
        server: &server,
        session: &session.id,
        path: GuestPath::new(&session.cwd, &path),
        owner: if args.archive { Owner::Kept } else { Owner::DefaultUser },
    };
    let copied = match (direction, other) {
        (Direction::In, Place::Here(source)) => guest.copy_in(source).await,
        (Direction::In, _) => guest.unpack_stdin().await,
        (Direction::Out, Place::Here(target)) => guest.copy_out(&target).await,
        (Direction::Out, _) => guest.print().await,
    };
    copied
        .map(|()| Exit::Command(0))
        .map_err(|failure| failure.about(format!("{sandbox}:{}", guest.path.path)))
}

fn usage(message: &str) -> Failure {
    Failure::new(Exit::Usage, message)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    In,
    Out,
}

/// What is at the target now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// A folder, or a link to one.
    Folder,
    /// Something that a file may take the place of.
    NoFolder,
    Nothing,
}

/// The side in the sandbox.
struct Guest<'a> {
    server: &'a Server,
    session: &'a str,
    path: GuestPath,
    owner: Owner,
}

impl Guest<'_> {
    async fn copy_in(&self, source: PathBuf) -> Result<(), Failure> {
        let meta = fs::symlink_metadata(&source)
            .map_err(|fault| Failure::host(source.display(), fault))?;
        let name = name_of(&source);
        if name.is_none() && !meta.is_dir() {
            return Err(usage(&format!("{} is not a folder", source.display())));
        }
        let found = self.found().await?;
        if meta.is_dir() && found == Found::NoFolder {
            return Err(Failure::new(Exit::Refused, "it is there and no folder"));
        }
        let (folder, content) = into_guest(&self.path, name, found);
        self.send(&folder, Box::pin(archive::pack(source, content))).await
    }

    async fn unpack_stdin(&self) -> Result<(), Failure> {
        self.send(&self.path.path, Box::pin(ReaderStream::new(tokio::io::stdin()))).await
    }

    async fn found(&self) -> Result<Found, Failure> {
        // The dot makes the guest follow a link.
        let asked = FsPath { path: format!("{}/.", self.path.path), cwd: None };
        match self.server.client().stat(self.session, &asked).await {
            Ok(stat) if stat.kind == FileKind::Directory => Ok(Found::Folder),
            Ok(_) => Ok(Found::NoFolder),
            Err(fault) => match fault.code() {
                Some(Code::NotFound) => Ok(Found::Nothing),
                Some(Code::FileError) => Ok(Found::NoFolder),
                _ => Err(fault.into()),
            },
        }
    }

    async fn send(&self, folder: &str, stream: Upload) -> Result<(), Failure> {
        let how = Unpack { folder, packing: Packing::Tar, owner: self.owner };
        // What went wrong on our own side reads better than the broken request it led to.
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let stream = stream.map(move |piece| {
            piece.map_err(|fault| {
                let kind = fault.kind();
                drop(told.send(fault));
                kind.into()
            })
        });
        let sent = self.server.client().unpack(self.session, how, stream).await;
        match heard.try_recv() {
            Ok(fault) => Err(Failure::host("reading what to copy", fault)),
            Err(_) => Ok(sent?),
        }
    }

    async fn copy_out(&self, target: &Path) -> Result<(), Failure> {
        let (folder, rename) = out_of_guest(&self.path, target)?;
        let download = self.server.client().pack(self.session, &self.path.path).await?;
        let stream = StreamReader::new(Box::pin(download.into_stream()));
        let stream = SyncIoBridge::new(stream);
        let unpacking = tokio::task::spawn_blocking(move || {
            archive::unpack(stream, &folder, &rename).map_err(anyhow::Error::new)
        });
        let unpacked = unpacking.await.map_err(|fault| Failure::new(Exit::Internal, fault))?;
        let left_out = unpacked.map_err(|fault| Failure::new(Exit::Host, format!("{fault:#}")))?;
        if left_out.special > 0 {
            say::note(&format!("left out: {} devices, pipes or such", left_out.special));
        }
        Ok(())
    }

    async fn print(&self) -> Result<(), Failure> {
        let mut download = self.server.client().pack(self.session, &self.path.path).await?;
        let mut output = Output::passed();
        while let Some(piece) = download.chunk().await? {
            output.write(api::Stream::Stdout, &piece).await?;
        }
        Ok(())
    }
}

/// The name to copy a source under; none when it stands for what is in it: `.`, `a/.`, `..`, `/`.
fn name_of(source: &Path) -> Option<OsString> {
    let text = source.as_os_str().as_encoded_bytes();
    let is_inside = text == b"." || text.ends_with(b"/.");
    source.file_name().filter(|_| !is_inside).map(ToOwned::to_owned)
}

/// The folder of the guest to unpack in, and what to send there.
fn into_guest(target: &GuestPath, name: Option<OsString>, found: Found) -> (String, Content) {
    match (name, target.split()) {
        (None, _) => (target.path.clone(), Content::Inside),
        (Some(_), Some((parent, new_name)))
            if found != Found::Folder && target.form == Form::Plain =>
        {
            (parent.to_owned(), Content::Whole(new_name.into()))
        }
        (Some(name), _) => (target.path.clone(), Content::Whole(name)),
    }
}

/// The folder here to unpack in, which is there then, and how to name what comes.
fn out_of_guest(source: &GuestPath, target: &Path) -> Result<(PathBuf, Rename), Failure> {
    let is_folder = target.is_dir();
    let make = |folder: &Path| match fs::create_dir(folder) {
        Err(fault) if !is_folder => {
            Err(Failure::host(format!("making {}", folder.display()), fault))
        }
        _ => Ok(folder.to_owned()),
    };
    let Some((_, name)) = source.split() else {
        // The names below the root have no top of their own; those below `..` have one we do not
        // know.
        let rename = if source.path == "/" { Rename::Keep } else { Rename::Strip };
        return Ok((make(target)?, rename));
    };
    if source.form == Form::Contents {
        return Ok((make(target)?, Rename::Strip));
    }
    if is_folder {
        return Ok((target.to_owned(), Rename::Top(name.into())));
    }
    let is_written_as_folder = target.as_os_str().as_encoded_bytes().ends_with(b"/");
    match (target.parent(), target.file_name()) {
        (Some(parent), Some(new_name)) if !is_written_as_folder => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok((parent.to_owned(), Rename::Top(new_name.to_owned())))
        }
        _ => Err(Failure::new(Exit::NotFound, format!("{} is not a folder", target.display()))),
    }
}

#[cfg(test)]
mod tests;
