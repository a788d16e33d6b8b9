//! Who is let in at a private port: who brings a pass, in a header, in the address or in a cookie.

use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use hyper::body::Incoming;

use super::page::{Fault, Kind, wants_page};
use crate::{
    clock,
    pass::{PASS_COOKIE, PASS_HEADER, Passes, take_from_cookies, take_from_query},
    route::{IngressUrl, Scheme, Subdomain},
};

pub(super) enum Entrance {
    Open,
    /// A page whose address had the pass in it goes to the address without.
    Elsewhere(Response<Body>),
}

/// Checks the pass of a visitor, and takes every pass out of what the guest will see.
pub(super) fn let_in(
    url: &IngressUrl,
    passes: &Passes,
    subdomain: &Subdomain,
    request: &mut Request<Incoming>,
) -> Result<Entrance, Fault> {
    let cookie = Cookie::of(url);
    let (in_query, others) = take_passes(request, &cookie)?;
    let now = clock::now_ms();
    let check = |pass: &String| passes.check(subdomain, pass, now);
    if let Some(pass) = &in_query
        && let Some(until) = check(pass)
    {
        let is_page = request.method() == Method::GET
            && request.headers().get(header::ACCEPT).is_some_and(wants_page);
        return Ok(match is_page {
            true => Entrance::Elsewhere(elsewhere(request.uri(), &cookie.set(pass, until - now))),
            false => Entrance::Open,
        });
    }
    if others.iter().any(|pass| check(pass).is_some()) {
        return Ok(Entrance::Open);
    }
    let detail = "A link with a pass opens it, and fumehood url makes one. If you came by such a \
                  link, its time is over.";
    Err(Fault::new(Kind::NeedsPass, detail))
}

/// The pass in the address, and those elsewhere.
fn take_passes(
    request: &mut Request<Incoming>,
    cookie: &Cookie,
) -> Result<(Option<String>, Vec<String>), Fault> {
    let mut others = Vec::new();
    let headers = request.headers_mut();
    others
        .extend(headers.remove(PASS_HEADER).and_then(|pass| Some(pass.to_str().ok()?.to_owned())));
    let cookies: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
    headers.remove(header::COOKIE);
    for header in cookies {
        // What is no text holds no pass.
        let Ok(text) = header.to_str() else {
            headers.append(header::COOKIE, header);
            continue;
        };
        let (rest, passes) = take_from_cookies(text, cookie.name);
        others.extend(passes);
        if let Some(rest) = HeaderValue::from_str(&rest).ok().filter(|rest| !rest.is_empty()) {
            headers.append(header::COOKIE, rest);
        }
    }
    let Some(query) = request.uri().query() else { return Ok((None, others)) };
    let (rest, in_query) = take_from_query(query);
    if in_query.is_some() {
        let path = request.uri().path();
        let path = if rest.is_empty() { path.to_owned() } else { format!("{path}?{rest}") };
        *request.uri_mut() = with_path(request.uri(), path)
            .ok_or_else(|| Fault::new(Kind::BadRequest, "Its target is none."))?;
    }
    Ok((in_query, others))
}

fn with_path(uri: &Uri, path: String) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

/// The cookie that keeps a pass. With TLS its name has the prefix by which browsers let nobody else
/// under our domain set it.
struct Cookie {
    name: &'static str,
    scheme: Scheme,
}

impl Cookie {
    fn of(url: &IngressUrl) -> Self {
        let name = match url.scheme() {
            Scheme::Http => PASS_COOKIE,
            Scheme::Https => "__Host-fumehood_pass",
        };
        Self { name, scheme: url.scheme() }
    }

    fn set(&self, pass: &str, for_ms: u64) -> String {
        let secure = if self.scheme == Scheme::Https { "; Secure" } else { "" };
        let (name, seconds) = (self.name, for_ms / 1000);
        format!("{name}={pass}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}")
    }
}

fn elsewhere(to: &Uri, cookie: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    // A path that began with two slashes would name another host.
    let path =
        to.path_and_query().map_or("/", PathAndQuery::as_str).trim_start_matches(['/', '\\']);
    let mut say = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    say(header::LOCATION, &format!("/{path}"));
    say(header::SET_COOKIE, cookie);
    say(header::CACHE_CONTROL, "no-store");
    say(header::REFERRER_POLICY, "no-referrer");
    response
}
