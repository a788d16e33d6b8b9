//! From what was typed to what is asked of the server.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, IsTerminal};

use api::attach::Start;
use api::{CreateSandbox, Env, Mount, Resources};

use crate::cli::{CommandOptions, EnvOptions, MountOptions, SandboxOptions};
use crate::duration;
use crate::failure::{Exit, Failure};
use crate::{ids, say, terminal};

impl SandboxOptions {
    pub(crate) fn request(&self) -> CreateSandbox {
        let resources = Resources { vcpus: self.vcpus, memory: self.memory };
        CreateSandbox {
            name: self.name.clone(),
            image: self.image.clone(),
            timeout: self.timeout.map(duration::millis),
            idle_timeout: self.idle_timeout.map(duration::millis),
            resources: (resources != Resources::default()).then_some(resources),
            mounts: self.mounts.request(),
            ports: self.ports.public.iter().map(|port| port.get()).collect(),
            private_ports: self.ports.private.iter().map(|port| port.get()).collect(),
            ..CreateSandbox::default()
        }
    }
}

impl MountOptions {
    /// By path; the last one that names a path counts.
    pub(crate) fn request(&self) -> BTreeMap<String, Mount> {
        let pairs = self.mount.iter().map(|option| (option.path.clone(), option.mount.clone()));
        pairs.collect()
    }
}

impl EnvOptions {
    /// `KEY=VALUE` as it is; `KEY` with the value it has here.
    pub(crate) fn request(&self) -> Result<Env, Failure> {
        let env: Result<Env, Failure> = self.env.iter().map(|text| pair(text, env::var)).collect();
        let env = env?;
        env.check().map_err(|fault| Failure::new(Exit::Usage, fault))?;
        Ok(env)
    }
}

fn pair(
    text: &str,
    here: impl Fn(String) -> Result<String, env::VarError>,
) -> Result<(String, String), Failure> {
    if let Some((key, value)) = text.split_once('=') {
        return Ok((key.to_owned(), value.to_owned()));
    }
    let value = here(text.to_owned())
        .map_err(|fault| Failure::new(Exit::Usage, format!("-e {text}: {fault}")))?;
    Ok((text.to_owned(), value))
}

/// Whether a command gets a terminal of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tty {
    Yes,
    No,
}

impl CommandOptions {
    pub(crate) fn request(&self, argv: Vec<String>, tty: Tty) -> Result<Start, Failure> {
        let mut argv = argv.into_iter();
        let command = argv.next().unwrap_or_default();
        let mut env = self.env.request()?;
        // What is no terminal cannot say that there is no more to be typed.
        let is_piped = self.interactive && !io::stdin().is_terminal();
        if is_piped && tty == Tty::Yes {
            say::note("stdin is no terminal, so the command has none either");
        }
        let has_tty = tty == Tty::Yes && !is_piped;
        if let (true, Ok(term)) = (has_tty, env::var("TERM")) {
            env.0.entry("TERM".to_owned()).or_insert(term);
        }
        Ok(Start {
            command,
            args: argv.collect(),
            cwd: self.workdir.clone(),
            env,
            user: self.user.clone(),
            pty: has_tty.then(terminal::size),
            stdin: self.interactive,
            cmd_id: Some(ids::command_id()?),
            ..Start::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_with_a_value_and_from_here() {
        let here = |key: String| {
            if key == "HERE" { Ok("there".to_owned()) } else { Err(env::VarError::NotPresent) }
        };
        for (text, wanted) in [
            ("A=b", Some(("A", "b"))),
            ("A=", Some(("A", ""))),
            ("A=b=c", Some(("A", "b=c"))),
            ("HERE", Some(("HERE", "there"))),
            ("HERE=", Some(("HERE", ""))),
            ("NOWHERE", None),
        ] {
            let found = pair(text, here).ok();
            let found = found.as_ref().map(|(key, value)| (key.as_str(), value.as_str()));
            assert_eq!(found, wanted, "{text}");
        }
    }
}
