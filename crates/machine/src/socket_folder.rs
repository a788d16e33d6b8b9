//! A folder of sockets that a process is handed and others connect to.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, open, unlinkat},
    io::Errno,
};
use tokio::net::UnixStream;

use crate::sys;

/// A folder, held open, so that sockets in it have short names wherever it lies: the kernel takes
/// no name of more than 107 bytes. A cheap handle.
#[derive(Clone, Debug)]
pub struct SocketFolder(Arc<OwnedFd>);

impl SocketFolder {
    pub fn open(folder: &Path) -> io::Result<Self> {
        let dir = open(folder, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self(Arc::new(dir)))
    }

    /// Listens in place of whoever did so before. Done before the process that is to accept is
    /// there, so that it can be connected to at once.
    pub fn listen(&self, name: &str) -> io::Result<UnixListener> {
        match unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        UnixListener::bind(sys::proc_path(self.0.as_fd(), name))
    }

    pub async fn connect(&self, name: &str) -> io::Result<UnixStream> {
        UnixStream::connect(sys::proc_path(self.0.as_fd(), name)).await
    }
}
