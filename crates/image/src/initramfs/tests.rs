use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

fn sample() -> Vec<u8> {
    let modules = [("b.ko.xz", "second"), ("a.ko.xz", "first")];
    let modules = modules.map(|(name, content)| (name.to_owned(), content.as_bytes().to_vec()));
    archive(b"agent", &modules).unwrap()
}

/// The entries as (name, mode, content), by the rules in the kernel's buffer-format.rst.
fn entries(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let start = archive.len();
    loop {
        let field = |index: usize| {
            let text = str::from_utf8(&archive[6 + index * 8..14 + index * 8]).unwrap();
            usize::from_str_radix(text, 16).unwrap()
        };
        assert_eq!(&archive[..6], b"070701");
        let (mode, size, name_size) = (field(1), field(6), field(11));
        let name = String::from_utf8(archive[110..110 + name_size - 1].to_vec()).unwrap();
        assert_eq!(archive[110 + name_size - 1], 0);
        let content_at = (110 + name_size).next_multiple_of(4);
        let content = archive[content_at..content_at + size].to_vec();
        archive = &archive[(content_at + size).next_multiple_of(4)..];
        assert_eq!((start - archive.len()) % 4, 0);
        if name == "TRAILER!!!" {
            return found;
        }
        found.push((name, u32::try_from(mode).unwrap(), content));
    }
}

#[test]
fn holds_the_agent_and_the_modules_in_order() {
    let entries = entries(&sample());
    let names: Vec<_> = entries.iter().map(|(name, mode, _)| format!("{mode:o} {name}")).collect();
    assert_eq!(
        names,
        [
            "40755 dev",
            "40755 proc",
            "40755 sys",
            "40755 run",
            "40755 newroot",
            "40755 modules",
            "20600 dev/console",
            "100755 init",
            "100644 modules/b.ko.xz",
            "100644 modules/a.ko.xz",
            "100644 modules/load",
        ]
    );
    assert_eq!(entries[7].2, b"agent");
    assert_eq!(entries[10].2, b"b.ko.xz\na.ko.xz\n");
}

#[test]
fn fills_whole_pages() {
    for len in [0, 1, 2000, 4095, 4096, 4097] {
        let archive = archive(&vec![7; len], &[]).unwrap();
        assert_eq!(archive.len() % PAGE_BYTES, 0, "with an agent of {len} bytes");
    }
}

#[test]
fn is_the_same_each_time() {
    assert_eq!(sample(), sample());
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that does not run has to say so")]
fn another_program_reads_it() {
    let started =
        Command::new("cpio").arg("-tv").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = started else {
        eprintln!("skipped: cpio is not installed");
        return;
    };
    child.stdin.take().unwrap().write_all(&sample()).unwrap();
    let output = child.wait_with_output().unwrap();
    let listing = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert_eq!(listing.lines().count(), 11, "{listing}");
    assert!(listing.contains("5,   1"), "{listing}");
}
