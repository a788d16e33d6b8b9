//! Files in and out.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use protocol::*;
use tar::{Builder, EntryType, Header};

use crate::{client::Client, guest::Guest};

/// A tar stream in the making.
struct Tar(Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn header(kind: EntryType, size: usize) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size as u64);
        header.set_mode(0o640);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header
    }

    fn file(mut self, name: &str, content: &[u8]) -> Self {
        let mut header = Self::header(EntryType::Regular, content.len());
        self.0.append_data(&mut header, name, content).unwrap();
        self
    }

    fn folder(mut self, name: &str) -> Self {
        let mut header = Self::header(EntryType::Directory, 0);
        header.set_mode(0o2750);
        self.0.append_data(&mut header, name, std::io::empty()).unwrap();
        self
    }

    fn link(mut self, kind: EntryType, name: &str, target: &str) -> Self {
        let mut header = Self::header(kind, 0);
        self.0.append_link(&mut header, name, target).unwrap();
        self
    }

    /// A name as it is, which the `tar` crate would not write.
    fn raw(mut self, name: &str, kind: EntryType, content: &[u8]) -> Self {
        let mut header = Self::header(kind, content.len());
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// Sends a tar stream and gives the answer.
fn write(client: &mut Client, number: u32, base: &str, tar: &[u8]) -> Result<Response, Refusal> {
    let stream = StreamId::transfer(number);
    client.outs.insert(stream, Outbox::new(stream));
    let base = base.to_owned();
    let id = client.request(Request::WriteTar { stream, base, owner: Owner::DefaultUser });
    let mut rest = tar;
    // The agent may answer before all is sent.
    while !rest.is_empty() && !client.resets.contains(&stream) {
        let room = client.outs[&stream].room().min(rest.len());
        client.outs.get_mut(&stream).unwrap().push(&rest[..room]);
        rest = &rest[room..];
        client.flush();
        client.until(|client| client.outs[&stream].room() > 0 || client.resets.contains(&stream));
    }
    client.end(stream);
    client.until(|client| client.replies.contains_key(&id));
    let reply = client.replies.remove(&id).unwrap();
    if reply.is_ok() {
        client.until(|client| client.outs[&stream].is_done());
    } else {
        client.until(|client| client.resets.contains(&stream));
    }
    client.outs.remove(&stream);
    reply
}

fn read(client: &mut Client, request: Request) -> Result<(Stat, Vec<u8>), Refusal> {
    let (Request::Read { stream, .. } | Request::ReadTar { stream, .. }) = request else {
        panic!("{request:?}");
    };
    client.expect(stream);
    let Response::Reading(stat) = client.ask(request)? else { panic!("another answer") };
    client.until(|client| client.ins[&stream].ended);
    Ok((stat, client.ins.remove(&stream).unwrap().bytes))
}

fn read_file(client: &mut Client, number: u32, path: &str) -> Result<(Stat, Vec<u8>), Refusal> {
    let stream = StreamId::transfer(number);
    read(client, Request::Read { stream, path: path.to_owned() })
}

fn read_tar(client: &mut Client, number: u32, path: &str) -> Result<(Stat, Vec<u8>), Refusal> {
    let stream = StreamId::transfer(number);
    read(client, Request::ReadTar { stream, path: path.to_owned() })
}

#[test]
fn a_tree_goes_in_and_comes_out() {
    let guest = Guest::start();
    let mut client = guest.client();
    let long = format!("d/{}/{}", "n".repeat(200), "m".repeat(200));
    let tar = Tar::new()
        .folder("d")
        .file("d/a", b"one")
        .file("d/empty", b"")
        .file("other/deep/b", &vec![7; 70_000])
        .file(&long, b"long")
        .link(EntryType::Symlink, "d/link", "a")
        .link(EntryType::Link, "d/hard", "d/a")
        .bytes();
    let written = write(&mut client, 1, "in/here", &tar).unwrap();
    assert_eq!(written, Response::Written { entries: 7, bytes: 70_007 });
    let at = |name: &str| guest.path("in/here").join(name);
    assert_eq!(fs::read(at("d/a")).unwrap(), b"one");
    assert_eq!(fs::read(at("other/deep/b")).unwrap(), vec![7; 70_000]);
    assert_eq!(fs::read(at(&long)).unwrap(), b"long");
    assert_eq!(fs::read_link(at("d/link")).unwrap().to_str(), Some("a"));
    let (file, folder) = (fs::metadata(at("d/a")).unwrap(), fs::metadata(at("d")).unwrap());
    assert_eq!((file.mode() & 0o7777, file.mtime(), file.nlink()), (0o640, 1_000_000_000, 2));
    assert_eq!((folder.mode() & 0o7777, folder.mtime()), (0o2750, 1_000_000_000));

    let (stat, out) = read_tar(&mut client, 2, "in/here/d").unwrap();
    assert_eq!(stat.kind, EntryKind::Folder);
    let names: Vec<String> = tar::Archive::new(out.as_slice())
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let link = entry.link_name().unwrap().unwrap_or_default().display().to_string();
            format!("{} {content}{link}", entry.path().unwrap().display())
        })
        .collect();
    let parent = format!("d/{}", "n".repeat(200));
    let expected = [
        "d ".to_owned(),
        "d/a one".to_owned(),
        "d/empty ".to_owned(),
        "d/hard one".to_owned(),
        "d/link a".to_owned(),
        format!("{parent} "),
        format!("{parent}/{} long", "m".repeat(200)),
    ];
    assert_eq!(names, expected);
}

