//! `fumehood policy explain`.

use api::explain::{Explain, Explanation, Question, Verdict};

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
    let explanation = server.client().explain(&session, &request).await?;
    if args.json {
        say::out(&format!("{}\n", json(&explanation)?))?;
    } else {
        say::out(&printable(&text(&explanation)))?;
    }
    Ok(Exit::Command(match explanation.decision {
        Verdict::Allow => 0,
        Verdict::Deny => 1,
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
    Ok(Explain { method: method.map(str::to_uppercase), url })
}

/// The decision first, then what led to it.
fn text(explanation: &Explanation) -> String {
    let Explanation { decision, rule, reason, steps } = explanation;
    let mut text = format!("{} by {rule}: {reason}\n", past(*decision));
    for step in steps {
        let question = match step.question {
            Question::Resolve => "name",
            Question::Dial => "address",
            Question::Connect => "connection",
            Question::Request => "request",
        };
        let decision = past(step.decision);
        let line = format!("  {question:<10}  {decision:<7}  by {}: {}\n", step.rule, step.reason);
        text.push_str(&line);
    }
    text
}

fn past(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allowed",
        Verdict::Deny => "denied",
    }
}

#[cfg(test)]
mod tests {
    use api::explain::Step;

    use super::*;

    #[test]
    fn a_request_as_it_is_typed() {
        let explain = |method: Option<&str>, url: &str| Explain {
            method: method.map(str::to_owned),
            url: url.to_owned(),
        };
        for (words, wanted) in [
            (vec!["https://a.test/x"], Ok(explain(None, "https://a.test/x"))),
            (vec!["POST https://a.test/x"], Ok(explain(Some("POST"), "https://a.test/x"))),
            (vec!["post", "http://a.test"], Ok(explain(Some("POST"), "http://a.test"))),
            (vec!["a.test:22"], Ok(explain(None, "https://a.test:22"))),
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
        let step = |question, decision, rule: &str, reason: &str| Step {
            question,
            decision,
            rule: rule.into(),
            reason: reason.into(),
        };
        let explanation = Explanation {
            decision: Verdict::Deny,
            rule: "registries-read/registry.npmjs.org[0]".into(),
            reason: "a rule denies it".into(),
            steps: vec![
                step(Question::Resolve, Verdict::Allow, "registries-read", "it is listed"),
                step(Question::Request, Verdict::Deny, "registries-read[0]", "a rule denies it"),
            ],
        };
        assert_eq!(
            text(&explanation),
            "denied by registries-read/registry.npmjs.org[0]: a rule denies it\n  \
             name        allowed  by registries-read: it is listed\n  \
             request     denied   by registries-read[0]: a rule denies it\n"
        );
    }
}
