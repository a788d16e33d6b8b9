//! Sparse files, as GNU tar writes them and as they mean harm.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

use ::tar::EntryType;
use sha2::{Digest, Sha256};

use super::*;

/// A file with more pieces than fit into a header, ending in a hole.
fn make_sparse(path: &Path, pieces: u64) {
    let file = File::create(path).unwrap();
    for piece in 0..pieces {
        file.write_all_at(&[b'x'; 5000], piece * (1 << 16)).unwrap();
    }
    file.set_len(pieces * (1 << 16) + 12_345).unwrap();
}

#[test]
fn every_form_of_gnu_tar_gives_the_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    for pieces in [0, 1, 5, 60] {
        make_sparse(&folder.path().join("sparse"), pieces);
        let content: [u8; 32] =
            Sha256::digest(fs::read(folder.path().join("sparse")).unwrap()).into();
        for options in [
            &["--format=gnu"][..],
            &["--format=pax", "--sparse-version=0.0"],
            &["--format=pax", "--sparse-version=0.1"],
            &["--format=pax", "--sparse-version=1.0"],
        ] {
            let mut command = Command::new("tar");
            command.args(options).args(["-S", "-C"]).arg(folder.path());
            let output = command.args(["-c", "-f", "-", "sparse"]).output().unwrap();
            assert!(output.status.success());
            assert!(output.stdout.len() < 1 << 20, "tar has found the holes");
            let tree = read(&output.stdout).unwrap();
            assert_eq!(names_of(&tree), ["sparse"], "{options:?}");
            let body = only_file(&tree);
            assert_eq!((body.len, body.sha256), (pieces * (1 << 16) + 12_345, content));
            let disk = folder.path().join("disk");
            write(&tree, &disk);
            assert!(fs::metadata(&disk).unwrap().blocks() * 512 < 12 << 20, "holes stay holes");
        }
    }
}

fn names_of(tree: &Tree) -> Vec<String> {
    match &tree.node(tree.root()).kind {
        Kind::Directory(children) => children.keys().cloned().collect(),
        Kind::File(_) | Kind::Special(_) => Vec::new(),
    }
}

fn only_file(tree: &Tree) -> super::super::spool::Body {
    let Kind::Directory(children) = &tree.node(tree.root()).kind else { panic!("no directory") };
    match tree.node(children.values().next().unwrap().id).kind {
        Kind::File(body) => body,
        Kind::Directory(_) | Kind::Special(_) => panic!("no file"),
    }
}

#[test]
fn maps_that_do_not_fit_are_refused() {
    let records = |records: &[(&str, &[u8])], content: &[u8]| {
        let mut stream = Stream::default();
        stream.pax(records).add(EntryType::Regular, "a", content);
        read(&stream.end()).map(|tree| describe(&tree)).map_err(|error| error.to_string())
    };
    let map = |map: &'static [u8], size: &'static [u8]| {
        records(&[("GNU.sparse.map", map), ("GNU.sparse.size", size)], b"xyz")
    };
    assert!(map(b"0,1,4,2", b"8").unwrap().contains(r#"file "x\0\0\0yz\0\0""#));
    assert!(map(b"0,1,1,2", b"3").unwrap().contains(r#"file "xyz""#));
    for (bad, size) in [
        (&b"4,2,0,1"[..], &b"8"[..]),
        (b"0,2,1,1", b"8"),
        (b"0,1,4,2", b"5"),
        (b"0,1,4,1", b"8"),
        (b"0,1,4,4", b"8"),
        (b"0,1,4", b"8"),
        (b"0,-1", b"8"),
        (b"18446744073709551615,2", b"8"),
        (b"0,3", b"-1"),
    ] {
        assert!(map(bad, size).is_err(), "{}", String::from_utf8_lossy(bad));
    }
    let one = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"6"),
        ("GNU.sparse.name", b"real"),
    ];
    let in_content = |numbers: &str, content: &[u8]| {
        let mut all = numbers.as_bytes().to_vec();
        all.resize(512, 0);
        records(&one, &[all.as_slice(), content].concat())
    };
    let good = in_content("2\n0\n1\n4\n2\n", b"xyz").unwrap();
    assert!(good.contains("/real ") && good.contains(r#"file "x\0\0\0yz""#), "{good}");
    for bad in
        ["", "1\n", "x\n", "\n", "99999999\n", "1\n0\n99999999999999999999999\n", "2\n0\n3\n"]
    {
        assert!(in_content(bad, b"xyz").is_err(), "{bad:?}");
    }
    assert!(records(&one, b"").is_err(), "no map at all");
    let lost = records(&[("GNU.sparse.numbytes", b"5")], b"xyz");
    assert!(lost.unwrap_err().contains("wrong map"));
}

#[test]
fn a_hole_counts_as_content() {
    let mut stream = Stream::default();
    stream.pax(&[("GNU.sparse.map", b""), ("GNU.sparse.size", b"18446744073709551615")]);
    stream.add(EntryType::Regular, "a", b"");
    let error = read(&stream.end()).unwrap_err().to_string();
    assert!(error.contains("bytes in files"), "{error}");
}

#[test]
fn old_headers_that_are_broken_are_refused() {
    let spoil = |change: &dyn Fn(&mut [u8])| {
        let mut stream = Stream::default();
        stream.add_with(EntryType::GNUSparse, "a", b"xyz", |header| {
            let bytes = header.as_mut_bytes();
            bytes[257..265].copy_from_slice(b"ustar  \0");
            bytes[386..398].copy_from_slice(b"00000000001\0");
            bytes[398..410].copy_from_slice(b"00000000003\0");
            bytes[483..495].copy_from_slice(b"00000000007\0");
            change(bytes);
        });
        read(&stream.end()).map(|tree| describe(&tree)).map_err(|error| error.to_string())
    };
    assert!(spoil(&|_| {}).unwrap().contains(r#"file "\0xyz\0\0\0""#));
    for (at, byte) in [(409, b'x'), (408, b'4'), (493, b'2'), (483, 0xff), (386, b'9'), (482, 1)] {
        assert!(spoil(&|bytes| bytes[at] = byte).is_err(), "{at}");
    }
}