#[test]
fn what_real_tar_writes_is_taken() {
    let guest = Guest::start();
    let mut client = guest.client();
    let source = guest.folder.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("ä".repeat(120)), "name").unwrap();
    fs::write(source.join("old"), "old").unwrap();
    let before_1970 = std::time::UNIX_EPOCH - std::time::Duration::from_secs(1000);
    fs::File::options()
        .append(true)
        .open(source.join("old"))
        .unwrap()
        .set_modified(before_1970)
        .unwrap();
    for (number, format) in ["gnu", "pax", "ustar"].into_iter().enumerate() {
        let mut tar = std::process::Command::new("tar");
        tar.arg(format!("--format={format}")).args(["--owner=+3000000", "-C"]).arg(&source);
        let names: &[&str] = if format == "ustar" { &["old"] } else { &["."] };
        if format == "ustar" {
            tar.args(["--owner=+1000", "--mtime=@5"]);
        }
        let made = tar.args(["-c", "-f", "-"]).args(names).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let number = u32::try_from(number).unwrap();
        let written = write(&mut client, number, format, &made.stdout).unwrap();
        let folder = guest.path(format);
        assert_eq!(fs::read(folder.join("old")).unwrap(), b"old");
        if format == "ustar" {
            assert_eq!(written, Response::Written { entries: 1, bytes: 3 });
        } else {
            assert_eq!(written, Response::Written { entries: 3, bytes: 7 });
            assert_eq!(fs::read(folder.join("ä".repeat(120))).unwrap(), b"name");
            assert_eq!(fs::metadata(folder.join("old")).unwrap().mtime(), -1000);
        }
    }
}

#[test]
fn an_archive_does_not_leave_its_folder() {
    let guest = Guest::start();
    let mut client = guest.client();
    let outside = guest.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let outside_name = outside.to_str().unwrap().to_owned();
    let bad = RefusalCode::BadArchive;
    let device = {
        let mut header = Tar::header(EntryType::Char, 0);
        header.set_path("null").unwrap();
        header.set_cksum();
        let mut tar = Tar::new();
        tar.0.append(&header, std::io::empty()).unwrap();
        tar
    };
    let attacks = [
        Tar::new().raw("../evil", EntryType::Regular, b"x"),
        Tar::new().raw("a/../../evil", EntryType::Regular, b"x"),
        Tar::new().link(EntryType::Symlink, "l", &outside_name).file("l/evil", b"x"),
        Tar::new().link(EntryType::Symlink, "l", &outside_name).folder("l/evil"),
        Tar::new()
            .link(EntryType::Symlink, "l", &outside_name)
            .link(EntryType::Symlink, "m", "l")
            .file("m/evil", b"x"),
        Tar::new().link(EntryType::Symlink, "l", &outside_name).link(
            EntryType::Link,
            "m",
            "l/evil",
        ),
        Tar::new()
            .link(EntryType::Symlink, "l", &outside_name)
            .link(EntryType::Link, "m", "l")
            .file("m/evil", b"x"),
        device,
    ];
    for (number, attack) in attacks.into_iter().enumerate() {
        let base = format!("base{number}");
        let number = u32::try_from(number).unwrap();
        let refused = write(&mut client, number, &base, &attack.bytes()).unwrap_err();
        assert_eq!(refused.code, bad, "attack {number}: {refused}");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!guest.path("evil").exists());

    // A leading slash is dropped, and a link's own place can be taken by a file.
    let tar = Tar::new()
        .raw("/abs/olute", EntryType::Regular, b"x")
        .link(EntryType::Symlink, "l", &outside_name)
        .file("l", b"file")
        .link(EntryType::Symlink, "f", &outside_name)
        .folder("f")
        .file("f/in", b"y");
    write(&mut client, 100, "good", &tar.bytes()).unwrap();
    assert!(guest.path("good/abs/olute").exists());
    assert_eq!(fs::read(guest.path("good/l")).unwrap(), b"file");
    assert_eq!(fs::read(guest.path("good/f/in")).unwrap(), b"y");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);

    // A link that was there before is followed.
    symlink(&outside, guest.path("good/before")).unwrap();
    write(&mut client, 101, "good", &Tar::new().file("before/in/f", b"z").bytes()).unwrap();
    assert_eq!(fs::read(outside.join("in/f")).unwrap(), b"z");
}

