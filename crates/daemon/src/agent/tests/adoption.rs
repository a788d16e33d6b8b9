//! A server that is killed, and the next one that goes on.

use std::path::PathBuf;

use super::{guest::Guest, *};
use crate::command_log::Opened;

/// A server process: when it is killed, its tasks stop wherever they are.
struct Server(Option<tokio::runtime::Runtime>);

impl Server {
    fn start() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Self(Some(builder.worker_threads(1).enable_all().build().unwrap()))
    }

    fn handle(&self) -> tokio::runtime::Handle {
        self.0.as_ref().unwrap().handle().clone()
    }

    /// Waits until its threads are gone: what one of them was writing is written.
    async fn kill(mut self) {
        let runtime = self.0.take().unwrap();
        let gone = move || runtime.shutdown_timeout(LONG);
        tokio::task::spawn_blocking(gone).await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

async fn wait_for(log: &CommandLog, bytes: u64) {
    let grown = async {
        while log.offsets().stdout < bytes {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(LONG, grown).await.expect("there is no output");
}

async fn reopen(folder: PathBuf) -> Opened {
    CommandLog::open(&folder).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing() {
    let guest = Guest::start().await;
    guest.live().await.close().await;
    let folder = guest.dir.path().join("1");
    let expected = seq(3_000_000);
    let server = Server::start();
    let agent = server.handle().spawn({
        let socket = guest.socket();
        async move { Agent::spawn(move || UnixStream::connect(socket.clone())) }
    });
    let agent = agent.await.unwrap();
    let (mut log, writer) = CommandLog::create(&folder).await.unwrap();
    let starts = async move { agent.start(shell(1, "seq 1 3000000"), writer, LONG).await };
    let mut command = server.handle().spawn(starts).await.unwrap().unwrap();
    let mut server = server;
    for n in 1..6 {
        wait_for(&log, n * expected.len() as u64 / 7).await;
        server.kill().await;
        let Opened { log: reopened, writer } = reopen(folder.clone()).await;
        log = reopened;
        assert_same(&outputs(&log).await.0, &expected[..outputs(&log).await.0.len()]);
        let writer = writer.expect("it has not ended");
        server = Server::start();
        let socket = guest.socket();
        let takes_over = async move {
            let agent = Agent::spawn(move || UnixStream::connect(socket.clone()));
            agent.adopt(CommandId(1), Stdin::Null, writer).await.unwrap()
        };
        command = server.handle().spawn(takes_over).await.unwrap();
    }
    assert_eq!(timeout(LONG, command.exit()).await.expect("it hangs").unwrap().code, 0);
    assert_same(&outputs(&log).await.0, &expected);
}

#[tokio::test]
async fn input_goes_on_where_the_agent_stands() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let (log, writer) = new_log(&guest.dir, 1).await;
    let start = StartCommand { stdin: Stdin::Stream, ..shell(1, "cat") };
    let command = agent.start(start, writer, LONG).await.unwrap();
    command.stdin().unwrap().write("first ".into()).await.unwrap();
    wait_for(&log, 6).await;
    agent.close().await;
    assert!(matches!(command.exit().await, Err(CommandLost::Gone)));
    let agent = guest.host();
    let Opened { log, writer } = reopen(guest.dir.path().join("1")).await;
    let command = agent.adopt(CommandId(1), Stdin::Stream, writer.unwrap()).await.unwrap();
    let stdin = command.stdin().unwrap();
    assert_eq!(stdin.acknowledged().await, Ok(6));
    assert_eq!(stdin.written().await, Ok(6));
    stdin.write("second".into()).await.unwrap();
    stdin.close();
    assert_eq!(command.exit().await.unwrap().code, 0);
    assert_eq!(outputs(&log).await.0, b"first second");
}

#[tokio::test]
async fn an_end_that_nobody_heard_is_learnt() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let (_log, writer) = new_log(&guest.dir, 1).await;
    let gate = guest.dir.path().join("gate");
    let script = format!("mkfifo {0}; echo ready; cat {0}; exit 9", gate.display());
    let _command = agent.start(shell(1, &script), writer, LONG).await.unwrap();
    wait_for(&_log, 6).await;
    agent.close().await;
    std::fs::write(&gate, "while you were away").unwrap();
    let Opened { log, writer } = reopen(guest.dir.path().join("1")).await;
    let agent = guest.host();
    let command = agent.adopt(CommandId(1), Stdin::Null, writer.unwrap()).await.unwrap();
    assert_eq!(command.exit().await.unwrap().code, 9);
    assert_eq!(outputs(&log).await.0, b"ready\nwhile you were away");
}

#[tokio::test]
async fn a_stream_whose_end_another_host_had_is_not_waited_for() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let (log, writer) = new_log(&guest.dir, 1).await;
    let script = "exec 2>&-; echo one; read a; echo two; read b; exit 9";
    let start = StartCommand { stdin: Stdin::Stream, ..shell(1, script) };
    let command = agent.start(start, writer, LONG).await.unwrap();
    wait_for(&log, 4).await;
    // With this it is said that the end of standard error is handled, which came before.
    command.stdin().unwrap().write("\n".into()).await.unwrap();
    wait_for(&log, 8).await;
    assert_eq!(agent.request(Request::Ping, LONG).await.unwrap(), Response::Done);
    agent.close().await;
    let Opened { writer, .. } = reopen(guest.dir.path().join("1")).await;
    let agent = guest.host();
    let command = agent.adopt(CommandId(1), Stdin::Stream, writer.unwrap()).await.unwrap();
    command.stdin().unwrap().write("\n".into()).await.unwrap();
    assert_eq!(timeout(LONG, command.exit()).await.expect("it hangs").unwrap().code, 9);
}

#[tokio::test]
async fn a_command_that_the_agent_does_not_know_is_lost() {
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let (log, writer) = new_log(&guest.dir, 1).await;
    let command = agent.adopt(CommandId(1), Stdin::Stream, writer).await.unwrap();
    let exit = timeout(LONG, command.exit()).await.expect("it is waited for");
    assert!(matches!(exit, Err(CommandLost::Unknown)), "{exit:?}");
    assert_eq!(command.stdin().unwrap().written().await, Err(StdinClosed));
    let mut reader = log.reader(Offsets::default(), Follow::ToTheEnd);
    assert_eq!(reader.next().await.unwrap(), None);
}

/// A file system that is full at once.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", dir.path(), "tmpfs", flags, c"size=3m").ok()?;
        Some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let flags = rustix::mount::UnmountFlags::DETACH;
        rustix::mount::unmount(self.0.path(), flags).unwrap();
    }
}

