//! `fumehood run`: a sandbox for one command.

use std::borrow::Cow;
use std::io;
use std::os::fd::AsFd;
use std::pin::pin;

use api::attach::{Exit as Ended, ExitReason};
use api::client::ClientError;
use api::{Code, CreateSandbox, Image, PullImage, SandboxReply};
use serde::Serialize;
use tokio::time::Instant;

use super::Context;
use super::create::make;
use crate::attached::{Attached, Captured, Ending, OnSignal, Output, Target};
use crate::cli::{Keep, Run};
use crate::duration::millis;
use crate::failure::{Exit, Failure};
use crate::network::Stdin;
use crate::request::Tty;
use crate::server::Server;
use crate::signals::Signals;
use crate::terminal::Mode;
use crate::{arrival, ids, refusals, say};

pub(crate) async fn run(args: Run, context: &Context) -> Result<Exit, Failure> {
    let wants_json = args.json;
    // A name of ours, so that what an interrupt catches half-made can be removed.
    let name = args.sandbox.name.clone().map_or_else(ids::sandbox_name, Ok)?;
    let mut report = Report::default();
    let result = execute(args, &name, context, &mut report).await;
    let exit = match &result {
        Ok(Ending::Exited(ended)) => explain(ended),
        Ok(Ending::Left(signal)) => Exit::Signal(*signal),
        Err(failure) => failure.exit(),
    };
    if wants_json {
        say::out(&format!("{}\n", report.json(&name, exit, &result)?))?;
    }
    result.map(|_| exit)
}

async fn execute(
    args: Run,
    name: &str,
    context: &Context,
    report: &mut Report,
) -> Result<Ending, Failure> {
    let tty = if args.tty { Tty::Yes } else { Tty::No };
    let stdin = if args.command.interactive { Stdin::Taken } else { Stdin::Free };
    args.network.policy.check_env(&args.command.env)?;
    let policy = args.network.policy.request(stdin)?;
    let wanted = super::image::wanted(&args.sandbox)?;
    let mut request = args.sandbox.request();
    if args.keep { Keep::Disk } else { Keep::Nothing }.ask(&mut request);
    request.network_policy = policy;
    request.trust_host_ca = args.network.trust_host_ca;
    request.name = Some(name.to_owned());

    let server = Server::reach(&context.server).await?;
    let mut signals =
        Signals::listen().map_err(|fault| Failure::host("listening for signals", fault))?;
    let job = Job { server: &server, name, context };
    let mut argv = args.argv;
    if let Some(wanted) = wanted {
        let image = job.bring(&wanted, &mut signals).await?;
        argv =
            command_of(&image, argv, if args.entrypoint { Give::Entrypoint } else { Give::Alone })?;
        request.image = Some(wanted.image);
    }
    let start = args.command.request(argv, tty)?;
    let began = Instant::now();
    let made = job.make(&request, &mut signals).await?;
    report.start_ms = millis(began.elapsed());
    super::ports::tell(&made.routes);

    let output = if args.json { Output::captured() } else { Output::passed() };
    let target = Target::New(Box::new(start));
    let mut attached = Attached::new(&server, &made.session.id, target, output);
    let began = Instant::now();
    // Whatever comes of it, the sandbox is removed.
    let result = match enter_raw_mode(&attached) {
        Ok(_raw_mode) => attached.run(&mut signals, OnSignal::Leave).await,
        Err(failure) => Err(failure),
    };
    report.duration_ms = millis(began.elapsed());
    if let Output::Captured { stdout, stderr } = attached.output {
        report.stdout = stdout;
        report.stderr = stderr;
    }

    if !args.json && has_failed(&result) {
        let see = if args.keep { Hint::Here } else { Hint::NextTime };
        job.hint(&made.session.id, see, &mut signals).await;
    }
    if args.keep {
        say::note(&format!("sandbox {name} is left running"));
    } else {
        job.remove(&mut signals).await;
    }
    result
}

/// Whom a command is given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Give {
    /// It is the command.
    Alone,
    /// It takes the place of the image's own, behind the entrypoint.
    Entrypoint,
}

/// What runs in a sandbox of the image: what was typed, or else what the image itself says.
fn command_of(image: &Image, typed: Vec<String>, give: Give) -> Result<Vec<String>, Failure> {
    let config = &image.config;
    let words: Vec<String> = match (typed.is_empty(), give) {
        (true, _) => config.entrypoint.iter().chain(&config.cmd).cloned().collect(),
        (false, Give::Entrypoint) => config.entrypoint.iter().cloned().chain(typed).collect(),
        (false, Give::Alone) => typed,
    };
    if words.is_empty() {
        let message = format!("the image {} has no command of its own; name one", image.name);
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(words)
}

fn has_failed(result: &Result<Ending, Failure>) -> bool {
    matches!(result, Ok(Ending::Exited(ended)) if ended.code != 0)
}

/// Where more is to be seen of what was refused.
pub(super) enum Hint {
    /// The sandbox is still there.
    Here,
    /// It goes, and its audit log with it.
    NextTime,
    /// The same, and it cannot be kept.
    Allow,
}

/// Keys go to the guest as they are pressed, if it has a terminal and we feed it.
pub(crate) fn enter_raw_mode(attached: &Attached<'_>) -> Result<Option<Mode>, Failure> {
    if !attached.has_pty() || !attached.has_stdin() {
        return Ok(None);
    }
    Mode::raw(io::stdin().as_fd())
        .map_err(|fault| Failure::host("switching the terminal to raw mode", fault))
}

/// The exit code of a command that ended, and a word if it did not end by itself.
pub(crate) fn explain(ended: &Ended) -> Exit {
    match ended.reason {
        Some(ExitReason::Timeout) => say::note("the command was killed: its time was over"),
        Some(ExitReason::Oom) => say::note("the command was killed: the guest is out of memory"),
        None => {}
    }
    Exit::Command(ended.code)
}

/// One run of `run`.
pub(super) struct Job<'a> {
    pub(super) server: &'a Server,
    pub(super) name: &'a str,
    pub(super) context: &'a Context,
}

