//! A parked machine does once what it is going to do when it is given out.
//!
//! Under emulation code is slow when it runs for the first time in its machine: that of the guest's
//! kernel, of the agent and of the programs.

use std::path::Path;

use protocol::{CommandId, Request, StartCommand, network::Certificate};

use super::{
    prepare::{PrepareError, READY_DEADLINE},
    trust,
};
use crate::{
    agent::{self, Agent, AgentError},
    command_log::CommandLog,
    templates::{BaseImage, stand_in},
};

const COMMANDS: [&[&str]; 3] = [&["true"], &["sh", "-c", "echo; true"], &["true"]];
/// A session's commands are numbered from 1 on.
const NUMBER: CommandId = CommandId(0);

/// Takes an identity that is nobody's, and runs commands; the claim ends all of it but the trust, if it
/// is the same. In `folder` nothing is left.
pub(super) async fn rehearse(
    agent: &Agent,
    image: &BaseImage,
    trusted: Vec<Certificate>,
    folder: &Path,
) -> Result<(), PrepareError> {
    let mut claim = stand_in::claim(image, trusted);
    claim.env.extend(trust::variables());
    let claimed = agent.request(Request::Rehearse(claim), READY_DEADLINE).await;
    claimed.map_err(PrepareError::Agent)?;
    for words in COMMANDS {
        let argv = words.iter().map(|&word| word.to_owned()).collect();
        match run(agent, argv, &folder.join("rehearsal")).await {
            // An image may have no such program.
            Ok(()) | Err(PrepareError::Agent(AgentError::Refused(_))) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn run(agent: &Agent, argv: Vec<String>, folder: &Path) -> Result<(), PrepareError> {
    let start = StartCommand::plain(NUMBER, argv);
    let made = CommandLog::create(folder).await;
    let (_log, writer) = made.map_err(PrepareError::Log)?;
    let started = agent.start(start, writer, READY_DEADLINE).await.map_err(PrepareError::Agent);
    let ended = match started {
        Ok(command) => ends(agent, &command).await.map_err(PrepareError::Agent),
        Err(error) => Err(error),
    };
    drop(tokio::fs::remove_dir_all(folder).await);
    ended
}

async fn ends(agent: &Agent, command: &agent::Command) -> Result<(), AgentError> {
    match tokio::time::timeout(READY_DEADLINE, command.exit()).await {
        Ok(Ok(_)) => {
            agent.request(Request::Forget { command: NUMBER }, READY_DEADLINE).await.map(drop)
        }
        Ok(Err(_lost)) => Err(AgentError::Gone),
        Err(_elapsed) => Err(AgentError::TimedOut),
    }
}
