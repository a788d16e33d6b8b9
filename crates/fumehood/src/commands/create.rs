//! `fumehood create`.

use api::client::ClientError;
use api::{Code, CreateSandbox, SandboxReply, Source};

use super::Context;
use crate::cli::Create;
use crate::failure::{Exit, Failure};
use crate::network::Stdin;
use crate::server::Server;
use crate::{arrival, say};

pub(crate) async fn run(args: Create, context: &Context) -> Result<Exit, Failure> {
    let mut request = args.sandbox.request();
    args.keep.keep().ask(&mut request);
    let memory = args.cold.then_some(false);
    request.source = args.snapshot.map(|snapshot_id| Source::Snapshot { snapshot_id, memory });
    args.network.policy.check_env(&args.env)?;
    request.network_policy = args.network.policy.request(Stdin::Free)?;
    request.trust_host_ca = args.network.trust_host_ca;
    request.env = args.env.request()?;
    request.user = args.user;
    let server = Server::reach(&context.server).await?;
    if let Some(asked) = super::image::wanted(&args.sandbox)? {
        request.image = Some(asked.image.clone());
        arrival::bring(&server, &asked).await?;
    }
    let made = make(&server, &request, context).await?;
    if let Some(why) = &made.session.memory_lost {
        say::note(&format!("{} starts from the snapshot's disk alone: {why}", made.sandbox.name));
    }
    if let Some(flaw) = made.session.forked.as_ref().and_then(|forked| forked.flaw.as_ref()) {
        say::note(&format!("{}: {flaw}", made.sandbox.name));
    }
    if args.json {
        say::out(&format!("{}\n", super::ls::json(&made.sandbox)?))?;
    } else {
        super::ports::tell(&made.routes);
        say::out(&format!("{}\n", made.sandbox.name))?;
    }
    Ok(Exit::Command(0))
}

/// Makes a sandbox, on a terminal with a word about why it takes so long.
pub(crate) async fn make(
    server: &Server,
    request: &CreateSandbox,
    context: &Context,
) -> Result<SandboxReply, Failure> {
    let what = format!(
        "starting a sandbox of {} (the first of an image and size takes longer)",
        request.image.as_deref().unwrap_or("default")
    );
    let making = async {
        match server.client().create(request).await {
            // A server that is just giving way has not touched it. One elsewhere that does not
            // answer at all may never have been there.
            Err(fault) if is_giving_way(&fault, server) => {
                server.reach_again().await?;
                Ok(server.client().create(request).await?)
            }
            made => Ok(made?),
        }
    };
    say::waiting(&what, context.verbosity, making).await
}

/// Whether the server is about to be another one, which has to be asked instead.
pub(crate) fn is_giving_way(fault: &ClientError, server: &Server) -> bool {
    match fault {
        ClientError::Refused { code, .. } => *code == Code::Unavailable,
        ClientError::Unreachable { .. } => server.is_own(),
        ClientError::Untrusted { .. }
        | ClientError::Broken { .. }
        | ClientError::Nonsense { .. }
        | ClientError::Unsendable { .. } => false,
    }
}
