use proptest::prelude::*;

use super::*;

#[test]
fn a_name_has_one_form() {
    let table = [
        ("example.com", "example.com"),
        ("EXAMPLE.Com", "example.com"),
        ("example.com.", "example.com"),
        ("localhost", "localhost"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("r3---sn-4g5e.googlevideo.com", "r3---sn-4g5e.googlevideo.com"),
        ("1.example.com", "1.example.com"),
        ("127.0.0.1.example", "127.0.0.1.example"),
        ("0x7f.example", "0x7f.example"),
        ("123.0xg", "123.0xg"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("例え。テスト。", "xn--r8jz45g.xn--zckzah"),
        ("ｅｘａｍｐｌｅ.com", "example.com"),
        ("exa\u{ad}mple.com", "example.com"),
    ];
    for (text, host) in table {
        let parsed = Host::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(parsed.as_str(), host, "{text}");
        assert_eq!(Host::parse_ascii(host).as_ref(), Ok(&parsed), "{text}");
    }
}

#[test]
fn what_is_no_name_is_refused() {
    let long = format!("{}.com", "a".repeat(64));
    let longer = format!("{}com", "abcdefg.".repeat(32));
    let table = [
        ("", InvalidHost::Empty),
        (".", InvalidHost::Empty),
        ("..", InvalidHost::Label),
        ("example.com..", InvalidHost::Label),
        (".example.com", InvalidHost::Label),
        ("a..b", InvalidHost::Label),
        ("-a.example", InvalidHost::Label),
        ("a-.example", InvalidHost::Label),
        (&long, InvalidHost::TooLong),
        (&longer, InvalidHost::TooLong),
        ("evil.com\0.google.com", InvalidHost::Character('\0')),
        ("evil.com .google.com", InvalidHost::Character(' ')),
        ("example.com\r\n", InvalidHost::Character('\r')),
        ("example.com/x", InvalidHost::Character('/')),
        ("example.com:443", InvalidHost::Character(':')),
        ("user@example.com", InvalidHost::Character('@')),
        ("%65xample.com", InvalidHost::Character('%')),
        ("example.com?x", InvalidHost::Character('?')),
        ("example.com#x", InvalidHost::Character('#')),
        ("example.com\\x", InvalidHost::Character('\\')),
        ("*.example.com", InvalidHost::Character('*')),
        ("bücher.com/x", InvalidHost::Character('/')),
        ("a,b", InvalidHost::Character(',')),
        // A full-width slash, a letter that is not assigned, a lone joiner, a dot leader, an
        // A-label of nothing, of ASCII alone, of capital letters, of nonsense.
        ("example.com／x", InvalidHost::Character('/')),
        ("\u{e0080}.example", InvalidHost::Idn),
        ("a\u{200d}b.example", InvalidHost::Idn),
        ("a․b.example\u{338}", InvalidHost::Idn),
        ("xn--.example", InvalidHost::Label),
        ("xn--example-.com", InvalidHost::Label),
        ("xn--bcher-2pa.example", InvalidHost::Idn),
        ("xn--99999999.example", InvalidHost::Idn),
        ("xn--a.example", InvalidHost::Idn),
    ];
    for (text, error) in table {
        assert_eq!(Host::parse(text), Err(error), "{text:?}");
    }
}

#[test]
fn no_spelling_of_an_address_is_a_name() {
    let table = [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0X7F000001",
        "0x7f.0.0.1",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.0x1",
        "1.2.3.08",
        "0x",
        "999.999.999.999",
        "1.2.3.4.5",
        "example.1",
        "[::1]",
        "[::ffff:7f00:1]",
        "::1",
        "::ffff:127.0.0.1",
        "fd00:ec2::254",
        "１２７.0.0.1",
        "127。0。0。1",
    ];
    for text in table {
        assert_eq!(Host::parse(text), Err(InvalidHost::Address), "{text:?}");
    }
}

#[test]
fn nothing_but_ascii_is_taken_off_the_wire() {
    for text in ["bücher.example", "exa\u{ad}mple.com", "ｅxample.com", "example。com"] {
        assert!(matches!(Host::parse_ascii(text), Err(InvalidHost::Character(_))), "{text}");
    }
}

#[test]
fn a_name_is_checked_again_when_it_is_read() {
    let host = Host::parse("example.com").unwrap();
    let json = serde_json::to_string(&host).unwrap();
    assert_eq!(json, r#""example.com""#);
    assert_eq!(serde_json::from_str::<Host>(&json).unwrap(), host);
    assert!(serde_json::from_str::<Host>(r#""127.1""#).is_err());
}

proptest! {
    #[test]
    fn a_name_that_is_taken_is_in_its_form(text in "\\PC{0,40}|[a-zA-Z0-9.xn_-]{0,40}|(xn--[a-z0-9-]{1,12}\\.){1,3}") {
        if let Ok(host) = Host::parse(&text) {
            let form = host.as_str();
            prop_assert_eq!(Host::parse(form).unwrap(), host.clone());
            prop_assert_eq!(Host::parse_ascii(form).unwrap(), host.clone());
            prop_assert!(form.len() <= 253 && !form.is_empty());
            for label in form.split('.') {
                prop_assert!((1..=63).contains(&label.len()));
                prop_assert!(label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_')));
            }
            // What the system's resolver would take for an address is none.
            prop_assert!(form.parse::<std::net::IpAddr>().is_err());
        }
    }
}
