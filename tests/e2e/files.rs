//! `cp` both ways: files, folders, tar streams, large ones.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    process::Command,
};

use crate::hood::{Hood, is_full};

#[test]
fn a_folder_comes_back_as_it_went() {
    let hood = Hood::new();
    let name = hood.create(&[]);
    let place = tempfile::tempdir().unwrap();
    let tree = place.path().join("tree");
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    fs::write(tree.join("plain"), "text").unwrap();
    fs::write(tree.join("deep/er").join("n".repeat(200)), [0, 255, 10]).unwrap();
    fs::write(tree.join("tool"), "#!/bin/sh\necho ran\n").unwrap();
    fs::set_permissions(tree.join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("plain", tree.join("link")).unwrap();
    let (tree_text, target) = (tree.to_str().unwrap(), format!("{name}:/home/fumehood/"));
    hood.ok(&["cp", tree_text, &target]);
    assert_eq!(hood.ok(&["exec", &name, "--", "./tree/tool"]), "ran");
    assert_eq!(hood.ok(&["exec", &name, "--", "stat", "-c", "%U %a", "tree/tool"]), "fumehood 755");
    let back = place.path().join("back");
    hood.ok(&["cp", &format!("{name}:tree"), back.to_str().unwrap()]);
    let same = Command::new("diff").args(["-r", "--no-dereference"]).arg(&tree).arg(&back).output();
    let same = same.unwrap();
    assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
    assert_eq!(fs::metadata(back.join("tool")).unwrap().permissions().mode() & 0o777, 0o755);
    hood.ok(&["rm", "-f", &name]);
}

#[test]
fn single_files_and_tar_streams() {
    let hood = Hood::new();
    let name = hood.create(&[]);
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("one.txt");
    fs::write(&file, "one").unwrap();
    hood.ok(&["cp", file.to_str().unwrap(), &format!("{name}:/tmp/renamed")]);
    assert_eq!(hood.ok(&["exec", &name, "--", "cat", "/tmp/renamed"]), "one");
    let out = place.path().join("out.txt");
    hood.ok(&["cp", &format!("{name}:/tmp/renamed"), out.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&out).unwrap(), "one");

    let tar =
        Command::new("tar").arg("-C").arg(place.path()).args(["-c", "one.txt"]).output().unwrap();
    let ran = hood.run_with_input(&["cp", "-", &format!("{name}:/tmp/in")], &tar.stdout);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(hood.ok(&["exec", &name, "--", "cat", "/tmp/in/one.txt"]), "one");
    let stream = hood.command(["cp", &format!("{name}:/tmp/in"), "-"]).output().unwrap();
    assert!(String::from_utf8_lossy(&stream.stdout).contains("in/one.txt"));

    // A folder takes no file's place.
    let folder = hood.run(&["cp", place.path().to_str().unwrap(), &format!("{name}:/tmp/renamed")]);
    assert_eq!(folder.code, Some(246), "{folder:?}");
    assert_eq!(hood.ok(&["exec", &name, "--", "cat", "/tmp/renamed"]), "one");

    let missing = hood.run(&["cp", &format!("{name}:/no/such"), out.to_str().unwrap()]);
    assert_eq!(missing.code, Some(242), "{missing:?}");
    hood.ok(&["rm", "-f", &name]);
}

/// A tar stream cannot leave its folder in the guest.
#[test]
fn an_archive_that_escapes_is_refused() {
    let hood = Hood::new();
    let name = hood.create(&[]);
    for (entry, target) in [("../escaped", None), ("trap/escaped", Some("/tmp"))] {
        let archive = archive(entry, target);
        let ran = hood.run_with_input(&["cp", "-", &format!("{name}:/tmp/in/side")], &archive);
        assert!(ran.code.is_some_and(|code| code > 240), "{entry}: {ran:?}");
        let found = hood.ok(&["exec", &name, "--", "find", "/tmp", "-name", "escaped"]);
        assert_eq!(found, "", "{entry}");
    }
    hood.ok(&["rm", "-f", &name]);
}

/// A file behind an entry of the same stream: first a link `trap`, if there is a target.
fn archive(entry: &str, link_target: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(target) = link_target {
        bytes.extend(header("trap", b'2', target, 0));
    }
    bytes.extend(header(entry, b'0', "", 4));
    bytes.extend(b"evil");
    bytes.resize(bytes.len() + 508 + 1024, 0);
    bytes
}

fn header(name: &str, kind: u8, target: &str, size: usize) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put =
        |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0001750\0");
    put(116, "0001750\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(157, target);
    put(257, "ustar\x0000");
    block[156] = kind;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Large files stream through with flat memory: 3 GiB with `--full`, an eighth of it always.
#[test]
fn a_large_file_goes_in_and_out() {
    let mib: u64 = if is_full() { 3072 } else { 384 };
    let hood = Hood::new();
    let name = hood.create(&["--timeout", "30m"]);
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("large");
    // Sparse: the content is zeroes with a mark at either end.
    let made = fs::File::create(&file).unwrap();
    made.set_len(mib << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&made, b"begin", 0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&made, b"end", (mib << 20) - 3).unwrap();
    hood.ok(&["cp", file.to_str().unwrap(), &format!("{name}:/home/fumehood/large")]);
    let told = hood.ok(&[
        "exec",
        &name,
        "--",
        "sh",
        "-c",
        "stat -c %s large; head -c 5 large; tail -c 3 large",
    ]);
    assert_eq!(told, format!("{}\nbeginend", mib << 20));
    let back = place.path().join("back");
    hood.ok(&["cp", &format!("{name}:large"), back.to_str().unwrap()]);
    let same = Command::new("cmp").arg(&file).arg(&back).status().unwrap();
    assert!(same.success());
    let status = fs::read_to_string(format!("/proc/{}/status", hood.servers()[0])).unwrap();
    let peak = peak_kib(&status);
    assert!(peak < 200 * 1024, "the server's memory peaked at {peak} KiB");
    let status = hood.ok(&["exec", "--sudo", &name, "--", "cat", "/proc/1/status"]);
    let peak = peak_kib(&status);
    assert!(peak < 32 * 1024, "the agent's memory peaked at {peak} KiB");
    hood.ok(&["rm", "-f", &name]);
}

/// Of a process, by its `/proc/…/status`.
fn peak_kib(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
