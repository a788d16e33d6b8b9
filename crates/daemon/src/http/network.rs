//! A session's network: its policy, what that would do, and what its gateway has decided.

use std::{io, sync::Arc};

use api::{Explain, Explanation, NDJSON, NetworkPolicy, SessionReply};
use axum::{
    Json,
    body::Body,
    extract::Path,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use egress::{
    policy::{Policy, Reach},
    secret::SecretName,
};
use futures_util::stream;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::watch;

use super::{
    Reader, Server,
    error::{Failure, Reply},
    host_reach,
    json::{Body400, Query400},
    network_policy, sessions, wire,
};
use crate::{
    audit::AuditReader,
    gateway::News,
    ids::Project,
    network::{Network, Placeholders, secret_names},
    sandbox::{PolicyError, Sandbox, Session},
    store::{KeptNetwork, Phase, SnapshotRecord},
};

/// The network of a new sandbox. Without a policy every public address can be reached, and no other.
pub(crate) fn new(
    server: &Server,
    project: &Project,
    asked: Option<&NetworkPolicy>,
) -> Reply<Network> {
    let placeholders = Placeholders::random();
    let policy = match asked {
        Some(asked) => parse(server, project, asked, &|name| placeholders.of(name))?,
        None => Policy { reach: Reach::Public, ..Policy::default() },
    };
    let seal = &server.context().egress.seal;
    Network::new(seal, policy, placeholders)
        .map_err(|error| Failure::new(api::Code::Internal, crate::causes(&error)))
}

/// The network of a sandbox that starts with the memory of a snapshot: as that of one that is forked.
pub(crate) fn of_snapshot(
    server: &Server,
    snapshot: &SnapshotRecord,
    kept: &KeptNetwork,
    asked: Option<&NetworkPolicy>,
) -> Reply<Network> {
    let network = Network::of_snapshot(&server.context().egress.seal, &snapshot.id, kept);
    let placeholder = |name: &SecretName| network.placeholder(name);
    let policy = asked.map(|asked| parse(server, &snapshot.project, asked, &placeholder));
    Ok(match policy.transpose()? {
        Some(policy) => network.with_policy(policy),
        None => network,
    })
}

/// The network of a sandbox that is forked: its guest knows the same placeholders and trusts the same
/// authority.
pub(crate) fn fork(
    server: &Server,
    source: &Sandbox,
    asked: Option<&NetworkPolicy>,
) -> Reply<Network> {
    let network = source.durable.network().ok_or(PolicyError::NoNetwork)?;
    let policy = asked.map(|asked| policy_of(server, source, asked)).transpose()?;
    Ok(match policy {
        Some(policy) => network.with_policy(policy),
        None => network,
    })
}

/// A policy that is asked for a sandbox.
pub(crate) fn policy_of(
    server: &Server,
    sandbox: &Sandbox,
    asked: &NetworkPolicy,
) -> Reply<Policy> {
    let network = sandbox.durable.network().ok_or(PolicyError::NoNetwork)?;
    let placeholder = |name: &SecretName| network.placeholder(name);
    parse(server, &sandbox.key.project, asked, &placeholder)
}

/// Makes another policy a sandbox's, which holds at once if it runs.
pub(crate) async fn change(server: &Server, sandbox: &Sandbox, policy: Policy) -> Reply<()> {
    let session = sandbox.current();
    if matches!(session.phase(), Phase::Running | Phase::Pausing | Phase::Paused | Phase::Waking) {
        match session.set_policy(policy.clone()).await {
            // It has ended meanwhile.
            Err(PolicyError::NotRunning(_)) => {}
            set => return Ok(set.map(drop)?),
        }
    }
    let turn = sandbox.durable.turn().await?;
    let network = sandbox.durable.network().ok_or(PolicyError::NoNetwork)?.with_policy(policy);
    let change = network.changed(&server.context().egress.seal, &sandbox.key)?;
    server.context().store.commit(vec![change]).await?;
    turn.set_network(network);
    Ok(())
}

/// Makes another policy hold, at once and for connections that are open too.
pub(crate) async fn set_policy(
    server: Server,
    Path(session): Path<String>,
    Body400(asked): Body400<NetworkPolicy>,
) -> Reply<Json<SessionReply>> {
    let sandbox = sessions::find(&server, &session)?;
    let network = sandbox.view().network.ok_or(PolicyError::NoNetwork)?;
    let placeholder = |name: &SecretName| network.placeholder(name);
    let policy = parse(&server, &sandbox.record.project, &asked, &placeholder)?;
    let view = sandbox.set_policy(policy).await?;
    Ok(Json(SessionReply {
        session: wire::session(&sandbox, &view),
        routes: sessions::routes(&server, &sandbox),
    }))
}

fn parse(
    server: &Server,
    project: &Project,
    asked: &NetworkPolicy,
    placeholder: &dyn Fn(&SecretName) -> String,
) -> Reply<Policy> {
    let policy = network_policy::policy(asked, placeholder)
        .map_err(|error| Failure::bad_request(format!("Invalid request: {error}")))?;
    host_reach::check_policy(server, &policy)?;
    let secrets = &server.context().egress.secrets;
    match secret_names(&policy).into_iter().find(|name| !secrets.is_known(project, name)) {
        Some(unknown) => Err(Failure::bad_request(format!(
            "Invalid request: `networkPolicy` names the secret {unknown}, and there is none of this name; store it first"
        ))),
        None => Ok(policy),
    }
}

/// What the gateway would do with a request, by the policy that holds now. Nothing is sent.
pub(crate) async fn explain(
    Reader(server): Reader,
    Path(session): Path<String>,
    Body400(asked): Body400<Explain>,
) -> Reply<Json<Explanation>> {
    let sandbox = sessions::find(&server, &session)?;
    let policy = sandbox.view().network.map(|network| network.policy).unwrap_or_default();
    let secrets = &server.context().egress.secrets;
    let is_stored = |name: &SecretName| secrets.is_known(&sandbox.record.project, name);
    let told = policy.explain_with(&asked.method, &asked.url, &is_stored);
    let told = told.map_err(|error| {
        Failure::bad_request(format!("Invalid request: `url`: {}", crate::causes(&error)))
    })?;
    Ok(Json(network_policy::explanation(told)))
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct AuditQuery {
    follow: bool,
}

/// What the gateway has decided, a line each, from the oldest that is kept; with `follow` what comes,
/// until the session ends.
pub(crate) async fn audit(
    Reader(server): Reader,
    Path(session): Path<String>,
    Query400(query): Query400<AuditQuery>,
) -> Reply<Response> {
    let sandbox = sessions::find(&server, &session)?;
    let reader = sandbox.audit();
    let news = query.follow.then(|| sandbox.news());
    let lines = stream::try_unfold((reader, sandbox, news), next_lines);
    Ok(([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response())
}

type Audit = (AuditReader, Arc<Session>, Option<watch::Receiver<News>>);

async fn next_lines((mut reader, sandbox, mut news): Audit) -> io::Result<Option<(Bytes, Audit)>> {
    loop {
        // Asked before the log is read: what is written after this is read in the next round.
        let ended = sandbox.view().session.phase == Phase::Stopped;
        if let Some(news) = &mut news {
            news.borrow_and_update();
        }
        let lines;
        (reader, lines) = reader.next().await?;
        if !lines.is_empty() {
            return Ok(Some((lines, (reader, sandbox, news))));
        }
        let Some(news) = news.as_mut().filter(|_| !ended) else { return Ok(None) };
        tokio::select! {
            // Who tells them is gone once the session has ended.
            Ok(()) = news.changed() => {}
            _ = sandbox.ended() => {}
        }
    }
}
