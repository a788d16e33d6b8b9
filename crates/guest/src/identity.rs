//! Who the machine is once it is claimed.

use protocol::{Claim, Refusal, RefusalCode, User};

use crate::{accounts::Account, place::Place, refusal::refuse};

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

fn find_user(place: &Place, name: &str) -> Result<Account, Refusal> {
    Account::find(place.root(), name)
        .ok_or_else(|| refuse(RefusalCode::UnknownUser, format!("no user {name}")))
}
