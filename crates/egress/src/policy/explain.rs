//! What the gateway would do with a request, by the very questions that it asks.

use std::net::IpAddr;

use http::HeaderMap;
use serde::Serialize;

use super::{
    Action, Denial, Edits, Grant, Head, InvalidUrl, Pin, Policy, Ruling, Treatment, Why,
    request::no_method,
    resolve::default_rule,
    target::{Place, Scheme, Target},
};
use crate::{event::Decision, host::Host, secret::SecretName};

/// What would happen, step by step. Holds no secret and no query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub method: String,
    /// As it was understood, without its query.
    pub url: String,
    pub steps: Vec<Step>,
    pub decision: Decision,
    /// The rule that decided, as in [`Denial::rule`].
    pub rule: String,
    /// Why it is denied.
    pub reason: Option<String>,
    pub outcome: Outcome,
    /// Names of the secrets that are put in.
    pub credentials: Vec<String>,
    /// Names of the headers that are set.
    pub headers: Vec<String>,
    /// Whether other identities are taken out.
    pub pinned: bool,
    /// What the answer depends on that was not asked.
    pub notes: Vec<String>,
}

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub question: Question,
    pub decision: Decision,
    pub rule: String,
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    Name,
    Address,
    Connection,
    Request,
}

/// What becomes of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Outcome {
    Denied,
    /// The bytes of the connection pass untouched; the request is not seen.
    Raw,
    /// TLS passes by its name; the request is not seen.
    Spliced,
    Sent,
    Forwarded {
        url: String,
    },
    Answered {
        status: u16,
    },
}

impl Policy {
    /// What would become of a request, and why, where every secret that the policy names is stored.
    /// Nothing is looked up and nothing is sent.
    pub fn explain(&self, method: &str, url: &str) -> Result<Explanation, InvalidUrl> {
        self.explain_with(method, url, &|_name| true)
    }

    /// The same where only some secrets are stored.
    pub fn explain_with(
        &self,
        method: &str,
        url: &str,
        is_stored: &dyn Fn(&SecretName) -> bool,
    ) -> Result<Explanation, InvalidUrl> {
        if http::Method::from_bytes(method.as_bytes()).is_err() {
            return Err(InvalidUrl::Method);
        }
        let target = Target::parse(url)?;
        let mut told = Explanation::new(method.to_owned(), target.text());
        let answered = match &target.place {
            Place::Name(host) => told.ask_name(self, host, &target, is_stored),
            Place::Address(address) => told.ask_address(self, *address, &target),
        };
        if let Err(denial) = answered {
            told.credentials.clear();
            told.headers.clear();
            told.pinned = false;
            told.end(Decision::Deny, denial.rule, Outcome::Denied);
            told.reason = Some(denial.why.to_string());
        }
        Ok(told)
    }
}

impl Explanation {
    fn new(method: String, url: String) -> Self {
        Self {
            method,
            url,
            steps: Vec::new(),
            decision: Decision::Deny,
            rule: String::new(),
            reason: None,
            outcome: Outcome::Denied,
            credentials: Vec::new(),
            headers: Vec::new(),
            pinned: false,
            notes: Vec::new(),
        }
    }

