//! Calls about files in a session's guest.

use std::io;

use bytes::Bytes;
use futures_util::Stream;
use http::HeaderName;

use super::{
    Client, ClientError,
    exchange::{Download, stream_body},
    path::{segment, session_path},
};
use crate::files::{CWD_HEADER, FileStat, FsMkdir, FsPath, GZIP, OWNER_HEADER, OWNER_KEEP, TAR};

/// How a tar stream is unpacked in the guest.
#[derive(Clone, Copy, Debug)]
pub struct Unpack<'a> {
    /// Where, an absolute path.
    pub folder: &'a str,
    pub packing: Packing,
    pub owner: Owner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Tar,
    GzippedTar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Everything belongs to the sandbox's default user.
    DefaultUser,
    /// As the stream says.
    Kept,
}

impl Client {
    pub async fn read_file(&self, session: &str, file: &FsPath) -> Result<Download, ClientError> {
        self.post(&session_path(session, "/fs/read")).json(file).download().await
    }

    pub async fn make_folder(&self, session: &str, folder: &FsMkdir) -> Result<(), ClientError> {
        let path = session_path(session, "/fs/mkdir");
        self.post(&path).json(folder).accepted().await.map(|_| ())
    }

    pub async fn stat(&self, session: &str, file: &FsPath) -> Result<FileStat, ClientError> {
        self.post(&session_path(session, "/fs/stat")).json(file).reply().await
    }

    /// Unpacks a tar stream in the guest.
    pub async fn unpack(
        &self,
        session: &str,
        how: Unpack<'_>,
        stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), ClientError> {
        let content_type = match how.packing {
            Packing::Tar => TAR,
            Packing::GzippedTar => GZIP,
        };
        let mut exchange = self
            .post(&session_path(session, "/fs/write"))
            .header(HeaderName::from_static(CWD_HEADER), how.folder)
            .body(content_type, stream_body(stream));
        if how.owner == Owner::Kept {
            exchange = exchange.header(HeaderName::from_static(OWNER_HEADER), OWNER_KEEP);
        }
        exchange.accepted().await.map(|_| ())
    }

    /// A file or folder of the guest as a tar stream, names relative to the parent of `path`.
    pub async fn pack(&self, session: &str, path: &str) -> Result<Download, ClientError> {
        let rest = format!("/fs/tar?path={}", segment(path));
        self.get(&session_path(session, &rest)).download().await
    }
}
