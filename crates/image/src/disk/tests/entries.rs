//! What streams of all forms become.

use ::tar::EntryType;

use super::*;

#[track_caller]
fn becomes(stream: &mut Stream, lines: &[&str]) {
    let tree = read(&stream.end()).unwrap();
    assert_eq!(describe(&tree).lines().collect::<Vec<_>>(), lines);
    let folder = tempfile::tempdir().unwrap();
    write(&tree, &folder.path().join("disk"));
}

#[test]
fn kinds() {
    let mut stream = Stream::default();
    stream
        .add_with(EntryType::Directory, "./", b"", |header| header.set_mode(0o750))
        .add_with(EntryType::Regular, "./f", b"hello", |header| {
            header.set_mode(0o104_755);
            header.set_uid(1000);
            header.set_gid(2000);
        })
        .link(EntryType::Symlink, "s", "../../anywhere")
        .link(EntryType::Link, "h", "./f")
        .add(EntryType::Fifo, "p", b"")
        .add_with(EntryType::Char, "c", b"", |header| {
            header.set_device_major(4).unwrap();
            header.set_device_minor(300).unwrap();
        })
        .add_with(EntryType::Block, "b", b"", |header| {
            header.set_device_major(254).unwrap();
            header.set_device_minor(1).unwrap();
        })
        .add(EntryType::Directory, "d/", b"")
        .add(EntryType::Regular, "old-directory/", b"");
    becomes(
        &mut stream,
        &[
            "/ 750 0:0 7.000000000 directory",
            "/b 644 0:0 7.000000000 BlockDevice { major: 254, minor: 1 }",
            "/c 644 0:0 7.000000000 CharDevice { major: 4, minor: 300 }",
            "/d 644 0:0 7.000000000 directory",
            "/f 4755 1000:2000 7.000000000 file \"hello\"",
            "/h = /f",
            "/old-directory 644 0:0 7.000000000 directory",
            "/p 644 0:0 7.000000000 Fifo",
            "/s 644 0:0 7.000000000 -> ../../anywhere",
        ],
    );
}

#[test]
fn a_hard_link_keeps_the_mode_of_its_target() {
    let mut stream = Stream::default();
    stream.add_with(EntryType::Regular, "a", b"x", |header| header.set_mode(0o4755)).link(
        EntryType::Link,
        "b",
        "a",
    );
    becomes(
        &mut stream,
        &["/ 755 0:0 0.000000000 directory", "/a 4755 0:0 7.000000000 file \"x\"", "/b = /a"],
    );
}

#[test]
fn pax_overrides_what_the_header_says() {
    let long = "n".repeat(200);
    let mut stream = Stream::default();
    stream
        .pax(&[
            ("path", format!("{long}/{long}").as_bytes()),
            ("uid", b"4000000000"),
            ("gid", b"4000000001"),
            ("mtime", b"-1.5"),
            ("SCHILY.xattr.user.empty", b""),
            ("SCHILY.xattr.user.text", b"a=b\nc"),
            ("SCHILY.xattr.com.apple.quarantine", b"not for Linux"),
            ("comment", b"no matter"),
        ])
        .add(EntryType::Regular, "short", b"x")
        .pax(&[("linkpath", format!("{long}/{long}").as_bytes())])
        .add(EntryType::Link, "h", b"");
    let tree = read(&stream.end()).unwrap();
    let text = describe(&tree);
    let expected =
        "/h 644 4000000000:4000000001 -2.500000000 user.empty= user.text=a=b\nc file \"x\"\n";
    assert!(text.contains(expected), "{text}");
    assert!(text.contains(&format!("/{long}/{long} = /h\n")), "{text}");
    let folder = tempfile::tempdir().unwrap();
    write(&tree, &folder.path().join("disk"));
}

#[test]
fn global_pax_holds_until_overridden_and_an_empty_value_takes_it_back() {
    let mut stream = Stream::default();
    stream
        .records(EntryType::XGlobalHeader, &[("uid", b"5"), ("mtime", b"9.25")])
        .add(EntryType::Regular, "a", b"")
        .pax(&[("uid", b""), ("mtime", b"10.123456789999")])
        .add(EntryType::Regular, "b", b"")
        .add(EntryType::Regular, "c", b"");
    becomes(
        &mut stream,
        &[
            "/ 755 0:0 0.000000000 directory",
            "/a 644 5:0 9.250000000 file \"\"",
            "/b 644 0:0 10.123456789 file \"\"",
            "/c 644 5:0 9.250000000 file \"\"",
        ],
    );
}

