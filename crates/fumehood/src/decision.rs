//! A gateway's decision, as a line for people.

use std::fmt::Write;

use egress::event::{Decision, Event, Kind, NamedBy};

use crate::failure::printable;
use crate::utc;

/// One line, with its end. Words of the guest are in it: none of them steers the terminal or breaks
/// the line.
pub(crate) fn line(event: &Event) -> String {
    let decision = match event.decision {
        Decision::Allow => "allow",
        Decision::Deny => "deny",
        Decision::Note => "note",
    };
    let kind = kind(event.kind);
    let mut line = format!("{}  {decision:<5}  {kind:<7}", utc::stamp(event.at));
    for part in [what(event), outcome(event)] {
        if !part.is_empty() {
            line.push_str("  ");
            line.push_str(&part);
        }
    }
    one_line(&line) + "\n"
}

/// What was asked for: method, host, port where it is not the usual one, and path.
pub(crate) fn what(event: &Event) -> String {
    let mut what = String::new();
    if let Some(method) = &event.method {
        what.push_str(method);
        what.push(' ');
    }
    let port = event.address.map(|address| address.port());
    match (&event.host, event.address) {
        (Some(host), Some(address)) if event.named_by == NamedBy::Guest => {
            what.push_str(&format!("{host} (said) at {address}"));
        }
        (Some(host), _) => {
            what.push_str(host);
            let is_usual = matches!(event.kind, Kind::Dns) || matches!(port, Some(0 | 80 | 443));
            if let Some(port) = port.filter(|_| !is_usual) {
                what.push_str(&format!(":{port}"));
            }
        }
        (None, Some(address)) => what.push_str(&address.to_string()),
        (None, None) => {}
    }
    what.push_str(event.path.as_deref().unwrap_or_default());
    one_line(what.trim_end())
}

/// By which rule, and what came of it.
fn outcome(event: &Event) -> String {
    let mut outcome = match event.decision {
        Decision::Allow | Decision::Deny => format!("by {}", event.rule),
        Decision::Note => String::new(),
    };
    let mut add = |text: &str| {
        if !outcome.is_empty() {
            outcome.push_str(", ");
        }
        outcome.push_str(text);
    };
    if let Some(status) = event.status {
        add(&status.to_string());
    }
    if let Some(sent) = event.sent {
        add(&format!("sent {}", size(sent)));
    }
    if let Some(received) = event.received {
        add(&format!("received {}", size(received)));
    }
    if let Some(ms) = event.duration_ms {
        add(&format!("{ms} ms"));
    }
    if !event.credentials.is_empty() {
        add(&format!("with {}", event.credentials.join(" and ")));
    }
    if event.under_way {
        add("goes on");
    }
    if let Some(repeated) = event.repeated.filter(|repeated| *repeated > 0) {
        add(&format!("after {repeated} alike"));
    }
    if let Some(reason) = &event.reason {
        let mark = if outcome.is_empty() { "" } else { ": " };
        // A `String` takes all that is written to it.
        write!(outcome, "{mark}{reason}").ok();
    }
    outcome
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Dns => "dns",
        Kind::Tcp => "tcp",
        Kind::Tls => "tls",
        Kind::Http => "http",
        Kind::Udp => "udp",
        Kind::Icmp => "icmp",
        Kind::Other => "other",
        Kind::Gateway => "gateway",
    }
}

fn one_line(text: &str) -> String {
    printable(text).replace(['\n', '\t'], " ")
}

/// Bytes as a person takes them in.
fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        0..1_000 => return format!("{bytes} B"),
        1_000..1_000_000 => (1_000, "kB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    };
    format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(decision: Decision, kind: Kind, rule: &str) -> Event {
        Event::new(1_000, decision, kind, rule)
    }

    #[test]
    fn what_a_person_reads() {
        let address = |text: &str| Some(text.parse().unwrap());
        let get = Event {
            host: Some("registry.npmjs.org".into()),
            address: address("104.16.0.1:443"),
            method: Some("GET".into()),
            path: Some("/lodash".into()),
            status: Some(200),
            sent: Some(512),
            received: Some(34_567),
            duration_ms: Some(120),
            credentials: vec!["NPM_TOKEN".into()],
            ..event(Decision::Allow, Kind::Http, "registries-read[0]")
        };
        let put = Event {
            method: Some("PUT".into()),
            path: Some("/foo".into()),
            host: get.host.clone(),
            reason: Some("a rule denies it".into()),
            repeated: Some(2),
            ..event(Decision::Deny, Kind::Http, "registries-read[3]")
        };
        let ssh = Event {
            host: Some("github.com".into()),
            address: address("140.82.112.3:22"),
            ..event(Decision::Allow, Kind::Tcp, "github.com:22")
        };
        let said = Event {
            host: Some("pypi.org".into()),
            named_by: NamedBy::Guest,
            address: address("203.0.113.7:443"),
            ..event(Decision::Allow, Kind::Tls, "default")
        };
        let literal = Event {
            address: address("[fd00::1]:80"),
            reason: Some("it is a private address".into()),
            ..event(Decision::Deny, Kind::Tcp, "default")
        };
        let started =
            Event { reason: Some("it started".into()), ..event(Decision::Note, Kind::Gateway, "") };
        for (event, wanted) in [
            (
                get,
                "allow  http     GET registry.npmjs.org/lodash  by registries-read[0], 200, sent \
                 512 B, received 34.5 kB, 120 ms, with NPM_TOKEN",
            ),
            (
                put,
                "deny   http     PUT registry.npmjs.org/foo  by registries-read[3], after 2 \
                 alike: a rule denies it",
            ),
            (ssh, "allow  tcp      github.com:22  by github.com:22"),
            (said, "allow  tls      pypi.org (said) at 203.0.113.7:443  by default"),
            (literal, "deny   tcp      [fd00::1]:80  by default: it is a private address"),
            (started, "note   gateway  it started"),
        ] {
            assert_eq!(line(&event), format!("1970-01-01T00:00:01Z  {wanted}\n"));
        }
    }

    #[test]
    fn a_guest_writes_no_line_of_its_own() {
        let hostile = Event {
            path: Some("/\u{1b}[2J\n1970-01-01T00:00:01Z  allow".into()),
            ..event(Decision::Deny, Kind::Http, "default")
        };
        let line = line(&hostile);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.contains('\u{1b}'), "{line}");
        assert!(!what(&hostile).contains(['\n', '\u{1b}']));
    }

    #[test]
    fn sizes() {
        for (bytes, wanted) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_999, "999.9 kB"),
            (2_550_000, "2.5 MB"),
            (4_294_967_296, "4.2 GB"),
        ] {
            assert_eq!(size(bytes), wanted);
        }
    }
}
