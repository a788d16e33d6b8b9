//! Ports of a sandbox that are reached from outside: which they are, how they are called, passes.

use std::collections::BTreeSet;

use api::Code;
use axum::{Json, extract::Path};

use super::{
    Server,
    error::{Failure, Reply},
    json::Body400,
};
use crate::{
    clock,
    context::Context,
    limits::{PASS_MS_MAX, PORTS_MAX},
    pass::PASS_FIELD,
    route::{Admission, Route, routes},
    sandbox::Sandbox,
};

const PASS_MS_MIN: u64 = 1000;
const PASS_MS: u64 = 24 * 3600 * 1000;

/// The routes for the ports that a client lists. Those there were before keep their names.
pub(crate) fn asked(before: &[Route], ports: &[u16], private: &[u16]) -> Reply<Vec<Route>> {
    let fault = |text: String| Err(Failure::bad_request(format!("Invalid request: {text}")));
    for (field, listed) in [("ports", ports), ("privatePorts", private)] {
        if let Some(at) = listed.iter().position(|port| *port == 0) {
            return fault(format!("`{field}[{at}]` must be 1 to 65535"));
        }
    }
    let closed: BTreeSet<u16> = private.iter().copied().collect();
    let mut seen = BTreeSet::new();
    let all = ports.iter().chain(private).filter(|port| seen.insert(**port));
    let all: Vec<_> = all
        .map(|port| match closed.contains(port) {
            true => (*port, Admission::Private),
            false => (*port, Admission::Public),
        })
        .collect();
    if PORTS_MAX < all.len() {
        return fault(format!("`ports` may be {PORTS_MAX} at most"));
    }
    Ok(routes(before, &all))
}

/// The routes as clients see them.
pub(crate) fn shown(context: &Context, routes: &[Route]) -> Vec<api::Route> {
    let url = &context.ingress.url;
    let shown = routes.iter().map(|route| api::Route {
        url: url.url(route.subdomain.as_str()),
        subdomain: url.smuggled(&route.subdomain),
        port: route.port,
        private: route.admission == Admission::Private,
    });
    shown.collect()
}

/// Those of a sandbox as it stands.
pub(crate) fn of(server: &Server, sandbox: &Sandbox) -> Vec<api::Route> {
    shown(server.context(), &sandbox.durable.record().routes)
}

/// Makes a pass for a private port.
pub(crate) async fn make_pass(
    server: Server,
    Path(name): Path<String>,
    Body400(asked): Body400<api::MakePass>,
) -> Reply<Json<api::Pass>> {
    let sandbox = server.sandbox(&name)?;
    let duration = asked.duration.unwrap_or(PASS_MS);
    if !(PASS_MS_MIN..=PASS_MS_MAX).contains(&duration) {
        let text = format!("Invalid request: `duration` must be {PASS_MS_MIN} to {PASS_MS_MAX} ms");
        return Err(Failure::bad_request(text));
    }
    let routes = sandbox.durable.record().routes;
    let Some(route) = routes.iter().find(|route| route.port == asked.port) else {
        let text = format!("Port {} of '{name}' is not reached from outside.", asked.port);
        return Err(Failure::new(Code::NotFound, text));
    };
    if route.admission == Admission::Public {
        let text = format!("Port {} of '{name}' is public: it needs no pass.", asked.port);
        return Err(Failure::new(Code::Conflict, text));
    }
    let ingress = &server.context().ingress;
    let expires_at = clock::now_ms().saturating_add(duration);
    let pass = ingress.passes.sign(&route.subdomain, expires_at);
    let url = format!("{}/?{PASS_FIELD}={pass}", ingress.url.url(route.subdomain.as_str()));
    Ok(Json(api::Pass { url, pass, expires_at }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(ports: &[u16], private: &[u16]) -> Result<Vec<(u16, bool)>, String> {
        let routes = asked(&[], ports, private).map_err(|Failure(refusal)| refusal.message)?;
        let shown = |route: &Route| (route.port, route.admission == Admission::Private);
        Ok(routes.iter().map(shown).collect())
    }

    #[test]
    fn each_port_has_one_route() {
        assert_eq!(ports(&[], &[]), Ok(vec![]));
        assert_eq!(
            ports(&[3000, 80, 3000], &[80, 9000]),
            Ok(vec![(3000, false), (80, true), (9000, true)])
        );
        let zero = ports(&[1, 0], &[]).unwrap_err();
        assert!(zero.contains("`ports[1]`"), "{zero}");
        let zero = ports(&[], &[0]).unwrap_err();
        assert!(zero.contains("`privatePorts[0]`"), "{zero}");
        let fifteen: Vec<u16> = (1..=15).collect();
        assert_eq!(ports(&fifteen, &[15]).map(|routes| routes.len()), Ok(15));
        assert!(ports(&fifteen, &[16]).unwrap_err().contains("15 at most"));
    }
}
