//! What an earlier server left: every start looks at it, so recovery is the path that every start
//! takes.
//!
//! What was running is taken up again. What was on its way up or down is taken down. What belongs
//! to nobody is ended and removed: a machine is known by its folder, its process by pid, start time
//! and uuid.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use machine::{Adoption, Machine, Stray, strays};

use crate::{
    clock,
    context::Context,
    gateway,
    ids::{Lineage, SandboxKey, SessionId},
    network::Network,
    sandbox::{
        Adopted, Durable, EndReason, MemoryPlace, Owner, Remembered, Sandbox, Session,
        end_of_state, machine_folder, remove_if_there, stand_of,
    },
    store::{AuthorityRecord, CommandRecord, NetworkRecord, Phase, SessionRecord, Stored},
};

/// Brings what is stored and what is there together.
pub(crate) async fn reconcile(
    context: &Arc<Context>,
    stored: Stored,
) -> io::Result<Vec<Arc<Sandbox>>> {
    let mut commands: HashMap<SessionId, Vec<CommandRecord>> = HashMap::new();
    for command in stored.commands {
        commands.entry(command.session.clone()).or_default().push(command);
    }
    let mut sessions: HashMap<SandboxKey, Vec<Remembered>> = HashMap::new();
    for session in stored.sessions {
        let commands = commands.remove(&session.id).unwrap_or_default();
        let of_sandbox = sessions.entry(session.sandbox.clone()).or_default();
        of_sandbox.push(Remembered { session, commands });
    }
    for session in stored_sessions_holding(&sessions) {
        context.snapshots.hold(&session.id, stand_of(session));
    }
    // Before any session is taken up: one that keeps its disk deletes none that another starts from.
    for sandbox in &stored.sandboxes {
        context.snapshots.point(sandbox.key(), sandbox.current_snapshot.clone());
    }
    let mut networks = recall(context, stored.networks, stored.authorities);
    let mut sandboxes = Vec::new();
    for sandbox in stored.sandboxes {
        let mut sessions = sessions.remove(&sandbox.key()).unwrap_or_default();
        sessions.sort_by_key(|remembered| {
            let is_current = remembered.session.id == sandbox.session;
            (is_current, remembered.session.requested_at)
        });
        let (key, network) = (sandbox.key(), networks.remove(&sandbox.key()));
        let durable = Arc::new(Durable::new(sandbox, network));
        let mut taken_up = Vec::new();
        for remembered in sessions {
            taken_up.push(take_up(context, &durable, remembered).await?);
        }
        let Some(current) = taken_up.pop() else {
            tracing::error!(%key, "a sandbox without a session is passed over");
            continue;
        };
        sandboxes.push(Sandbox::new(durable, taken_up, current));
    }
    // Nobody is in the middle of one.
    remove_if_there(&context.paths.forks()).await?;
    sweep(context, &sandboxes).await?;
    let sessions: Vec<_> = sandboxes.iter().flat_map(|sandbox| sandbox.sessions()).collect();
    let holds = |id: &SessionId| {
        sessions.iter().any(|session| session.id() == id && session.phase() != Phase::Stopped)
    };
    context.drives.settle(|session| !holds(session)).await?;
    context.snapshots.sweep();
    Ok(sandboxes)
}

/// Those that may stand on layers: all that have not ended.
fn stored_sessions_holding(
    sessions: &HashMap<SandboxKey, Vec<Remembered>>,
) -> impl Iterator<Item = &SessionRecord> {
    let all = sessions.values().flatten().map(|remembered| &remembered.session);
    all.filter(|session| session.phase != Phase::Stopped)
}

/// The networks of the sandboxes that are stored.
fn recall(
    context: &Context,
    networks: Vec<NetworkRecord>,
    authorities: Vec<AuthorityRecord>,
) -> HashMap<SandboxKey, Network> {
    let authorities: HashMap<Lineage, Arc<AuthorityRecord>> =
        authorities.into_iter().map(|each| (each.lineage.clone(), Arc::new(each))).collect();
    let recalled = networks.into_iter().filter_map(|record| {
        // The store holds no network without its authority.
        let authority = Arc::clone(authorities.get(&record.lineage)?);
        let network = Network::recall(&context.egress.seal, &record, authority);
        Some((record.sandbox, network))
    });
    recalled.collect()
}

