//! Names that two parsers read differently, and names that look like others.

use serde_json::json;

use super::{Group, cases};
use crate::{guest::Guest, trial::Trial};

const ALLOWED: &str = "good.test,*.wild.test,www.*.test,xn--bcher-kva.test";

pub(super) const GROUP: Group = Group {
    name: "names",
    variables: &[],
    guest: |hood| Guest::new(hood, &["--allow", ALLOWED]),
    cases: cases![
        nul_in_a_name,
        dot_at_the_end,
        case_of_letters,
        homograph,
        wildcard_and_labels,
        look_alikes,
        names_that_are_addresses,
        names_that_are_none,
    ],
};

/// One parser ends a name at the NUL, another compares its end.
fn nul_in_a_name(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "dns", "name": ["evil\0", "good", "test"]},
        {"do": "dns", "name": ["evil.test\0.good.test"]},
        {"do": "dns", "name": ["evil", "test\0", "good", "test"]},
        {"do": "dns", "name": ["good", "test\0"]},
    ]))
    .told("dns", "")
    .unseen();
    // A pattern would let it pass.
    t.attack(&json!({"do": "dns", "name": ["evil\0", "wild", "test"]}))
        .told("dns", "it is no host name")
        .unseen();
    t.attack(&json!([
        {"do": "hello", "host": "good.test", "names": ["evil.test\0.good.test"]},
        {"do": "hello", "host": "good.test", "names": ["good.test\0.evil.test"]},
        {"do": "hello", "host": "good.test", "names": ["good.test\0"]},
    ]))
    .told("tls", "")
    .unheard();
    t.attack(&json!([
        {"do": "get", "host": "good.test", "tls": false, "authority": "evil.test\0.good.test"},
        {"do": "get", "host": "good.test", "tls": false, "authority": "good.test\0.evil.test"},
    ]))
    .told("http", "")
    .unheard();
    t.lawful(&json!([{"do": "dns", "name": ["good", "test"]}, {"do": "get", "host": "good.test"}]));
}

/// `evil.test.` is not another name than `evil.test`, and `good.test.` is `good.test`. Where servers
/// disagree about it (SNI, Host) it is refused.
fn dot_at_the_end(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "resolve", "name": "dot.evil.test."},
        {"do": "get", "host": "good.test", "tls": false, "authority": "dot.evil.test."},
        {"do": "hello", "host": "good.test", "names": ["good.test."]},
    ]))
    .told_of("dns", "no rule allows", &["dot.evil.test"])
    .unheard();
    t.lawful(&json!([
        {"do": "resolve", "name": "good.test."},
        {"do": "get", "host": "good.test.", "tls": false, "authority": "good.test"},
    ]));
    t.lawful_with("curl -sSf https://good.test./echo");
}

fn case_of_letters(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "dns", "name": "CASE.EVIL.TEST"},
        {"do": "get", "host": "good.test", "tls": false, "authority": "CASE.evil.TEST"},
    ]))
    .told_of("dns", "no rule allows", &["case.evil.test"])
    .unheard();
    t.lawful(&json!([
        {"do": "dns", "name": "GOOD.tesT"},
        {"do": "get", "host": "GOOD.TEST"},
        {"do": "get", "host": "gOOd.test", "tls": false},
    ]));
}

/// Cyrillic letters that look like Latin ones; an international name that is allowed is reached.
fn homograph(t: &mut Trial<'_>) {
    t.attack(&json!([
        {"do": "resolve", "name": "g\u{43e}\u{43e}d.test"},
        {"do": "dns", "name": "g\u{43e}\u{43e}d.test"},
        {"do": "dns", "name": "xn--gd-jlca.test"},
        {"do": "dns", "name": "good\u{3002}test"},
        {"do": "dns", "name": "ｇｏｏｄ.test"},
    ]))
    .told("dns", "")
    .unseen();
    t.lawful(&json!([
        {"do": "resolve", "name": "b\u{fc}cher.test"},
        {"do": "get", "host": "xn--bcher-kva.test"},
    ]));
}

