//! Every clone is somebody of its own, and none can change its template.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use sha2::{Digest, Sha256};

use crate::hood::{Hood, cache};

const CLONES: usize = 100;
const AT_ONCE: usize = 10;

/// machine-id, boot-id, kernel randomness, a generator seeded from it, host name, clock.
const WHO: &str = "cat /etc/machine-id /proc/sys/kernel/random/boot_id; \
    head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; \
    cat /proc/sys/kernel/random/uuid; hostname; date +%s";

#[test]
fn a_hundred_clones_differ_and_know_the_time() {
    let mut hood = Hood::new();
    // Some of them were ready before.
    hood.set("FUMEHOOD_POOL", "3");
    let mut seen: Vec<BTreeSet<String>> = vec![BTreeSet::new(); 5];
    for _ in 0..CLONES / AT_ONCE {
        let told = thread::scope(|scope| {
            let runs: Vec<_> = (0..AT_ONCE)
                .map(|_| {
                    scope.spawn(|| {
                        let before = now();
                        (before, hood.ok(&["run", "--", "sh", "-c", WHO]), now())
                    })
                })
                .collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect::<Vec<_>>()
        });
        for (before, text, after) in told {
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 6, "{text}");
            for (seen, line) in seen.iter_mut().zip(&lines) {
                assert!(line.len() > 8, "{text}");
                assert!(seen.insert((*line).to_owned()), "two clones share {line}");
            }
            let clock: u64 = lines[5].parse().unwrap();
            assert!(
                (before.saturating_sub(1)..=after + 1).contains(&clock),
                "{clock} not in {before}..{after}"
            );
        }
    }
    hood.stop_server();
    hood.assert_nothing_left();
}

/// How many it trusts; and fails unless the same are in all places, once, and behind what the image has.
const TRUSTED: &str = r#"set -e; cd /etc/ssl/certs; own=/etc/ssl/fumehood.pem
    cat $(ls /usr/local/share/ca-certificates/fumehood-*.crt | sort -V) | cmp - $own
    cat $(ls fumehood-*.pem | sort -V) | cmp - $own
    tail -c $(stat -c %s $own) ca-certificates.crt | cmp - $own
    [ $(find . -lname 'fumehood-*.pem' | wc -l) = $(grep -c BEGIN $own) ]
    openssl verify -CApath . -partial_chain fumehood-1.pem >&2
    echo $(grep -c BEGIN $own) $(($(grep -c BEGIN ca-certificates.crt) - $(grep -c BEGIN $own)))"#;

/// Templates have certificates in these places already, of nobody's and of the host as it was.
#[test]
fn each_trusts_its_own_authority_and_the_hosts_alone() {
    let mut hood = Hood::new();
    let trusted = |hood: &Hood, options: &[&str]| {
        let all = [&["run"], options, &["--", "sh", "-c", TRUSTED]].concat();
        let told = hood.ok(&all);
        let (own, of_image) = told.split_once(' ').unwrap();
        (own.parse::<usize>().unwrap(), of_image.to_owned())
    };
    let (of_host, of_image) = trusted(&hood, &[]);
    assert_eq!(trusted(&hood, &["--trust-host-ca=false"]), (1, of_image.clone()));
    hood.stop_server();
    let company = hood.state().join("company.pem");
    fs::write(&company, include_str!("../../crates/guest/src/trust/examples/plain.pem")).unwrap();
    hood.set("SSL_CERT_FILE", company.to_str().unwrap());
    assert_eq!(trusted(&hood, &[]), (of_host + 1, of_image.clone()));
    assert_eq!(trusted(&hood, &["--trust-host-ca=false"]), (1, of_image));
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Memory, every block of the disk, the modules disk, raw devices, discard, a driver of its own: with
/// all that root in a guest can write to, nothing of what clones share changes.
const VANDAL: &str = r#"
    set -u
    python3 -c 'b = bytearray(b"\xee" * (300 << 20)); print(len(b))'
    dd if=/dev/zero of=/dev/vdb bs=1M count=4 conv=notrunc 2>/dev/null
    blockdev --setrw /dev/vdb 2>/dev/null; dd if=/dev/urandom of=/dev/vdb bs=64k count=16 2>/dev/null
    rm -rf /usr/share/perl* /usr/lib/python3 /usr/local/lib/node_modules /etc/apt
    dd if=/dev/urandom of=/big bs=1M count=200 2>/dev/null; sync
    fstrim -v / 2>/dev/null; blkdiscard -f /dev/vdb 2>/dev/null
    echo 3 > /proc/sys/vm/drop_caches
    dd if=/dev/urandom of=/dev/mem bs=4k count=1 seek=100 2>/dev/null
    dd if=/dev/urandom of=/dev/vda bs=1M count=64 2>/dev/null; blkdiscard -f /dev/vda 2>/dev/null
    echo done
"#;

#[test]
fn no_guest_can_change_what_it_was_cloned_from() {
    let hood = Hood::new();
    hood.ok(&["run", "--", "true"]);
    let before = digests();
    assert!(before.len() >= 4, "kernel, image, modules and templates are there: {before:?}");
    let name = hood.create(&[]);
    let ran = hood.run(&["exec", "--sudo", &name, "--", "sh", "-c", VANDAL]);
    assert!(ran.stdout.contains("314572800"), "it did dirty its memory: {ran:?}");
    hood.ok(&["rm", "-f", &name]);
    drive_the_devices(&hood);
    // Other tests may make templates of other shapes meanwhile.
    let after = digests();
    for (path, digest) in &before {
        let now = after.iter().find(|(other, _)| other == path).map(|(_, digest)| digest);
        assert_eq!(now, Some(digest), "{}", path.display());
    }
    assert_eq!(hood.ok(&["run", "--", "python3", "-c", "print(1)"]), "1");
}

/// The same with no driver of the kernel's between root and the devices.
fn drive_the_devices(hood: &Hood) {
    let name = hood.create(&[]);
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/identity/driver.py");
    let mut child = hood
        .command(["exec", "-i", "--sudo", &name, "--", "python3", "-"])
        .stdin(File::open(driver).unwrap())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said: Vec<_> = lines.take_while(|line| line != "done").collect();
    assert_eq!(said.first().map(String::as_str), Some("read: status 0"), "it does drive: {said:?}");
    assert_eq!(said.last().map(String::as_str), Some("another capacity: status 1"), "{said:?}");
    let written = said.iter().find(|line| line.starts_with("write") && line.ends_with("status 0"));
    assert_eq!(written, None, "the shared disk took a write");
    assert_eq!(hood.machines().len(), 1, "its machine is none the worse");
    hood.ok(&["rm", "-f", &name]);
    child.wait().unwrap();
}

/// What all clones share, by content.
fn digests() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![cache()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                // In the making.
            } else if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.retain(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let shared = name == "ram" || name == "state" || name == "vmlinux";
        shared || name.ends_with(".ext4") || name.starts_with("initramfs")
    });
    found.sort();
    found.into_iter().map(|path| (path.clone(), digest(&path))).collect()
}

/// Of the data in a sparse file; its holes are passed over, their places are not.
fn digest(path: &Path) -> String {
    use rustix::fs::{SeekFrom, seek};
    let file = File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let (mut hash, mut at) = (Sha256::new(), 0);
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        let end = seek(&file, SeekFrom::Hole(start)).unwrap();
        seek(&file, SeekFrom::Start(start)).unwrap();
        hash.update(start.to_le_bytes());
        let mut part = (&file).take(end - start);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = part.read(&mut buffer).unwrap();
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
        }
        at = end;
        if at >= length {
            break;
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
