//! The connections of a gateway that died are lost. The guest is told: a program that only waits for more
//! would never know.

use std::time::Duration;

use protocol::Request;
use tokio::sync::watch;

use crate::{agent::Agent, causes, gateway::News};

const DEADLINE: Duration = Duration::from_secs(5);

/// Goes on for as long as the session.
pub(super) async fn reset(mut news: watch::Receiver<News>, agent: watch::Receiver<Option<Agent>>) {
    let mut seen = news.borrow().replaced;
    loop {
        match news.wait_for(|news| news.replaced != seen).await {
            Ok(now) => seen = now.replaced,
            Err(_over) => return,
        }
        let Some(agent) = agent.borrow().clone() else { continue };
        if let Err(error) = agent.request(Request::ResetConnections, DEADLINE).await {
            tracing::warn!(error = causes(&error), "lost connections may seem open in the guest");
        }
    }
}
