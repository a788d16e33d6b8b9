//! Streams that mean harm, or are broken.

use ::tar::EntryType;
use proptest::prelude::*;

use super::*;

#[track_caller]
fn refused(stream: &mut Stream, part_of_message: &str) {
    let error = read(&stream.end()).expect_err(part_of_message);
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        write!(text, ": {cause}").unwrap();
        source = cause.source();
    }
    assert!(text.contains(part_of_message), "{text}");
}

#[test]
fn paths_that_leave_the_root() {
    for path in ["../a", "a/../../b", "a/..", "..", "/../a"] {
        refused(Stream::default().add(EntryType::Regular, path, b""), "leaves the root");
    }
    let mut stream = Stream::default();
    refused(
        stream.pax(&[("path", b"x/../y")]).add(EntryType::Regular, "a", b""),
        "leaves the root",
    );
    let mut stream = Stream::default();
    refused(stream.link(EntryType::Link, "a", "../etc/passwd"), "leaves the root");
}

#[test]
fn paths_that_are_none() {
    refused(Stream::default().add(EntryType::Regular, "", b""), "is empty");
    let long = "n".repeat(256);
    let mut stream = Stream::default();
    refused(stream.pax(&[("path", long.as_bytes())]).add(EntryType::Regular, "a", b""), "too long");
    let deep = "d/".repeat(3000);
    let mut stream = Stream::default();
    refused(stream.pax(&[("path", deep.as_bytes())]).add(EntryType::Regular, "a", b""), "too long");
    let mut stream = Stream::default();
    refused(stream.pax(&[("path", b"a\0b")]).add(EntryType::Regular, "a", b""), "zero byte");
    let mut stream = Stream::default();
    refused(stream.pax(&[("path", b"\xff")]).add(EntryType::Regular, "a", b""), "not UTF-8");
    refused(Stream::default().add(EntryType::Symlink, "a", b""), "is empty");
    let target = "t".repeat(4096);
    let mut stream = Stream::default();
    let stream = stream.pax(&[("linkpath", target.as_bytes())]).add(EntryType::Symlink, "a", b"");
    refused(stream, "too long");
}

#[test]
fn paths_through_what_is_no_directory() {
    for target in ["/etc", "d"] {
        let mut stream = Stream::default();
        stream.add(EntryType::Directory, "d", b"").link(EntryType::Symlink, "s", target);
        refused(stream.add(EntryType::Regular, "s/a", b""), "/s is not a directory");
    }
    let mut stream = Stream::default();
    stream.add(EntryType::Regular, "x/f", b"").add(EntryType::Regular, "x/f/g/h", b"");
    refused(&mut stream, "/x/f is not a directory");
    refused(Stream::default().link(EntryType::Symlink, ".", "a"), "root must be a directory");
}

#[test]
fn hard_links_to_nothing_and_to_directories() {
    refused(Stream::default().link(EntryType::Link, "a", "b"), "hard link");
    let mut stream = Stream::default();
    stream.add(EntryType::Directory, "d", b"").link(EntryType::Link, "a", "d");
    refused(&mut stream, "hard link");
    let mut stream = Stream::default();
    stream.add(EntryType::Regular, "a", b"").link(EntryType::Link, "a", "a");
    assert!(read(&stream.end()).is_ok(), "a link to itself changes nothing");
}

#[test]
fn what_is_not_supported_is_said() {
    refused(Stream::default().add(EntryType::new(b'V'), "a", b""), "an unknown kind");
    let mut stream = Stream::default();
    stream.pax(&[("GNU.sparse.major", b"2"), ("GNU.sparse.realsize", b"5")]);
    refused(stream.add(EntryType::Regular, "a", b""), "not supported");
}

#[test]
fn broken_headers() {
    let spoil = |at: usize, byte: u8| {
        let mut stream = Stream::default();
        stream.add_with(EntryType::Regular, "a", b"", |header| header.as_mut_bytes()[at] = byte);
        read(&stream.end()).unwrap_err().to_string()
    };
    assert!(spoil(100, b'9').contains("mode"));
    assert!(spoil(108, b'x').contains("uid"));
    assert!(spoil(108, 0xff).contains("uid"), "a negative owner");
    assert!(spoil(124, 0xff).contains("size"), "a negative size");
    assert!(spoil(124, 0xbf).contains("size"), "a size beyond 64 bits");
    assert!(spoil(136, b'z').contains("mtime"));
    let mut bytes = Stream::default().add(EntryType::Regular, "a", b"").end();
    bytes[0] ^= 1;
    assert!(read(&bytes).unwrap_err().to_string().contains("checksum"));
}

#[test]
fn broken_records() {
    for text in ["x", "5 a=b", "99 a=b\n", "5 ab\n", "0 a=b\n", "3 \n", "18446744073709551615 a=\n"]
    {
        let mut stream = Stream::default();
        stream.add(EntryType::XHeader, "pax", text.as_bytes());
        refused(stream.add(EntryType::Regular, "a", b""), "extended header");
    }
    for value in ["x", "-1", "4294967296"] {
        let mut stream = Stream::default();
        stream.pax(&[("uid", value.as_bytes())]);
        refused(stream.add(EntryType::Regular, "a", b""), "bad number");
    }
    for value in ["", "-", "1.x", "1.+5", "-9223372036854775808.5", "9223372036854775808"] {
        let mut stream = Stream::default();
        stream.pax(&[("mtime", value.as_bytes())]).add(EntryType::Regular, "a", b"");
        assert_eq!(read(&stream.end()).is_ok(), value.is_empty(), "{value:?}");
    }
}

