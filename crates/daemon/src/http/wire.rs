//! From records to what the clients demand on the wire.

use std::sync::Arc;

use super::{Server, drives, keeping, network_policy, ports};
use crate::{
    network::Network,
    sandbox::{Sandbox, Session, View},
    store::{CommandRecord, Phase, SessionRecord, SnapshotMethod, SnapshotRecord, Usage},
};

/// Where sandboxes are, for clients that ask.
const REGION: &str = "local";
/// The old clients demand a runtime's name.
const RUNTIME: &str = "node24";
/// The public command line refuses a session without one, and goes by `/interactive`.
const INTERACTIVE_PORT: u16 = 26661;
const ARCHITECTURE: &str = "amd64";

fn status(view: &View) -> api::Status {
    let failed = view.session.reason.is_some_and(|reason| !reason.is_wished());
    match view.session.phase {
        Phase::Preparing => api::Status::Pending,
        // Whatever is asked of one that is paused is done, as if it ran.
        Phase::Running | Phase::Pausing | Phase::Paused | Phase::Waking => api::Status::Running,
        Phase::Snapshotting => api::Status::Snapshotting,
        Phase::Stopping => api::Status::Stopping,
        Phase::Stopped if failed => api::Status::Failed,
        Phase::Stopped => api::Status::Stopped,
    }
}

/// The sentence about the end of a session, with what is known beyond it.
pub(crate) fn end_reason(view: &View) -> Option<String> {
    let sentence = view.session.reason?.sentence();
    Some(match &view.session.detail {
        Some(detail) => format!("{sentence}: {detail}"),
        None => sentence.to_owned(),
    })
}

/// The form that their clients know, with what is ours beside it.
fn policy(network: Option<&Network>) -> serde_json::Value {
    // A sandbox without a network was made without a card.
    let policy = network.map(|network| Arc::clone(&network.policy));
    let reply = network_policy::reply(&policy.unwrap_or_default());
    serde_json::to_value(reply).unwrap_or_default()
}

pub(crate) fn session(of: &Session, view: &View) -> api::Session {
    let Usage { traffic, cpu_ms, .. } = of.usage();
    let (record, session) = (&of.record, &view.session);
    api::Session {
        id: session.id.to_string(),
        memory: u64::from(record.shape.memory_mib),
        vcpus: record.shape.vcpus,
        region: region(record.placement.region.as_deref()),
        runtime: record.runtime.clone().unwrap_or_else(|| RUNTIME.to_owned()),
        architecture: Some(ARCHITECTURE.to_owned()),
        timeout: session.timeout_ms,
        status: status(view),
        requested_at: session.requested_at,
        started_at: session.started_at,
        requested_stop_at: session.stop_requested_at,
        stopped_at: session.stopped_at,
        aborted_at: None,
        duration: session.started_at.zip(session.stopped_at).map(|_| session.ran_ms()),
        created_at: session.requested_at,
        updated_at: session.updated_at,
        cwd: record.cwd.clone(),
        interactive_port: Some(INTERACTIVE_PORT),
        network_policy: Some(policy(view.network.as_ref())),
        source_snapshot_id: session.source_snapshot.as_ref().map(ToString::to_string),
        snapshotted_at: session.snapshotted_at,
        network_transfer: Some(api::NetworkTransfer {
            ingress: traffic.received,
            egress: traffic.sent,
        }),
        active_cpu_duration_ms: Some(cpu_ms),
        source_sandbox_name: Some(record.name.to_string()),
        project_id: Some(record.project.to_string()),
        forked: session.forked.as_ref().map(|forked| api::Forked {
            from: forked.from.to_string(),
            flaw: forked.flaw.map(|flaw| flaw.sentence().to_owned()),
        }),
        memory_lost: session.memory_lost.clone(),
        paused_at: paused_at(session),
        end_code: session.reason.map(crate::sandbox::EndReason::code),
        end_reason: end_reason(view),
    }
}

pub(super) fn region(asked: Option<&str>) -> String {
    asked.unwrap_or(REGION).to_owned()
}

/// Since when it is paused, if it is.
fn paused_at(session: &SessionRecord) -> Option<u64> {
    session.paused_at.filter(|_| session.phase == Phase::Paused)
}

