//! The channel: epochs, losses, garbage.

use protocol::*;

use crate::guest::Guest;

#[test]
fn a_repeated_hello_is_answered_again() {
    let guest = Guest::start();
    let mut client = guest.client();
    let welcome = client.hello(1);
    assert_eq!(welcome, Welcome { version: VERSION, phase: Phase::Live });
    assert_eq!(client.ask(Request::Ping), Ok(Response::Done));
}
