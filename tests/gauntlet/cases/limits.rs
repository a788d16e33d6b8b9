//! What is *not* stopped, shown so that nobody believes otherwise. A case here that fails means that
//! the documentation is to be changed.

use serde_json::json;

use super::{Group, cases};
use crate::{guest::Guest, trial::Trial};

pub(super) const GROUP: Group = Group {
    name: "limits",
    variables: &[],
    guest: |hood| {
        let ran = hood.run_with_input(&["secret", "set", "SAID_BACK"], b"said-back-by-its-server");
        assert_eq!(ran.code, Some(0), "{ran:?}");
        Guest::new(
            hood,
            &["--secret", "SAID_BACK@key.test", "--allow", "front.test,good.test,*.wild.test"],
        )
    },
    cases: cases![
        fronting_inside_a_spliced_connection,
        data_in_what_is_allowed,
        data_in_a_few_names,
        a_server_that_says_the_secret_back,
    ],
};

/// A spliced connection is judged by name, SNI and address alone: behind the same front the guest
/// may ask for another host. `--strict` sees it (`fronting`).
fn fronting_inside_a_spliced_connection(t: &mut Trial<'_>) {
    let told = t.lawful(&json!([
        {"do": "get", "host": "front.test", "authority": "hidden.test"},
        {"do": "http2", "host": "front.test", "requests": [{"authority": "hidden.test"}]},
    ]));
    assert!(told[0]["body"].as_str().unwrap().contains("\"hidden.test\""));
}

/// Who may read a URL may write into it.
fn data_in_what_is_allowed(t: &mut Trial<'_>) {
    let mark = t.world.mark();
    t.lawful(&json!([
        {"do": "get", "host": "good.test", "path": "/echo?the=content-of-a-file", "tls": false},
        {"do": "get", "host": "good.test", "method": "POST", "body": "the content of a file", "tls": false},
    ]));
    assert!(
        t.world.since(mark).heard().iter().any(|one| one.to_string().contains("content-of-a-file"))
    );
}

/// Below a wildcard a name is up to the guest; the rate is limited, and a slow leak is a leak.
fn data_in_a_few_names(t: &mut Trial<'_>) {
    let mark = t.world.mark();
    t.lawful(&json!({"do": "dns", "name": "content-of-a-file.wild.test"}));
    let seen = t.world.since(mark);
    assert!(seen.names.iter().any(|one| one["name"] == "content-of-a-file.wild.test"));
}

/// A reply that repeats the credential as it is, is made unreadable; one that writes it in another
/// way is not.
fn a_server_that_says_the_secret_back(t: &mut Trial<'_>) {
    let said = t.lawful_with(
        "curl -sS -m 10 -H \"Authorization: Bearer $SAID_BACK\" https://key.test/in-hex",
    );
    assert!(said.contains("736169642d6261636b"), "{said}");
}
