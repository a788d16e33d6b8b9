//! The real agent, as an ordinary process.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Arc,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

pub(super) struct Guest {
    child: Child,
    pub(super) dir: TempDir,
}

impl Guest {
    pub(super) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let child = Command::new(program()).arg("--serve").arg(socket(&dir)).spawn().unwrap();
        let guest = Self { child, dir };
        let listens = async {
            while UnixStream::connect(guest.socket()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(LONG, listens).await.expect("the agent does not listen");
        guest
    }

    pub(super) fn socket(&self) -> PathBuf {
        socket(&self.dir)
    }

    /// A host of this agent.
    pub(super) fn host(&self) -> Agent {
        let socket = self.socket();
        Agent::spawn(move || UnixStream::connect(socket.clone()))
    }

    /// A host whose connections are cut after so many bytes of the agent's, one after another.
    pub(super) fn lossy_host(&self, cuts: Vec<usize>) -> Agent {
        let socket = self.socket();
        let cuts = Arc::new(std::sync::Mutex::new(cuts));
        let connect = move || {
            let cut = cuts.lock().unwrap().pop().unwrap_or(usize::MAX);
            let socket = socket.clone();
            async move {
                let (near, far) = UnixStream::pair()?;
                let guest = UnixStream::connect(socket).await?;
                tokio::spawn(relay(far, guest, cut));
                Ok(near)
            }
        };
        Agent::spawn(connect)
    }

    /// Ready for commands.
    pub(super) async fn live(&self) -> Agent {
        let agent = self.host();
        claim(&agent).await;
        agent
    }

    pub(super) fn rss_kib(&self) -> u64 {
        rss_kib(&self.child.id().to_string())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Resident memory of a process.
pub(super) fn rss_kib(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

pub(super) async fn claim(agent: &Agent) {
    agent.ready(Instant::now() + LONG).await.unwrap();
    let claim = Claim {
        hostname: "test".into(),
        machine_id: [7; 16],
        entropy: Entropy([7; 32]),
        unix_nanos: 0,
        user: "root".into(),
        cwd: "/tmp".into(),
        env: Vec::new(),
        network: network::Network::default(),
    };
    let claimed = agent.request(Request::Claim(claim), LONG).await.unwrap();
    assert_eq!(claimed, Response::Done);
}

fn socket(dir: &TempDir) -> PathBuf {
    dir.path().join("agent")
}

/// Built with the workspace; alone by `cargo build -p guest`.
fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("FUMEHOOD_TEST_GUEST") {
        return program.into();
    }
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).map(|target| target.join("guest"));
    let program = program.filter(|program| Path::exists(program));
    program.expect("the guest agent is not built: cargo build -p guest")
}

/// Passes bytes on until `cut` have come from the guest; then both ends are closed, and what is
/// under way is lost.
async fn relay(host: UnixStream, guest: UnixStream, mut cut: usize) {
    let (mut host_read, mut host_write) = host.into_split();
    let (mut guest_read, mut guest_write) = guest.into_split();
    let inward = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = host_read.read(&mut buffer).await {
            if guest_write.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    let outward = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = guest_read.read(&mut buffer).await {
            let passed = count.min(cut);
            cut -= passed;
            if host_write.write_all(&buffer[..passed]).await.is_err() || cut == 0 {
                return;
            }
        }
    };
    tokio::select! {
        () = inward => {}
        () = outward => {}
    }
}
