//! The host end against the real agent, and against agents that do what they must not.

mod adoption;
mod commands;
mod fake;
mod files;
mod fuzz;
mod guest;
mod hostile;
mod lent;
mod losses;
mod tunnels;

use std::time::Duration;

use protocol::*;
use tempfile::TempDir;

use super::*;
use crate::command_log::{CommandLog, Follow, LogItem, LogWriter, Offsets, Output};

/// Longer than anything takes; what is not there by then never comes.
const LONG: Duration = Duration::from_secs(60);

/// A command of `sh`.
fn shell(number: u32, script: &str) -> StartCommand {
    StartCommand::plain(CommandId(number), ["sh", "-c", script].map(String::from).to_vec())
}

async fn new_log(dir: &TempDir, number: u32) -> (CommandLog, LogWriter) {
    CommandLog::create(&dir.path().join(number.to_string())).await.unwrap()
}

/// What a log holds now: standard output and standard error.
async fn outputs(log: &CommandLog) -> (Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut reader = log.reader(Offsets::default(), Follow::No);
    while let Some(item) = reader.next().await.unwrap() {
        match item {
            LogItem::Output { output: Output::Stdout, bytes, .. } => stdout.extend(bytes),
            LogItem::Output { output: Output::Stderr, bytes, .. } => stderr.extend(bytes),
            LogItem::Dropped { .. } => panic!("output was dropped"),
            LogItem::Ended(_) => {}
        }
    }
    (stdout, stderr)
}

/// The lines that `seq 1 LAST` prints.
fn seq(last: u32) -> Vec<u8> {
    (1..=last).flat_map(|n| format!("{n}\n").into_bytes()).collect()
}

fn assert_same(found: &[u8], expected: &[u8]) {
    let differ = found.iter().zip(expected).position(|(a, b)| a != b);
    let lengths = (found.len(), expected.len());
    assert!(differ.is_none() && lengths.0 == lengths.1, "{lengths:?}, first at {differ:?}");
}
