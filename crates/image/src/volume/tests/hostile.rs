use super::*;

/// A small disk of the writer's, changed by `change`, as what a guest has left.
fn hostile(change: impl FnOnce(&mut Vec<u8>)) -> Result<Written, String> {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    let mut stream = crate::disk::tests::Stream::default();
    stream
        .add(::tar::EntryType::Directory, "a/", b"")
        .add(::tar::EntryType::Regular, "a/b", &[7; 9000])
        .add(::tar::EntryType::Regular, "c", b"c");
    let layout = Layout { size_bytes: 16 << 20, journal_blocks: 1024, inodes: 64, ..LAYOUT };
    let tree =
        tree_from_tar(stream.end().as_slice(), tempfile::tempfile().unwrap(), Limits::default());
    ext4::write(&tree.unwrap(), &base, layout).unwrap();
    let mut disk = fs::read(&base).unwrap();
    change(&mut disk);
    fs::write(&base, disk).unwrap();
    let opened = Stack::new(vec![], File::open(&base).unwrap()).unwrap();
    let opened = Volume::open(opened).map_err(|error| format!("{error:?}"))?;
    let written = write_layer(None, &opened, io::sink());
    written.map(|(written, _)| written).map_err(|error| format!("{error:?}"))
}

#[test]
fn an_honest_one_is_read() {
    assert_eq!(hostile(|_| {}).unwrap(), Written { entries: 4, bytes: 9001 });
}

#[test]
fn a_journal_that_holds_something_is_refused() {
    let fault = hostile(|disk| disk[1024 + 0x60] |= 4).unwrap_err();
    assert!(fault.contains("incompat features 0x4"), "{fault}");
}

#[test]
fn blocks_of_another_size_or_number_are_refused() {
    // Each made the library count below zero or shift too far.
    for (at, byte) in [(0x14, 1), (0x17, 0xff), (0x18, 3), (0x18, 66), (0x1b, 1)] {
        let fault = hostile(|disk| disk[1024 + at] = byte).unwrap_err();
        assert!(fault.contains("4096 bytes"), "{at:#x}: {fault}");
    }
}

#[test]
fn any_byte_may_be_any() {
    // The superblock, the group descriptors, and the blocks that hold the tree.
    let mut seed = 1_u32;
    let mut draw = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % below
    };
    for _ in 0..300 {
        let changes: Vec<(usize, u8)> = (0..1 + draw(4))
            .map(|_| {
                let at = match draw(3) {
                    0 => 1024 + draw(1024),
                    1 => 4096 + draw(64),
                    _ => draw(2 << 20),
                };
                (at as usize, draw(256).to_le_bytes()[0])
            })
            .collect();
        // An error or not, but an end.
        drop(hostile(|disk| changes.iter().for_each(|(at, byte)| disk[*at] = *byte)));
    }
}
