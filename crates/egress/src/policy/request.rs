//! The last question: what becomes of one request.

use super::{
    Action, Denial, Domain, Head, Policy, Reach, Ruling, Why,
    deciding::NO_PIN,
    fit::{Asked, Fit},
    resolve::default_rule,
};
use crate::{address::HOST_NAME, host::Host};

const UNCLEAR: &str =
    "servers may read the request in different ways, and the policy's rules differ between them";

/// Why no request may have this method, whatever the policy.
pub(crate) fn no_method(method: &str) -> Option<&'static str> {
    match method {
        "CONNECT" => Some("this is no proxy: CONNECT"),
        "TRACE" => Some("TRACE would show what was put in"),
        _ => None,
    }
}

impl Policy {
    /// What becomes of one request to this name and port: the first rule of its domain that matches
    /// decides; with none it is sent unchanged.
    ///
    /// A rule that denies matches if any reading of the request does, and compares paths and query
    /// keys without regard to case. Any other rule must match in every reading; where only some do,
    /// the request is refused as malformed. In a domain whose rules look at paths or forward
    /// requests, so is a path with dot segments, backslashes, control characters, broken escapes or
    /// what is not UTF-8, however it is escaped; in one whose rules look at queries or methods, a query
    /// with a NUL.
    pub fn request(&self, host: &Host, port: u16, head: &Head<'_>) -> Result<Ruling<'_>, Denial> {
        if host.as_str() == HOST_NAME {
            let rule = self.connect(host, port)?.into_grant().rule;
            return Ok(Ruling::Send { rule, edits: None, pin: &NO_PIN });
        }
        match (self.deciding(host, port), self.reach) {
            (Some(domain), _) => domain.rule_on(head),
            (None, Reach::Public) => {
                Ok(Ruling::Send { rule: default_rule(), edits: None, pin: &NO_PIN })
            }
            (None, Reach::Listed) => Err(self.uncovered(host, port)),
        }
    }
}

impl Domain {
    fn rule_on(&self, head: &Head<'_>) -> Result<Ruling<'_>, Denial> {
        let malformed = |rule, text| Denial { rule: self.label(rule), why: Why::Malformed(text) };
        let asked = Asked::of(self, head).map_err(|text| malformed(None, text))?;
        for (index, rule) in self.rules.iter().enumerate() {
            match (asked.fit(rule), &rule.then) {
                (Fit::No, _) => {}
                (Fit::Yes | Fit::Unclear, Action::Deny) => {
                    return Err(Denial { rule: self.label(Some(index)), why: Why::Rule });
                }
                (Fit::Unclear, Action::Send(_) | Action::Forward(_) | Action::Respond(_)) => {
                    return Err(malformed(Some(index), UNCLEAR));
                }
                (Fit::Yes, Action::Send(edits)) => {
                    let rule = self.label(Some(index));
                    return Ok(Ruling::Send { rule, edits: Some(edits), pin: self.pin() });
                }
                (Fit::Yes, Action::Forward(to)) => {
                    return Ok(Ruling::Forward { rule: self.label(Some(index)), to });
                }
                (Fit::Yes, Action::Respond(canned)) => {
                    return Ok(Ruling::Respond { rule: self.label(Some(index)), canned });
                }
            }
        }
        Ok(Ruling::Send { rule: self.label(None), edits: None, pin: self.pin() })
    }
}