#[test]
fn a_damaged_archive_is_refused() {
    let guest = Guest::start();
    let mut client = guest.client();
    let good = Tar::new().file("a", &[1; 1000]).bytes();
    let cut = &good[..700];
    let mut flipped = good.clone();
    flipped[1] ^= 1;
    let mut endless = Tar::header(EntryType::GNULongName, 1 << 30);
    endless.set_path("././@LongLink").unwrap();
    endless.set_cksum();
    let endless = [endless.as_bytes().as_slice(), &[b'n'; 4096]].concat();
    for (number, bytes) in [cut, &flipped, &endless, &good[..300]].into_iter().enumerate() {
        let number = u32::try_from(number).unwrap();
        let refused = write(&mut client, number, "d", bytes).unwrap_err();
        assert!(
            matches!(refused.code, RefusalCode::BadArchive | RefusalCode::Io),
            "{number}: {refused:?}"
        );
    }
    // The agent is as before.
    write(&mut client, 100, "d", &good).unwrap();
    assert_eq!(fs::read(guest.path("d/a")).unwrap(), [1; 1000]);
}

#[test]
fn only_regular_files_are_read() {
    let guest = Guest::start();
    let mut client = guest.client();
    fs::write(guest.path("f"), "content").unwrap();
    let (stat, bytes) = read_file(&mut client, 1, "f").unwrap();
    assert_eq!((stat.kind, stat.size, bytes.as_slice()), (EntryKind::File, 7, &b"content"[..]));
    // The size of this one is a lie.
    let (stat, bytes) = read_file(&mut client, 2, "/proc/self/status").unwrap();
    assert_eq!(stat.size, 0);
    assert!(bytes.starts_with(b"Name:"));
    let mut refused = |number, path: &str| read_file(&mut client, number, path).unwrap_err().code;
    assert_eq!(refused(3, "missing"), RefusalCode::NotFound);
    assert_eq!(refused(4, "/tmp"), RefusalCode::IsADirectory);
    assert_eq!(refused(5, "/dev/zero"), RefusalCode::Invalid);
    assert_eq!(refused(6, "f/x"), RefusalCode::NotADirectory);
    assert_eq!(refused(7, ""), RefusalCode::Invalid);
    rustix::fs::mkfifoat(rustix::fs::CWD, guest.path("fifo"), 0o600.into()).unwrap();
    assert_eq!(refused(8, "fifo"), RefusalCode::Invalid);
}

#[test]
fn folders_are_made_listed_and_removed() {
    let guest = Guest::start();
    let mut client = guest.client();
    let mkdir = |path: &str, parents| Request::Mkdir { path: path.into(), parents };
    let code = |answer: Result<Response, Refusal>| answer.unwrap_err().code;
    assert_eq!(code(client.ask(mkdir("a/b", Parents::MustExist))), RefusalCode::NotFound);
    client.ask(mkdir("a/b/c", Parents::Create)).unwrap();
    client.ask(mkdir("a/b/c", Parents::Create)).unwrap();
    assert_eq!(code(client.ask(mkdir("a", Parents::MustExist))), RefusalCode::AlreadyExists);
    fs::write(guest.path("file"), "").unwrap();
    assert_eq!(code(client.ask(mkdir("file", Parents::Create))), RefusalCode::AlreadyExists);
    assert_eq!(code(client.ask(mkdir("file/x", Parents::Create))), RefusalCode::NotADirectory);

    for number in 0..2500 {
        fs::write(guest.path(&format!("a/b/c/{number:04}")), "").unwrap();
    }
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let path = "a/b/c".to_owned();
        let request = Request::List { path, after: after.clone(), limit: 1000 };
        let Ok(Response::Entries(entries)) = client.ask(request) else { panic!("no entries") };
        let Some(last) = entries.last() else { break };
        after = Some(last.name.clone());
        names.extend(entries.into_iter().map(|entry| entry.name));
    }
    assert_eq!(names, (0..2500).map(|number| format!("{number:04}")).collect::<Vec<_>>());

    let remove = |path: &str, mode| Request::Remove { path: path.into(), mode };
    assert_eq!(code(client.ask(remove("a", RemoveMode::One))), RefusalCode::NotEmpty);
    assert_eq!(code(client.ask(remove("/", RemoveMode::Tree))), RefusalCode::Invalid);
    assert_eq!(code(client.ask(remove("a/..", RemoveMode::Tree))), RefusalCode::Invalid);
    assert_eq!(code(client.ask(remove("missing", RemoveMode::One))), RefusalCode::NotFound);
    let kept = guest.path("kept");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("file"), "").unwrap();
    symlink(&kept, guest.path("a/b/link")).unwrap();
    client.ask(remove("a", RemoveMode::Tree)).unwrap();
    client.ask(remove("a", RemoveMode::Tree)).unwrap();
    assert!(!guest.path("a").exists());
    assert!(kept.join("file").exists(), "a link is not followed");
}

