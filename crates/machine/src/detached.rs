//! Starting a process that stands on its own and outlives us.

use std::{fs::File, io, os::fd::OwnedFd, path::Path};

use crate::{Process, sys};

/// A process to be started on its own: own session, no environment, nothing on its standard input,
/// no way to gain privileges, and as much confined as is said here.
#[derive(Debug)]
pub struct Detached<'a> {
    pub program: &'a Path,
    pub arguments: &'a [String],
    /// Where it works.
    pub folder: &'a Path,
    /// Takes its standard output and error.
    pub log: File,
    /// Left open in the process, under the same numbers; all else is closed.
    pub inherit: Vec<OwnedFd>,
    /// A Landlock ruleset that it is put under.
    pub ruleset: Option<OwnedFd>,
    pub sockets: Sockets,
}

/// Whether the process may make and connect sockets beside those that it inherits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sockets {
    Denied,
    Allowed,
}

impl Detached<'_> {
    /// Starts the process. It is our child, and dropping what is returned does not end it.
    pub fn spawn(self) -> io::Result<Process> {
        let pid = sys::spawn(self)?;
        // Our child is there until it is waited for, and only its pidfd does that.
        Process::hold(pid)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