    fn ask_name(
        &mut self,
        policy: &Policy,
        host: &Host,
        target: &Target,
        is_stored: &dyn Fn(&SecretName) -> bool,
    ) -> Result<(), Denial> {
        let named = policy.resolve(host).and_then(|grant| {
            if policy.is_too_long(host) {
                return Err(Denial { rule: grant.rule, why: Why::DnsLimit });
            }
            Ok((grant, "the name is looked up".to_owned()))
        });
        self.step(Question::Name, named)?;
        self.notes.push(
            "each address of the name must be an ordinary one or in `subnets.allow`, and in no \
             `subnets.deny`"
                .to_owned(),
        );
        if policy.answers(host) {
            self.notes.push(
                "a name that has no such address is told one that leads nowhere: what a rule \
                 answers or sends elsewhere needs none"
                    .to_owned(),
            );
        }
        let treatment = self.ask_connection(policy.connect(host, target.port))?;
        match (treatment, target.scheme) {
            (Treatment::Raw(grant), _) => self.end(Decision::Allow, grant.rule, Outcome::Raw),
            (Treatment::Inspect { grant, opened: false }, Scheme::Https) => {
                self.notes.push("method and path are not seen inside TLS".to_owned());
                self.end(Decision::Allow, grant.rule, Outcome::Spliced);
            }
            (Treatment::Inspect { grant, .. }, Scheme::Tcp) => {
                return Err(Denial { rule: grant.rule, why: Why::NotHttp });
            }
            (Treatment::Inspect { .. }, Scheme::Http | Scheme::Https) => {
                self.ask_request(policy, host, target, is_stored)?;
            }
        }
        Ok(())
    }

    fn ask_address(
        &mut self,
        policy: &Policy,
        address: IpAddr,
        target: &Target,
    ) -> Result<(), Denial> {
        let dialled = policy.dial(address, target.port, None);
        let class = crate::address::reserved(address);
        let class =
            class.map_or("an ordinary address".to_owned(), |class| format!("{class} address"));
        self.step(Question::Address, dialled.map(|grant| (grant, class)))?;
        let treatment = self.ask_connection(policy.connect_address(address, target.port))?;
        if policy.domains.iter().any(|domain| !domain.rules.is_empty()) {
            self.notes.push(
                "once a name that has rules has led to this address, TLS without a name and other \
                 protocols are refused there"
                    .to_owned(),
            );
        }
        match (treatment, target.scheme) {
            (Treatment::Raw(grant), _) => self.end(Decision::Allow, grant.rule, Outcome::Raw),
            (Treatment::Inspect { grant, .. }, Scheme::Http) => {
                self.ask_method()?;
                let detail = "it is sent to its host".to_owned();
                self.step(Question::Request, Ok((grant.clone(), detail)))?;
                self.end(Decision::Allow, grant.rule, Outcome::Sent);
            }
            (Treatment::Inspect { grant, opened: false }, Scheme::Https) => {
                self.notes.push("a name that TLS says is asked about too".to_owned());
                self.end(Decision::Allow, grant.rule, Outcome::Spliced);
            }
            (Treatment::Inspect { opened: true, .. }, Scheme::Https) => {
                return Err(Denial { rule: default_rule(), why: Why::NoSni });
            }
            (Treatment::Inspect { .. }, Scheme::Tcp) => {
                return Err(Denial { rule: default_rule(), why: Why::NotHttp });
            }
        }
        Ok(())
    }

