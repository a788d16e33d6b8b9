//! One sandbox, the programs in it, and its audit log.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use serde_json::Value;

use crate::{
    audit::Event,
    hood::{Hood, Ran, entries, wait_until},
    servers::{prepared, sources},
};

/// Where the programs are in a guest.
const PROGRAMS: &str = "/tmp/gauntlet";
const PACKAGES: &str = "PYTHONPATH=/tmp/gauntlet/site";

pub(crate) struct Guest<'a> {
    pub(crate) hood: &'a Hood,
    pub(crate) name: String,
}

/// Denials that are alike and no further apart are told once, in milliseconds.
const ALIKE_MS: u64 = 10_000;

/// As whom a program runs in the guest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    User,
    Root,
}

impl<'a> Guest<'a> {
    /// With the programs in it, and the options of `fumehood create`.
    pub(crate) fn new(hood: &'a Hood, options: &[&str]) -> Self {
        let name = hood.create(&[&["--timeout", "1h"], options].concat());
        let guest = Self { hood, name };
        guest.copy(&sources().join("guest"), PROGRAMS);
        guest.copy(&prepared().join("site"), &format!("{PROGRAMS}/site"));
        guest
    }

    pub(crate) fn copy(&self, from: &Path, to: &str) {
        self.hood.ok(&["cp", from.to_str().unwrap(), &format!("{}:{to}", self.name)]);
    }

    pub(crate) fn exec(&self, who: As, words: &[&str]) -> Ran {
        let mut args = vec!["exec", "-e", PACKAGES];
        if who == As::Root {
            args.push("--sudo");
        }
        args.extend([self.name.as_str(), "--"]);
        self.hood.run(&[&args, words].concat())
    }

    pub(crate) fn sh(&self, script: &str) -> Ran {
        self.exec(As::User, &["bash", "-c", script])
    }

    /// Runs what has to succeed, and gives its standard output.
    #[track_caller]
    pub(crate) fn sh_ok(&self, script: &str) -> String {
        let ran = self.sh(script);
        assert_eq!(ran.code, Some(0), "{script}: {ran:?}");
        ran.stdout
    }

    /// Makes attempts in the guest, one after another.
    #[track_caller]
    pub(crate) fn probe(&self, who: As, asked: &Value) -> Vec<Value> {
        let asked = if asked.is_array() { asked.clone() } else { Value::from(vec![asked.clone()]) };
        let program = format!("{PROGRAMS}/probe.py");
        let text = asked.to_string();
        // An argument has at most 128 KiB.
        let ran = if text.len() < 100_000 {
            self.exec(who, &["python3", &program, &text])
        } else {
            let args = ["exec", "-i", "-e", PACKAGES, &self.name, "--", "python3", &program, "-"];
            self.hood.run_with_input(&args, text.as_bytes())
        };
        let told = serde_json::from_str(&ran.stdout);
        told.unwrap_or_else(|fault| panic!("{asked}: {fault}: {ran:?}"))
    }

    pub(crate) fn set_policy(&self, options: &[&str]) {
        self.hood.ok(&[&["policy", "set"], options, &[&self.name]].concat());
    }

    /// What is over.
    pub(crate) fn audit(&self) -> Vec<Event> {
        let text = self.hood.ok(&["audit", "--json", &self.name]);
        let events = text.lines().map(|line| Event(serde_json::from_str(line).unwrap()));
        events.filter(|Event(event)| event["underWay"] != true).collect()
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.audit().last().map_or(0, Event::seq)
    }

    /// Waits until one is told that is as wanted.
    #[track_caller]
    pub(crate) fn told(&self, after: u64, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let mut found = None;
        let mut tries = 0;
        wait_until(&format!("the audit log tells of {what}"), || {
            let mut events = self.audit();
            let before = events.iter().rfind(|event| event.seq() <= after).map_or(0, Event::at);
            // Denials alike within ten seconds are one line, which may be that of an earlier one.
            events.retain(|event| event.seq() > after || event.at() + ALIKE_MS > before);
            found = events.iter().find(|event| wanted(event)).cloned();
            tries += 1;
            // A log that is silent for so long will not tell.
            assert!(
                found.is_some() || tries < 50,
                "the audit log does not tell of {what}: {events:?}"
            );
            found.is_some()
        });
        found.unwrap()
    }

    /// A program of the guest's that is talked with, line by line.
    pub(crate) fn talk(&self, words: &[&str]) -> Talk {
        let args = [&["exec", "-i", "-e", PACKAGES, &self.name, "--"], words].concat();
        let mut child = self.hood.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let says = child.stdin.take().unwrap();
        let hears = BufReader::new(child.stdout.take().unwrap());
        Talk { child, says, hears }
    }

    pub(crate) fn hold(&self, asked: &Value) -> Talk {
        self.talk(&["python3", &format!("{PROGRAMS}/hold.py"), &asked.to_string()])
    }

    /// The gateway process of this sandbox.
    pub(crate) fn gateway(&self) -> Option<i32> {
        match self.hood.gateways()[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// All that fumehood keeps of anything.
    pub(crate) fn state(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.hood.state().to_owned()];
        while let Some(folder) = folders.pop() {
            for path in entries(&folder) {
                let about = path.symlink_metadata().unwrap();
                if about.is_dir() {
                    folders.push(path);
                } else if about.is_file() {
                    files.push(path);
                }
            }
        }
        files
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let _ran = self.hood.run(&["rm", "-f", &self.name]);
    }
}

pub(crate) struct Talk {
    child: Child,
    says: ChildStdin,
    hears: BufReader<ChildStdout>,
}

impl Talk {
    pub(crate) fn say(&mut self, line: &str) {
        self.says.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Its next line, as JSON.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.hears.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|fault| panic!("{line:?}: {fault}"))
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill().is_err();
        let _gone = self.child.wait().is_err();
    }
}

/// Writes a policy to a file that `--policy` takes.
pub(crate) fn policy_file(hood: &Hood, name: &str, policy: &Value) -> String {
    let path = hood.state().with_extension(format!("{name}.json"));
    std::fs::write(&path, policy.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}
