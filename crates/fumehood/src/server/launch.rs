//! Starting the user's own server, and replacing an older one with its machines running on.
//!
//! One lock in the state folder lets one command line at a time start or replace a server, so two
//! that come at once find one server.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use api::Version;
use api::client::{Client, ClientError};
use tokio::time::{Instant, sleep, timeout};

use crate::failure::{Exit, Failure};
use crate::{folders, own, rolling_log};

/// A server that takes a connection and says nothing for this long does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// For another's start or replacement to be over.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// For a server to close after it was asked to.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(30);
/// For a new server to answer. It takes over what machines there are first.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
const LOG_TAIL_BYTES: u64 = 2000;

/// What to do about what answered, or did not.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Fit,
    Absent,
    Older,
    /// Newer than we are, and of another generation.
    Foreign(Version),
}

/// Makes sure that a server which understands us answers.
pub(crate) async fn ensure(client: &Client, state: &Path) -> Result<(), Failure> {
    if standing(client).await? == Standing::Fit {
        return Ok(());
    }
    make_state(state)?;
    let _lock = lock(&state.join("start.lock")).await?;
    // It may have been done while we waited.
    match standing(client).await? {
        Standing::Fit => return Ok(()),
        Standing::Absent => {}
        Standing::Older => hand_over(client, state).await?,
        Standing::Foreign(server) => {
            return Err(Failure::new(
                Exit::Unreachable,
                format!(
                    "the server here is fumehood {} and does not understand {}; use the newer \
                     command line",
                    server.version,
                    env!("CARGO_PKG_VERSION"),
                ),
            ));
        }
    }
    start(client, state).await
}

async fn standing(client: &Client) -> Result<Standing, Failure> {
    match timeout(ANSWER_TIMEOUT, client.version()).await {
        Ok(Ok(server)) => Ok(judge(server, &own::version())),
        Ok(Err(ClientError::Unreachable { source, .. })) if is_absence(&source) => {
            Ok(Standing::Absent)
        }
        // It went away while it answered.
        Ok(Err(ClientError::Broken { .. })) => Ok(Standing::Absent),
        Ok(Err(fault)) => Err(Failure::from(fault)),
        Err(_) => Err(Failure::new(
            Exit::Unreachable,
            format!("the server at {} takes connections and does not answer", client.endpoint()),
        )),
    }
}

/// Nobody listens, as opposed to not being let in.
fn is_absence(fault: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound};
    matches!(fault.kind(), NotFound | ConnectionRefused | ConnectionReset)
}

fn judge(server: Version, own: &Version) -> Standing {
    if server.is_older_than(own) {
        Standing::Older
    } else if server.api == own.api {
        Standing::Fit
    } else {
        Standing::Foreign(server)
    }
}

fn make_state(state: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .map_err(|fault| Failure::host(format!("making {}", state.display()), fault))
}

/// Held until dropped.
async fn lock(path: &Path) -> Result<File, Failure> {
    let doing = || format!("locking {}", path.display());
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|fault| Failure::host(doing(), fault))?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(fault)) => return Err(Failure::host(doing(), fault)),
            Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                let message = "another fumehood is starting the server and does not get done";
                return Err(Failure::new(Exit::Unreachable, message));
            }
            Err(TryLockError::WouldBlock) => sleep(POLL).await,
        }
    }
}

async fn hand_over(client: &Client, state: &Path) -> Result<(), Failure> {
    match client.handover().await {
        // It may close before its answer is out.
        Ok(()) | Err(ClientError::Broken { .. } | ClientError::Unreachable { .. }) => {}
        Err(fault) => {
            return Err(Failure::from(fault).about("replacing the older server"));
        }
    }
    let deadline = Instant::now() + HANDOVER_TIMEOUT;
    while standing(client).await? != Standing::Absent || is_held(&state.join("server.lock")) {
        if Instant::now() > deadline {
            let message = "the older server was asked to give way and does not close";
            return Err(Failure::new(Exit::Unreachable, message));
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// A server holds its lock until the last of its requests is over.
fn is_held(lock: &Path) -> bool {
    File::open(lock).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

async fn start(client: &Client, state: &Path) -> Result<(), Failure> {
    let log = folders::log(state);
    let (mut server, log_start) = spawn(state, &log)?;
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if standing(client).await? == Standing::Fit {
            return Ok(());
        }
        let ended =
            server.try_wait().map_err(|fault| Failure::host("starting the server", fault))?;
        let what = match ended {
            // One that was started by hand meanwhile may be why.
            Some(_) if standing(client).await? == Standing::Fit => return Ok(()),
            Some(status) => format!("the server did not start ({status})"),
            None if Instant::now() > deadline => "the server started and does not answer".into(),
            None => {
                sleep(POLL).await;
                continue;
            }
        };
        // Its log says nothing then.
        let (exit, full) = match is_full(state) {
            true => {
                (Exit::Limit, format!("the disk of {} is full: make room there; ", state.display()))
            }
            false => (Exit::Unreachable, String::new()),
        };
        let tail = tail(&log, log_start);
        let message = format!("{full}{what}; the end of {}:\n{tail}", log.display());
        return Err(Failure::new(exit, message));
    }
}

fn is_full(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|disk| disk.f_bavail == 0)
}

/// Starts a server and says where in the log its own lines start.
fn spawn(state: &Path, log: &Path) -> Result<(Child, u64), Failure> {
    if fs::metadata(log).is_ok_and(|meta| meta.len() > rolling_log::BYTES_MAX) {
        rolling_log::put_aside(log)
            .map_err(|fault| Failure::host(format!("moving {}", log.display()), fault))?;
    }
    let both =
        rolling_log::open(log).and_then(|out| Ok((out.metadata()?.len(), out.try_clone()?, out)));
    let (log_start, out, err) =
        both.map_err(|fault| Failure::host(format!("opening {}", log.display()), fault))?;
    Command::new(own::EXECUTABLE)
        .arg0("fumehood")
        .args(["serve", "--detached"])
        .current_dir(state)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map(|server| (server, log_start))
        .map_err(|fault| Failure::host("starting the server", fault))
}

/// The last lines of the log, none from before its start.
fn tail(log: &Path, start: u64) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(length.saturating_sub(LOG_TAIL_BYTES))))?;
        let mut end = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut end)?;
        Ok(end)
    };
    match read() {
        Ok(end) => String::from_utf8_lossy(&end).trim_end().to_owned(),
        Err(fault) => format!("(unreadable: {fault})"),
    }
}

#[cfg(test)]
mod tests;