impl Job<'_> {
    /// Brings the image here; an interrupt breaks it off, and what has come is kept.
    pub(super) async fn bring(
        &self,
        asked: &PullImage,
        signals: &mut Signals,
    ) -> Result<Image, Failure> {
        tokio::select! {
            image = arrival::bring(self.server, asked) => image,
            signal = signals.next() => Err(Failure::silent(Exit::Signal(signal))),
        }
    }

    /// Makes the sandbox; an interrupt meanwhile removes it again, whatever has become of it.
    pub(super) async fn make(
        &self,
        request: &CreateSandbox,
        signals: &mut Signals,
    ) -> Result<SandboxReply, Failure> {
        let mut making = pin!(make(self.server, request, self.context));
        let signal = tokio::select! {
            made = &mut making => return made,
            signal = signals.next() => signal,
        };
        let removing = async {
            let removed = self.server.client().delete(self.name).await;
            if removed.is_err_and(|fault| fault.code() == Some(Code::NotFound))
                && making.await.is_ok()
            {
                self.tell(self.server.client().delete(self.name).await.err());
            }
        };
        tokio::select! {
            () = removing => {}
            () = signals.insisted() => say::note(&format!("sandbox {} may be left", self.name)),
        }
        Err(Failure::silent(Exit::Signal(signal)))
    }

    /// Says what the sandbox was refused, if anything was; an interrupt meanwhile wants no hints.
    pub(super) async fn hint(&self, session: &str, see: Hint, signals: &mut Signals) {
        let refusals = tokio::select! {
            refusals = refusals::of(self.server, session) => refusals,
            () = signals.insisted() => None,
        };
        let see = match see {
            Hint::Here => format!("see: fumehood audit {}", self.name),
            Hint::Allow => "what it needs is given with --allow".to_owned(),
            Hint::NextTime => "run it with --keep to see more in fumehood audit".to_owned(),
        };
        refusals.iter().for_each(|refusals| say::note(&refusals.note(&see)));
    }

    /// Removes the sandbox; an interrupt meanwhile wants no waiting either.
    pub(super) async fn remove(&self, signals: &mut Signals) {
        let removing = async {
            let mut removed = self.server.client().delete(self.name).await;
            if matches!(removed, Err(ClientError::Unreachable { .. } | ClientError::Broken { .. }))
                && self.server.reach_again().await.is_ok()
            {
                removed = self.server.client().delete(self.name).await;
            }
            self.tell(removed.err());
        };
        tokio::select! {
            () = removing => {}
            () = signals.insisted() => say::note(&format!("sandbox {} may be left", self.name)),
        }
    }

    fn tell(&self, fault: Option<ClientError>) {
        if let Some(fault) = fault.filter(|fault| fault.code() != Some(Code::NotFound)) {
            let fault = Failure::from(fault).message().unwrap_or_default();
            say::note(&format!("sandbox {} was not removed: {fault}", self.name));
        }
    }
}

/// What `--json` tells beside how it ended.
#[derive(Debug, Default)]
struct Report {
    stdout: Captured,
    stderr: Captured,
    start_ms: u64,
    duration_ms: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "JSON has no better word")]
struct ReportJson<'a> {
    name: &'a str,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<ExitReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    stdout: Cow<'a, str>,
    stderr: Cow<'a, str>,
    stdout_truncated: bool,
    stderr_truncated: bool,
    start_ms: u64,
    duration_ms: u64,
}

impl Report {
    fn json(
        &self,
        name: &str,
        exit: Exit,
        result: &Result<Ending, Failure>,
    ) -> Result<String, Failure> {
        let (ended, error) = match result {
            Ok(Ending::Exited(ended)) => (Some(ended), None),
            Ok(Ending::Left(_)) => (None, None),
            Err(failure) => (None, failure.message()),
        };
        super::ls::json(&ReportJson {
            name,
            exit_code: exit.code(),
            signal: ended.and_then(|ended| ended.signal),
            reason: ended.and_then(|ended| ended.reason),
            error,
            stdout: String::from_utf8_lossy(&self.stdout.bytes),
            stderr: String::from_utf8_lossy(&self.stderr.bytes),
            stdout_truncated: self.stdout.truncated,
            stderr_truncated: self.stderr.truncated,
            start_ms: self.start_ms,
            duration_ms: self.duration_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_in_an_image() {
        let words =
            |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        use Give::{Alone, Entrypoint};
        for (entrypoint, cmd, typed, give, expected) in [
            ("", "bash", "", Alone, Some("bash")),
            ("init --", "serve", "", Alone, Some("init -- serve")),
            ("init --", "serve", "ls -l", Alone, Some("ls -l")),
            ("init --", "serve", "ls -l", Entrypoint, Some("init -- ls -l")),
            ("", "serve", "ls", Entrypoint, Some("ls")),
            ("", "", "", Entrypoint, None),
        ] {
            let config = api::ImageConfig {
                entrypoint: words(entrypoint),
                cmd: words(cmd),
                ..api::ImageConfig::default()
            };
            let image: Image = serde_json::from_value(serde_json::json!({
                "name": "x", "digest": "", "sizeBytes": 0, "createdAt": 0, "config": config
            }))
            .unwrap();
            let found = command_of(&image, words(typed), give).ok();
            assert_eq!(found, expected.map(words), "{entrypoint} {cmd} {typed}");
        }
    }
}
