//! `fumehood policy explain`.

use api::network_policy::{Decision, Explain, Explanation, Outcome, Question};

use crate::cli::PolicyExplain;
use crate::commands::ls::json;
use crate::commands::{Context, running};
use crate::failure::{Exit, Failure, printable};
use crate::say;
use crate::server::Server;

pub(crate) async fn run(args: &PolicyExplain, context: &Context) -> Result<Exit, Failure> {
    let request = request(&args.request).map_err(|fault| Failure::new(Exit::Usage, fault))?;
    let server = Server::reach(&context.server).await?;
    let session = running(&server, &args.name).await?.session.id;
    let explanation = server.client().explain(&session, &request.method, &request.url).await?;
    if args.json {
        say::out(&format!("{}\n", json(&explanation)?))?;
    } else {
        say::out(&printable(&text(&explanation)))?;
    }
    Ok(Exit::Command(match explanation.decision {
        Decision::Allow => 0,
        Decision::Deny => 1,
    }))
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum InvalidRequest {
    #[error(
        "a request is a URL, with a method before it if it is not GET: 'POST https://HOST/PATH'"
    )]
    Form,
    #[error("{0:?} is not a method")]
    Method(String),
}

/// `POST https://a.test/x`, as one word or as two; `a.test/x` is meant for https.
fn request(words: &[String]) -> Result<Explain, InvalidRequest> {
    let words: Vec<&str> = words.iter().flat_map(|text| text.split_whitespace()).collect();
    let (method, url) = match words.as_slice() {
        [url] => (None, *url),
        [method, url] => (Some(*method), *url),
        _ => return Err(InvalidRequest::Form),
    };
    let is_method =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    if let Some(method) = method.filter(|method| !is_method(method)) {
        return Err(InvalidRequest::Method(method.to_owned()));
    }
    let url = if url.contains("://") { url.to_owned() } else { format!("https://{url}") };
    Ok(Explain { method: method.unwrap_or("GET").to_owned(), url })
}

/// The decision first, then what led to it.
fn text(explanation: &Explanation) -> String {
    let Explanation { decision, rule, steps, notes, .. } = explanation;
    let mut text = format!("{} by {rule}: {}\n", past(*decision), ending(explanation));
    for step in steps {
        let question = match step.question {
            Question::Name => "name",
            Question::Address => "address",
            Question::Connection => "connection",
            Question::Request => "request",
        };
        let decision = past(step.decision);
        let line = format!("  {question:<10}  {decision:<7}  by {}: {}\n", step.rule, step.detail);
        text.push_str(&line);
    }
    notes.iter().for_each(|note| text.push_str(&format!("  note: {note}\n")));
    text
}

/// Why it is denied, or what is done with it.
fn ending(explanation: &Explanation) -> String {
    let sent = match &explanation.outcome {
        Outcome::Denied => {
            let reason = explanation.reason.as_deref();
            return reason.unwrap_or("no reason is given").to_owned();
        }
        Outcome::Raw => "the bytes of its connection pass untouched".to_owned(),
        Outcome::Spliced => "TLS passes by its name, the request is not seen".to_owned(),
        Outcome::Sent => "it is sent to its host".to_owned(),
        Outcome::Forwarded { url } => format!("it is sent to {url}"),
        Outcome::Answered { status } => format!("it is answered with {status}"),
    };
    let mut parts = vec![sent];
    if !explanation.headers.is_empty() {
        parts.push(format!("{} set", explanation.headers.join(" and ")));
    }
    if !explanation.credentials.is_empty() {
        parts.push(format!("{} put in", explanation.credentials.join(" and ")));
    }
    if explanation.pinned {
        parts.push("other identities taken out".to_owned());
    }
    parts.join(", ")
}

fn past(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allowed",
        Decision::Deny => "denied",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_as_it_is_typed() {
        let explain =
            |method: &str, url: &str| Explain { method: method.to_owned(), url: url.to_owned() };
        for (words, wanted) in [
            (vec!["https://a.test/x"], Ok(explain("GET", "https://a.test/x"))),
            (vec!["POST https://a.test/x"], Ok(explain("POST", "https://a.test/x"))),
            (vec!["post", "http://a.test"], Ok(explain("post", "http://a.test"))),
            (vec!["a.test:22"], Ok(explain("GET", "https://a.test:22"))),
            (vec![""], Err(InvalidRequest::Form)),
            (vec!["GET", "a b"], Err(InvalidRequest::Form)),
            (vec!["https://a.test", "POST"], Err(InvalidRequest::Method("https://a.test".into()))),
        ] {
            let typed: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(request(&typed), wanted, "{words:?}");
        }
    }

    #[test]
    fn the_decision_comes_first() {
        let denied = json!({
            "method": "PUT", "url": "https://registry.npmjs.org/x", "decision": "deny",
            "rule": "registries-read/registry.npmjs.org[2]", "reason": "a rule denies it",
            "outcome": {"kind": "denied"}, "pinned": false, "notes": ["with other headers ..."],
            "steps": [
                {"question": "name", "decision": "allow", "rule": "registries-read", "detail": "a"},
                {"question": "request", "decision": "deny", "rule": "registries-read[2]",
                    "detail": "a rule denies it"},
            ],
        });
        let allowed = json!({
            "method": "GET", "url": "https://a.test/", "decision": "allow", "rule": "a.test[0]",
            "outcome": {"kind": "sent"}, "credentials": ["KEY"], "headers": ["x-a", "x-b"],
            "pinned": true, "steps": [],
        });
        for (explanation, wanted) in [
            (
                denied,
                "denied by registries-read/registry.npmjs.org[2]: a rule denies it\n  \
                 name        allowed  by registries-read: a\n  \
                 request     denied   by registries-read[2]: a rule denies it\n  \
                 note: with other headers ...\n",
            ),
            (
                allowed,
                "allowed by a.test[0]: it is sent to its host, x-a and x-b set, KEY put in, other \
                 identities taken out\n",
            ),
        ] {
            assert_eq!(text(&serde_json::from_value(explanation).unwrap()), wanted);
        }
    }
}