#[test]
fn gnu_long_names_and_numbers() {
    let long = "m".repeat(150);
    let mut stream = Stream::default();
    stream
        .add(EntryType::GNULongName, "././@LongLink", format!("{long}\0").as_bytes())
        .add(EntryType::GNULongLink, "././@LongLink", format!("{long}{long}\0").as_bytes())
        .add_with(EntryType::Symlink, "cut", b"", |header| {
            // Base 256: the owner is too large for seven octal digits, the time is before 1970.
            header.as_mut_bytes()[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0xff, 0, 0, 1]);
            header.as_mut_bytes()[136..148].copy_from_slice(&[0xff; 12]);
        });
    becomes(
        &mut stream,
        &[
            "/ 755 0:0 0.000000000 directory",
            &format!("/{long} 644 4278190081:0 -1.000000000 -> {long}{long}"),
        ],
    );
}

#[test]
fn ustar_prefix_is_a_part_of_the_path() {
    let mut stream = Stream::default();
    stream.add_with(EntryType::Regular, "name", b"", |header| {
        header.as_mut_bytes()[345..349].copy_from_slice(b"a/pr");
    });
    becomes(
        &mut stream,
        &[
            "/ 755 0:0 0.000000000 directory",
            "/a 755 0:0 0.000000000 directory",
            "/a/pr 755 0:0 0.000000000 directory",
            "/a/pr/name 644 0:0 7.000000000 file \"\"",
        ],
    );
}

#[test]
fn the_last_entry_of_a_name_wins_but_a_directory_keeps_what_is_in_it() {
    let mut stream = Stream::default();
    stream
        .add(EntryType::Regular, "d/inside", b"1")
        .add_with(EntryType::Directory, "d", b"", |header| header.set_mode(0o700))
        .add(EntryType::Regular, "f", b"old")
        .link(EntryType::Link, "keeps-old", "f")
        .add(EntryType::Regular, "f", b"new")
        .add(EntryType::Directory, "gone", b"")
        .add(EntryType::Regular, "gone/too", b"")
        .link(EntryType::Symlink, "gone", "elsewhere");
    becomes(
        &mut stream,
        &[
            "/ 755 0:0 0.000000000 directory",
            "/d 700 0:0 7.000000000 directory",
            "/d/inside 644 0:0 7.000000000 file \"1\"",
            "/f 644 0:0 7.000000000 file \"new\"",
            "/gone 644 0:0 7.000000000 -> elsewhere",
            "/keeps-old 644 0:0 7.000000000 file \"old\"",
        ],
    );
}

#[test]
fn a_second_stream_is_laid_over_the_first() {
    let mut below = Stream::default();
    below.add(EntryType::Directory, "d", b"").add(EntryType::Regular, "d/a", b"below");
    let mut above = Stream::default();
    above.add(EntryType::Regular, "d/a", b"above").add(EntryType::Regular, "d/b", b"more");
    let mut tree = read(&below.end()).unwrap();
    lay(above.end().as_slice(), &mut tree).unwrap();
    let text = describe(&tree);
    assert!(text.contains("/d/a 644 0:0 7.000000000 file \"above\"\n"), "{text}");
    assert!(text.contains("/d/b 644 0:0 7.000000000 file \"more\"\n"), "{text}");
    assert_eq!(tree.content_bytes(), 9);
    assert_eq!(tree.inodes(), 4);
}

#[test]
fn a_lost_and_found_of_its_own_is_no_trouble() {
    let mut stream = Stream::default();
    stream.add(EntryType::Directory, "lost+found", b"").add(EntryType::Regular, "a", b"");
    let folder = tempfile::tempdir().unwrap();
    write(&read(&stream.end()).unwrap(), &folder.path().join("disk"));
}

#[test]
fn settled_times_do_not_tell_when_it_was_built() {
    let mut stream = Stream::default();
    for (path, time) in [("a", 50), ("b", 90), ("c", 100), ("d", 5000)] {
        stream.add_with(EntryType::Regular, path, b"", |header| header.set_mtime(time));
    }
    let mut tree = read(&stream.end()).unwrap();
    tree.settle_times(Time { seconds: 100, nanoseconds: 0 });
    let text = describe(&tree);
    let times: Vec<_> = text.lines().skip(1).filter_map(|line| line.split(' ').nth(3)).collect();
    assert_eq!(times, ["50.000000000", "90.000000000", "90.000000000", "90.000000000"]);
}

#[test]
fn the_same_tree_gives_the_same_bytes_and_another_one_another_digest() {
    let folder = tempfile::tempdir().unwrap();
    let build = |name: &str, content: &[u8], mode: u32| {
        let mut stream = Stream::default();
        stream.add_with(EntryType::Regular, "a", content, |header| header.set_mode(mode)).add(
            EntryType::Regular,
            "b",
            b"",
        );
        let disk = folder.path().join(name);
        let digest = write(&read(&stream.end()).unwrap(), &disk);
        (digest, std::fs::read(disk).unwrap())
    };
    let first = build("1", b"x", 0o644);
    assert!(first == build("2", b"x", 0o644));
    assert_ne!(first.0, build("3", b"y", 0o644).0);
    assert_ne!(first.0, build("4", b"x", 0o600).0);
}
