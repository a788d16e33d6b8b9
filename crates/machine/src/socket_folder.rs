//! A folder of sockets that a process is handed and others connect to.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, open, unlinkat},
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    },
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

    /// Where it is now.
    pub(crate) fn path(&self) -> io::Result<PathBuf> {
        std::fs::read_link(sys::proc_path(self.0.as_fd(), "").trim_end_matches('/'))
    }

    /// Listens in place of whoever did so before. Done before the process that is to accept is
    /// there, so that it can be connected to at once.
    pub fn listen(&self, name: &str) -> io::Result<UnixListener> {
        self.clear(name)?;
        UnixListener::bind(sys::proc_path(self.0.as_fd(), name))
    }

    pub async fn connect(&self, name: &str) -> io::Result<UnixStream> {
        UnixStream::connect(sys::proc_path(self.0.as_fd(), name)).await
    }

    /// As [`SocketFolder::listen`], for connections that keep messages apart (`SOCK_SEQPACKET`).
    pub fn listen_for_packets(&self, name: &str) -> io::Result<OwnedFd> {
        self.clear(name)?;
        let (socket, address) = self.packets(name, SocketFlags::CLOEXEC)?;
        bind(&socket, &address)?;
        listen(&socket, 1)?;
        Ok(socket)
    }

    /// Connects to such a one, not blocking. Where more than one waits already, that is an error.
    pub fn connect_for_packets(&self, name: &str) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, address) = self.packets(name, flags)?;
        connect(&socket, &address)?;
        Ok(socket)
    }

    fn packets(&self, name: &str, flags: SocketFlags) -> io::Result<(OwnedFd, SocketAddrUnix)> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((socket, SocketAddrUnix::new(sys::proc_path(self.0.as_fd(), name))?))
    }

    fn clear(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