/// A leading `*` is one label or more and never none, any other exactly one.
fn wildcard_and_labels(t: &mut Trial<'_>) {
    let names = [
        "wild.test",
        "xwild.test",
        "www.test",
        "www.a.also.test",
        "a.www.also.test",
        "a.also.test",
    ];
    let asked: Vec<_> = names.iter().map(|name| json!({"do": "dns", "name": name})).collect();
    t.attack(&json!(asked)).told_of("dns", "no rule allows", &names).unseen();
    t.lawful(&json!([
        {"do": "get", "host": "a.wild.test"},
        {"do": "resolve", "name": "a.b.c.wild.test"},
        {"do": "get", "host": "www.also.test"},
    ]));
}

fn look_alikes(t: &mut Trial<'_>) {
    let names = [
        "evil-good.test",
        "evilgood.test",
        "good.test.evil.test",
        "good.tes",
        "good.testx",
        "ood.test",
        "sub.good.test",
        "good-test",
        "good.test.wild.test.evil.test",
        "wild.test.evil.test",
        "good",
        "test",
    ];
    let asked: Vec<_> = names.iter().map(|name| json!({"do": "dns", "name": name})).collect();
    t.attack(&json!(asked)).told_of("dns", "no rule allows", &names).unseen();
    t.lawful(&json!([{"do": "dns", "name": "good.test"}, {"do": "dns", "name": "x.wild.test"}]));
}

/// No spelling of an address is sent on as a question, also where every name below is allowed.
fn names_that_are_addresses(t: &mut Trial<'_>) {
    // Nobody is asked about them, not even where every name is allowed.
    for policy in [["--allow-all"].as_slice(), &["--allow", ALLOWED]] {
        t.guest.set_policy(policy);
        t.attack(&json!([
            {"do": "dns", "name": "2130706433"},
            {"do": "dns", "name": "0x7f000001"},
            {"do": "dns", "name": "127.1"},
            {"do": "dns", "name": "0177.0.0.1"},
            {"do": "dns", "name": "203.0.113.66"},
            {"do": "dns", "name": "203.0.113.66."},
            {"do": "dns", "name": "0xcb.0.0x71.66"},
        ]))
        .told("dns", "")
        .unseen();
    }
    t.attack(&json!([
        {"do": "get", "host": "good.test", "tls": false, "authority": "2130706433"},
        {"do": "get", "host": "good.test", "tls": false, "authority": "0x7f.1"},
        {"do": "get", "host": "good.test", "tls": false, "authority": "203.0.113.66"},
        {"do": "get", "host": "good.test", "tls": false, "authority": "[::1]"},
        {"do": "get", "host": "good.test", "tls": false, "authority": "[::ffff:203.0.113.66]"},
    ]))
    .told("http", "")
    .unheard();
    t.lawful(&json!({"do": "get", "host": "good.test", "tls": false}));
}

/// Hosts that are written as nothing that a name can be.
fn names_that_are_none(t: &mut Trial<'_>) {
    let authorities = [
        "",
        ".",
        "good.test@evil.test",
        "evil.test@good.test",
        "good.test,evil.test",
        "good.test evil.test",
        "good.test/evil.test",
        "good.test#evil.test",
        "good.test\\.evil.test",
        "good.test:80:81",
        "good.test:",
        "good.test:0",
        "good.test:65616",
        "good.test:8080",
        "good..test",
        ".good.test",
        "good.test..",
        "-good.test",
        "good.test%2eevil.test",
    ];
    let asked: Vec<_> = authorities
        .iter()
        .map(|text| json!({"do": "get", "host": "good.test", "tls": false, "authority": text}))
        .collect();
    t.attack(&json!(asked)).told("http", "").unheard();
    t.lawful(&json!([
        {"do": "get", "host": "good.test", "tls": false, "authority": "good.test:80"},
    ]));
}
