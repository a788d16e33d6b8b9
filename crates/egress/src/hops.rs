//! Headers that are between two neighbours only, and are not passed on.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

/// What the guest asks of its own connection is taken out of a request. An upgrade to WebSocket is
/// passed on, as the gateway takes part in it.
pub fn strip_request(headers: &mut HeaderMap, upgrade: Upgrade) {
    let trailers = headers
        .get_all(header::TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"));
    strip_named(headers);
    headers.remove(header::TE);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    match upgrade {
        Upgrade::WebSocket => {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        }
        Upgrade::No if trailers => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("TE"));
        }
        Upgrade::No => (),
    }
}

/// The same of a reply. That the host closes the connection is passed on in HTTP/1, since the
/// guest's is closed too.
pub fn strip_reply(headers: &mut HeaderMap, version: Version) {
    let closes = tokens(headers).any(|token| token.eq_ignore_ascii_case("close"));
    strip_named(headers);
    if version == Version::HTTP_2 {
        headers.remove(header::TRANSFER_ENCODING);
    } else if closes {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Whether the request asks for another protocol on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// Or for one that nobody has to grant.
    No,
    WebSocket,
}

impl Upgrade {
    pub fn of(headers: &HeaderMap) -> Self {
        let mut wanted = headers.get_all(header::UPGRADE).iter();
        let websocket =
            wanted.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
        let asked = tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"));
        if websocket && asked && wanted.next().is_none() { Self::WebSocket } else { Self::No }
    }
}

fn strip_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        // These say what a message is, not how it travels; nobody may have them taken out.
        .filter(|name| {
            ![header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::TE]
                .contains(name)
        })
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in ["connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings"] {
        headers.remove(name);
    }
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn hops_end_at_the_gateway() {
        let mut headers = map(&[
            ("connection", "keep-alive, X-Mine, host, content-length"),
            ("connection", "Upgrade, HTTP2-Settings"),
            ("keep-alive", "timeout=5"),
            ("x-mine", "1"),
            ("host", "a.test"),
            ("content-length", "5"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("te", "gzip, trailers"),
            ("x-other", "2"),
        ]);
        assert_eq!(Upgrade::of(&headers), Upgrade::No);
        strip_request(&mut headers, Upgrade::No);
        let left = map(&[
            ("host", "a.test"),
            ("content-length", "5"),
            ("x-other", "2"),
            ("te", "trailers"),
            ("connection", "TE"),
        ]);
        assert_eq!(headers, left);
    }

    #[test]
    fn only_a_websocket_upgrades() {
        for (headers, upgrade) in [
            (&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")][..], true),
            (&[("connection", "upgrade"), ("upgrade", "h2c")], false),
            (&[("connection", "upgrade"), ("upgrade", "websocket, h2c")], false),
            (&[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "x")], false),
            (&[("upgrade", "websocket")], false),
        ] {
            let expected = if upgrade { Upgrade::WebSocket } else { Upgrade::No };
            assert_eq!(Upgrade::of(&map(headers)), expected, "{headers:?}");
        }
    }
}
