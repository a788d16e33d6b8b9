//! What a sandbox may reach: from what was typed to the policy that is asked of the server.

mod destination;
mod flags;
mod outline;
mod policy;
pub(crate) mod preset;
mod secret_use;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use api::NetworkPolicy;

use crate::cli::{EnvOptions, PolicyOptions};
use crate::failure::{Exit, Failure};
pub(crate) use destination::{Destination, denied};
use flags::Flags;
pub(crate) use outline::{outline, rule_line};
pub(crate) use secret_use::SecretUse;

/// The largest policy that is read, in bytes: what a server takes as a whole.
const FILE_BYTES_MAX: usize = 1 << 20;

/// What else wants our stdin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stdin {
    Free,
    /// The guest's command reads it.
    Taken,
}

impl PolicyOptions {
    /// The policy that was asked for; none when nothing was said, and the server's default holds.
    pub(crate) fn request(&self, stdin: Stdin) -> Result<Option<NetworkPolicy>, Failure> {
        let usage = |fault: &dyn std::error::Error| Failure::new(Exit::Usage, fault);
        let flags = Flags::new(self).map_err(|fault| usage(&fault))?;
        let file = self.policy.as_deref().map(|file| read(file, stdin)).transpose()?;
        match flags {
            Some(flags) => {
                let policy = policy::with_flags(file, &flags);
                policy.map(Some).map_err(|fault| usage(&fault))
            }
            None => Ok(file),
        }
    }

    /// A variable cannot be both the placeholder of a secret and what -e says: the guest would be
    /// given the very thing that is kept from it.
    pub(crate) fn check_env(&self, env: &EnvOptions) -> Result<(), Failure> {
        let name = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
        let given: Vec<String> = env.env.iter().map(|text| name(text)).collect();
        let secrets = self.secret.iter().map(|used| used.secret.as_str());
        match secrets.into_iter().find(|secret| given.iter().any(|name| name == secret)) {
            None => Ok(()),
            Some(name) => {
                let message = format!(
                    "the variable {name} is the placeholder of the secret in the guest: leave out -e {name}"
                );
                Err(Failure::new(Exit::Usage, message))
            }
        }
    }
}

fn read(file: &Path, stdin: Stdin) -> Result<NetworkPolicy, Failure> {
    let (shown, bytes) = if file == Path::new("-") {
        if stdin == Stdin::Taken {
            let message = "--policy - and -i both read stdin: give the policy in a file";
            return Err(Failure::new(Exit::Usage, message));
        }
        ("the policy on stdin".to_owned(), read_bounded(io::stdin().lock()))
    } else {
        (file.display().to_string(), File::open(file).and_then(read_bounded))
    };
    let bytes = bytes.map_err(|fault| Failure::host(format!("reading {shown}"), fault))?;
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("{shown} is too long: a policy has at most 1 MiB");
        return Err(Failure::new(Exit::Usage, message));
    }
    NetworkPolicy::read(&bytes).map_err(|fault| {
        // As a server shows a policy that has rules, it cannot be asked for: values are left out.
        let is_shown = ["headerNames", "rules"];
        let is_shown = is_shown.iter().any(|name| fault.contains(&format!("unknown field `{name}`")));
        let hint = if is_shown {
            ". This is a policy as it is shown, without the values of headers: leave the lists of \
             rules out, write what stands in `rules` as `allow`, and in its transforms `headers` with \
             their values in place of `headerNames`"
        } else {
            ""
        };
        Failure::new(Exit::Usage, format!("{shown} is not a policy: {fault}{hint}"))
    })
}

fn read_bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
