//! What the gateway would do with a request, by the very questions that it asks.

use std::net::IpAddr;

use http::HeaderMap;
use serde::Serialize;

use super::{Action, Denial, Edits, Grant, Head, Pin, Policy, Ruling, Treatment, Why};
use crate::{
    event::Decision,
    host::{Host, InvalidHost},
    secret::SecretName,
};

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

/// What is asked about cannot be a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    #[error("a URL begins with http:// or https://, or with tcp:// and has a port")]
    Scheme,
    #[error("a URL may not hold a user name or password here")]
    UserInfo,
    #[error("the URL has no host that can be reached")]
    Host(#[source] InvalidHost),
    #[error("the port of the URL is not a number from 1 to 65535")]
    Port,
    #[error("a method is made of letters")]
    Method,
}

impl Policy {
    /// What would become of a request, and why. Nothing is looked up and nothing is sent.
    pub fn explain(&self, method: &str, url: &str) -> Result<Explanation, InvalidUrl> {
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(InvalidUrl::Method);
        }
        let target = Target::parse(url)?;
        let mut told = Explanation::new(method.to_ascii_uppercase(), target.text());
        let answered = match &target.place {
            Place::Name(host) => told.ask_name(self, host, &target),
            Place::Address(address) => told.ask_address(self, *address, target.port),
        };
        if let Err(denial) = answered {
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

    fn ask_name(&mut self, policy: &Policy, host: &Host, target: &Target) -> Result<(), Denial> {
        let named = policy.resolve(host).map(|grant| (grant, "the name is looked up".to_owned()));
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
                self.ask_request(policy, host, target)?;
            }
        }
        Ok(())
    }

    fn ask_address(&mut self, policy: &Policy, address: IpAddr, port: u16) -> Result<(), Denial> {
        let dialled = policy.dial(address, port, None);
        let class = crate::address::reserved(address);
        let class = class.map_or("an ordinary address".to_owned(), |class| {
            format!("a reserved address ({class:?})")
        });
        self.step(Question::Address, dialled.map(|grant| (grant, class)))?;
        match self.ask_connection(policy.connect_address(address, port))? {
            Treatment::Raw(grant) => self.end(Decision::Allow, grant.rule, Outcome::Raw),
            Treatment::Inspect { grant, .. } => {
                self.notes.push(
                    "a name that TLS or HTTP says on this connection is asked about too".to_owned(),
                );
                self.end(Decision::Allow, grant.rule, Outcome::Spliced);
            }
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

    fn ask_request(&mut self, policy: &Policy, host: &Host, at: &Target) -> Result<(), Denial> {
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
    Tcp,
}

enum Place {
    Name(Host),
    Address(IpAddr),
}

/// A URL, as far as a policy looks at it.
struct Target {
    scheme: Scheme,
    place: Place,
    port: u16,
    path: String,
    query: Option<String>,
}

impl Target {
    fn parse(url: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = url.split_once("://").ok_or(InvalidUrl::Scheme)?;
        let (scheme, port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Scheme::Http, Some(80)),
            "https" => (Scheme::Https, Some(443)),
            "tcp" => (Scheme::Tcp, None),
            _ => return Err(InvalidUrl::Scheme),
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if authority.contains('@') {
            return Err(InvalidUrl::UserInfo);
        }
        let (place, written) = split_port(authority)?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (rest, None),
        };
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        let port = written.or(port).ok_or(InvalidUrl::Scheme)?;
        Ok(Self { scheme, place, port, path, query })
    }

    fn text(&self) -> String {
        let (scheme, own, path) = match self.scheme {
            Scheme::Http => ("http", 80, self.path.as_str()),
            Scheme::Https => ("https", 443, self.path.as_str()),
            Scheme::Tcp => ("tcp", 0, ""),
        };
        let port = if self.port == own { String::new() } else { format!(":{}", self.port) };
        match &self.place {
            Place::Name(host) => format!("{scheme}://{host}{port}{path}"),
            Place::Address(IpAddr::V6(v6)) => format!("{scheme}://[{v6}]{port}{path}"),
            Place::Address(IpAddr::V4(v4)) => format!("{scheme}://{v4}{port}{path}"),
        }
    }
}

fn split_port(authority: &str) -> Result<(Place, Option<u16>), InvalidUrl> {
    let (place, port) = match authority.rsplit_once(':') {
        Some((place, port)) if !port.contains(']') => (place, Some(port)),
        Some(_) | None => (authority, None),
    };
    let number = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|port| plain && *port != 0).ok_or(InvalidUrl::Port)
    };
    let port = port.map(number).transpose()?;
    let inner = place.strip_prefix('[').and_then(|place| place.strip_suffix(']'));
    if let Some(Ok(address)) = inner.map(str::parse::<std::net::Ipv6Addr>) {
        return Ok((Place::Address(address.into()), port));
    }
    if let Ok(address) = place.parse::<std::net::Ipv4Addr>() {
        return Ok((Place::Address(address.into()), port));
    }
    Host::parse(place).map(|host| (Place::Name(host), port)).map_err(InvalidUrl::Host)
}
