//! The world's servers as processes in its namespace.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{
    hood::wait_until,
    namespaces::{WORLD_CARD, world_of},
};

/// Who may read the repositories below `https://git.test/private/`.
pub(crate) const GIT_USER: &str = "reader";
pub(crate) const GIT_PASSWORD: &str = "gauntlet-pass-c0ffee";

/// They are ended with their namespace.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) folder: PathBuf,
    children: Vec<Child>,
}

/// What `prepare.sh` made: a venv, and in it `site` and `site-grpc`, the Python packages for guests.
pub(crate) fn prepared() -> PathBuf {
    let named = env::var_os("FUMEHOOD_TEST_GAUNTLET");
    PathBuf::from(named.expect("FUMEHOOD_TEST_GAUNTLET names what ./test.sh prepared"))
}

pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("gauntlet")
}

impl Servers {
    pub(crate) fn start(folder: &Path) -> Self {
        let mut servers = Self { folder: folder.to_owned(), children: Vec::new() };
        servers.python(&["certificates", folder.to_str().unwrap()], Where::Host).wait().unwrap();
        servers.bundle();
        let mut main = servers.python(&[folder.to_str().unwrap(), WORLD_CARD], Where::World);
        let said = first_line(&mut main);
        assert_eq!(said, "the world is there\n");
        servers.children.push(main);
        let mut own = servers.python(&["host", folder.to_str().unwrap()], Where::Host);
        assert_eq!(first_line(&mut own), "the host's own services are there\n");
        servers.children.push(own);
        servers.nginx();
        servers.sshd();
        servers.redis();
        for place in
            ["203.0.113.20:443", "203.0.113.21:443", "203.0.113.21:22", "203.0.113.22:6379"]
        {
            wait_until(place, || TcpStream::connect(place).is_ok());
        }
        servers
    }

    /// What the host trusts: the usual authorities and the world's.
    fn bundle(&self) {
        let mut roots = fs::read("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
        roots.extend(fs::read(self.folder.join("root.crt")).unwrap());
        fs::write(self.folder.join("roots.pem"), roots).unwrap();
    }

    fn python(&self, words: &[&str], place: Where) -> Child {
        let python = prepared().join("bin/python");
        let main = sources().join("world/main.py");
        let mut command = self.command(python.to_str().unwrap(), place);
        command.arg(main).args(words).env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// What it says goes to `servers.log`.
    fn command(&self, program: &str, place: Where) -> Command {
        let path = self.folder.join("servers.log");
        let log = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        let mut command = match place {
            Where::Host => Command::new(program),
            Where::World => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &world_of(&self.folder), program]);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    fn start_in_world(&mut self, program: &str, words: &[&str]) {
        let child = self.command(program, Where::World).args(words).spawn().unwrap();
        self.children.push(child);
    }

    /// `web.test` with files of any size, and `git.test` with a repository over smart HTTP.
    fn nginx(&mut self) {
        let folder = self.folder.clone();
        let pages = folder.join("pages");
        fs::create_dir(&pages).unwrap();
        fs::create_dir(folder.join("bodies")).unwrap();
        fs::write(folder.join("users"), format!("{GIT_USER}:{{PLAIN}}{GIT_PASSWORD}\n")).unwrap();
        fs::write(pages.join("index.html"), "a page of the world\n").unwrap();
        for (name, bytes) in [("64m", 64 << 20), ("4g", 4 << 30)] {
            fs::File::create(pages.join(name)).unwrap().set_len(bytes).unwrap();
        }
        self.repository();
        let socket = folder.join("cgi.sock");
        let socket = format!("unix:{}", socket.display());
        self.start_in_world("fcgiwrap", &["-s", &socket]);
        let text = fs::read_to_string(sources().join("world/nginx.conf")).unwrap();
        let text = text.replace("FOLDER", folder.to_str().unwrap());
        let path = folder.join("nginx.conf");
        fs::write(&path, text).unwrap();
        wait_until("fcgiwrap listens", || folder.join("cgi.sock").exists());
        fs::set_permissions(folder.join("cgi.sock"), fs::Permissions::from_mode(0o666)).unwrap();
        self.start_in_world("nginx", &["-c", path.to_str().unwrap()]);
    }

    /// One commit on `main`, and pushes allowed.
    fn repository(&self) {
        let script = "set -e; cd \"$1\"; git init -q --bare -b main repo.git; \
            git -C repo.git config http.receivepack true; \
            git init -q -b main work; cd work; echo hello > file; git add file; \
            git -c user.name=g -c user.email=g@g.test commit -q -m first; \
            git push -q ../repo.git main";
        let mut command = self.command("sh", Where::Host);
        command.args(["-c", script, "sh", self.folder.to_str().unwrap()]);
        assert!(command.status().unwrap().success(), "the repository could not be made");
    }

    /// `git.test:22`, for the key `client` alone, with nothing but git.
    fn sshd(&mut self) {
        let folder = self.folder.clone();
        for name in ["ssh-host", "client"] {
            let path = folder.join(name);
            let mut keygen = self.command("ssh-keygen", Where::Host);
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f", path.to_str().unwrap()]);
            assert!(keygen.status().unwrap().success());
        }
        fs::create_dir_all("/run/sshd").unwrap();
        let text = fs::read_to_string(sources().join("world/sshd.conf")).unwrap();
        let path = folder.join("sshd.conf");
        fs::write(&path, text.replace("FOLDER", folder.to_str().unwrap())).unwrap();
        self.start_in_world("/usr/sbin/sshd", &["-D", "-e", "-f", path.to_str().unwrap()]);
    }

    fn redis(&mut self) {
        let words = ["--bind", "203.0.113.22", "--protected-mode", "no", "--save", ""];
        self.start_in_world("redis-server", &words);
    }
}

/// In which namespace something runs.
#[derive(Clone, Copy)]
enum Where {
    Host,
    World,
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    line
}
