//! A machine's memory as a template: that of the template on which it stands, and over it what it has
//! written. All machines that start from it share its pages.

use std::{
    fs::{File, OpenOptions, Permissions},
    io,
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
};

use rustix::fs::{FallocateFlags, fallocate};

use super::pages::PAGE;
use crate::{
    Template, ram,
    template::{Draft, OnDisk},
};

/// One in the making.
#[derive(Debug)]
pub(super) struct Shared {
    draft: Draft,
    file: File,
}

impl Shared {
    /// Begins with all of this memory.
    pub(super) fn begin(draft: Draft, base: &Path) -> io::Result<Self> {
        let ram = draft.ram();
        ram::copy(base, &ram)?;
        let file = OpenOptions::new().write(true).open(&ram)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(Self { draft, file })
    }

    /// Writes pages to where they belong, which rises.
    pub(super) fn write(&self, at: &[u64], pages: &[u8]) -> io::Result<()> {
        let mut rest = pages;
        for run in at.chunk_by(|one, next| one + PAGE as u64 == *next) {
            let bytes = rest.split_off(..run.len() * PAGE).ok_or(io::ErrorKind::InvalidInput)?;
            self.file.write_all_at(bytes, run[0])?;
        }
        Ok(())
    }

    /// Makes a page one of noughts.
    pub(super) fn clear(&self, at: u64) -> io::Result<()> {
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(&self.file, hole, at, PAGE as u64)?)
    }

    /// With what the machine is beside its memory.
    pub(super) fn finish(self, state: &Path, memory: OnDisk) -> io::Result<Template> {
        self.draft.finish(state, memory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, Shape, Templates};

    #[test]
    fn it_is_the_base_with_pages_over_it() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base");
        std::fs::write(&base, vec![1; 8 * PAGE]).unwrap();
        let templates = Templates::open(&folder.path().join("templates")).unwrap();
        let shape = Shape { vcpus: 1, memory_mib: 64 };
        let draft = templates.draft(&Key::of_memory("one"), shape).unwrap();
        let shared = Shared::begin(draft, &base).unwrap();
        let at = |pages: &[u64]| Vec::from_iter(pages.iter().map(|page| page * PAGE as u64));
        let pages = [vec![2; PAGE], vec![3; PAGE], vec![4; PAGE]].concat();
        shared.write(&at(&[0, 5, 6]), &pages).unwrap();
        shared.write(&at(&[5]), &pages[..PAGE]).unwrap();
        shared.clear(at(&[3])[0]).unwrap();
        assert!(shared.write(&at(&[1, 2]), &pages[..PAGE]).is_err(), "there are too few");
        let state = folder.path().join("state");
        std::fs::write(&state, "devices").unwrap();
        let template = shared.finish(&state, OnDisk::Later).unwrap();
        let ram = std::fs::read(template.ram()).unwrap();
        let firsts = ram.chunks(PAGE).map(|page| page[0]).collect::<Vec<_>>();
        assert_eq!(firsts, [2, 1, 1, 0, 1, 2, 4, 1]);
        assert!(ram.chunks(PAGE).all(|page| page.iter().all(|byte| *byte == page[0])));
        let mode = template.ram().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o400, "what is in a guest is for nobody else");
    }
}
