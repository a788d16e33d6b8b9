//! Who a machine is to be.

use protocol::{Claim, Entropy};

use super::*;
use crate::{clock, ids, sandbox::trust};

const CLAIM_DEADLINE: Duration = Duration::from_secs(30);

pub(super) async fn claim(
    context: &Context,
    agent: &Agent,
    job: &Job,
    image: &BaseImage,
) -> Result<(), AgentError> {
    if agent.ready(Instant::now() + READY_DEADLINE).await? == Phase::Live {
        return Err(AgentError::Confused);
    }
    let claim = claim_of(context, job, image);
    agent.request(Request::Claim(claim), CLAIM_DEADLINE).await.map(drop)
}

/// Who the machine is to be.
pub(super) fn claim_of(context: &Context, job: &Job, image: &BaseImage) -> Claim {
    let sandbox = &job.sandbox;
    let mut env = image.env.clone();
    env.extend(trust::variables());
    env.extend(job.network.variables());
    env.extend(sandbox.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    let roots = context.egress.uplink.roots.as_slice();
    let of_host = if sandbox.trust_host_ca { roots } else { &[] };
    Claim {
        hostname: hostname(sandbox),
        machine_id: ids::random(),
        entropy: Entropy(ids::random()),
        unix_nanos: clock::now_ns(),
        user: sandbox.user.clone(),
        cwd: sandbox.cwd.clone(),
        env,
        network: protocol::network::Network {
            trust: trust::trusted(job.network.certificate(), of_host),
        },
    }
}

/// A host name has at most 64 bytes and no underscore.
fn hostname(sandbox: &SandboxRecord) -> String {
    let name = sandbox.name.as_str().replace('_', "-");
    let name = name.trim_matches('-');
    let cut = &name[..name.len().min(63)];
    if cut.is_empty() { "sandbox".to_owned() } else { cut.to_owned() }
}
