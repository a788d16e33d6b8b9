//! Files that hold a machine's memory: sparse, so that untouched pages take no space.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

use rustix::{
    fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek},
    io::Errno,
};

/// Makes an empty file of this size.
pub(crate) fn make(path: &Path, memory_mib: u32) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.set_len(u64::from(memory_mib) << 20)
}

/// Copies a file and keeps its holes; shares the blocks where the file system can.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let target = OpenOptions::new().write(true).create_new(true).open(to)?;
    if ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    let size = source.metadata()?.len();
    target.set_len(size)?;
    let mut at = 0;
    while let Some((start, end)) = next_data(&source, at)? {
        copy_range(&source, &target, start, end)?;
        at = end;
    }
    Ok(())
}

/// The next stretch of the file that is not a hole.
fn next_data(file: &File, at: u64) -> io::Result<Option<(u64, u64)>> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(start) => Ok(Some((start, seek(file, SeekFrom::Hole(start))?))),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn copy_range(source: &File, target: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut from, mut to) = (start, start);
    while from < end {
        let left = usize::try_from(end - from).unwrap_or(usize::MAX);
        if copy_file_range(source, Some(&mut from), target, Some(&mut to), left)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn a_copy_has_the_same_bytes_and_the_same_holes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        make(&from, 64).unwrap();
        let file = OpenOptions::new().write(true).open(&from).unwrap();
        for mib in [0, 3, 40, 63] {
            file.write_all_at(&[7; 4096], mib << 20).unwrap();
        }
        file.write_all_at(&[9; 10_000], 20_000_001).unwrap();
        file.sync_all().unwrap();
        copy(&from, &to).unwrap();
        assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
        let blocks = |path: &Path| path.metadata().unwrap().blocks() * 512;
        assert!(blocks(&to) < 1 << 20, "{} bytes on disk", blocks(&to));
        assert!(copy(&from, &to).is_err(), "an existing file is not overwritten");
    }
}
