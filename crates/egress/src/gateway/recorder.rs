//! The audit log: every decision, a line each, in two files that take turns.
//!
//! The files are opened by who starts the gateway; in here nothing is opened. When the one in use
//! is full, the other one is emptied and taken, so the newest half is always there. Denials and
//! names that are alike and come fast are counted instead of written, so that a guest cannot wash
//! out what it did before.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    rc::Rc,
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::event::{Decision, Event, Kind};

/// How large each of the two files becomes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Denials alike within this time are one line, and those after the first another at its end.
const ALIKE: Duration = Duration::from_secs(10);
/// So often it is looked for those whose time is over.
const SWEEP: Duration = Duration::from_secs(1);
/// As many kinds of denial, and as many names that were answered, are told apart at a time.
const ALIKE_MAX: usize = 256;

/// Writes events down. Clones write to the same log.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    log: Rc<RefCell<Log>>,
    written: watch::Sender<u64>,
}

#[derive(Debug)]
struct Log {
    files: [File; 2],
    current: usize,
    bytes: u64,
    seq: u64,
    denied: HashMap<Alike, Counted>,
    /// Names that were answered. Their number is bounded elsewhere, so none is counted with others.
    answered: HashMap<Alike, Counted>,
    swept: Instant,
}

/// By what denials are alike.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Alike {
    kind: Kind,
    rule: String,
    target: Option<String>,
    port: Option<u16>,
    method: Option<String>,
    path: Option<String>,
    reason: Option<String>,
}

#[derive(Debug)]
struct Counted {
    since: Instant,
    /// The last that was left out, and how many before it.
    left_out: Option<(Box<Event>, u64)>,
}

impl Alike {
    fn of(event: &Event) -> Self {
        let address = event.address;
        Self {
            kind: event.kind,
            rule: event.rule.clone(),
            target: event.host.clone().or_else(|| address.map(|to| to.ip().to_string())),
            port: address.map(|to| to.port()),
            method: event.method.clone(),
            path: event.path.clone(),
            reason: event.reason.clone(),
        }
    }

    /// Of a kind, what is beyond counting.
    fn rest(kind: Kind) -> Self {
        let rule = String::new();
        Self { kind, rule, target: None, port: None, method: None, path: None, reason: None }
    }

    /// What is told of those that were left out. Of all kinds of things no one of them stands for the rest:
    /// which is the last is the guest's choice.
    fn told(&self, (last, before): (Box<Event>, u64)) -> Event {
        if self.rule.is_empty() {
            let mut event = Event::new(last.at, last.decision, last.kind, "several");
            event.reason = Some("of too many different kinds to tell of each".to_owned());
            event.repeated = Some(before + 1);
            return event;
        }
        Event { repeated: Some(before).filter(|&n| n > 0), ..*last }
    }
}

/// Adds one event to a log that nobody else is writing: the server tells so of a gateway that has
/// ended.
pub fn append(files: [File; 2], event: Event) -> io::Result<()> {
    Recorder::open(files)?.tell(event);
    Ok(())
}

impl Recorder {
    /// Goes on with the logs as they are.
    pub(crate) fn open(files: [File; 2]) -> io::Result<Self> {
        let last = [last_seq(&files[0])?, last_seq(&files[1])?];
        let current = usize::from(last[0] < last[1]);
        end_line(&files[current])?;
        let bytes = (&files[current]).seek(SeekFrom::End(0))?;
        let seq = last[0].max(last[1]);
        let (denied, answered) = (HashMap::new(), HashMap::new());
        let log = Log { files, current, bytes, seq, denied, answered, swept: Instant::now() };
        Ok(Self { log: Rc::new(RefCell::new(log)), written: watch::Sender::new(seq) })
    }

    /// Writes the event, or counts it if it is one of many alike.
    pub(crate) fn tell(&self, event: Event) {
        self.with(|log| {
            log.sweep();
            if let Some(event) = log.admit(event) {
                log.write(event);
            }
        });
    }

    /// Writes what was counted and is not to wait for more of its kind. To be called now and then.
    pub(crate) fn catch_up(&self) {
        self.with(Log::sweep);
    }

    fn with(&self, act: impl FnOnce(&mut Log)) {
        let mut log = self.log.borrow_mut();
        act(&mut log);
        let seq = log.seq;
        drop(log);
        self.written.send_if_modified(|last| std::mem::replace(last, seq) != seq);
    }