#[test]
fn a_very_deep_tree_is_removed() {
    let guest = Guest::start();
    let mut client = guest.client();
    let mut folder = fs::File::open(guest.path("")).unwrap();
    for _ in 0..1000 {
        rustix::fs::mkdirat(&folder, "x", 0o700.into()).unwrap();
        rustix::fs::mkdirat(&folder, "d", 0o700.into()).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY;
        folder = rustix::fs::openat(&folder, "d", flags, 0.into()).unwrap().into();
    }
    let remove = Request::Remove { path: "d".into(), mode: RemoveMode::Tree };
    assert_eq!(client.ask(remove), Ok(Response::Done));
    assert!(!guest.path("d").exists());
}

#[test]
fn stat_says_what_a_path_is() {
    let guest = Guest::start();
    let mut client = guest.client();
    fs::write(guest.path("f"), "12345").unwrap();
    fs::set_permissions(guest.path("f"), fs::Permissions::from_mode(0o4711)).unwrap();
    symlink("f", guest.path("to")).unwrap();
    symlink("nowhere", guest.path("dangling")).unwrap();
    let mut stat = |path: &str| {
        client.ask(Request::Stat { path: path.into() }).map(|answer| {
            let Response::Stat(stat) = answer else { panic!("{answer:?}") };
            (stat.kind, stat.size, stat.mode)
        })
    };
    assert_eq!(stat("f"), Ok((EntryKind::File, 5, 0o4711)));
    assert_eq!(stat("to"), Ok((EntryKind::File, 5, 0o4711)));
    assert_eq!(stat("dangling").unwrap().0, EntryKind::Link);
    assert_eq!(stat(".").unwrap().0, EntryKind::Folder);
    assert_eq!(stat("nowhere").unwrap_err().code, RefusalCode::NotFound);
}

/// More than a window and more than all buffers: memory stays flat.
#[test]
fn a_large_file_needs_no_memory() {
    const SIZE: u64 = 256 << 20;
    let guest = Guest::start();
    let mut client = guest.client();
    let big = fs::File::create(guest.path("big")).unwrap();
    big.set_len(SIZE).unwrap();
    let before = guest.memory_kib().0;

    let stream = StreamId::transfer(1);
    client.expect(stream);
    client.count_only(stream);
    client.ask(Request::ReadTar { stream, path: "big".into() }).unwrap();
    client.until(|client| client.ins[&stream].ended);
    assert!(client.ins[&stream].count > SIZE);

    let mut header = Tar::header(EntryType::Regular, 0);
    header.set_size(SIZE);
    header.set_path("copy").unwrap();
    header.set_cksum();
    let stream = StreamId::transfer(2);
    client.outs.insert(stream, Outbox::new(stream));
    let request = Request::WriteTar { stream, base: ".".into(), owner: Owner::DefaultUser };
    let id = client.request(request);
    client.feed(stream, header.as_bytes());
    let zeros = vec![0; 1 << 20];
    for _ in 0..SIZE >> 20 {
        client.feed(stream, &zeros);
    }
    client.feed(stream, &[0; 1024]);
    client.end(stream);
    client.until(|client| client.replies.contains_key(&id));
    assert_eq!(client.replies[&id], Ok(Response::Written { entries: 1, bytes: SIZE }));
    assert_eq!(fs::metadata(guest.path("copy")).unwrap().len(), SIZE);

    let peak = guest.memory_kib().1;
    assert!(peak < before + 8 * 1024, "resident memory rose from {before} to {peak} KiB");
}

#[test]
fn many_read_at_once_and_one_that_stalls_holds_nobody_up() {
    let guest = Guest::start();
    let mut client = guest.client();
    let mut file = fs::File::create(guest.path("f")).unwrap();
    for number in 0..200_000 {
        writeln!(file, "{number}").unwrap();
    }
    let expected = fs::read(guest.path("f")).unwrap();
    let streams: Vec<StreamId> = (0..12).map(StreamId::transfer).collect();
    for stream in &streams {
        client.expect(*stream);
        client.request(Request::Read { stream: *stream, path: "f".into() });
    }
    client.stall(streams[0]);
    client.until(|client| streams[1..].iter().all(|stream| client.ins[stream].ended));
    assert_eq!(client.ins[&streams[0]].count, WINDOW);
    client.unstall(streams[0]);
    client.until(|client| client.ins[&streams[0]].ended);
    assert!(streams.iter().all(|stream| client.ins[stream].bytes == expected));
}
