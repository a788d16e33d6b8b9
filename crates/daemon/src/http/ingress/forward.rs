//! A request on its way to the guest and the reply on its way back: what of their heads is passed on.

use std::net::IpAddr;

use egress::hops::{self, Upgrade};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header, uri::PathAndQuery};

use crate::route::without_marker;

/// Where a request came in.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) peer: IpAddr,
    /// As the visitor named us.
    pub(super) authority: String,
    pub(super) scheme: &'static str,
    pub(super) port: u16,
}

/// Headers by which those on the way say who is behind them. What comes from outside is taken away:
/// anyone can write it.
const SAID_BY_US: [&str; 8] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-forwarded-prefix",
    "x-real-ip",
];

/// Makes a visitor's headers those of the request to the guest.
pub(super) fn to_guest(headers: &mut HeaderMap, upgrade: Upgrade, origin: &Origin) {
    hops::strip_request(headers, upgrade);
    for name in SAID_BY_US {
        headers.remove(name);
    }
    // We take all of the body as it comes, and say so to the visitor ourselves.
    headers.remove(header::EXPECT);
    join_cookies(headers);
    let mut say = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    let Origin { peer, authority, scheme, port } = origin;
    let node = match peer {
        IpAddr::V4(peer) => peer.to_string(),
        IpAddr::V6(peer) => format!("\"[{peer}]\""),
    };
    say("host", authority.clone());
    say("forwarded", format!("for={node};host=\"{authority}\";proto={scheme}"));
    say("x-forwarded-for", peer.to_string());
    say("x-forwarded-host", authority.clone());
    say("x-forwarded-port", port.to_string());
    say("x-forwarded-proto", (*scheme).to_owned());
}

/// The URI of the request to the guest: its host names the port, and who dials reads it there.
pub(super) fn target(asked: &Uri, authority: &str) -> Option<Uri> {
    let path = asked.path_and_query().map_or("/", PathAndQuery::as_str);
    let path = without_marker(path);
    let path = if path.starts_with('/') { path } else { format!("/{path}").into() };
    Uri::builder().scheme("http").authority(authority).path_and_query(&*path).build().ok()
}

/// Makes the guest's headers those of the reply to a visitor.
pub(super) fn to_visitor(headers: &mut HeaderMap) {
    // How the reply is framed, and whether the connection stays, is between the visitor and us.
    hops::strip_reply(headers, Version::HTTP_2);
    // Where else this is to be found is not the guest's to say: its neighbours are under our name too.
    headers.remove(header::ALT_SVC);
}

/// The same of a reply that changes the protocol.
pub(super) fn to_visitor_upgraded(headers: &mut HeaderMap) {
    to_visitor(headers);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// HTTP/2 may split them, HTTP/1.1 has one.
fn join_cookies(headers: &mut HeaderMap) {
    let all: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if all.len() < 2 {
        return;
    }
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_behind_is_said_by_us_alone() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "sb-1.localhost"),
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "5.6.7.8"),
            ("x-forwarded-proto", "gopher"),
            ("x-real-ip", "1.2.3.4"),
            ("connection", "close, x-forwarded-host"),
            ("expect", "100-continue"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("x-own", "kept"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let origin = Origin {
            peer: "fd00::1".parse().unwrap(),
            authority: "sb-1.localhost:7080".into(),
            scheme: "https",
            port: 443,
        };
        to_guest(&mut headers, Upgrade::No, &origin);
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                "cookie: a=1; b=2",
                "forwarded: for=\"[fd00::1]\";host=\"sb-1.localhost:7080\";proto=https",
                "host: sb-1.localhost:7080",
                "x-forwarded-for: fd00::1",
                "x-forwarded-host: sb-1.localhost:7080",
                "x-forwarded-port: 443",
                "x-forwarded-proto: https",
                "x-own: kept",
            ]
        );
    }
}
