use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// A hello of rustls itself, for this name and these protocols.
fn real(name: &str, protocols: &[&[u8]]) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = name.to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// A hello with these extensions, in one record.
fn made(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let mut list = Vec::new();
    for (kind, content) in extensions {
        list.extend(kind.to_be_bytes());
        list.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        list.extend(*content);
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
    body.extend(list);
    let mut message = vec![CLIENT_HELLO];
    message.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
    message.extend(body);
    message
}

/// The message in records of at most this many bytes.
fn records(message: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in message.chunks(length) {
        bytes.extend([HANDSHAKE, 3, 1]);
        bytes.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
        bytes.extend(piece);
    }
    bytes
}

fn one_record(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    records(&made(extensions), RECORD_BYTES_MAX)
}

fn name_list(names: &[(u8, &[u8])]) -> Vec<u8> {
    let mut list = Vec::new();
    for (kind, name) in names {
        list.push(*kind);
        list.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
        list.extend(*name);
    }
    let mut content = u16::try_from(list.len()).unwrap().to_be_bytes().to_vec();
    content.extend(list);
    content
}

fn with_name(name: &[u8]) -> Result<Option<ClientHello>, InvalidHello> {
    parse(&one_record(&[(SERVER_NAME, &name_list(&[(0, name)]))]))
}

#[test]
fn a_real_hello_is_read_in_any_pieces() {
    let bytes = real("API.example.test", &[b"h2", b"http/1.1"]);
    let hello = parse(&bytes).unwrap().unwrap();
    assert_eq!(hello.server_name.as_ref().unwrap().as_str(), "api.example.test");
    assert_eq!(hello.protocols, [&b"h2"[..], b"http/1.1"]);
    assert_eq!(hello.encrypted, Encrypted::No);
    for cut in 0..bytes.len() {
        assert_eq!(parse(&bytes[..cut]), Ok(None), "{cut}");
    }
    for length in [3, 4, 5, 100] {
        assert_eq!(parse(&records(&bytes[5..], length)), Ok(Some(hello.clone())), "{length}");
    }
    // What a client sends before it has an answer belongs to the hello no more.
    assert_eq!(parse(&[&bytes[..], b"\x17\x03\x03"].concat()), Ok(Some(hello)));
}

#[test]
fn a_post_quantum_hello_is_as_long_as_it_is() {
    let share = [9; 1216];
    let hello =
        made(&[(51, &share), (SERVER_NAME, &name_list(&[(0, b"a.test")])), (21, &[0; 600])]);
    let read = parse(&records(&hello, 517)).unwrap().unwrap();
    assert_eq!(read.server_name.unwrap().as_str(), "a.test");
}

#[test]
fn names_that_can_be_read_in_two_ways_are_refused() {
    for name in [
        &b"a.test\0.b.test"[..],
        b"a.test.",
        b"127.0.0.1",
        b"[::1]",
        b"::1",
        b"2130706433",
        b"0x7f.1",
        b"a..test",
        b"a test",
        b"a.test:443",
        b"*.test",
        "b\u{fc}cher.test".as_bytes(),
        b"\xff.test",
        b"",
    ] {
        let read = with_name(name);
        assert!(
            matches!(read, Err(InvalidHello::Name | InvalidHello::Names)),
            "{} {read:?}",
            name.escape_ascii()
        );
    }
    with_name(b"xn--bcher-kva.test").unwrap();
}

#[test]
fn lists_of_names_have_one() {
    let two = name_list(&[(0, b"a.test"), (0, b"b.test")]);
    assert_eq!(parse(&one_record(&[(SERVER_NAME, &two)])), Err(InvalidHello::Names));
    let other = name_list(&[(1, b"a.test")]);
    assert_eq!(parse(&one_record(&[(SERVER_NAME, &other)])), Err(InvalidHello::Names));
    assert_eq!(parse(&one_record(&[(SERVER_NAME, &name_list(&[]))])), Err(InvalidHello::Names));
    let one = name_list(&[(0, b"a.test")]);
    let twice = one_record(&[(SERVER_NAME, &one), (SERVER_NAME, &one)]);
    assert_eq!(parse(&twice), Err(InvalidHello::Twice));
    let none = parse(&one_record(&[(10, &[0, 2, 0, 29])])).unwrap().unwrap();
    assert_eq!(none.server_name, None);
}

#[test]
fn an_encrypted_hello_is_seen() {
    let hello = parse(&one_record(&[(ENCRYPTED_CLIENT_HELLO, &[0, 0, 1, 0, 1, 7])])).unwrap();
    assert_eq!(hello.unwrap().encrypted, Encrypted::Perhaps);
    let inner = parse(&one_record(&[(ENCRYPTED_CLIENT_HELLO, &[1])]));
    assert_eq!(inner, Err(InvalidHello::Inner));
}

#[test]
fn wrong_lengths_and_endless_hellos_are_refused() {
    let message = made(&[(SERVER_NAME, &name_list(&[(0, b"a.test")]))]);
    // Something behind the message in its record.
    let long = [&message[..], &[0]].concat();
    assert_eq!(parse(&records(&long, 9999)), Err(InvalidHello::Lengths));
    let mut huge = message.clone();
    huge[1] = 2;
    assert_eq!(parse(&records(&huge, 9999)), Err(InvalidHello::TooLong));
    assert_eq!(parse(&records(&message, 1)[..6 * 20]), Ok(None));
    let single = made(&[(99, &[0; 900])]);
    assert_eq!(parse(&records(&single, 1)), Err(InvalidHello::TooLong));
    assert_eq!(parse(&[22, 3, 1, 0x40, 1]), Err(InvalidHello::Lengths));
    assert_eq!(parse(&[22, 3, 1, 0, 0]), Err(InvalidHello::Lengths));
    let mut server = message;
    server[0] = 2;
    assert_eq!(parse(&records(&server, 9999)), Err(InvalidHello::NotTls));
}

proptest! {
    #[test]
    fn damage_is_no_panic(
        at in 0_usize..400,
        byte: u8,
        length in 1_usize..600,
        cut in 0_usize..700,
    ) {
        let hello = made(&[
            (SERVER_NAME, &name_list(&[(0, b"a.test")])),
            (ALPN, &[0, 3, 2, b'h', b'2']),
            (99, &[0; 200]),
        ]);
        let mut bytes = records(&hello, length);
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        bytes.truncate(cut);
        drop(parse(&bytes));
    }
}
