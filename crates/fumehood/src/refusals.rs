//! What a sandbox was refused, in one line: told when a command of it has failed, since that is
//! often why.

use std::time::Duration;

use api::client::FollowMode;
use egress::event::{Decision, Event, Kind};
use tokio::time::timeout;

use crate::decision::what;
use crate::server::Server;

/// Nobody waits longer for a hint.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many are told by name.
const TOLD_MAX: usize = 3;

/// What was refused to the session so far; none when that was nothing, or cannot be learnt soon.
pub(crate) async fn of(server: &Server, session: &str) -> Option<Refusals> {
    let mut refusals = Refusals::default();
    let reading = async {
        let mut lines = server.client().audit(session, FollowMode::UntilNow).await.ok()?;
        while let Ok(Some(event)) = lines.next::<Event>().await {
            refusals.count(&event);
        }
        Some(())
    };
    timeout(PATIENCE, reading).await.ok().flatten()?;
    (refusals.count > 0).then_some(refusals)
}

/// How many, and the first that differ.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    count: u64,
    told: Vec<String>,
    /// There were others than those told.
    others: bool,
}

impl Refusals {
    fn count(&mut self, event: &Event) {
        // Packets that systems send by themselves are no sign of anything.
        let is_request = matches!(event.kind, Kind::Dns | Kind::Tcp | Kind::Tls | Kind::Http);
        if event.decision != Decision::Deny || !is_request {
            return;
        }
        let alike = event.repeated.unwrap_or(0);
        self.count = self.count.saturating_add(alike).saturating_add(1);
        let told = format!("{} by {}", what(event), event.rule);
        if self.told.contains(&told) {
            return;
        }
        if self.told.len() < TOLD_MAX {
            self.told.push(told);
        } else {
            self.others = true;
        }
    }

    /// The line, without its end.
    pub(crate) fn note(&self, see: &str) -> String {
        let requests = if self.count == 1 { "request was" } else { "requests were" };
        let others = if self.others { ", and others" } else { "" };
        let told = self.told.join(", ");
        format!("{} {requests} denied ({told}{others}); {see}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use api::client::{Client, Endpoint};
    use axum::Router;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;

    async fn serve(router: Router) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Server::elsewhere(Client::new(
            Endpoint::from_url(&url, None, &api::client::Trust::default()).unwrap(),
        ))
    }

    #[tokio::test]
    async fn the_log_of_the_session_is_read_once() {
        let events = [
            Event::new(0, Decision::Allow, Kind::Dns, "a"),
            denied(Kind::Tls, "a.example", "default"),
        ];
        let lines = events.map(|event| serde_json::to_string(&event).unwrap() + "\n").concat();
        let route = "/v2/sandboxes/sessions/s/audit";
        let server = serve(Router::new().route(route, get(async move || lines))).await;
        let found = of(&server, "s").await.unwrap();
        assert_eq!(found.note("see"), "1 request was denied (a.example by default); see");
        // A session without a log has no refusals to tell of.
        assert!(of(&server, "other").await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_server_that_says_nothing() {
        let never = get(async || std::future::pending::<()>().await);
        let route = "/v2/sandboxes/sessions/s/audit";
        let server = serve(Router::new().route(route, never)).await;
        assert!(of(&server, "s").await.is_none());
    }

    fn denied(kind: Kind, host: &str, rule: &str) -> Event {
        Event { host: Some(host.to_owned()), ..Event::new(0, Decision::Deny, kind, rule) }
    }

    fn note(events: &[Event]) -> String {
        let mut refusals = Refusals::default();
        events.iter().for_each(|event| refusals.count(event));
        refusals.note("see")
    }

    #[test]
    fn each_is_counted_and_each_kind_told_once() {
        let put = Event {
            method: Some("PUT".to_owned()),
            path: Some("/foo".to_owned()),
            repeated: Some(1),
            ..denied(Kind::Http, "registry.npmjs.org", "registries-read[3]")
        };
        assert_eq!(
            note(std::slice::from_ref(&put)),
            "2 requests were denied (PUT registry.npmjs.org/foo by registries-read[3]); see"
        );
        let name = denied(Kind::Dns, "a.example", "default");
        assert_eq!(
            note(&[name.clone(), put, name.clone()]),
            "4 requests were denied (a.example by default, PUT registry.npmjs.org/foo by \
             registries-read[3]); see"
        );
        assert_eq!(note(&[name]), "1 request was denied (a.example by default); see");
    }

    #[test]
    fn a_flood_stays_one_line() {
        let names: Vec<Event> =
            (0..1000).map(|n| denied(Kind::Dns, &format!("{n}.example"), "default")).collect();
        assert_eq!(
            note(&names),
            "1000 requests were denied (0.example by default, 1.example by default, 2.example by \
             default, and others); see"
        );
    }

    #[test]
    fn what_no_command_asked_for_is_not_counted() {
        let mut refusals = Refusals::default();
        refusals.count(&denied(Kind::Udp, "a.example", "default"));
        refusals.count(&Event::new(0, Decision::Allow, Kind::Http, "default"));
        assert_eq!(refusals.count, 0);
    }
}
