//! An image on its way here or to a registry, as a person sees it: on a terminal a line that grows,
//! elsewhere a line for each step that is over.

use std::io::{self, IsTerminal, Write};

use api::client::{ClientError, Lines};
use api::{
    CommitImage, Image, PullEvent, PullImage, PullProgress, PushEvent, PushImage, PushedImage,
    Refusal,
};
use tokio::time::Instant;

use crate::failure::{Exit, Failure, printable};
use crate::server::Server;
use crate::{duration, say, size};

const BAR_WIDTH: u64 = 24;

/// Brings the image here, saying how far it is, and tells what it is. Dropped, it is broken off.
pub(crate) async fn bring(server: &Server, asked: &PullImage) -> Result<Image, Failure> {
    let mut lines = match server.client().pull_image(asked).await {
        // A server that is just giving way has not touched it.
        Err(fault) if crate::commands::is_giving_way(&fault, server) => {
            server.reach_again().await?;
            server.client().pull_image(asked).await?
        }
        begun => begun?,
    };
    let mut meter = Meter::new(&asked.image);
    let image = follow(&mut lines, &mut meter).await;
    meter.end(if image.is_ok() { End::Done } else { End::Failed });
    image
}

/// Makes an image of a sandbox's disk, saying how far it is, and tells what it is.
pub(crate) async fn commit(server: &Server, asked: &CommitImage) -> Result<Image, Failure> {
    let mut lines = server.client().commit_image(asked).await?;
    let mut meter = Meter::new(&asked.image);
    let image = follow(&mut lines, &mut meter).await;
    meter.end(if image.is_ok() { End::Done } else { End::Failed });
    image
}

/// Pushes an image, saying how far it is. Dropped, it is broken off.
pub(crate) async fn push(server: &Server, asked: &PushImage) -> Result<PushedImage, Failure> {
    let mut lines = match server.client().push_image(asked).await {
        Err(fault) if crate::commands::is_giving_way(&fault, server) => {
            server.reach_again().await?;
            server.client().push_image(asked).await?
        }
        begun => begun?,
    };
    let mut meter = Meter::new(&asked.image);
    let pushed = loop {
        match lines.next::<PushEvent>().await? {
            Some(PushEvent::Progress(progress)) => meter.take(progress),
            Some(PushEvent::Done(pushed)) => break Ok(pushed),
            Some(PushEvent::Error(refusal)) => break Err(refused(refusal)),
            None => {
                let message = "the server broke off; what has been sent need not be sent again";
                break Err(Failure::new(Exit::Unreachable, message));
            }
        }
    };
    meter.end(if pushed.is_ok() { End::Done } else { End::Failed });
    pushed
}

fn refused(refusal: Refusal) -> Failure {
    let (code, message) = (refusal.code, refusal.message);
    ClientError::Refused { status: code.status(), code, message }.into()
}