    /// The number of the last event written; changes are news for who follows.
    pub(crate) fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }
}

impl Log {
    fn admit(&mut self, event: Event) -> Option<Event> {
        let table = match (event.decision, event.kind) {
            (Decision::Deny, _) => &mut self.denied,
            (Decision::Allow, Kind::Dns) => &mut self.answered,
            (Decision::Allow | Decision::Note, _) => return Some(event),
        };
        let mut alike = Alike::of(&event);
        if ALIKE_MAX <= table.len() && !table.contains_key(&alike) {
            if event.decision != Decision::Deny {
                return Some(event);
            }
            alike = Alike::rest(event.kind);
        }
        let Some(counted) = table.get_mut(&alike) else {
            table.insert(alike, Counted { since: Instant::now(), left_out: None });
            return Some(event);
        };
        let before = counted.left_out.take().map_or(0, |(_, before)| before + 1);
        counted.left_out = Some((Box::new(event), before));
        None
    }

    /// Tells the last of those that were left out for long enough, with their number, and forgets what does
    /// not come any more.
    fn sweep(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        self.tell_counted(|counted| ALIKE <= now.duration_since(counted.since));
    }

    fn tell_counted(&mut self, is_due: impl Fn(&Counted) -> bool) {
        let now = Instant::now();
        let mut due = Vec::new();
        for table in [&mut self.denied, &mut self.answered] {
            table.retain(|alike, counted| {
                if !is_due(counted) {
                    return true;
                }
                counted.since = now;
                let left_out = counted.left_out.take();
                let goes_on = left_out.is_some();
                due.extend(left_out.map(|left_out| alike.told(left_out)));
                goes_on
            });
        }
        due.sort_by_key(|event| event.at);
        due.into_iter().for_each(|event| self.write(event));
    }

    fn write(&mut self, mut event: Event) {
        self.seq += 1;
        event.seq = self.seq;
        let Ok(mut line) = serde_json::to_vec(&event) else { return };
        line.push(b'\n');
        let length = line.len() as u64;
        if FILE_BYTES_MAX < self.bytes + length {
            self.turn();
        }
        match self.files[self.current].write_all(&line) {
            Ok(()) => self.bytes += length,
            Err(error) => tracing::error!(%error, "an event could not be written"),
        }
    }

    fn turn(&mut self) {
        self.current = 1 - self.current;
        let mut file = &self.files[self.current];
        let emptied = file.set_len(0).and_then(|()| file.rewind());
        if let Err(error) = emptied {
            tracing::error!(%error, "a log could not be emptied");
        }
        self.bytes = 0;
    }
}

impl Drop for Log {
    /// What was counted is told, though its time is not over.
    fn drop(&mut self) {
        self.tell_counted(|_| true);
    }
}

/// The last line of a writer that was killed may be cut: what follows is not to be on it.
fn end_line(mut file: &File) -> io::Result<()> {
    let mut last = [b'\n'];
    if file.metadata()?.len() != 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last == [b'\n'] { Ok(()) } else { file.write_all(b"\n") }
}

