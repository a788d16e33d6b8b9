//! Images that have layers in common, on file systems that share blocks.
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::fs::File;
use std::path::PathBuf;

use ::tar::EntryType;

use super::converted::written;
use super::*;
use crate::disk::tests::mounted::can_mount;

/// Small, since a debug build hashes slowly.
const PIECE: u64 = 128 << 10;
const DISK_BYTES: u64 = 512 << 20;

/// A file system of its own, mounted until it is dropped.
struct Ground(tempfile::TempDir);

impl Ground {
    /// None where it cannot be: that is said.
    fn new(make: &[&str]) -> Option<Self> {
        if !can_mount() || !has(make[0]) {
            eprintln!("skipped: {} needs root, loop devices and its programs", make[0]);
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let (disk, at) = (folder.path().join("disk"), folder.path().join("at"));
        File::create(&disk).unwrap().set_len(DISK_BYTES).unwrap();
        fs::create_dir(&at).unwrap();
        let (disk, at) = (disk.display().to_string(), at.display().to_string());
        run(make[0], &[&make[1..], &[&disk]].concat());
        let mounted = Command::new("mount").args(["-o", "loop", &disk, &at]).output().unwrap();
        if !mounted.status.success() {
            eprintln!("skipped: the kernel has no {}", make[0]);
            return None;
        }
        Some(Self(folder))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("at")
    }
}

/// The bytes of a disk that others have too, and those that are its own, by the kernel's word.
fn bytes(disk: &Path) -> (u64, u64) {
    let listed = run("/usr/sbin/filefrag", &["-v", &disk.display().to_string()]);
    let (mut shared, mut own) = (0, 0);
    // `ext: logical_offset: physical_offset: length: expected: flags:`
    for line in listed.lines() {
        let fields: Vec<_> = line.split(':').map(str::trim).collect();
        let [number, _, _, blocks, rest @ ..] = fields.as_slice() else { continue };
        if number.parse::<u64>().is_ok() {
            let is_shared = rest.iter().any(|flags| flags.contains("shared"));
            *(if is_shared { &mut shared } else { &mut own }) +=
                blocks.parse::<u64>().unwrap() * 4096;
        }
    }
    (shared, own)
}

impl Drop for Ground {
    fn drop(&mut self) {
        run("umount", &[&self.path().display().to_string()]);
    }
}

/// Bytes that no other number gives.
fn noise(number: u64, bytes: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(usize::try_from(bytes).unwrap()).collect()
}

/// Two images of one base whose files lie elsewhere in the second, as it has a large one before them.
fn images(blobs: &Blobs) -> [Digest; 2] {
    let mut base = Stream::default();
    for number in 0..20 {
        base.add(EntryType::Regular, &format!("m/{number}"), &noise(number, PIECE + 1000));
        base.add(EntryType::Regular, &format!("m/small-{number}"), &noise(1000 + number, 5000));
    }
    let mut above = Stream::default();
    above.add(EntryType::Regular, "a/new", &noise(77, 3 * PIECE));
    above.add(EntryType::Regular, "m/7", &noise(78, PIECE));
    [Made::plain(&[&base]), Made::plain(&[&base, &above])].map(|made| made.put(blobs))
}

#[test]
fn images_share_the_blocks_of_what_they_have_in_common() {
    let reflinks = ["mkfs.xfs", "-q", "-m", "reflink=1"];
    for make in [&reflinks[..], &["mkfs.btrfs", "-q"]] {
        let Some(ground) = Ground::new(make) else { continue };
        let cache = Cache::open(&ground.path().join("cache")).unwrap();
        let blobs = Blobs::of(&cache);
        let [first, second] = images(&blobs);
        let convert = |manifest: &Digest| {
            crate::oci::convert::convert(&cache, &blobs, manifest, None, &silent).unwrap()
        };
        let alone = bytes(&convert(&first).disk());
        assert!(alone.0 == 0 && 20 * PIECE < alone.1, "{make:?}: {alone:?}");
        let image = convert(&second);
        // One of the twenty is another one, and there is a new one of three.
        let (shared, own) = bytes(&image.disk());
        assert!(
            19 * PIECE < shared && (4 * PIECE..14 * PIECE).contains(&own),
            "{make:?}: {shared} {own}"
        );
        crate::disk::tests::check(&image.disk());

        // The same bytes as where nothing is shared.
        let place = Place::new();
        let [_, manifest] = images(&place.blobs);
        let alone = place.convert(&manifest).unwrap();
        assert_eq!(image.digest(), alone.digest());
        assert_eq!(written(&image.disk()), written(&alone.disk()), "{make:?}");
    }
}
