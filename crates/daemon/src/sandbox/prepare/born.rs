//! The machine of a live fork: it has the memory of another, and is made another machine before any
//! program of the guest goes on.

use super::*;

/// Of an agent that was silent already when it was forked not much is expected.
const SILENT_DEADLINE: Duration = Duration::from_secs(5);
const LATE_DEADLINE: Duration = Duration::from_secs(3600);

/// Makes a machine of what another was. On failure nothing is left running.
pub(super) async fn prepare(
    context: &Context,
    job: &Job,
    split: &Split,
    image: &BaseImage,
) -> Result<Prepared, PrepareError> {
    for _ in 1..ATTEMPTS {
        match attempt(context, job, split, image).await {
            Err(error) if error.is_of_the_machine() => {
                tracing::warn!(error = causes(&error), "one more fork is tried");
            }
            outcome => return outcome,
        }
    }
    attempt(context, job, split, image).await
}

async fn attempt(
    context: &Context,
    job: &Job,
    split: &Split,
    image: &BaseImage,
) -> Result<Prepared, PrepareError> {
    let turn = context.turns.take().await;
    let folder = machine_folder(context, &job.sandbox.session);
    let spec = clone_spec(context, None, layers_of(job, image), &folder).await?;
    let platform = context.platform().await?;
    let machine = well(context, Machine::clone_fork(platform, &split.point, spec).await)?;
    let agent = agent_of(context, &machine);
    let gateway = gateway_of(context, &machine, &job.sandbox, job.network.clone());
    let settling = async {
        tokio::join!(
            name(context, job, &agent, split, image),
            Gateway::start(gateway, None, job.news.clone())
        )
    };
    let (named, started) = Turns::within(turn, settling).await;
    let (flaw, settled) = match (named, started) {
        (Ok(flaw), Ok(gateway)) => (flaw, Ok(gateway)),
        (Err(error), Ok(gateway)) => {
            gateway.end().await;
            (None, Err(error))
        }
        (_, Err(error)) => (None, Err(PrepareError::Gateway(error))),
    };
    let prepared = concluded(context, machine, agent, settled).await?;
    Ok(Prepared { flaw, ..prepared })
}

/// Gives the machine an identity of its own. Where its agent was silent already, it may stay so.
async fn name(
    context: &Context,
    job: &Job,
    agent: &Agent,
    split: &Split,
    image: &BaseImage,
) -> Result<Option<ForkFlaw>, PrepareError> {
    let flaw = split.moment.forked.flaw;
    let deadline = if split.was_frozen() { READY_DEADLINE } else { SILENT_DEADLINE };
    let request = Request::Fork(claim_of(context, job, image));
    let named = async {
        if agent.ready(Instant::now() + deadline).await? != Phase::Live {
            return Err(AgentError::Confused);
        }
        agent.request(request.clone(), deadline).await
    };
    match named.await {
        Ok(_) => Ok(flaw),
        Err(AgentError::TimedOut) if !split.was_frozen() => {
            ask_later(agent.clone(), request);
            Ok(Some(ForkFlaw::NoIdentity))
        }
        Err(error) => Err(PrepareError::Claim(error)),
    }
}

/// Better late than never.
fn ask_later(agent: Agent, request: Request) {
    tokio::spawn(async move {
        if let Err(error) = agent.request(request, LATE_DEADLINE).await {
            tracing::warn!(error = causes(&error), "a fork never became a machine of its own");
        }
    });
}
