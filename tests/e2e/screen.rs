//! A person at a terminal: a pty, a shell's session on it, and our program in that session.

use std::{
    fs::File,
    os::fd::OwnedFd,
    process::{Child, Command},
    time::Instant,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcgetattr, tcsetwinsize},
};

use crate::hood::{Hood, PATIENCE};

/// The shell outlives our program, since a terminal forgets its modes when its session ends. An
/// interrupt that a terminal in its usual modes makes does not end the shell.
const SESSION: &str = "trap : INT; \"$@\"; printf '[exit code %s]' $?; read -r line";

pub(crate) struct Screen {
    /// The person's end; None once it is closed.
    ours: Option<OwnedFd>,
    theirs: File,
    shell: Child,
    seen: Vec<u8>,
    /// Up to where `seen` has been waited for.
    read: usize,
}

impl Screen {
    /// Starts our program on a new terminal of this size.
    pub(crate) fn start(hood: &Hood, size: (u16, u16), args: &[&str]) -> Self {
        Self::of(&hood.command(args), size)
    }

    /// Starts a program on a new terminal of this size.
    pub(crate) fn of(program: &Command, size: (u16, u16)) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = File::from(rustix::fs::open(name.as_c_str(), flags, Mode::empty()).unwrap());
        set_size(&ours, size);
        let mut shell = Command::new("setsid");
        shell.args(["--ctty", "sh", "-c", SESSION, "sh"]);
        shell.arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let end = || theirs.try_clone().unwrap();
        let shell = shell.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Self { ours: Some(ours), theirs, shell, seen: Vec::new(), read: 0 }
    }

    fn ours(&self) -> &OwnedFd {
        self.ours.as_ref().expect("the terminal is open")
    }

    pub(crate) fn resize(&self, size: (u16, u16)) {
        set_size(self.ours(), size);
    }

    pub(crate) fn press(&self, keys: &str) {
        assert_eq!(rustix::io::write(self.ours(), keys.as_bytes()), Ok(keys.len()));
    }

    /// Waits until this is on the screen, after what was waited for before.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        let began = Instant::now();
        loop {
            let new = &self.seen[self.read..];
            if let Some(at) = new.windows(text.len()).position(|some| some == text.as_bytes()) {
                self.read += at + text.len();
                return;
            }
            let left = PATIENCE.saturating_sub(began.elapsed());
            let more = !left.is_zero() && self.receive(Timespec::try_from(left).unwrap());
            assert!(more, "no {text:?} in {:?}", String::from_utf8_lossy(&self.seen));
        }
    }

    /// Whether there was more.
    fn receive(&mut self, patience: Timespec) -> bool {
        let mut buffer = [0; 4096];
        let ours = self.ours();
        let ready = poll(&mut [PollFd::new(ours, PollFlags::IN)], Some(&patience)).unwrap();
        let length = if ready == 0 { 0 } else { rustix::io::read(ours, &mut buffer).unwrap_or(0) };
        self.seen.extend_from_slice(&buffer[..length]);
        length > 0
    }

    /// Types a line into the guest's shell and waits for what it prints. The line itself is echoed,
    /// so what it prints has to differ.
    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str, answer: &str) {
        assert!(!line.contains(answer), "the echo of {line:?} would be taken for its answer");
        self.press(&format!("{line}\r"));
        self.wait_for(answer);
    }

    /// The modes that the terminal is in.
    pub(crate) fn modes(&self) -> String {
        format!("{:?}", tcgetattr(&self.theirs).unwrap())
    }

    /// The exit code of our program, which has ended or is about to.
    #[track_caller]
    pub(crate) fn wait_for_exit(&mut self, code: i32) {
        self.wait_for("[exit code ");
        self.wait_for("]");
        let shown = String::from_utf8_lossy(&self.seen[..self.read]);
        assert!(shown.ends_with(&format!("[exit code {code}]")), "{shown}");
    }

    /// Closes the window: everything on the terminal is hung up.
    pub(crate) fn close(&mut self) {
        self.ours = None;
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.close();
        // It may have ended with the hang-up.
        self.shell.kill().ok();
        self.shell.wait().ok();
    }
}

fn set_size(terminal: &OwnedFd, (ws_row, ws_col): (u16, u16)) {
    let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).unwrap();
}
