//! `fumehood ls`.

use std::time::{Duration, SystemTime};

use api::{Sandbox, SandboxQuery};
use serde::Serialize;

use super::Context;
use crate::cli::Ls;
use crate::duration;
use crate::failure::{Exit, Failure};
use crate::say;
use crate::server::Server;
use crate::table::Table;

/// The most a reply may hold.
const PAGE: u32 = 50;

pub(crate) async fn run(args: &Ls, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    let mut sandboxes = Vec::new();
    let mut query = SandboxQuery { limit: Some(PAGE), ..SandboxQuery::default() };
    loop {
        let page = server.client().sandboxes(&query).await?;
        sandboxes.extend(page.sandboxes);
        query.cursor = page.pagination.next;
        if query.cursor.is_none() {
            break;
        }
    }
    let goes_on =
        |sandbox: &Sandbox| !sandbox.status.is_ended() || sandbox.current_snapshot_id.is_some();
    sandboxes.retain(|sandbox| args.all || goes_on(sandbox));
    if args.json {
        say::out(&format!("{}\n", json(&sandboxes)?))?;
    } else {
        say::out(&table(&sandboxes, now_ms()))?;
    }
    Ok(Exit::Command(0))
}

pub(crate) fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|fault| Failure::new(Exit::Internal, fault))
}

#[expect(clippy::disallowed_methods, reason = "ages are told by the wall clock")]
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    duration::millis(since)
}

fn table(sandboxes: &[Sandbox], now_ms: u64) -> String {
    let mut table = Table::new(["NAME", "STATUS", "IMAGE", "VCPUS", "MIB", "AGE", "ENDS IN"]);
    let span = |ms: u64| duration::short(Duration::from_millis(ms));
    for sandbox in sandboxes {
        let status = sandbox.status.as_str();
        let is_ended = sandbox.status.is_ended();
        table.row([
            sandbox.name.clone(),
            match sandbox.end_code {
                Some(code) if is_ended && code.as_str() != status => {
                    format!("{status} ({})", code.as_str())
                }
                _ if sandbox.paused_at.is_some() => "paused".to_owned(),
                _ => status.to_owned(),
            },
            sandbox.image.clone().unwrap_or_default(),
            sandbox.vcpus.map(|vcpus| vcpus.to_string()).unwrap_or_default(),
            sandbox.memory.map(|memory| memory.to_string()).unwrap_or_default(),
            span(now_ms.saturating_sub(sandbox.created_at)),
            sandbox
                .expires_at
                .filter(|_| !is_ended)
                .map(|at| span(at.saturating_sub(now_ms)))
                .unwrap_or_default(),
        ]);
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use api::{EndCode, Status};

    use super::*;

    #[test]
    fn what_runs_says_when_it_ends_and_what_ended_says_why() {
        let running = Sandbox {
            name: "web".into(),
            current_session_id: "sbx_1".into(),
            status: Status::Running,
            status_updated_at: None,
            persistent: false,
            region: None,
            failover_regions: Vec::new(),
            network_id: None,
            vcpus: Some(1),
            memory: Some(512),
            runtime: None,
            architecture: None,
            image: Some("default".into()),
            timeout: None,
            idle_timeout: None,
            paused_at: None,
            network_policy: None,
            expires_at: Some(400_000),
            cwd: None,
            mounts: std::collections::BTreeMap::new(),
            tags: None,
            current_snapshot_id: None,
            snapshot_expiration: None,
            keep_last_snapshots: None,
            total_egress_bytes: None,
            total_ingress_bytes: None,
            total_active_cpu_duration_ms: None,
            total_duration_ms: None,
            created_at: 100_000,
            updated_at: 100_000,
            end_code: None,
            end_reason: None,
        };
        let ended = Sandbox {
            name: "old".into(),
            status: Status::Stopped,
            end_code: Some(EndCode::TimedOut),
            ..running.clone()
        };
        assert_eq!(
            table(&[running, ended], 130_000),
            "NAME  STATUS               IMAGE    VCPUS  MIB  AGE  ENDS IN\n\
             web   running              default  1      512  30s  4m30s\n\
             old   stopped (timed_out)  default  1      512  30s\n"
        );
    }
}