#[tokio::test]
async fn on_a_full_disk_the_command_waits_until_it_is_adopted_again() {
    // Who may not mount cannot fill a disk; the continuous run may.
    let Some(disk) = SmallDisk::mount() else { return };
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    let guest = Guest::start().await;
    let agent = guest.live().await;
    let (_log, writer) = new_log(&disk.0, 1).await;
    let command = agent.start(shell(1, "seq 1 300000"), writer, LONG).await.unwrap();
    let exit = timeout(LONG, command.exit()).await.expect("nobody says so");
    let Err(CommandLost::Log(error)) = exit else { panic!("{exit:?}") };
    assert!(matches!(*error, crate::command_log::LogError::DiskFull(_)), "{error:?}");
    // The agent and its other commands are well.
    assert_eq!(agent.request(Request::Ping, LONG).await.unwrap(), Response::Done);
    std::fs::remove_file(&ballast).unwrap();
    let Opened { log, writer } = CommandLog::open(&disk.0.path().join("1")).await.unwrap();
    let command = agent.adopt(CommandId(1), Stdin::Null, writer.unwrap()).await.unwrap();
    assert_eq!(timeout(LONG, command.exit()).await.expect("it hangs").unwrap().code, 0);
    assert_same(&outputs(&log).await.0, &seq(300_000));
}