async fn follow(lines: &mut Lines, meter: &mut Meter) -> Result<Image, Failure> {
    loop {
        match lines.next::<PullEvent>().await? {
            Some(PullEvent::Progress(progress)) => meter.take(progress),
            Some(PullEvent::Done { image }) => return Ok(*image),
            Some(PullEvent::Error(refusal)) => return Err(refused(refusal)),
            None => {
                let message = "the server broke off; what has come is kept";
                return Err(Failure::new(Exit::Unreachable, message));
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Failed,
}

/// The step that is under way.
struct Meter {
    image: String,
    current: Option<(PullProgress, Instant)>,
    /// When it was told for the first time how much is done, and how much that was.
    first: Option<(u64, Instant)>,
    terminal: bool,
}

impl Meter {
    fn new(image: &str) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { image: printable(image), current: None, first: None, terminal }
    }

    fn take(&mut self, progress: PullProgress) {
        let now = Instant::now();
        let began = match self.current.take() {
            Some((current, began)) if current.step == progress.step => began,
            other => {
                self.current = other;
                self.end(End::Done);
                self.first = None;
                now
            }
        };
        if let (None, Some(bytes)) = (self.first, progress.bytes) {
            self.first = Some((bytes, now));
        }
        if self.terminal {
            let line = self.line(&progress, now);
            drop(write!(io::stderr().lock(), "\r\x1b[K{}", printable(&line)));
        }
        self.current = Some((progress, began));
    }

    fn line(&self, progress: &PullProgress, now: Instant) -> String {
        let PullProgress { step, bytes, total } = progress;
        let rate = self.rate(*bytes, now).map(|rate| format!(", {}/s", size::short(rate)));
        let rate = rate.unwrap_or_default();
        match (bytes, total) {
            (Some(bytes), Some(total)) => {
                let (done, whole) = (size::short(*bytes), size::short(*total));
                format!("{}: {step} {} {done} of {whole}{rate}", self.image, bar(*bytes, *total))
            }
            (Some(bytes), None) => {
                format!("{}: {step} {}{rate}", self.image, size::short(*bytes))
            }
            (None, _) => format!("{}: {step} …", self.image),
        }
    }

    /// Bytes a second, since the first were told of.
    fn rate(&self, bytes: Option<u64>, now: Instant) -> Option<u64> {
        let (first, since) = self.first?;
        let millis = duration::millis(now.saturating_duration_since(since));
        let new = bytes?.saturating_sub(first);
        (millis >= 200).then(|| new.saturating_mul(1000) / millis)
    }

    fn end(&mut self, how: End) {
        let Some((progress, began)) = self.current.take() else { return };
        if self.terminal {
            drop(io::stderr().lock().write_all(b"\r\x1b[K"));
            return;
        }
        let how = match how {
            End::Done => "done",
            End::Failed => "failed",
        };
        let bytes = progress.bytes.map(|bytes| format!(" {}", size::short(bytes)));
        let (step, bytes) = (progress.step, bytes.unwrap_or_default());
        let took = duration::short(began.elapsed());
        say::note(&format!("{}: {step}{bytes}: {how} in {took}", self.image));
    }
}

impl Drop for Meter {
    /// An interrupted one leaves no half of a line.
    fn drop(&mut self) {
        if self.terminal && self.current.is_some() {
            drop(io::stderr().lock().write_all(b"\r\x1b[K"));
        }
    }
}

fn bar(bytes: u64, total: u64) -> String {
    let done = bytes.min(total) * BAR_WIDTH / total.max(1);
    let width = |count: u64| usize::try_from(count).unwrap_or(0);
    format!("[{}{}]", "#".repeat(width(done)), " ".repeat(width(BAR_WIDTH - done)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_tells_bytes_and_rate() {
        let progress = |bytes| PullProgress {
            step: "fetching".to_owned(),
            bytes: Some(bytes),
            total: Some(4 << 20),
        };
        let mut meter = Meter::new("x");
        meter.terminal = false;
        meter.take(progress(1 << 20));
        assert_eq!(
            meter.line(&progress(1 << 20), Instant::now()),
            "x: fetching [######                  ] 1.0 MiB of 4.0 MiB"
        );
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(
            meter.line(&progress(3 << 20), Instant::now()),
            "x: fetching [##################      ] 3.0 MiB of 4.0 MiB, 1.0 MiB/s"
        );
        meter.take(PullProgress { step: "writing".to_owned(), ..PullProgress::default() });
        let (progress, _) = meter.current.clone().unwrap();
        assert_eq!(meter.line(&progress, Instant::now()), "x: writing …");
        assert_eq!(meter.rate(Some(9), Instant::now()), None, "another step begins anew");
    }

    #[test]
    fn bars_stay_within_their_bounds() {
        for (bytes, total) in [(0, 0), (9, 0), (9, 3), (u64::MAX / 100, u64::MAX)] {
            assert_eq!(bar(bytes, total).len(), 26);
        }
    }
}