    /// Whether the gateway passes on requests with the method at all.
    fn ask_method(&mut self) -> Result<(), Denial> {
        if let Some(why) = no_method(&self.method) {
            let denial = Denial { rule: default_rule(), why: Why::Malformed(why) };
            return self.step(Question::Request, Err(denial));
        }
        if self.method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let upper = self.method.to_ascii_uppercase();
            self.notes.push(format!(
                "rules take it for {upper}; it is sent as it is written, and most hosts do not know it so"
            ));
        }
        Ok(())
    }

    fn ask_connection(&mut self, answer: Result<Treatment, Denial>) -> Result<Treatment, Denial> {
        let detail = |treatment: &Treatment| match treatment {
            Treatment::Raw(_) => "its bytes pass untouched",
            Treatment::Inspect { opened: false, .. } => "TLS passes by its name; HTTP is read",
            Treatment::Inspect { opened: true, .. } => "TLS is opened; HTTP is read",
        };
        let told = match &answer {
            Ok(treatment) => Ok((treatment.grant().clone(), detail(treatment).to_owned())),
            Err(denial) => Err(denial.clone()),
        };
        self.step(Question::Connection, told)?;
        answer
    }

    fn ask_request(
        &mut self,
        policy: &Policy,
        host: &Host,
        at: &Target,
        is_stored: &dyn Fn(&SecretName) -> bool,
    ) -> Result<(), Denial> {
        if at.dotted {
            let why = Why::Malformed("the request's host is no host name: it ends with a dot");
            return self.step(Question::Request, Err(Denial { rule: default_rule(), why }));
        }
        self.ask_method()?;
        self.note_headers(policy, host, at.port);
        let headers = HeaderMap::new();
        let method = self.method.clone();
        let query = at.query.as_deref();
        let head = Head { method: &method, path: &at.path, query, headers: &headers };
        let ruling = policy.request(host, at.port, &head);
        let (rule, outcome, detail) = match ruling {
            Ok(Ruling::Send { rule, edits, pin }) => {
                self.pinned = *pin != Pin::Off;
                if let Some(edits) = edits {
                    self.list(edits);
                    let fit = self.ask_edits(edits, at.scheme, is_stored);
                    fit.or_else(|why| {
                        let rule = rule.clone();
                        self.step(Question::Request, Err(Denial { rule, why }))
                    })?;
                }
                (rule, Outcome::Sent, "it is sent to its host")
            }
            Ok(Ruling::Forward { rule, to }) => {
                (rule, Outcome::Forwarded { url: to.to_string() }, "it is sent elsewhere")
            }
            Ok(Ruling::Respond { rule, canned }) => {
                let outcome = Outcome::Answered { status: canned.status };
                (rule, outcome, "it is answered by the gateway")
            }
            Err(denial) => return self.step(Question::Request, Err(denial)),
        };
        let grant = Grant { rule: rule.clone() };
        self.step(Question::Request, Ok((grant, detail.to_owned())))?;
        self.end(Decision::Allow, rule, outcome);
        Ok(())
    }

    /// A rule that asks for headers is told, since none are known here.
    fn note_headers(&mut self, policy: &Policy, host: &Host, port: u16) {
        let Some(domain) = policy.deciding(host, port) else { return };
        for (index, rule) in domain.rules.iter().enumerate() {
            if !rule.when.headers.is_empty() {
                let label = domain.label(Some(index));
                let what = if rule.then == Action::Deny { "deny it" } else { "match" };
                self.notes.push(format!("with other headers {label} could {what}"));
            }
        }
    }

    /// Whether what a rule puts in may go where the request goes, and is there.
    fn ask_edits(
        &mut self,
        edits: &Edits,
        scheme: Scheme,
        is_stored: &dyn Fn(&SecretName) -> bool,
    ) -> Result<(), Why> {
        let open = scheme == Scheme::Http;
        if open && !edits.headers.is_empty() {
            return Err(Why::InTheClear);
        }
        for credential in &edits.credentials {
            let name = &credential.secret;
            if !is_stored(name) {
                return Err(Why::NoSecret(name.to_string()));
            }
            let is_placeholder = matches!(credential.place, super::Place::Placeholder(_));
            if open && !is_placeholder {
                return Err(Why::InTheClear);
            }
            if open {
                self.notes.push(format!("with the placeholder of {name} it is refused: use https"));
            }
        }
        Ok(())
    }

    fn list(&mut self, edits: &Edits) {
        let secrets = edits.credentials.iter().map(|credential| &credential.secret);
        self.credentials.extend(secrets.map(SecretName::to_string));
        self.headers.extend(edits.headers.iter().map(|header| header.name.clone()));
    }

    fn step(
        &mut self,
        question: Question,
        answer: Result<(Grant, String), Denial>,
    ) -> Result<(), Denial> {
        let (decision, rule, detail) = match &answer {
            Ok((grant, detail)) => (Decision::Allow, grant.rule.clone(), detail.clone()),
            Err(denial) => (Decision::Deny, denial.rule.clone(), denial.why.to_string()),
        };
        self.steps.push(Step { question, decision, rule, detail });
        answer.map(|_| ())
    }

    fn end(&mut self, decision: Decision, rule: String, outcome: Outcome) {
        (self.decision, self.rule, self.outcome) = (decision, rule, outcome);
    }
}
