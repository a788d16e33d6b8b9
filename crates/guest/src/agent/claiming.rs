//! How a machine that is nobody's becomes somebody's: warm, rehearsed, claimed.

use protocol::{Claim, Phase, Refusal, Warm};

use super::Agent;
use crate::{commands::warm, identity::Identity};

impl Agent {
    pub(super) fn warm(&mut self, warm: Warm) -> Result<(), Refusal> {
        if !self.is_nobodys() {
            return Err(self.wrong_phase());
        }
        let Warm { commands, stand_in } = warm;
        self.place.begin_warming(&stand_in)?;
        self.trusted.clone_from(&stand_in.network.trust);
        // What the image says of its user may be wrong, which is for the claim to refuse.
        if let Ok(identity) = Identity::of(stand_in, &self.place) {
            warm::run(commands, &identity, &self.place);
        }
        self.place.end_warming();
        // Now, as each clone would have to.
        self.reap();
        self.phase = Phase::Warm;
        Ok(())
    }

    /// Whether it is as its template was.
    fn is_nobodys(&self) -> bool {
        match self.phase {
            Phase::Bare | Phase::Warm => true,
            Phase::Rehearsing | Phase::Live => false,
        }
    }

    pub(super) fn rehearse(&mut self, claim: Claim) -> Result<(), Refusal> {
        if !self.is_nobodys() {
            let is_again = self.phase == Phase::Rehearsing;
            return if is_again { Ok(()) } else { Err(self.wrong_phase()) };
        }
        self.take_on(&claim)?;
        // Nothing runs yet: this too is only rehearsed.
        self.place.end_rehearsal();
        self.identity = Some(Identity::of(claim, &self.place)?);
        self.phase = Phase::Rehearsing;
        Ok(())
    }

    pub(super) fn claim(&mut self, claim: Claim) -> Result<(), Refusal> {
        if self.phase == Phase::Live {
            // It was asked before, and the answer was lost; or it is another claim.
            let own = self.identity.as_ref().map(|identity| identity.machine_id);
            let is_same = own == Some(claim.machine_id);
            return if is_same { Ok(()) } else { Err(self.wrong_phase()) };
        }
        if self.phase == Phase::Rehearsing {
            self.commands.let_go(&mut self.outgoing);
            self.place.end_rehearsal();
        }
        self.take_on(&claim)?;
        self.identity = Some(Identity::of(claim, &self.place)?);
        self.phase = Phase::Live;
        Ok(())
    }

    fn take_on(&mut self, claim: &Claim) -> Result<(), Refusal> {
        self.place.claim(claim, &self.trusted)?;
        self.trusted.clone_from(&claim.network.trust);
        Ok(())
    }
}
