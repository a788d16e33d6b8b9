//! `docs/clients.md`: what passes of each client, written by the tests.

use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// The tests run beside each other, and the page is one.
static PAGE: Mutex<()> = Mutex::new(());

/// What passes of a type, or of a command with commands of its own.
#[derive(Default)]
struct Row<'a> {
    passing: Vec<&'a str>,
    failing: Vec<(&'a str, &'a str)>,
}

/// Holds a client's part of the page to what the client said: `ok TYPE.MEMBER` or
/// `no TYPE.MEMBER: WHY`. With `UPDATE_DOCS` in the environment the part is written instead.
#[track_caller]
pub(super) fn hold(client: &str, said: &str) {
    let part = part(client, said);
    let _alone = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/clients.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, after) = around(&page, client);
    let new = format!("{before}{part}{after}");
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, new).unwrap();
        return;
    }
    let old = &page[before.len()..page.len() - after.len()];
    assert!(
        new == page,
        "docs/clients.md says of {client}:\n{old}\nand now it is:\n{part}\n\
         If it should be so, UPDATE_DOCS=1 writes it."
    );
}

/// The page before and after a client's part.
fn around<'a>(page: &'a str, client: &str) -> (&'a str, &'a str) {
    let heading = format!("## {client}\n");
    let at = page.find(&heading).expect("the page has a heading for each client");
    let (before, rest) = page.split_at(at);
    let end = rest.find("\n## ").map_or(rest.len(), |end| end + 1);
    (before, &rest[end..])
}

fn part(client: &str, said: &str) -> String {
    let mut rows: BTreeMap<&str, Row<'_>> = BTreeMap::new();
    for line in said.lines() {
        let (verdict, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (member, why) = rest.split_once(": ").unwrap_or((rest, ""));
        let (of, member) = member.split_once('.').unwrap_or(("", member));
        assert!(["ok", "no"].contains(&verdict), "neither ok nor no: {line:?}");
        let row = rows.entry(of).or_default();
        match verdict {
            "ok" => row.passing.push(member),
            _ => row.failing.push((member, why)),
        }
    }
    assert!(!rows.is_empty(), "{client} said nothing");
    let passing: usize = rows.values().map(|row| row.passing.len()).sum();
    let all = passing + rows.values().map(|row| row.failing.len()).sum::<usize>();
    let mut part = format!("## {client}\n\n{passing} of {all} pass.\n\n");
    part.push_str("| | passes | does not |\n| --- | --- | --- |\n");
    for (of, row) in rows {
        let failing = row.failing.iter().map(|(member, why)| format!("{member} ({why})"));
        let failing = failing.collect::<Vec<_>>().join(", ");
        part.push_str(&format!("| {of} | {} | {failing} |\n", row.passing.join(", ")));
    }
    part.push('\n');
    part
}
