use super::*;

#[test]
fn a_pattern_matches_whole_parts() {
    let table = [
        ("api.example.com", "api.example.com", true),
        ("api.example.com", "example.com", false),
        ("api.example.com", "x.api.example.com", false),
        ("API.Example.COM.", "api.example.com", true),
        ("*.example.com", "api.example.com", true),
        ("*.example.com", "a.b.example.com", true),
        ("*.example.com", "example.com", false),
        ("*.example.com", "evilexample.com", false),
        ("*.example.com", "api.example.com.evil.com", false),
        ("www.*.com", "www.example.com", true),
        ("www.*.com", "www.a.b.com", false),
        ("www.*.com", "www.com", false),
        ("www.*.com", "x.www.example.com", false),
        ("*.*.com", "a.b.com", true),
        ("*.*.com", "a.b.c.com", true),
        ("*.*.com", "b.com", false),
        ("*.a.*.com", "x.y.a.b.com", true),
        ("*.a.*.com", "a.b.com", false),
        ("api.*", "api.dev", true),
        ("api.*", "api", false),
        ("*", "anything.at.all", true),
        ("*", "localhost", true),
        ("*.bücher.example", "a.xn--bcher-kva.example", true),
    ];
    for (pattern, name, matches) in table {
        let pattern = HostPattern::parse(pattern).unwrap();
        assert_eq!(pattern.matches(&host(name)), matches, "{pattern} {name}");
    }
}

#[test]
fn what_is_no_pattern_is_refused() {
    use crate::host::InvalidHost;
    let table = [
        ("", InvalidPattern::Host(InvalidHost::Empty)),
        ("**.example.com", InvalidPattern::Star),
        ("api-*.example.com", InvalidPattern::Star),
        ("*example.com", InvalidPattern::Star),
        ("*..com", InvalidPattern::Host(InvalidHost::Label)),
        ("*.", InvalidPattern::Host(InvalidHost::Address)),
        ("10.0.0.*", InvalidPattern::Host(InvalidHost::Address)),
        ("９.*", InvalidPattern::Host(InvalidHost::Address)),
        ("*.*", InvalidPattern::Host(InvalidHost::Address)),
        ("*.127.1", InvalidPattern::Host(InvalidHost::Address)),
        ("127.0.0.1", InvalidPattern::Host(InvalidHost::Address)),
        ("*.例え。example", InvalidPattern::Host(InvalidHost::Idn)),
        ("*.example.com:443", InvalidPattern::Host(InvalidHost::Character(':'))),
        ("*.exa mple.com", InvalidPattern::Host(InvalidHost::Character(' '))),
    ];
    for (text, error) in table {
        assert_eq!(HostPattern::parse(text), Err(error), "{text:?}");
    }
}

#[test]
fn the_exact_name_is_most_specific_and_stars_count_for_nothing() {
    let order = ["*", "*.com", "*.example.com", "*.api.example.com", "api.example.com"];
    let specificity = |text: &str| HostPattern::parse(text).unwrap().specificity();
    for pair in order.windows(2) {
        assert!(specificity(pair[0]) < specificity(pair[1]), "{pair:?}");
    }
    assert_eq!(specificity("www.*.com"), specificity("*.example.com"));
}

#[test]
fn a_pattern_survives_its_text() {
    for text in ["*", "*.example.com", "www.*.com", "*.a.*.com", "api.example.com", "api.*"] {
        let pattern = HostPattern::parse(text).unwrap();
        assert_eq!(pattern.to_string(), text);
        assert_eq!(HostPattern::parse(&pattern.to_string()).unwrap(), pattern);
    }
}

#[test]
fn a_network_is_in_its_form() {
    let good = [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("1.2.3.4", "1.2.3.4/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("FD00::/8", "fd00::/8"),
        ("::1", "::1/128"),
    ];
    for (text, form) in good {
        assert_eq!(cidr(text).to_string(), form);
    }
    let bad = [
        ("", "an IP address comes first, as in 10.0.0.0/8"),
        ("10.0.0.0/33", "the prefix after the / is a number of bits"),
        ("10.0.0.0/", "the prefix after the / is a number of bits"),
        ("10.0.0.0/+8", "the prefix after the / is a number of bits"),
        ("10.0.0.0/8/8", "the prefix after the / is a number of bits"),
        ("10.1.2.3/8", "the address has bits beyond the prefix; the network is 10.0.0.0/8"),
        ("fd00::1/64", "the address has bits beyond the prefix; the network is fd00::/64"),
        ("010.0.0.0/8", "an IP address comes first, as in 10.0.0.0/8"),
        ("10.0/8", "an IP address comes first, as in 10.0.0.0/8"),
        ("example.com", "an IP address comes first, as in 10.0.0.0/8"),
        ("::ffff:10.0.0.0/104", "an IPv4 network is written as IPv4, not inside IPv6"),
    ];
    for (text, message) in bad {
        assert_eq!(Cidr::parse(text).unwrap_err().to_string(), message, "{text}");
    }
    assert!(cidr("10.0.0.0/8").contains("10.255.0.1".parse().unwrap()));
    assert!(!cidr("10.0.0.0/8").contains("11.0.0.1".parse().unwrap()));
    assert!(!cidr("0.0.0.0/0").contains("::1".parse().unwrap()));
}
