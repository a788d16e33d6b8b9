//! `fumehood setup`.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
};

use daemon::SetupEvent;
use tokio::time::Instant;

use super::Context;
use crate::{
    agent_program::AGENT,
    duration,
    failure::{Exit, Failure},
    folders, say,
    say::Verbosity,
};

const MIB: u64 = 1 << 20;

pub(crate) async fn run(context: &Context) -> Result<Exit, Failure> {
    let paths = folders::paths()?;
    let steps = Arc::new(Mutex::new(Steps::new(context.verbosity)));
    let told = Arc::clone(&steps);
    let result = daemon::setup(&paths, AGENT, move |event| {
        told.lock().unwrap_or_else(PoisonError::into_inner).take(&event);
    })
    .await;
    let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
    match result {
        Ok(()) => {
            steps.end("done");
            say::note("everything is ready; try: fumehood run -- uname -a");
            Ok(Exit::Command(0))
        }
        Err(error) => {
            steps.end("failed");
            Err(Failure::new(Exit::Host, daemon::explain(&error)))
        }
    }
}

/// Prints each step and how long it took: on a terminal in one line that grows, elsewhere a line
/// for each that is over.
struct Steps {
    verbosity: Verbosity,
    current: Option<(String, Instant)>,
    terminal: bool,
}

impl Steps {
    fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, current: None, terminal: io::stderr().is_terminal() }
    }

    fn take(&mut self, event: &SetupEvent<'_>) {
        match event {
            SetupEvent::Began(step) => {
                self.end("done");
                self.current = Some(((*step).to_owned(), Instant::now()));
                self.show("");
            }
            SetupEvent::Advanced { bytes, total: Some(total) } => {
                self.show(&format!(" {} of {} MiB", bytes / MIB, total / MIB));
            }
            SetupEvent::Advanced { bytes, total: None } => {
                self.show(&format!(" {} MiB", bytes / MIB));
            }
            SetupEvent::Percent(percent) => self.show(&format!(" {percent} %")),
            SetupEvent::Said(line) if self.verbosity == Verbosity::Verbose => say::note(line),
            SetupEvent::Said(_) => {}
            SetupEvent::Warned(warning) => {
                self.end("done");
                say::note(&format!("warning: {warning}"));
            }
        }
    }

    fn show(&self, progress: &str) {
        if let (Some((step, _)), true) = (&self.current, self.terminal) {
            drop(write!(io::stderr().lock(), "\r\x1b[K{step} …{progress}"));
        }
    }

    fn end(&mut self, how: &str) {
        let Some((step, began)) = self.current.take() else { return };
        if self.terminal {
            drop(io::stderr().lock().write_all(b"\r\x1b[K"));
        }
        say::note(&format!("{step}: {how} in {}", duration::short(began.elapsed())));
    }
}
