//! Where the agent runs, and who the machine is once it is claimed.

use std::path::{Path, PathBuf};

use protocol::{Claim, Refusal, RefusalCode, User};

use crate::{accounts::Account, refusal::refuse};

/// What is around the agent.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// An ordinary process, for tests: the paths of the host lead below `root`, and all commands
    /// run as the agent's own user.
    Process { root: PathBuf },
}

impl Place {
    /// The folder that is the root of all paths.
    pub(crate) fn root(&self) -> &Path {
        match self {
            Self::Process { root } => root,
        }
    }

    /// A path of the host's, relative ones being relative to `cwd`.
    pub(crate) fn resolve(&self, cwd: &str, path: &str) -> PathBuf {
        let below = |path: &str| PathBuf::from(path.trim_start_matches('/'));
        if path.starts_with('/') {
            self.root().join(below(path))
        } else {
            self.root().join(below(cwd)).join(path)
        }
    }

    /// Whom a process must become to run as `account`.
    pub(crate) fn switch_to(&self, account: Account) -> Option<Account> {
        match self {
            Self::Process { .. } => None,
        }
    }
}

/// Who the machine is. Known from the claim on.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) machine_id: [u8; 16],
    pub(crate) user: Account,
    pub(crate) cwd: String,
    pub(crate) env: Vec<(String, String)>,
}

impl Identity {
    pub(crate) fn of(claim: Claim, place: &Place) -> Result<Self, Refusal> {
        Ok(Self {
            machine_id: claim.machine_id,
            user: find_user(place, &claim.user)?,
            cwd: claim.cwd,
            env: claim.env,
        })
    }

    pub(crate) fn account(&self, user: &User, place: &Place) -> Result<Account, Refusal> {
        match user {
            User::Default => Ok(self.user.clone()),
            User::Sudo => Ok(Account::find(place.root(), "root").unwrap_or_else(Account::root)),
            User::Named(name) => find_user(place, name),
        }
    }
}

pub(crate) fn find_user(place: &Place, name: &str) -> Result<Account, Refusal> {
    Account::find(place.root(), name)
        .ok_or_else(|| refuse(RefusalCode::UnknownUser, format!("no user {name}")))
}
