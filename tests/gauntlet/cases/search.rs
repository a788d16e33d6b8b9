//! A secret that was used is nowhere that it need not be: searched for byte by byte.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};

use super::{Group, cases};
use crate::{
    guest::{As, Guest},
    hood::Hood,
    trial::Trial,
};

pub(super) const GROUP: Group = Group {
    name: "search",
    variables: &[],
    guest: sandbox,
    cases: cases![a_used_secret_is_nowhere],
};

/// Nobody else has this text; the guest has a mark of its own, by which we know that we would find it.
const SECRET: &str = "Qx7vT2mZ9wKp4RjL8sHnB3yFdC6gUaE1";
const MARK: [&str; 2] = ["mark-of-the-guest-", "5e1f0c2b9d"];

fn sandbox(hood: &Hood) -> Guest<'_> {
    let ran = hood.run_with_input(&["secret", "set", "SOUGHT"], SECRET.as_bytes());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    Guest::new(hood, &["--secret", "SOUGHT@key.test", "--allow", "also.test"])
}

fn a_used_secret_is_nowhere(t: &mut Trial<'_>) {
    use_it(t);
    let needles = needles();
    let machine = *t.guest.hood.machines().first().unwrap();
    let gateway = t.guest.gateway().expect("one gateway runs");
    let marked = format!("{}{}", MARK[0], MARK[1]).into_bytes();
    let mut of_guest = needles.clone();
    of_guest.push(marked.clone());

    let found = in_memory(machine, &of_guest);
    assert!(found.contains(&(of_guest.len() - 1)), "what the guest has is found in its memory");
    assert_eq!(found.len(), 1, "in the guest's memory: {found:?}");
    let found = in_memory(gateway, &needles);
    assert!(found.contains(&0), "the gateway has it, or nothing would be put in");

    let mut on_disk = false;
    for path in t.guest.state() {
        let found = in_file(&path, &of_guest);
        on_disk |= found.contains(&(of_guest.len() - 1));
        let found: Vec<_> = found.iter().filter(|index| **index < needles.len()).collect();
        assert!(found.is_empty(), "in {}: {found:?}", path.display());
    }
    assert!(on_disk, "what the guest wrote is found on its disk");
    for pid in t.guest.hood.processes("") {
        for name in ["cmdline", "environ"] {
            let text = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            assert!(found_in(&text, &needles).is_empty(), "in {name} of {pid}");
        }
    }
    for event in t.guest.audit() {
        assert!(found_in(event.0.to_string().as_bytes(), &needles).is_empty(), "{event:?}");
    }
    for pid in [gateway, *t.guest.hood.servers().first().unwrap()] {
        leaves_no_core(pid);
    }
    let policy = t.guest.hood.ok(&["policy", "get", "--json", &t.guest.name]);
    assert!(found_in(policy.as_bytes(), &needles).is_empty());
}

