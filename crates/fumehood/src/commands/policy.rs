//! `fumehood policy …`.

mod explain;
mod presets;

use api::NetworkPolicyReply;
use api::client::Resume;

use super::ls::json;
use super::{Context, running};
use crate::cli::{Policy, PolicyGet, PolicySet};
use crate::failure::{Exit, Failure};
use crate::network::{Stdin, outline};
use crate::say;
use crate::server::Server;

pub(crate) async fn run(args: Policy, context: &Context) -> Result<Exit, Failure> {
    match args {
        Policy::Get(args) => get(&args, context).await,
        Policy::Set(args) => set(&args, context).await,
        Policy::Explain(args) => explain::run(&args, context).await,
        Policy::Presets(args) => presets::run(&args),
    }
}

async fn get(args: &PolicyGet, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    let session = server.client().sandbox(&args.name, Resume::No).await?.session;
    let Some(policy) = session.network_policy else {
        let message = format!("sandbox {} has no network", args.name);
        return Err(Failure::new(Exit::NotFound, message));
    };
    if args.json {
        say::out(&format!("{}\n", json(&policy)?))?;
    } else {
        let policy: NetworkPolicyReply = serde_json::from_value(policy)
            .map_err(|fault| Failure::new(Exit::Internal, fault).about("the server's policy"))?;
        say::out(&outline(&policy))?;
    }
    Ok(Exit::Command(0))
}

async fn set(args: &PolicySet, context: &Context) -> Result<Exit, Failure> {
    let Some(policy) = args.policy.request(Stdin::Free)? else {
        // The default would open what was closed before.
        let message = "say what it may reach: --allow HOST, --allow-all, --deny-all, --policy FILE";
        return Err(Failure::new(Exit::Usage, message));
    };
    let server = Server::reach(&context.server).await?;
    let session = running(&server, &args.name).await?.session.id;
    server.client().set_network_policy(&session, &policy).await?;
    Ok(Exit::Command(0))
}
