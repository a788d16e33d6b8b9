//! What a visitor of a port writes to say which one it means, and that it may come in.
#![no_main]

use arbitrary::Arbitrary;
use daemon::{
    pass::{PASS_FIELD, Passes, take_from_cookies, take_from_query},
    route::{IngressUrl, Label, without_marker},
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Visit<'a> {
    url: &'a str,
    authority: &'a str,
    /// Stands before the domain of the URL, as a true name would.
    label: &'a str,
    path: &'a str,
    query: &'a str,
    cookies: &'a str,
    pass: &'a str,
    now_ms: u64,
}

fuzz_target!(|visit: Visit<'_>| {
    let url = IngressUrl::parse(visit.url);
    if let Ok(url) = &url {
        assert_eq!(IngressUrl::parse(&url.to_string()).as_ref(), Ok(url));
    }
    let url = url.unwrap_or_else(|_| IngressUrl::parse("http://localhost:7080").unwrap());
    let shown = url.to_string();
    let (_, place) = shown.split_once("://").unwrap();
    let domain = place.split(':').next().unwrap();
    for authority in [visit.authority.to_owned(), format!("{}.{place}", visit.label)] {
        let Some(label) = url.label_of(&authority, 7080) else { continue };
        let name = authority.split(':').next().unwrap().to_ascii_lowercase();
        match label {
            Label::Interactive => assert!(name == domain || name == format!("interactive.{domain}")),
            Label::Port(subdomain) => {
                assert_eq!(name, format!("{subdomain}.{domain}"), "the whole name counts");
                assert_eq!(subdomain.as_str().len(), 15);
                let passes = Passes::with(&[7; 32]);
                let own = passes.sign(&subdomain, visit.now_ms);
                assert_eq!(passes.check(&subdomain, visit.pass, visit.now_ms), None);
                assert!(visit.pass == own || passes.check(&subdomain, visit.pass, 0).is_none());
            }
        }
    }
    let path = format!("/{}", visit.path);
    assert!(without_marker(&path).starts_with('/'));
    let (rest, pass) = take_from_query(visit.query);
    assert!(rest.len() + pass.map_or(0, |pass| pass.len()) <= visit.query.len());
    assert_eq!(take_from_query(&rest), (rest.clone(), None), "{PASS_FIELD} is gone");
    let (rest, _) = take_from_cookies(visit.cookies, "pass");
    assert_eq!(take_from_cookies(&rest, "pass"), (rest.clone(), Vec::new()));
});
