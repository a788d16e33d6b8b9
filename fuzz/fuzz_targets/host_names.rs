//! A host name is in one form and no address; a pattern matches what its text says.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use arbitrary::Arbitrary;
use egress::{host::Host, policy::HostPattern};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    name: Vec<Part>,
    pattern: Vec<Part>,
}

#[derive(Arbitrary, Debug)]
enum Part {
    Raw(String),
    Dot,
    Star,
    Label(u8),
    ALabel(String),
    Number(u32),
    Hexadecimal(u32),
    Octal(u16),
    Wide(u8),
}

impl Part {
    fn text(&self) -> String {
        const LABELS: [&str; 8] =
            ["com", "a", "example", "EXAMPLE", "bücher", "xn--bcher-kva", "-", "_x"];
        const WIDE: [&str; 8] = ["。", "．", "１", "ａ", "\u{ad}", "\u{200d}", "／", "\0"];
        let pick = |list: [&'static str; 8], at: u8| list[usize::from(at) % 8].to_owned();
        match self {
            Self::Raw(text) => text.clone(),
            Self::Dot => ".".to_owned(),
            Self::Star => "*".to_owned(),
            Self::Label(at) => pick(LABELS, *at),
            Self::ALabel(text) => format!("xn--{text}"),
            Self::Number(number) => number.to_string(),
            Self::Hexadecimal(number) => format!("0x{number:x}"),
            Self::Octal(number) => format!("0{number:o}"),
            Self::Wide(at) => pick(WIDE, *at),
        }
    }
}

/// As `inet_aton` reads it: one to four numbers, of which the last fills what is left.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = text.split('.').collect();
    let number = |part: &str| {
        let lower = part.to_ascii_lowercase();
        match lower.strip_prefix("0x") {
            Some(rest) => u64::from_str_radix(rest, 16).ok(),
            None if lower.len() > 1 && lower.starts_with('0') => {
                u64::from_str_radix(&lower, 8).ok()
            }
            None => lower.parse().ok(),
        }
    };
    let (last, first) = parts.split_last()?;
    let mut bits = 0_u64;
    for part in first {
        bits = bits << 8 | number(part).filter(|value| *value < 256)?;
    }
    let left = 8 * (4 - u32::try_from(first.len()).ok().filter(|count| *count < 4)?);
    let last = number(last).filter(|value| *value < 1 << left)?;
    Some(Ipv4Addr::from(u32::try_from(bits << left | last).ok()?))
}

fn check_host(text: &str) -> Option<Host> {
    let host = Host::parse(text).ok()?;
    let form = host.as_str();
    assert_eq!(Host::parse(form).as_ref(), Ok(&host));
    assert_eq!(Host::parse_ascii(form).as_ref(), Ok(&host));
    assert!((1..=253).contains(&form.len()));
    for label in form.split('.') {
        assert!((1..=63).contains(&label.len()));
        assert!(label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_')));
        assert!(!label.starts_with('-') && !label.ends_with('-'));
    }
    assert!(form.parse::<IpAddr>().is_err() && inet_aton(form).is_none(), "{form} is an address");
    Some(host)
}

/// Backtracking, from the left.
fn matches(pattern: &[&str], name: &[&str], leads: bool) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (None, Some(_)) | (Some(_), None) => false,
        (Some((first, rest)), Some((label, others))) => {
            let goes_on = leads && *first == "*" && matches(pattern, others, true);
            goes_on || (*first == "*" || first == label) && matches(rest, others, false)
        }
    }
}

fuzz_target!(|input: Input| {
    let name: String = input.name.iter().map(Part::text).collect();
    let host = check_host(&name);
    if let Ok(ascii) = Host::parse_ascii(&name) {
        assert_eq!(host.as_ref(), Some(&ascii), "off the wire it is another name");
    }
    let pattern: String = input.pattern.iter().map(Part::text).collect();
    let Ok(pattern) = HostPattern::parse(&pattern) else { return };
    let text = pattern.to_string();
    assert_eq!(HostPattern::parse(&text).as_ref(), Ok(&pattern));
    if let Some(host) = host {
        let labels: Vec<&str> = text.split('.').collect();
        let parts: Vec<&str> = host.as_str().split('.').collect();
        assert_eq!(pattern.matches(&host), matches(&labels, &parts, true), "{text} {host}");
    }
});
