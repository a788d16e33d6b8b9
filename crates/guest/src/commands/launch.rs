//! From what the host asks to a process that can be started: user, environment, folder.

use std::path::PathBuf;

use protocol::{Io, Refusal, RefusalCode, StartCommand, Stdin, User};

use crate::{accounts::Account, identity::Identity, place::Place, refusal::refuse};

/// Where executables are looked up unless the environment says otherwise.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const ARGUMENTS_MAX: usize = 64 << 10;

/// A process that can be started.
#[derive(Debug)]
pub(crate) struct Launch {
    /// Never empty.
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: PathBuf,
    /// None keeps the agent's own user.
    pub(crate) account: Option<Account>,
    pub(crate) stdin: Stdin,
    pub(crate) io: Io,
}

impl Launch {
    pub(crate) fn new(
        start: StartCommand,
        identity: &Identity,
        place: &Place,
    ) -> Result<Self, Refusal> {
        check(&start)?;
        let account = identity.account(&start.user, place)?;
        let cwd = start.cwd.as_deref().unwrap_or_default();
        Ok(Self {
            env: environment(&start, identity, &account),
            cwd: place.resolve(&identity.cwd, cwd),
            argv: start.argv,
            account: place.switch_to(account),
            stdin: start.stdin,
            io: start.io,
        })
    }

    /// The value that the process sees.
    pub(crate) fn env(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn check(start: &StartCommand) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(refuse(RefusalCode::Invalid, message));
    if start.argv.first().is_none_or(String::is_empty) {
        return invalid("no executable was named");
    }
    if start.argv.len() + start.env.len() > ARGUMENTS_MAX {
        return invalid("too many arguments");
    }
    let strings = start.argv.iter().chain(start.env.iter().map(|(_, value)| value));
    if strings.chain(&start.cwd).any(|string| string.contains('\0')) {
        return invalid("an argument holds a zero byte");
    }
    let is_name = |name: &str| !name.is_empty() && !name.contains(['=', '\0']);
    if !start.env.iter().all(|(name, _)| is_name(name)) {
        return invalid("an environment variable has no proper name");
    }
    Ok(())
}

/// Later values win: the account's, the claim's, what `sudo` sets, the command's own.
fn environment(
    start: &StartCommand,
    identity: &Identity,
    account: &Account,
) -> Vec<(String, String)> {
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut env = vec![own("PATH", PATH)];
    let user = [
        own("HOME", &account.home),
        own("USER", &account.name),
        own("LOGNAME", &account.name),
        own("SHELL", &account.shell),
    ];
    env.extend_from_slice(&user);
    if let Io::Pty { .. } = start.io {
        env.push(own("TERM", "xterm-256color"));
    }
    env.extend_from_slice(&identity.env);
    if start.user != User::Default {
        env.extend_from_slice(&user);
    }
    if start.user == User::Sudo {
        env.push(own("SUDO_USER", &identity.user.name));
        env.push(own("SUDO_UID", &identity.user.uid.to_string()));
        env.push(own("SUDO_GID", &identity.user.gid.to_string()));
    }
    env.extend_from_slice(&start.env);
    env
}