/// The number of the last whole line.
fn last_seq(file: &File) -> io::Result<u64> {
    const TAIL: u64 = 64 * 1024;
    let length = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut last = 0;
    for line in reader.split(b'\n') {
        // The first may be cut, and so may the last if the writer died.
        if let Ok(event) = serde_json::from_slice::<Event>(&line?) {
            last = event.seq;
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs() -> (tempfile::TempDir, Recorder) {
        let folder = tempfile::tempdir().unwrap();
        let recorder = reopen(&folder);
        (folder, recorder)
    }

    fn reopen(folder: &tempfile::TempDir) -> Recorder {
        let open = |name| {
            let mut options = std::fs::OpenOptions::new();
            options.create(true).read(true).append(true).open(folder.path().join(name)).unwrap()
        };
        Recorder::open([open("0"), open("1")]).unwrap()
    }

    fn lines(folder: &tempfile::TempDir) -> Vec<Event> {
        let mut events: Vec<Event> = ["0", "1"]
            .iter()
            .flat_map(|name| {
                let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()
            })
            .collect();
        events.sort_by_key(|event: &Event| event.seq);
        events
    }

    fn denial(host: &str) -> Event {
        let mut event = Event::new(1, Decision::Deny, Kind::Dns, "default");
        event.host = Some(host.to_owned());
        event
    }

    #[tokio::test(start_paused = true)]
    async fn denials_alike_are_counted() {
        let (folder, recorder) = logs();
        for _ in 0..100 {
            recorder.tell(denial("a.test"));
            recorder.tell(Event::new(1, Decision::Allow, Kind::Http, "b"));
        }
        recorder.tell(denial("c.test"));
        tokio::time::advance(ALIKE).await;
        recorder.tell(denial("a.test"));
        let denied: Vec<Event> =
            lines(&folder).into_iter().filter(|event| event.decision == Decision::Deny).collect();
        let told: Vec<_> =
            denied.iter().map(|event| (event.host.as_deref().unwrap(), event.repeated)).collect();
        // The last of a hundred, and 98 that were between it and the first.
        assert_eq!(told, [("a.test", None), ("c.test", None), ("a.test", Some(98))]);
        assert_eq!(lines(&folder).len(), 103);
        // The one that came just now is told though no more come.
        tokio::time::advance(ALIKE).await;
        recorder.catch_up();
        assert_eq!(lines(&folder).len(), 104);
        assert_eq!(lines(&folder).last().unwrap().repeated, None);
    }

    #[tokio::test(start_paused = true)]
    async fn other_requests_and_ports_are_not_alike() {
        let (folder, recorder) = logs();
        for number in 0..8_u16 {
            let mut event = Event::new(1, Decision::Deny, Kind::Http, "rule");
            event.path = Some(format!("/file{number}"));
            recorder.tell(event);
            let mut event = Event::new(1, Decision::Deny, Kind::Tcp, "default");
            event.address = Some(([203, 0, 113, 7], number).into());
            recorder.tell(event);
        }
        assert_eq!(lines(&folder).len(), 16);
    }

    #[tokio::test(start_paused = true)]
    async fn denials_of_everything_are_no_flood() {
        let (folder, recorder) = logs();
        for number in 0..10_000 {
            recorder.tell(denial(&format!("n{number}.test")));
        }
        assert_eq!(lines(&folder).len(), ALIKE_MAX + 1);
        tokio::time::advance(ALIKE).await;
        recorder.tell(denial("z.test"));
        let told = lines(&folder);
        assert_eq!(told.last().unwrap().host.as_deref(), Some("z.test"));
        let rest = &told[told.len() - 2];
        assert_eq!(
            (rest.host.as_deref(), rest.repeated),
            (None, Some(9_743)),
            "none for the others"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_are_answered_do_not_drown_in_denials() {
        let (folder, recorder) = logs();
        let answered = |name: &str| Event { decision: Decision::Allow, ..denial(name) };
        for number in 0..1000 {
            recorder.tell(denial(&format!("n{number}.test")));
            recorder.tell(answered(&format!("a{number}.test")));
        }
        let told = lines(&folder);
        let names = told.iter().filter(|event| event.decision == Decision::Allow);
        assert_eq!(names.count(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_counted_is_told_at_the_end() {
        let (folder, recorder) = logs();
        for _ in 0..5 {
            recorder.tell(denial("a.test"));
        }
        assert_eq!(lines(&folder).len(), 1);
        drop(recorder);
        assert_eq!(lines(&folder).last().unwrap().repeated, Some(3));
    }

    #[tokio::test]
    async fn the_numbers_go_on_after_a_restart_and_a_turn() {
        let (folder, recorder) = logs();
        let mut seen = recorder.written();
        let mut long = Event::new(1, Decision::Allow, Kind::Http, "rule");
        long.path = Some("x".repeat(1024));
        for _ in 0..17_000 {
            recorder.tell(long.clone());
        }
        assert_eq!(*seen.borrow_and_update(), 17_000);
        drop(recorder);
        let recorder = reopen(&folder);
        recorder.tell(Event::new(2, Decision::Allow, Kind::Tcp, "rule"));
        let events = lines(&folder);
        assert_eq!(events.last().unwrap().seq, 17_001);
        let numbers: Vec<u64> = events.iter().map(|event| event.seq).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "none is left out");
        for name in ["0", "1"] {
            let bytes = std::fs::metadata(folder.path().join(name)).unwrap().len();
            assert!(bytes <= FILE_BYTES_MAX, "{bytes}");
        }
    }
}