/// In every way in which it can be used, with a mark in the guest's memory and on its disk.
fn use_it(t: &mut Trial<'_>) {
    let ticket = format!("https://key.test/ticket?expect={}", "x");
    t.lawful_with(&format!(
        "for i in 1 2 3; do \
           curl -sS -o /dev/null -H \"Authorization: Bearer $SOUGHT\" '{ticket}'; \
           curl -sS -o /dev/null --http1.1 -u \"me:$SOUGHT\" '{ticket}'; \
           curl -sS -o /dev/null -H \"x-api-key: $SOUGHT\" '{ticket}'; \
         done"
    ));
    let heard = t.guest.audit();
    assert!(heard.iter().any(|event| event.0["credentials"].to_string().contains("SOUGHT")));
    let script = format!(
        "mark={}; mark=${{mark}}{}; for i in $(seq 500); do echo $mark; done > ~/marked; sync; \
         python3 -c 'import time; time.sleep(600)' $mark > /dev/null 2>&1 < /dev/null & disown",
        MARK[0], MARK[1]
    );
    let ran = t.guest.exec(As::User, &["bash", "-c", &script]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = t.guest.exec(As::Root, &["sync"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// Halves of the secret (whole and cut), and of its base64 in the three ways in which it can fall.
fn needles() -> Vec<Vec<u8>> {
    let secret = SECRET.as_bytes();
    let mut needles = vec![secret[..16].to_vec(), secret[16..].to_vec()];
    for before in ["", "m", "me", "me:"] {
        let text = base64(&[before.as_bytes(), secret].concat());
        needles.push(text.as_bytes()[8..24].to_vec());
        needles.push(text.as_bytes()[24..40].to_vec());
    }
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    needles.push(hex.as_bytes()[..32].to_vec());
    needles.push(secret[..16].iter().flat_map(|byte| [*byte, 0]).collect());
    let unique: BTreeSet<_> = needles[1..].iter().cloned().collect();
    std::iter::once(needles[0].clone()).chain(unique).collect()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let mut whole = [0; 3];
        whole[..part.len()].copy_from_slice(part);
        let number = u32::from_be_bytes([0, whole[0], whole[1], whole[2]]);
        for shift in [18, 12, 6, 0] {
            text.push(char::from(DIGITS[(number >> shift & 63) as usize]));
        }
    }
    text
}

/// Which of the needles are in the bytes.
fn found_in(bytes: &[u8], needles: &[Vec<u8>]) -> Vec<usize> {
    let mut found = BTreeSet::new();
    let firsts: Vec<[u8; 2]> = needles.iter().map(|needle| [needle[0], needle[1]]).collect();
    let mut starts = [false; 256];
    firsts.iter().for_each(|first| starts[usize::from(first[0])] = true);
    for (at, pair) in bytes.windows(2).enumerate() {
        if !starts[usize::from(pair[0])] {
            continue;
        }
        for (index, first) in firsts.iter().enumerate() {
            if pair == first && bytes[at..].starts_with(&needles[index]) {
                found.insert(index);
            }
        }
    }
    found.into_iter().collect()
}

/// All that the process has in memory, the guest's included. What it never touched is as it was in
/// the files that it was started from.
fn in_memory(pid: i32, needles: &[Vec<u8>]) -> Vec<usize> {
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let pages = File::open(format!("/proc/{pid}/pagemap")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut found = BTreeSet::new();
    for line in
        maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|how| how.starts_with('r')))
    {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        for (from, to) in present(&pages, number(from), number(to)) {
            found.extend(in_range(&memory, from, to, needles));
        }
    }
    found.into_iter().collect()
}

/// The parts of a range of addresses that have pages, in memory or swapped out.
fn present(pages: &File, from: u64, to: u64) -> Vec<(u64, u64)> {
    const PAGE: u64 = 4096;
    const THERE: u64 = 3 << 62;
    let count = usize::try_from((to - from) / PAGE).unwrap();
    let mut entries = vec![0; count * 8];
    let read = pages.read_at(&mut entries, from / PAGE * 8).unwrap_or_default();
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for (number, entry) in entries[..read].chunks_exact(8).enumerate() {
        if u64::from_le_bytes(entry.try_into().unwrap()) & THERE == 0 {
            continue;
        }
        let at = from + number as u64 * PAGE;
        match parts.last_mut() {
            Some((_, end)) if *end == at => *end += PAGE,
            _ => parts.push((at, at + PAGE)),
        }
    }
    parts
}

fn in_file(path: &Path, needles: &[Vec<u8>]) -> Vec<usize> {
    let Ok(file) = File::open(path) else { return Vec::new() };
    let length = file.metadata().unwrap().len();
    in_range(&file, 0, length, needles)
}

/// Pieces overlap by more than a needle; what cannot be read (a device's memory) is passed over.
fn in_range(file: &File, from: u64, to: u64, needles: &[Vec<u8>]) -> Vec<usize> {
    const PIECE: usize = 4 << 20;
    const OVERLAP: u64 = 64;
    let mut buffer = vec![0; PIECE];
    let (mut at, mut found) = (from, BTreeSet::new());
    while at < to {
        let wanted = usize::try_from(to - at).unwrap_or(PIECE).min(PIECE);
        let Ok(count) = file.read_at(&mut buffer[..wanted], at) else { break };
        if count == 0 {
            break;
        }
        if buffer[..count].iter().any(|byte| *byte != 0) {
            found.extend(found_in(&buffer[..count], needles));
        }
        let count = count as u64;
        at += if at + count < to { count.saturating_sub(OVERLAP).max(1) } else { count };
    }
    found.into_iter().collect()
}

/// A core file would hold all that it knows.
fn leaves_no_core(pid: i32) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<_> = core.split_whitespace().collect();
    assert_eq!(words[4], "0", "{pid}: {core}");
}
