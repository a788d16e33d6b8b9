//! What `--allow` and `--deny` take and refuse.

use super::*;

#[test]
fn what_may_be_reached() {
    let name = |pattern: &str, port| {
        Destination::Name(Name { pattern: HostPattern::parse(pattern).unwrap(), port })
    };
    let subnet = |text: &str| Destination::Subnet(Cidr::parse(text).unwrap());
    for (text, wanted) in [
        ("example.com", name("example.com", None)),
        ("API.Example.COM", name("api.example.com", None)),
        ("github.com:22", name("github.com", Some(22))),
        ("*.example.com", name("*.example.com", None)),
        ("*", name("*", None)),
        ("*:22", name("*", Some(22))),
        ("10.0.0.0/8", subnet("10.0.0.0/8")),
        ("10.1.2.3", subnet("10.1.2.3/32")),
        ("0.0.0.0/0", subnet("0.0.0.0/0")),
        ("fd00::/8", subnet("fd00::/8")),
        ("::/0", subnet("::/0")),
        ("::1", subnet("::1/128")),
        ("[::1]", subnet("::1/128")),
        ("@registries-read", Destination::Preset("registries-read".to_owned())),
    ] {
        assert_eq!(text.parse(), Ok(wanted), "{text}");
    }
}

#[test]
fn what_is_refused_says_what_would_do() {
    for (text, words) in [
        ("", "empty"),
        (":22", "empty"),
        ("https://api.example.com/v1?x", "host alone, without scheme and path: api.example.com"),
        ("https://u:p@api.example.com:8/", "path: api.example.com:8"),
        ("api.example.com/v1", "host alone: api.example.com"),
        ("example.com:0", "\"0\" is not a port"),
        ("example.com:65536", "\"65536\" is not a port"),
        ("example.com:+5", "\"+5\" is not a port"),
        ("example.com:ssh", "\"ssh\" is not a port"),
        ("1.2.3.4:5432", "without one"),
        ("[::1]:80", "without one"),
        ("localhost", "--allow-host-port"),
        ("localhost:8080", "--allow-host-port"),
        ("host.fumehood.internal:80", "--allow-host-port"),
        ("10.0.0.1/8", "the network is 10.0.0.0/8"),
        ("10.0.0.0/33", "number of bits"),
        ("fd00::/129", "number of bits"),
        ("fd00::1/8", "the network is fd00::/8"),
        ("10.0.0.0/", "number of bits"),
        ("10.0.0.0/x", "number of bits"),
        ("10.0.0.0/+8", "number of bits"),
        ("exa mple.com", "cannot hold ' '"),
        ("-a.example.com", "hyphen"),
        ("w*.example.com", "whole part"),
        ("127.1", "IP address"),
        ("0x7f000001", "IP address"),
        ("@", "no preset \"\""),
        ("@registries", "there are github-read, llm-apis, registries-read"),
    ] {
        let fault = text.parse::<Destination>().unwrap_err().to_string();
        assert!(fault.contains(words), "{text}: {fault}");
    }
}

#[test]
fn what_is_denied_is_a_subnet() {
    assert_eq!(denied("[fd00::]"), Ok(Cidr::parse("fd00::/128").unwrap()));
    for (text, words) in [
        ("example.com", "a subnet or address is meant"),
        ("10.0.0.1/8", "the network is 10.0.0.0/8"),
    ] {
        let fault = denied(text).unwrap_err().to_string();
        assert!(fault.contains(words), "{text}: {fault}");
    }
}
