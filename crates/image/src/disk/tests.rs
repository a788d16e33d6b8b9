//! The writer is held to what `e2fsck`, the kernel and another reader say of its disks.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::ext4::{self, ContentDigest, Layout};
use super::tar::{TarError, lay, tree_from_tar};
use super::tree::{Kind, Limits, NodeId, Special, Time, Tree};

mod entries;
mod holes;
mod hostile;
mod layered;
pub(crate) mod mounted;
mod random;

const LAYOUT: Layout<'static> =
    Layout { label: "test", size_bytes: 64 << 20, journal_blocks: 1024, inodes: 8192 };

fn read(stream: &[u8]) -> Result<Tree, TarError> {
    read_within(stream, Limits::default())
}

fn read_within(stream: &[u8], limits: Limits) -> Result<Tree, TarError> {
    tree_from_tar(stream, tempfile::tempfile().unwrap(), limits)
}

/// Writes the tree and lets `e2fsck` look for faults.
fn write(tree: &Tree, disk: &Path) -> ContentDigest {
    let digest = ext4::write(tree, disk, LAYOUT).unwrap();
    check(disk);
    digest
}

pub(crate) fn check(disk: &Path) {
    // Away from root it is in a folder that the search path may not have.
    let output = Command::new("/usr/sbin/e2fsck").arg("-fn").arg(disk).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
}

/// One line for each entry, in the order of names; a further name of a file points to its first.
fn describe(tree: &Tree) -> String {
    let mut text = String::new();
    let mut seen: Vec<(NodeId, String)> = Vec::new();
    describe_below(tree, tree.root(), "", &mut seen, &mut text);
    text
}

fn describe_below(
    tree: &Tree,
    id: NodeId,
    path: &str,
    seen: &mut Vec<(NodeId, String)>,
    text: &mut String,
) {
    if let Some((_, first)) = seen.iter().find(|(other, _)| *other == id) {
        writeln!(text, "{path} = {first}").unwrap();
        return;
    }
    seen.push((id, path.to_owned()));
    let node = tree.node(id);
    let meta = &node.meta;
    let Time { seconds, nanoseconds } = meta.mtime;
    let shown = if path.is_empty() { "/" } else { path };
    write!(text, "{shown} {:o} {}:{} {seconds}.{nanoseconds:09}", meta.mode, meta.uid, meta.gid)
        .unwrap();
    for (name, value) in &meta.xattrs {
        write!(text, " {name}={}", String::from_utf8_lossy(value)).unwrap();
    }
    match &node.kind {
        Kind::Directory(children) => {
            text.push_str(" directory\n");
            for (name, child) in children {
                describe_below(tree, child.id, &format!("{path}/{name}"), seen, text);
            }
        }
        Kind::File(body) => {
            let mut content = String::new();
            std::io::Read::read_to_string(&mut tree.content(*body), &mut content).unwrap();
            writeln!(text, " file {content:?}").unwrap();
        }
        Kind::Special(Special::Symlink(target)) => writeln!(text, " -> {target}").unwrap(),
        Kind::Special(special) => writeln!(text, " {special:?}").unwrap(),
    }
}

/// Streams built by another implementation.
#[derive(Default)]
pub(crate) struct Stream(Vec<u8>);

impl Stream {
    pub(crate) fn add(&mut self, kind: ::tar::EntryType, path: &str, content: &[u8]) -> &mut Self {
        self.add_with(kind, path, content, |_| {})
    }

    /// As ustar, the fields changed by `change`.
    pub(crate) fn add_with(
        &mut self,
        kind: ::tar::EntryType,
        path: &str,
        content: &[u8],
        change: impl FnOnce(&mut ::tar::Header),
    ) -> &mut Self {
        let mut header = ::tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len().min(100)]
            .copy_from_slice(&path.as_bytes()[..path.len().min(100)]);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(7);
        header.set_size(content.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn link(&mut self, kind: ::tar::EntryType, path: &str, target: &str) -> &mut Self {
        self.add_with(kind, path, b"", |header| header.set_link_name_literal(target).unwrap())
    }

    pub(crate) fn pax(&mut self, records: &[(&str, &[u8])]) -> &mut Self {
        self.records(::tar::EntryType::XHeader, records)
    }

    pub(crate) fn records(
        &mut self,
        kind: ::tar::EntryType,
        records: &[(&str, &[u8])],
    ) -> &mut Self {
        let mut text = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let digits = (1..).find(|digits| (rest + digits).to_string().len() == *digits);
            let len = rest + digits.unwrap();
            text.extend_from_slice(format!("{len} {key}=").as_bytes());
            text.extend_from_slice(value);
            text.push(b'\n');
        }
        self.add(kind, "pax", &text)
    }

    pub(crate) fn end(&self) -> Vec<u8> {
        [self.0.as_slice(), &[0; 1024]].concat()
    }
}
