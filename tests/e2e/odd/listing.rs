//! All that a program can see of a tree of files, a line an entry, sorted: the same program on the
//! host and in a guest. Built alone and statically, since nothing else is in the image.

use std::{
    collections::HashMap,
    env,
    ffi::{CStr, CString, c_char, c_void},
    fs,
    hash::{DefaultHasher, Hasher},
    io::{self, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

unsafe extern "C" {
    fn llistxattr(path: *const c_char, list: *mut c_char, size: usize) -> isize;
    fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: usize)
    -> isize;
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut names = vec![0_u8; 65_536];
    // SAFETY: a string that ends, and a buffer of the length that is told.
    let length = unsafe { llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(usize::try_from(length).unwrap_or_else(|_| panic!("{path:?}")));
    let mut found = Vec::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let name = CStr::from_bytes_with_nul(name).unwrap();
        let mut value = vec![0_u8; 65_536];
        // SAFETY: as above.
        let length = unsafe {
            lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
        };
        value.truncate(usize::try_from(length).unwrap_or_else(|_| panic!("{path:?} {name:?}")));
        found.push((name.to_string_lossy().into_owned(), value));
    }
    found.sort();
    found
}

fn main() {
    let root = PathBuf::from(env::args_os().nth(1).unwrap());
    let mounts = fs::read("/proc/self/mounts").unwrap();
    let mounts = String::from_utf8_lossy(&mounts);
    let mounts: Vec<_> = mounts.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    let mut paths = Vec::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let full = root.join(&path);
        if path != Path::new("") && full.to_str().is_some_and(|full| mounts.contains(&full)) {
            continue;
        }
        if fs::symlink_metadata(&full).unwrap().is_dir() {
            let items = fs::read_dir(&full).unwrap();
            todo.extend(items.map(|item| path.join(item.unwrap().file_name())));
        }
        paths.push(path);
    }
    paths.sort();
    let mut first_names = HashMap::new();
    let mut out = io::stdout().lock();
    for path in paths {
        let full = root.join(&path);
        let meta = fs::symlink_metadata(&full).unwrap();
        let kind = meta.file_type();
        // What a folder counts as its size and links is up to the file system.
        let (size, links) = if kind.is_dir() { (0, 0) } else { (meta.size(), meta.nlink()) };
        let first = first_names.entry((meta.dev(), meta.ino())).or_insert_with(|| path.clone());
        let target = kind.is_symlink().then(|| fs::read_link(&full).unwrap());
        let content = kind.is_file().then(|| {
            let mut hasher = DefaultHasher::new();
            hasher.write(&fs::read(&full).unwrap());
            hasher.finish()
        });
        writeln!(
            out,
            "{path:?} mode {:o} owner {}:{} device {:x} size {size} links {links} of {first:?} \
             mtime {}.{:09} target {target:?} content {content:x?} xattrs {:?}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.rdev(),
            meta.mtime(),
            meta.mtime_nsec(),
            xattrs(&full),
        )
        .unwrap();
    }
}