#[test]
fn times_beyond_ext4_are_brought_into_it() {
    for time in ["-9223372036854775808", "9223372036854775807"] {
        let mut stream = Stream::default();
        stream.pax(&[("mtime", time.as_bytes())]).add(EntryType::Regular, "a", b"");
        let folder = tempfile::tempdir().unwrap();
        write(&read(&stream.end()).unwrap(), &folder.path().join("disk"));
    }
}

#[test]
fn a_stream_that_breaks_off_anywhere_is_an_error_or_a_shorter_tree() {
    let mut stream = Stream::default();
    stream.pax(&[("SCHILY.xattr.user.a", b"b")]).add(EntryType::Regular, "a", &[b'x'; 700]).link(
        EntryType::Link,
        "b",
        "a",
    );
    let bytes = stream.end();
    for len in 0..stream.0.len() {
        let result = read(&bytes[..len]);
        let at_header = len % 512 == 0 && !(512..1024).contains(&len);
        // `umoci insert` leaves out what fills the last block, and the end mark with it.
        let in_padding = [537..1024, 2236..2560].iter().any(|range| range.contains(&len));
        assert!(result.is_err() || at_header || in_padding, "cut at {len}");
    }
}

#[test]
fn limits_hold() {
    let small = Limits { entries: 10, metadata_bytes: 8192, content_bytes: 1000 };
    let limited = |stream: &mut Stream, what: &str| {
        let error = read_within(&stream.end(), small).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    let mut stream = Stream::default();
    for index in 0..20 {
        stream.add(EntryType::Regular, &format!("{index}"), b"");
    }
    limited(&mut stream, "entries");
    limited(Stream::default().add(EntryType::Regular, "d/".repeat(40).as_str(), b""), "entries");
    let mut stream = Stream::default();
    stream.add(EntryType::Regular, "a", &[0; 600]).add(EntryType::Regular, "a", &[0; 600]);
    limited(&mut stream, "bytes in files");
    let mut stream = Stream::default();
    stream.pax(&[("SCHILY.xattr.user.a", &[b'x'; 9000])]).add(EntryType::Regular, "a", b"");
    limited(&mut stream, "names and attributes");
    let mut stream = Stream::default();
    stream.add(EntryType::Regular, "a", b"");
    for index in 0..40 {
        stream.link(EntryType::Link, &format!("l{index}"), "a");
    }
    limited(&mut stream, "names and attributes");
    // One global header gives its attributes to every directory, also to those that are there.
    let mut stream = Stream::default();
    stream.add(EntryType::Directory, "d", b"");
    stream.records(EntryType::XGlobalHeader, &[("SCHILY.xattr.user.a", &[b'x'; 4000])]);
    stream.add(EntryType::Directory, "d", b"").add(EntryType::Directory, "d", b"");
    limited(&mut stream, "names and attributes");
    // Short attributes cost more than their texts.
    let mut stream = Stream::default();
    let names: Vec<_> = (0..80).map(|n| format!("SCHILY.xattr.user.{n:02}")).collect();
    let records: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
    stream.pax(&records).add(EntryType::Regular, "a", b"");
    stream.pax(&records).add(EntryType::Regular, "b", b"");
    limited(&mut stream, "names and attributes");
    // A size that no content follows must not be believed.
    let mut stream = Stream::default();
    stream.pax(&[("size", b"18446744073709551615")]).add(EntryType::Regular, "a", b"");
    limited(&mut stream, "bytes in files");
}

#[test]
fn extended_headers_are_bounded_also_in_sum() {
    let mut stream = Stream::default();
    stream.add_with(EntryType::GNULongName, "x", b"", |header| header.set_size(4 << 30));
    refused(&mut stream, "too long");
    let value = vec![b'x'; 600 << 10];
    let mut stream = Stream::default();
    stream.pax(&[("SCHILY.xattr.user.a", &value)]).pax(&[("SCHILY.xattr.user.b", &value)]);
    refused(stream.add(EntryType::Regular, "a", b""), "too long");
    let mut stream = Stream::default();
    stream.records(EntryType::XGlobalHeader, &[("SCHILY.xattr.user.a", &value)]);
    stream.records(EntryType::XGlobalHeader, &[("SCHILY.xattr.user.b", &value)]);
    refused(&mut stream, "too long");
}

fn valid_stream() -> Vec<u8> {
    let mut stream = Stream::default();
    stream
        .add(EntryType::Directory, "d", b"")
        .pax(&[("path", b"d/a"), ("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"b")])
        .add(EntryType::Regular, "x", b"content")
        .link(EntryType::Symlink, "d/s", "a")
        .link(EntryType::Link, "h", "d/a")
        .add(EntryType::GNULongName, "l", &[b'n'; 120])
        .add(EntryType::Fifo, "p", b"");
    stream.end()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _tree = read(&bytes);
    }

    /// Changed bytes with checksums made right again, so that they get past the first check.
    #[test]
    fn no_change_to_a_valid_stream_makes_a_bad_disk(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut bytes = valid_stream();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        for block in bytes.chunks_mut(512).filter(|block| &block[257..262] == b"ustar") {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        if let Ok(tree) = read_within(&bytes, Limits { content_bytes: 1 << 20, ..Limits::default() }) {
            let folder = tempfile::tempdir().unwrap();
            let disk = folder.path().join("disk");
            if ext4::write(&tree, &disk, LAYOUT).is_ok() {
                check(&disk);
            }
        }
    }
}
