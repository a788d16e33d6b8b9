//! Requests that a rule sends to somebody else.

use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header, request::Parts};

use super::{alike, edits::Way, session::Session};
use crate::{
    address::reserved,
    gateway::{
        active::{Active, Offer},
        authority::Inside,
        dial::{self, Destination, DialError},
        http::upstream::{SendError, Sender},
        opened,
    },
    policy::ForwardTo,
    secret::SecretText,
};

/// What the request was, for who gets it instead: as proxies say it, and as programs written for
/// Vercel's `forwardURL` expect it.
const HOST: [HeaderName; 2] =
    [HeaderName::from_static("x-forwarded-host"), HeaderName::from_static("vercel-forwarded-host")];
const SCHEME: [HeaderName; 2] = [
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("vercel-forwarded-scheme"),
];
const PORT: [HeaderName; 2] =
    [HeaderName::from_static("x-forwarded-port"), HeaderName::from_static("vercel-forwarded-port")];
const PATH: [HeaderName; 2] =
    [HeaderName::from_static("x-forwarded-uri"), HeaderName::from_static("vercel-forwarded-path")];

/// A token by which Vercel's `defineSandboxProxy` knows whose request it is. A guest has none to say.
const IDENTITY: HeaderName = HeaderName::from_static("vercel-sandbox-oidc-token");

/// Where a request was going.
pub(crate) struct Original<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) way: Way,
}

/// Readdresses a request. What the guest itself says of forwarding is taken out.
pub(crate) fn readdress(
    parts: &mut Parts,
    original: &Original<'_>,
    to: &ForwardTo,
    identity: Option<&SecretText>,
) -> Result<(), &'static str> {
    let path = parts.uri.path_and_query().map_or("/", |text| text.as_str()).to_owned();
    take_out_what_is_like_ours(&mut parts.headers);
    let scheme = match original.way {
        Way::Sealed => "https",
        Way::Open => "http",
    };
    let told = [
        (HOST, original.host.to_owned()),
        (SCHEME, scheme.to_owned()),
        (PORT, original.port.to_string()),
        (PATH, path.clone()),
    ];
    for (names, value) in told {
        let value =
            HeaderValue::from_str(&value).map_err(|_error| "the request has no such URL")?;
        for name in names {
            parts.headers.insert(name, value.clone());
        }
    }
    if let Some(token) = identity {
        let value = HeaderValue::from_str(token.expose());
        let mut value = value.map_err(|_error| "the sandbox's identity is no header")?;
        value.set_sensitive(true);
        parts.headers.insert(IDENTITY, value);
    }
    let usual = if to.secure { 443 } else { 80 };
    let authority =
        if to.port == usual { to.host.to_string() } else { format!("{}:{}", to.host, to.port) };
    // An asterisk has no place below another path.
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    parts.uri = Uri::builder()
        .scheme(if to.secure { "https" } else { "http" })
        .authority(authority.as_str())
        .path_and_query(format!("{}{path}", to.path))
        .build()
        .map_err(|_error| "the rule's URL is none")?;
    let host = HeaderValue::from_str(&authority).map_err(|_error| "the rule's URL is none")?;
    parts.headers.insert(header::HOST, host);
    Ok(())
}

fn take_out_what_is_like_ours(headers: &mut HeaderMap) {
    let ours = [HOST, SCHEME, PORT, PATH, [IDENTITY, header::FORWARDED]];
    alike::take_out(headers, |name| ours.as_flattened().iter().any(|own| own.as_str() == name));
}

/// Connects to who gets the request. The rule chose it; even so it is no way to addresses that no
/// subnet names.
pub(crate) async fn connect(
    session: &Session,
    active: &Active,
    to: &ForwardTo,
    offer: Offer,
) -> Result<Sender, SendError> {
    let say = |error: DialError| SendError::Connect(format!("{}: {error}", to.host));
    let addresses = (session.gateway.lookup)(to.host.clone());
    let mut addresses = addresses.await.map_err(|error| say(DialError::Lookup(error)))?;
    let subnets = &active.policy.subnets;
    addresses.retain(|&address| {
        let within = |list: &[crate::policy::Cidr]| list.iter().any(|net| net.contains(address));
        !within(&subnets.deny)
            && (within(&subnets.allow)
                || (reserved(address).is_none() && !(session.gateway.is_own)(address)))
    });
    let destination = Destination { host: Some(&to.host), addresses: &addresses, port: to.port };
    let dialled = dial::dial(destination, active.proxy.as_ref(), &session.gateway.lookup);
    let wire = dialled.await.map_err(say)?;
    let closed = tokio_util::sync::CancellationToken::new();
    if !to.secure {
        return Sender::begin(wire, Inside::Http1, &session.cut, &closed).await;
    }
    let sealed = opened::seal(wire, active.client(offer), &to.host)
        .await
        .map_err(|error| SendError::Connect(format!("{}: {error}", to.host)))?;
    let inside = opened::spoken(&sealed);
    Sender::begin(sealed, inside, &session.cut, &closed).await
}

/// Puts a request into the form of the version that it is sent in.
pub(crate) fn fit(parts: &mut Parts, inside: Inside) -> Result<(), &'static str> {
    match inside {
        Inside::Http2 => {
            parts.version = Version::HTTP_2;
            parts.headers.remove(header::HOST);
            parts.headers.remove(header::CONNECTION);
            parts.headers.remove(header::TRANSFER_ENCODING);
            parts.headers.remove(header::UPGRADE);
        }
        Inside::Unsaid | Inside::Http1 => {
            parts.version = Version::HTTP_11;
            if let Some(authority) = parts.uri.authority() {
                let host = HeaderValue::from_str(authority.as_str());
                parts.headers.insert(header::HOST, host.map_err(|_error| "the host is no name")?);
            }
            let path = parts.uri.path_and_query().map_or("/", |text| text.as_str());
            parts.uri = path.parse().map_err(|_error| "the path is none")?;
            join_cookies(&mut parts.headers);
        }
    }
    Ok(())
}

/// HTTP/2 may send each cookie by itself, and HTTP/1 has one header for them.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if 1 < crumbs.len()
        && let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}