async fn take_up(
    context: &Arc<Context>,
    durable: &Arc<Durable>,
    mut remembered: Remembered,
) -> io::Result<Arc<Session>> {
    let session = &mut remembered.session;
    let adopted = match session.phase {
        Phase::Running | Phase::Pausing | Phase::Waking => match adopt(context, session).await? {
            Adopted::Ended(_) if is_in_its_file(context, session) => {
                session.phase = Phase::Paused;
                session.paused_at.get_or_insert_with(clock::now_ms);
                Adopted::Paused
            }
            adopted @ (Adopted::Machine(_) | Adopted::Paused | Adopted::Ended(_)) => adopted,
        },
        Phase::Snapshotting => adopt(context, session).await?,
        Phase::Paused => Adopted::Paused,
        Phase::Preparing => {
            session.detail = Some("the server was restarted while it started".to_owned());
            Adopted::Ended(EndReason::FailedToStart)
        }
        Phase::Stopping | Phase::Stopped => Adopted::Ended(EndReason::Stopped),
    };
    if let Adopted::Ended(_) | Adopted::Paused = adopted
        && session.phase != Phase::Stopped
    {
        end_strays(&machine_folder(context, &session.id)).await;
        end_stray_gateways(&context.paths.sessions().join(session.id.as_str())).await;
    }
    Ok(Owner::adopt(context, durable, remembered, adopted).await)
}

/// Whether a machine that is gone is in a file: its pausing had come so far, or the store has forgotten
/// in a loss of power that it had.
fn is_in_its_file(context: &Context, session: &SessionRecord) -> bool {
    let may_be = session.phase == Phase::Pausing || session.host_boot != context.host_boot;
    may_be && MemoryPlace::of(context, &session.id).is_whole()
}

/// An error is one of this computer, such as that no more files can be opened: nothing is known of the
/// machine then, and a later server takes it up.
async fn adopt(context: &Context, session: &SessionRecord) -> io::Result<Adopted> {
    let folder = machine_folder(context, &session.id);
    Ok(match Machine::adopt(&folder).await {
        Ok(Adoption::Adopted(machine)) => {
            let state = machine.run_state().await;
            match state.as_ref().map(|state| end_of_state(&machine, state)) {
                Ok(None) => Adopted::Machine(machine),
                Ok(Some(reason)) => Adopted::Ended(reason),
                Err(error) => {
                    tracing::error!(%error, "a machine does not answer: it is ended");
                    Adopted::Ended(EndReason::Crashed)
                }
            }
        }
        Ok(Adoption::Gone) if session.host_boot != context.host_boot => {
            Adopted::Ended(EndReason::HostShutDown)
        }
        Ok(Adoption::Gone) => Adopted::Ended(EndReason::Crashed),
        Err(error) if is_for_want_of_something(&error) => return Err(io::Error::other(error)),
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a machine is not taken up");
            Adopted::Ended(EndReason::Crashed)
        }
    })
}

/// Whether an error or one of its causes is that this process, or this computer, has no more of something.
fn is_for_want_of_something(error: &(dyn std::error::Error + 'static)) -> bool {
    use rustix::io::Errno;
    const WANTS: [Errno; 3] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    let code = error.downcast_ref::<io::Error>().and_then(Errno::from_io_error);
    code.is_some_and(|code| WANTS.contains(&code))
        || error.source().is_some_and(is_for_want_of_something)
}

/// Ends machines that no session claims, and removes folders that belong to nothing.
async fn sweep(context: &Context, sandboxes: &[Arc<Sandbox>]) -> io::Result<()> {
    let sessions = sandboxes.iter().flat_map(|sandbox| sandbox.sessions());
    let sessions: HashSet<String> = sessions.map(|session| session.id().to_string()).collect();
    let machines = context.paths.machines();
    let claimed = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| sessions.contains(name))
    };
    for stray in strays(&machines).into_iter().filter(|stray| !claimed(&stray.folder)) {
        end_stray(stray).await;
    }
    let strays = gateway::strays_below(&context.paths.sessions());
    for stray in strays.into_iter().filter(|stray| !sessions.contains(stray.session())) {
        stray.end().await;
    }
    for folder in [machines, context.paths.sessions()] {
        for path in entries(&folder).await?.into_iter().filter(|path| !claimed(path)) {
            tracing::info!(path = %path.display(), "a folder that belongs to nothing is removed");
            remove_if_there(&path).await?;
        }
    }
    Ok(())
}

async fn end_strays(folder: &Path) {
    for stray in strays(folder) {
        end_stray(stray).await;
    }
}

async fn end_stray_gateways(session: &Path) {
    for stray in gateway::strays_below(session) {
        stray.end().await;
    }
}

async fn end_stray(stray: Stray) {
    tracing::warn!(pid = stray.pid, folder = %stray.folder.display(), "a stray machine is ended");
    if let Err(error) = stray.kill().await {
        tracing::error!(%error, "a stray machine could not be ended");
    }
}

async fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let mut read = tokio::fs::read_dir(folder).await?;
    while let Some(entry) = read.next_entry().await? {
        paths.push(entry.path());
    }
    Ok(paths)
}
