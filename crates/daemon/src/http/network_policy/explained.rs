//! What would become of a request, as it is told on the wire.

use api::network_policy as wire;
use egress::{
    event::Decision,
    policy::{Explanation, Outcome, Question, Step},
};

/// The explanation as a client gets it.
#[must_use]
pub fn explanation(told: Explanation) -> wire::Explanation {
    wire::Explanation {
        method: told.method,
        url: told.url,
        steps: told.steps.into_iter().map(step).collect(),
        decision: decision(told.decision),
        rule: told.rule,
        reason: told.reason,
        outcome: outcome(told.outcome),
        credentials: told.credentials,
        headers: told.headers,
        pinned: told.pinned,
        notes: told.notes,
    }
}

fn step(step: Step) -> wire::Step {
    let question = match step.question {
        Question::Name => wire::Question::Name,
        Question::Address => wire::Question::Address,
        Question::Connection => wire::Question::Connection,
        Question::Request => wire::Question::Request,
    };
    let decision = decision(step.decision);
    wire::Step { question, decision, rule: step.rule, detail: step.detail }
}

fn decision(decision: Decision) -> wire::Decision {
    match decision {
        Decision::Allow => wire::Decision::Allow,
        // An explanation decides; it never only notes.
        Decision::Deny | Decision::Note => wire::Decision::Deny,
    }
}

fn outcome(outcome: Outcome) -> wire::Outcome {
    match outcome {
        Outcome::Denied => wire::Outcome::Denied,
        Outcome::Raw => wire::Outcome::Raw,
        Outcome::Spliced => wire::Outcome::Spliced,
        Outcome::Sent => wire::Outcome::Sent,
        Outcome::Forwarded { url } => wire::Outcome::Forwarded { url },
        Outcome::Answered { status } => wire::Outcome::Answered { status },
    }
}
