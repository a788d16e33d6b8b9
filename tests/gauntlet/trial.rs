//! One case: attacks that must be refused at once, told in the audit log and unseen by the world, and
//! lawful uses beside them that must pass.

use serde_json::{Value, json};

use crate::{
    audit::Event,
    guest::{As, Guest},
    world::{Mark, Seen, World},
};

/// A refusal that takes longer is a hang. Generous: the guest's processor is emulated, its host may be busy, and up to forty
/// attempts are made at once. Less than the clients' own patience.
const PROMPT_MS: u64 = 10_000;

/// How HTTP says that a gateway refused.
const REFUSALS: [u64; 12] = [400, 403, 404, 405, 408, 413, 414, 421, 426, 431, 501, 502];

pub(crate) struct Trial<'a> {
    pub(crate) guest: &'a Guest<'a>,
    pub(crate) world: &'a World,
    attacks: usize,
    told: usize,
    looked: usize,
    passed: usize,
}

/// An attack that was refused; what is left to check is whether it was told and seen.
#[must_use = "say what is told of it, and what the world saw"]
pub(crate) struct Refused<'t, 'a> {
    trial: &'t mut Trial<'a>,
    pub(crate) outcomes: Vec<Value>,
    mark: Mark,
    seq: u64,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(guest: &'a Guest<'a>, world: &'a World) -> Self {
        Self { guest, world, attacks: 0, told: 0, looked: 0, passed: 0 }
    }

    /// Every attempt must be refused, and promptly.
    #[track_caller]
    pub(crate) fn attack(&mut self, asked: &Value) -> Refused<'_, 'a> {
        self.attack_as(As::User, asked)
    }

    #[track_caller]
    pub(crate) fn attack_as(&mut self, who: As, asked: &Value) -> Refused<'_, 'a> {
        let refused = self.attempt(who, asked);
        for (number, outcome) in refused.outcomes.iter().enumerate() {
            let asked = asked.get(number).unwrap_or(asked);
            assert!(is_refused(outcome), "it was not refused: {outcome}\n(of {asked})");
            let took = outcome["ms"].as_u64().unwrap();
            assert!(took < PROMPT_MS, "it was refused after {took} ms: {outcome}\n(of {asked})");
        }
        refused
    }

    /// An attempt that may end as it likes: what counts is what is told and seen of it.
    #[track_caller]
    pub(crate) fn attempt(&mut self, who: As, asked: &Value) -> Refused<'_, 'a> {
        self.attacks += 1;
        let seq = self.guest.last_seq();
        let mark = self.world.mark();
        let outcomes = self.guest.probe(who, asked);
        Refused { trial: self, outcomes, mark, seq }
    }

    /// A program that must fail, as [`Self::attempt`].
    #[track_caller]
    pub(crate) fn attack_with(&mut self, script: &str) -> Refused<'_, 'a> {
        self.attacks += 1;
        let seq = self.guest.last_seq();
        let mark = self.world.mark();
        let ran = self.guest.sh(script);
        assert_ne!(ran.code, Some(0), "it was not refused: {script}: {ran:?}");
        let outcomes = vec![json!({"code": ran.code, "stdout": ran.stdout, "stderr": ran.stderr})];
        Refused { trial: self, outcomes, mark, seq }
    }

    /// Every attempt must come out well; gives what came back.
    #[track_caller]
    pub(crate) fn lawful(&mut self, asked: &Value) -> Vec<Value> {
        self.lawful_as(As::User, asked)
    }

    #[track_caller]
    pub(crate) fn lawful_as(&mut self, who: As, asked: &Value) -> Vec<Value> {
        let outcomes = self.guest.probe(who, asked);
        for (number, outcome) in outcomes.iter().enumerate() {
            let asked = asked.get(number).unwrap_or(asked);
            assert!(is_well(outcome), "it did not pass: {outcome}\n(of {asked})");
        }
        self.passed += 1;
        outcomes
    }

    /// A program that must succeed; gives its standard output.
    #[track_caller]
    pub(crate) fn lawful_with(&mut self, script: &str) -> String {
        self.passed += 1;
        self.guest.sh_ok(script)
    }

    /// For what is lawful in a way of its own.
    pub(crate) fn passed(&mut self) {
        self.passed += 1;
    }

    /// A case without an attack, without a look at both ends of it, or without its twin is none.
    pub(crate) fn conclude(&self) {
        assert!(self.passed > 0, "the case shows no lawful use");
        assert_eq!(self.looked, self.attacks, "nobody looked what the world saw of an attack");
        assert_eq!(self.told, self.attacks, "nobody looked what was told of an attack");
    }
}

impl Refused<'_, '_> {
    /// The audit log tells of it, as a denial of this kind and for this reason.
    #[track_caller]
    pub(crate) fn told(self, kind: &str, reason: &str) -> Self {
        self.told_as(&format!("a denial ({kind}, {reason:?})"), |event| event.denies(kind, reason))
    }

    /// A denial of this kind and reason is told for each of these hosts or addresses.
    #[track_caller]
    pub(crate) fn told_of(self, kind: &str, reason: &str, targets: &[&str]) -> Self {
        for target in targets {
            self.trial.guest.told(self.seq, &format!("{target} ({kind}, {reason:?})"), |event| {
                let address = event.text("address");
                event.denies(kind, reason)
                    && (event.text("host") == *target || address.contains(target))
            });
        }
        self.trial.told += 1;
        self
    }

    #[track_caller]
    pub(crate) fn told_as(self, what: &str, wanted: impl Fn(&Event) -> bool) -> Self {
        self.trial.guest.told(self.seq, what, wanted);
        self.trial.told += 1;
        self
    }

    /// There is nothing to tell: the packet means nothing to anybody.
    pub(crate) fn untold(self, _why: &str) -> Self {
        self.trial.told += 1;
        self
    }

    /// What the world saw of it.
    pub(crate) fn seen(self) -> Seen {
        self.trial.looked += 1;
        self.trial.world.since(self.mark)
    }

    /// Not a packet left the host.
    #[track_caller]
    pub(crate) fn unseen(self) {
        self.seen().nothing();
    }

    /// The connection may have been made, but its server heard no request.
    #[track_caller]
    pub(crate) fn unheard(self) {
        self.seen().no_request();
    }
}

pub(crate) fn is_refused(outcome: &Value) -> bool {
    if let Some(streams) = outcome["streams"].as_array().filter(|streams| !streams.is_empty()) {
        return streams.iter().all(is_refused);
    }
    let end = outcome["end"].as_str().unwrap_or_default();
    let by_status = outcome["status"].as_u64().is_some_and(|status| REFUSALS.contains(&status));
    by_status
        || ["nxdomain", "refused", "reset", "closed", "unreachable", "alert"].contains(&end)
        || ["rcode ", "reset ", "goaway "].iter().any(|start| end.starts_with(start))
}

fn is_well(outcome: &Value) -> bool {
    let status = outcome["status"].as_u64();
    let streams = outcome["streams"].as_array();
    outcome["end"] == "ok"
        && status.is_none_or(|status| status < 400)
        && streams.is_none_or(|streams| streams.iter().all(is_well))
}
