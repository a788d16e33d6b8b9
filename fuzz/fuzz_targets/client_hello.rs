//! Whatever a client sends, a hello is read or refused; what is read from the first bytes does not
//! change when more come, and rustls reads the same.

#![no_main]

use egress::gateway::client_hello;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some(hello)) = client_hello::parse(bytes) else { return };
    // All of it, and not one byte less.
    let mut shortest = bytes.len();
    while let Ok(Some(same)) = client_hello::parse(&bytes[..shortest]) {
        assert_eq!(same, hello);
        let Some(less) = shortest.checked_sub(1) else { break };
        shortest = less;
    }
    let mut acceptor = rustls::server::Acceptor::default();
    let mut reader = &bytes[..=shortest];
    while !reader.is_empty() && acceptor.read_tls(&mut reader).is_ok() {}
    // rustls may refuse what we take; where it takes it too, it must be for the same host.
    if let Ok(Some(accepted)) = acceptor.accept() {
        let name = accepted.client_hello().server_name().map(str::to_ascii_lowercase);
        assert_eq!(name.as_deref(), hello.server_name.as_ref().map(|host| host.as_str()));
    }
});
