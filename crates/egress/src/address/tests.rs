use super::*;

/// What a text is, by the table of a person.
#[test]
fn every_address_is_of_its_class() {
    let table = [
        ("8.8.8.8", None),
        ("203.0.113.7", None),
        ("192.0.1.1", None),
        ("172.15.0.1", None),
        ("172.32.0.1", None),
        ("100.63.255.255", None),
        ("100.128.0.0", None),
        ("198.17.255.255", None),
        ("198.20.0.0", None),
        ("223.255.255.255", None),
        ("0.0.0.0", Some(Reserved::Unspecified)),
        ("0.1.2.3", Some(Reserved::Unspecified)),
        ("127.0.0.1", Some(Reserved::Loopback)),
        ("127.255.255.255", Some(Reserved::Loopback)),
        ("10.0.0.1", Some(Reserved::Private)),
        ("172.16.0.1", Some(Reserved::Private)),
        ("172.31.255.255", Some(Reserved::Private)),
        ("192.168.1.1", Some(Reserved::Private)),
        ("100.64.0.1", Some(Reserved::Private)),
        ("100.127.255.255", Some(Reserved::Private)),
        ("169.254.0.1", Some(Reserved::LinkLocal)),
        ("169.254.169.254", Some(Reserved::Metadata)),
        ("169.254.170.2", Some(Reserved::Metadata)),
        ("100.100.100.200", Some(Reserved::Metadata)),
        ("168.63.129.16", Some(Reserved::Metadata)),
        ("192.0.0.192", Some(Reserved::Metadata)),
        ("224.0.0.1", Some(Reserved::Multicast)),
        ("239.255.255.255", Some(Reserved::Multicast)),
        ("255.255.255.255", Some(Reserved::Broadcast)),
        ("240.0.0.1", Some(Reserved::Special)),
        ("192.0.0.8", Some(Reserved::Special)),
        ("192.0.2.1", Some(Reserved::Special)),
        ("198.51.100.1", Some(Reserved::Special)),
        ("192.88.99.1", Some(Reserved::Special)),
        ("198.18.0.1", Some(Reserved::Special)),
        ("198.19.255.255", Some(Reserved::Special)),
        ("2606:4700::1111", None),
        ("2a00:1450:4001:81b::200e", None),
        ("::", Some(Reserved::Unspecified)),
        ("::1", Some(Reserved::Loopback)),
        ("fc00::1", Some(Reserved::Private)),
        ("fdff:ffff::1", Some(Reserved::Private)),
        ("fd00:ec2::254", Some(Reserved::Metadata)),
        ("fd20:ce::254", Some(Reserved::Metadata)),
        ("fe80::1", Some(Reserved::LinkLocal)),
        ("febf::1", Some(Reserved::LinkLocal)),
        ("fec0::1", Some(Reserved::Private)),
        ("ff02::1", Some(Reserved::Multicast)),
        ("100::1", Some(Reserved::Special)),
        ("2001:db8::1", Some(Reserved::Special)),
        ("2001:2::1", Some(Reserved::Special)),
        ("2001:20::1", Some(Reserved::Special)),
        ("2001:200::1", None),
        ("3fff:fff::1", Some(Reserved::Special)),
        ("5f00::1", Some(Reserved::Special)),
        ("4000::1", Some(Reserved::Special)),
        ("8000::1", Some(Reserved::Special)),
    ];
    for (text, class) in table {
        assert_eq!(reserved(text.parse().unwrap()), class, "{text}");
    }
}

#[test]
fn an_address_inside_another_is_found() {
    let table = [
        ("::ffff:127.0.0.1", Some(Reserved::Loopback)),
        ("::ffff:169.254.169.254", Some(Reserved::Metadata)),
        ("::ffff:8.8.8.8", None),
        ("::ffff:0:10.0.0.1", Some(Reserved::Private)),
        ("::127.0.0.1", Some(Reserved::Loopback)),
        ("::2", Some(Reserved::Unspecified)),
        ("64:ff9b::10.0.0.1", Some(Reserved::Private)),
        ("64:ff9b::8.8.8.8", None),
        ("64:ff9b:1::192.168.0.1", Some(Reserved::Private)),
        ("64:ff9b:1::8.8.8.8", None),
        // The same prefix with the address higher up, as RFC 6052 has it.
        ("64:ff9b:1:0a00:0:100::", Some(Reserved::Special)),
        ("64:ff9b:2::8.8.8.8", Some(Reserved::Special)),
        ("2002:7f00:1::", Some(Reserved::Loopback)),
        ("2002:a9fe:a9fe::1", Some(Reserved::Metadata)),
        ("2002:808:808::1", None),
        // Teredo: server 8.8.8.8 and client 10.0.0.1, and the other way about.
        ("2001:0:808:808:0:0:f5ff:fffe", Some(Reserved::Private)),
        ("2001:0:a00:1:0:0:f7f7:f7f7", Some(Reserved::Private)),
        ("2001:0:808:808:0:0:f7f7:f7f7", None),
        ("2a00::5efe:10.0.0.1", Some(Reserved::Private)),
        ("2a00::200:5efe:127.0.0.1", Some(Reserved::Loopback)),
        ("2a00::5efe:8.8.8.8", None),
        ("fe80::5efe:8.8.8.8", Some(Reserved::LinkLocal)),
    ];
    for (text, class) in table {
        assert_eq!(reserved(text.parse().unwrap()), class, "{text}");
    }
}

#[test]
fn our_own_addresses_are_nobodys() {
    for address in [GUEST_V4, GATEWAY_V4] {
        assert_eq!(reserved(address.into()), Some(Reserved::Special));
    }
    for address in [GUEST_V6, GATEWAY_V6] {
        assert_eq!(reserved(address.into()), Some(Reserved::Private));
    }
}
