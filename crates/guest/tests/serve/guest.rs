//! The agent under test: a process of its own in a folder of its own.

use std::{
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use protocol::*;

use crate::client::Client;

/// An agent that runs until it is dropped.
pub(crate) struct Guest {
    pub(crate) folder: tempfile::TempDir,
    child: Child,
}

impl Guest {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_guest"));
        child.arg("--serve").arg(folder.path().join("socket")).stdin(Stdio::null());
        Self { child: child.spawn().unwrap(), folder }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let socket = self.folder.path().join("socket");
        let mut tries = 0;
        loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => return stream,
                Err(error) => assert!(tries < 2000, "{error}"),
            }
            tries += 1;
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// A client that has claimed the machine.
    pub(crate) fn client(&self) -> Client {
        let mut client = Client::new(self.connect(), 1);
        client.hello(1);
        let claim = Request::Claim(self.claim());
        assert_eq!(client.ask(claim), Ok(Response::Done));
        client
    }

    pub(crate) fn claim(&self) -> Claim {
        Claim {
            hostname: "test".into(),
            machine_id: [7; 16],
            entropy: Entropy([1; 32]),
            unix_nanos: 0,
            user: "root".into(),
            cwd: self.path("").to_str().unwrap().to_owned(),
            env: vec![("CLAIMED".into(), "yes".into())],
            network: network::Network::default(),
        }
    }

    /// A path in the folder where commands run.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let home = self.folder.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        home.join(name)
    }

    /// A program there. A process of its own writes it: while a file is open for writing here, a child that another
    /// test has just forked holds it too, and it cannot be run ("text file busy").
    pub(crate) fn program(&self, name: &str, text: &str) {
        let mut install = Command::new("install");
        install.args(["-m", "755", "/dev/stdin"]).arg(self.path(name)).stdin(Stdio::piped());
        let mut install = install.spawn().unwrap();
        let mut stdin = install.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, text.as_bytes()).unwrap();
        drop(stdin);
        assert!(install.wait().unwrap().success());
    }

    /// Processor time used, in hundredths of a second.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let mut fields = fields.split(' ').skip(11).map(|field| field.parse::<u64>().unwrap());
        fields.next().unwrap() + fields.next().unwrap()
    }

    /// Resident memory now and at its peak, in KiB.
    pub(crate) fn memory_kib(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
