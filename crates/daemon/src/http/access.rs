//! Who is let in.
//!
//! The Unix socket is for its owner alone, by the mode of its folder. TCP is never open: a bearer
//! token, and against pages in a browser on this machine a `Host` that is ours and no foreign
//! `Origin`.

use std::{fmt, net::SocketAddr, sync::Arc};

use api::TokenScope;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use subtle::ConstantTimeEq;

use super::{description::OPEN, error::Failure, identity};
use crate::{ids::Project, tokens::Tokens};

/// The administrator's bearer token; it cannot be printed.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    fn is(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Whom a listener lets in.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// Whoever can open the socket.
    Owner,
    /// Who has the administrator's token or one of a project, under one of this listener's names.
    Bearer { administrator: Token, tokens: Arc<Tokens>, address: SocketAddr, names: Vec<String> },
}

/// Who sent a request, as the door it came in by knows it.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    pub(crate) caller: Caller,
    pub(crate) reach: Reach,
    pub(crate) scope: TokenScope,
}

/// What somebody may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Every project; the default one when none is named.
    All,
    Project(Project),
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// This machine, this user.
    Local,
    Remote,
}

pub(crate) async fn check(
    State(access): State<Arc<Access>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let is_open =
        OPEN.contains(&path) || path.strip_prefix("/api").unwrap_or(path) == identity::PATH;
    let allowed = match is_open {
        true => addressed(&access, request.headers(), request.uri().host()).map(|()| None),
        false => allowed(&access, request.headers(), request.uri().host()).map(Some),
    };
    match allowed {
        Ok(visitor) => {
            visitor.map(|visitor| request.extensions_mut().insert(visitor));
            next.run(request).await
        }
        Err(failure) => failure.into_response(),
    }
}

fn allowed(
    access: &Access,
    headers: &HeaderMap,
    authority: Option<&str>,
) -> Result<Visitor, Failure> {
    addressed(access, headers, authority)?;
    let everything = |caller| Visitor { caller, reach: Reach::All, scope: TokenScope::Full };
    let Access::Bearer { administrator, tokens, .. } = access else {
        return Ok(everything(Caller::Local));
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split_once(' '));
    let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let refused = |text: String| Failure::new(api::Code::Unauthorized, text);
    let Some((_, given)) = given else {
        return Err(refused("A bearer token is needed, and there is none.".to_owned()));
    };
    if administrator.is(given.trim()) {
        return Ok(everything(Caller::Remote));
    }
    let (project, scope) = tokens.check(given.trim()).map_err(|why| refused(why.to_string()))?;
    Ok(Visitor { caller: Caller::Remote, reach: Reach::Project(project), scope })
}

/// Whether a request is for us, and not sent by a page in somebody's browser.
fn addressed(access: &Access, headers: &HeaderMap, authority: Option<&str>) -> Result<(), Failure> {
    let Access::Bearer { address, names, .. } = access else { return Ok(()) };
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = host.or(authority).unwrap_or_default();
    if !is_ours(host, *address, names) {
        return Err(Failure::new(
            api::Code::Forbidden,
            "The Host header names another server. Name this one's address, or give its name with --host.",
        ));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        if origin.is_none_or(|(_, origin)| origin != host) {
            return Err(Failure::new(
                api::Code::Forbidden,
                "Requests from pages of other origins are refused.",
            ));
        }
    }
    Ok(())
}

/// A name that can only mean this listener: its address, a loopback name if it is on loopback, or
/// one that its owner gave it.
fn is_ours(host: &str, address: SocketAddr, names: &[String]) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port))
            if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            (name, Some(port))
        }
        _ => (host, None),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    if names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
        return true;
    }
    let port_fits = port.is_none_or(|port| port.parse() == Ok(address.port()));
    let ip = name.parse::<std::net::IpAddr>().ok();
    let local = name == "localhost" || ip.is_some_and(|ip| ip.is_loopback());
    let unspecified = address.ip().is_unspecified();
    port_fits
        && ((local && (address.ip().is_loopback() || unspecified))
            || ip.is_some_and(|ip| ip == address.ip() || unspecified))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;
    use crate::store::Store;

    const TOKEN: &str = "0123456789abcdef";

    type Headers = [(&'static str, &'static str)];

    fn ask(tokens: &Arc<Tokens>, headers: &Headers) -> Result<(), api::Code> {
        let access = Access::Bearer {
            administrator: Token::new(TOKEN.into()),
            tokens: Arc::clone(tokens),
            address: "127.0.0.1:7070".parse().unwrap(),
            names: vec!["hood.example.com".into()],
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.insert(name, value.parse().unwrap());
        }
        allowed(&access, &map, None).map(drop).map_err(|Failure(refusal)| refusal.code)
    }

    #[test]
    fn tcp_is_never_open() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&folder.path().join("store.db")).unwrap();
        let tokens = Tokens::load(folder.path().join("token.key"), store, vec![]).unwrap();
        let tokens = Arc::new(tokens);
        let bearer = ("authorization", "Bearer 0123456789abcdef");
        let lower = ("authorization", "bearer 0123456789abcdef");
        let host = ("host", "127.0.0.1:7070");
        let (unauthorized, forbidden) = (Err(api::Code::Unauthorized), Err(api::Code::Forbidden));
        let table: [(&Headers, Result<(), api::Code>); 15] = [
            (&[host, bearer], Ok(())),
            (&[host, lower], Ok(())),
            (&[("host", "localhost:7070"), bearer], Ok(())),
            (&[("host", "[::1]:7070"), bearer], Ok(())),
            (&[("host", "HOOD.example.com"), bearer], Ok(())),
            (&[host, bearer, ("origin", "http://127.0.0.1:7070")], Ok(())),
            (&[host], unauthorized),
            (&[host, ("authorization", "Bearer 0123456789abcdeF")], unauthorized),
            (&[host, ("authorization", "Bearer ")], unauthorized),
            (&[host, ("authorization", "0123456789abcdef")], unauthorized),
            (&[bearer], forbidden),
            (&[("host", "evil.example:7070"), bearer], forbidden),
            (&[("host", "localhost:80"), bearer], forbidden),
            (&[("host", "localhost.evil.example:7070"), bearer], forbidden),
            (&[host, bearer, ("origin", "http://evil.example")], forbidden),
        ];
        for (headers, expected) in table {
            assert_eq!(ask(&tokens, headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn tokens_are_not_printed() {
        assert!(!format!("{:?}", Token::new(TOKEN.into())).contains(TOKEN));
    }
}