/// With its current session.
pub(crate) fn sandbox(sandbox: &Sandbox) -> api::Sandbox {
    with_session(sandbox, &sandbox.current().view())
}

fn with_session(sandbox: &Sandbox, view: &View) -> api::Sandbox {
    let (record, network) = (sandbox.durable.record(), sandbox.durable.network());
    let used = sandbox.usage();
    let session = &view.session;
    let running = session.phase == Phase::Running;
    api::Sandbox {
        name: record.name.to_string(),
        current_session_id: session.id.to_string(),
        status: status(view),
        status_updated_at: Some(session.updated_at),
        persistent: record.keeping.persistent,
        region: Some(region(record.placement.region.as_deref())),
        failover_regions: record.placement.failover_regions,
        network_id: record.placement.network_id,
        vcpus: Some(record.shape.vcpus),
        memory: Some(u64::from(record.shape.memory_mib)),
        runtime: Some(record.runtime.clone().unwrap_or_else(|| RUNTIME.to_owned())),
        architecture: Some(ARCHITECTURE.to_owned()),
        image: Some(record.image.clone()),
        timeout: Some(record.timeout_ms),
        idle_timeout: record.idle_timeout_ms,
        paused_at: paused_at(session),
        network_policy: Some(policy(network.as_ref())),
        expires_at: session.deadline_ms().filter(|_| running),
        cwd: Some(record.cwd.clone()),
        tags: record.tags,
        mounts: record.mounts.iter().map(drives::shown).collect(),
        current_snapshot_id: record.current_snapshot.map(|id| id.to_string()),
        snapshot_expiration: Some(record.keeping.expiration_ms),
        keep_last_snapshots: record.keeping.last.map(keeping::shown),
        total_egress_bytes: Some(used.traffic.sent),
        total_ingress_bytes: Some(used.traffic.received),
        total_active_cpu_duration_ms: Some(used.cpu_ms),
        total_duration_ms: Some(used.duration_ms),
        created_at: record.created_at,
        updated_at: session.updated_at,
        end_code: session.reason.map(crate::sandbox::EndReason::code),
        end_reason: end_reason(view),
    }
}

pub(crate) fn reply(server: &Server, which: &Sandbox) -> api::SandboxReply {
    let current = which.current();
    let view = current.view();
    api::SandboxReply {
        sandbox: with_session(which, &view),
        session: session(&current, &view),
        routes: ports::of(server, which),
        resumed: None,
    }
}

pub(crate) fn snapshot(record: &SnapshotRecord) -> api::Snapshot {
    api::Snapshot {
        id: record.id.to_string(),
        name: record.name.as_ref().map(ToString::to_string),
        source_session_id: record.session.to_string(),
        region: region(record.region.as_deref()),
        regions: vec![region(record.region.as_deref())],
        status: match record.is_there() {
            true => api::SnapshotStatus::Created,
            false => api::SnapshotStatus::Deleted,
        },
        size_bytes: record.size_bytes,
        expires_at: record.expires_at(),
        created_at: record.created_at,
        updated_at: record.updated_at,
        last_used_at: Some(record.last_used_at),
        creation_method: Some(match record.method {
            SnapshotMethod::Manual => api::CreationMethod::Manual,
            SnapshotMethod::Automatic => api::CreationMethod::Automatic,
        }),
        parent_id: record.parent.as_ref().map(ToString::to_string),
        source_sandbox_name: Some(record.sandbox.to_string()),
        memory: record.memory.as_ref().map(|memory| api::SnapshotMemory {
            vcpus: memory.shape.vcpus,
            memory: u64::from(memory.shape.memory_mib),
            size_bytes: memory.stored_bytes,
            written_bytes: memory.written_bytes,
        }),
    }
}

pub(crate) fn command(record: CommandRecord) -> api::Command {
    api::Command {
        id: record.id.to_string(),
        name: record.name,
        args: record.args,
        cwd: record.cwd,
        session_id: record.session.to_string(),
        sandbox_id: record.session.to_string(),
        exit_code: record.exit.map(|exit| exit.code),
        duration_ms: record.exit.map(|exit| exit.duration_ms),
        started_at: record.started_at,
    }
}
