//! `fumehood doctor`.

use daemon::Health;
use serde_json::json;

use crate::{
    agent_program::AGENT,
    cli::Doctor,
    failure::{Exit, Failure},
    folders, say,
};

pub(crate) async fn run(args: &Doctor) -> Result<Exit, Failure> {
    let paths = folders::paths()?;
    let findings = daemon::doctor(&paths, AGENT).await;
    let worst = findings.iter().any(|finding| finding.health == Health::Bad);
    if args.json {
        say::out(&format!("{}\n", json!({ "findings": findings })))?;
    } else {
        for finding in &findings {
            let mark = match finding.health {
                Health::Good => "ok     ",
                Health::Warning => "warning",
                Health::Bad => "bad    ",
            };
            say::out(&format!("{mark}  {:<9} {}\n", finding.name, finding.found))?;
            if let Some(advice) = &finding.advice {
                say::out(&format!("                   {advice}\n"))?;
            }
        }
    }
    Ok(if worst { Exit::Usage } else { Exit::Command(0) })
}
