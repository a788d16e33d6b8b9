//! Folders and files of certificates, and of what is none.

use std::fs;

use super::*;

fn der(bytes: usize, fill: u8) -> Vec<u8> {
    let length = u16::try_from(bytes).unwrap().to_be_bytes();
    [&[0x30, 0x82, length[0], length[1]], vec![fill; bytes].as_slice()].concat()
}

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("{BEGIN}\r\n{}\r\n{END}\r\n", lines.join("\r\n"))
}

struct Host(tempfile::TempDir);

impl Host {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        Self(folder)
    }

    fn authorities(&self, extra: Option<&str>) -> Vec<Vec<u8>> {
        let folders = ["/nonexistent".into(), self.0.path().to_owned()];
        let extra = extra.map(|name| self.0.path().join(name));
        authorities(&folders, extra.as_deref())
    }
}

#[test]
fn the_hosts_certificates_are_found_in_both_forms_and_each_once() {
    let (one, two, three) = (der(300, 1), der(400, 2), der(500, 3));
    let several = format!("# of ours\n{}and\n{}", pem(&one), pem(&three));
    let host = Host::new(&[
        ("b.crt", several.as_bytes()),
        ("a.der", &two),
        ("README", pem(&der(10, 9)).as_bytes()),
        ("none.pem", b"-----BEGIN CERTIFICATE-----\n!!\n"),
        ("key.pem", b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"),
        ("extra", pem(&three).as_bytes()),
    ]);
    fs::create_dir(host.0.path().join("folder.crt")).unwrap();
    assert_eq!(host.authorities(None), [two.clone(), one.clone(), three.clone()]);
    assert_eq!(host.authorities(Some("extra")), [three.clone(), two.clone(), one.clone()]);
    assert_eq!(host.authorities(Some("missing")), [two, one, three]);
}

#[test]
fn there_are_no_more_than_a_claim_has_room_for() {
    let many: Vec<_> = (0..=u8::try_from(TRUSTED_MAX).unwrap()).map(|n| der(100, n)).collect();
    let text: String = many.iter().map(|one| pem(one)).collect();
    let host = Host::new(&[("all.crt", text.as_bytes())]);
    assert_eq!(host.authorities(None), many[..TRUSTED_MAX]);
    let own = der(100, 99);
    let told = network(own.clone(), &many);
    assert_eq!(told.trust[0].0, own);
    assert_eq!(told.trust.len(), TRUSTED_MAX);
    let large: Vec<_> = (0..10).map(|n| der(60_000, n)).collect();
    assert_eq!(network(own, &large).trust.len(), 1 + TRUSTED_BYTES_MAX / 60_004);

    let oversize = vec![b' '; usize::try_from(FILE_BYTES_MAX).unwrap() + 1];
    let host = Host::new(&[("large.crt", &oversize), ("ok.crt", pem(&many[0]).as_bytes())]);
    assert_eq!(host.authorities(None), many[..1]);
}

#[test]
fn a_claim_with_all_that_may_be_trusted_fits_into_a_frame() {
    let host: Vec<_> = (0..4).map(|n| der(TRUSTED_BYTES_MAX / 4 - 50, n)).collect();
    let env = vec![("NAME".to_owned(), "x".repeat(crate::limits::COMMAND_BYTES_MAX))];
    let claim = protocol::Claim {
        hostname: "h".repeat(63),
        machine_id: [0; 16],
        entropy: protocol::Entropy([0; 32]),
        unix_nanos: 0,
        user: "user".into(),
        cwd: "/".into(),
        env: environment(&[], &network(der(100, 9), &host), env),
        network: network(der(100, 9), &host),
    };
    assert_eq!(claim.network.trust.len(), 5);
    assert!(protocol::Request::Claim(claim).fits());
}

#[test]
fn the_users_own_environment_wins() {
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let image = [own("PATH", "/bin"), own("SSL_CERT_FILE", "/image")];
    let user = || [own("CURL_CA_BUNDLE", "/mine")];
    let bare = environment(&image, &Network::default(), user());
    assert_eq!(bare, [image.as_slice(), &user()].concat());
    let told = environment(&image, &network(der(100, 1), &[]), user());
    // As the agent reads it: the last of a name counts.
    let value = |name: &str| {
        let found = told.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(value("PATH"), Some("/bin"));
    assert_eq!(value("SSL_CERT_FILE"), Some(BUNDLE));
    assert_eq!(value("CURL_CA_BUNDLE"), Some("/mine"));
    assert_eq!(value("NODE_EXTRA_CA_CERTS"), Some(BUNDLE));
    assert_eq!(value("NODE_USE_SYSTEM_CA"), Some("1"));
}

/// Guest, machine and gateway do not know each other, and have to agree.
#[test]
fn all_that_know_the_guests_link_say_the_same() {
    use egress::address as gateway;
    use protocol::network as guest;
    let mac = gateway::GUEST_MAC.map(|byte| format!("{byte:02x}")).join(":");
    assert_eq!((machine::GUEST_MAC, machine::MTU), (mac.as_str(), gateway::MTU));
    assert_eq!(guest::GATEWAY_MAC, gateway::GATEWAY_MAC);
    assert_eq!((guest::GUEST_V4, guest::GUEST_V6), (gateway::GUEST_V4, gateway::GUEST_V6));
    assert_eq!((guest::GATEWAY_V4, guest::GATEWAY_V6), (gateway::GATEWAY_V4, gateway::GATEWAY_V6));
    assert_eq!((guest::PREFIX_V4, guest::PREFIX_V6), (gateway::PREFIX_V4, gateway::PREFIX_V6));
}
