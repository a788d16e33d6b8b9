use std::collections::BTreeSet;

use super::*;
use crate::policy::HeaderEdit;

const SECRET: &str = "s3cr3t&value+/=";

fn parts(uri: &str, headers: &[(&'static str, &str)]) -> Parts {
    let mut request = http::Request::builder().uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn secrets() -> BTreeMap<SecretName, SecretText> {
    BTreeMap::from([(name("KEY"), SecretText::new(SECRET.to_owned()))])
}

fn name(text: &str) -> SecretName {
    SecretName::parse(text).unwrap()
}

fn credential(place: Place) -> Edits {
    let credentials = vec![Credential { secret: name("KEY"), place }];
    Edits { credentials, ..Edits::default() }
}

fn pin() -> Pin {
    Pin::On { headers: BTreeSet::new(), query: BTreeSet::new() }
}

fn value<'a>(parts: &'a Parts, name: &str) -> &'a str {
    parts.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[test]
fn a_secret_goes_into_each_place() {
    let ours = Place::Header { name: "authorization".to_owned(), prefix: "Bearer ".to_owned() };
    let mut request = parts("/v1?key=stolen&a=1", &[("authorization", "Bearer stolen")]);
    let injected = apply(&mut request, Some(&credential(ours)), &pin(), &secrets(), Way::Sealed);
    assert_eq!(value(&request, "authorization"), format!("Bearer {SECRET}"));
    assert!(request.headers["authorization"].is_sensitive());
    assert_eq!(request.uri, "/v1?a=1");
    assert_eq!(injected.unwrap().names, ["KEY"]);

    let basic = credential(Place::Basic { user: "me".to_owned() });
    let mut request = parts("/", &[("cookie", "session=stolen"), ("x-other", "stays")]);
    apply(&mut request, Some(&basic), &pin(), &secrets(), Way::Sealed).unwrap();
    let encoded = BASE64.encode(format!("me:{SECRET}"));
    assert_eq!(value(&request, "authorization"), format!("Basic {encoded}"));
    assert_eq!((value(&request, "cookie"), value(&request, "x-other")), ("", "stays"));

    let query = credential(Place::Query { name: "key".to_owned() });
    let mut request = parts("https://a.test/v1?a=1&key=stolen", &[]);
    apply(&mut request, Some(&query), &pin(), &secrets(), Way::Sealed).unwrap();
    assert_eq!(request.uri, "https://a.test/v1?a=1&key=s3cr3t%26value%2B%2F%3D");
}

#[test]
fn placeholders_are_replaced_wherever_they_stand() {
    let edits = credential(Place::Placeholder("PLACE_1".to_owned()));
    let encoded = BASE64.encode("user:PLACE_1");
    let mut request = parts(
        "/PLACE_1",
        &[
            ("authorization", &format!("basic {encoded}")),
            ("x-api-key", "PLACE_1"),
            ("x-twice", "a PLACE_1 b PLACE_1"),
            ("cookie", "a=stolen; b=PLACE_1"),
        ],
    );
    let injected = apply(&mut request, Some(&edits), &pin(), &secrets(), Way::Sealed).unwrap();
    assert_eq!(injected.names, ["KEY"]);
    let encoded = BASE64.encode(format!("user:{SECRET}"));
    assert_eq!(value(&request, "authorization"), format!("Basic {encoded}"));
    assert_eq!(value(&request, "x-api-key"), SECRET);
    assert_eq!(value(&request, "x-twice"), format!("a {SECRET} b {SECRET}"));
    assert_eq!(value(&request, "cookie"), format!("b={SECRET}"));
    assert_eq!(request.uri, "/PLACE_1", "a URL is logged by everybody");

    let mut request = parts("/", &[("authorization", "Bearer stolen")]);
    let injected = apply(&mut request, Some(&edits), &pin(), &secrets(), Way::Sealed).unwrap();
    assert!(injected.names.is_empty() && injected.texts.is_empty());
    assert_eq!(value(&request, "authorization"), "");
}

#[test]
fn what_cannot_be_put_in_stops_the_request() {
    let header = |name: &str| Place::Header { name: name.to_owned(), prefix: String::new() };
    let mut request = parts("/", &[]);
    let mut ask = |edits: &Edits, way| {
        apply(&mut request, Some(edits), &Pin::Off, &secrets(), way).map(|injected| injected.names)
    };
    assert_eq!(ask(&credential(header("x-key")), Way::Open), Err(Why::InTheClear));
    let placeholder = credential(Place::Placeholder("PLACE_1".to_owned()));
    assert_eq!(ask(&placeholder, Way::Open), Ok(Vec::new()));
    for name in ["host", "Content-Length", "transfer-encoding", "a b", ""] {
        ask(&credential(header(name)), Way::Sealed).unwrap_err();
    }
    let mut other = credential(header("x-key"));
    other.credentials[0].secret = name("OTHER");
    assert_eq!(ask(&other, Way::Sealed), Err(Why::NoSecret("OTHER".to_owned())));
    let set = |value: &str| Edits {
        headers: vec![HeaderEdit {
            name: "x-team".to_owned(),
            value: SecretText::new(value.to_owned()),
        }],
        ..Edits::default()
    };
    assert_eq!(ask(&set("a"), Way::Open), Err(Why::InTheClear));
    ask(&set("a\r\nb: c"), Way::Sealed).unwrap_err();
    ask(&set("a"), Way::Sealed).unwrap();
    assert_eq!(value(&request, "x-team"), "a");
}

#[test]
fn beside_a_header_that_is_set_there_is_none_that_servers_take_for_it() {
    let headers = [
        ("x-team", "theirs"),
        ("x_team", "theirs"),
        ("x.Team", "theirs"),
        ("x-te", "stays"),
        ("x_te-am", "theirs"),
    ];
    let mut request = parts("/", &headers);
    let edit = HeaderEdit { name: "X-Team".to_owned(), value: SecretText::new("ours".to_owned()) };
    let place = Place::Header { name: "x-te-am".to_owned(), prefix: String::new() };
    let edits = Edits { headers: vec![edit], ..credential(place) };
    apply(&mut request, Some(&edits), &Pin::Off, &secrets(), Way::Sealed).unwrap();
    assert_eq!(request.headers.len(), 3, "{:?}", request.headers.keys());
    assert_eq!((value(&request, "x-team"), value(&request, "x-te")), ("ours", "stays"));
    assert_eq!(value(&request, "x-te-am"), SECRET);
}
