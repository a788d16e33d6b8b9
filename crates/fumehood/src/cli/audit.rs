//! `fumehood audit`.

use clap::Args;

/// Show what a sandbox reached, and what it was refused
///
/// Every decision of its gateway, from the start of its last session: when, what was decided, what
/// it was about, by which rule of the policy, and what came of it. Times are UTC. Queries, headers
/// and the values of secrets are never in it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fumehood audit box --denied
  fumehood audit -f --json box | jq -r 'select(.decision == \"deny\") | .host'")]
pub(crate) struct Audit {
    /// Go on until the session ends
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Only what was refused
    #[arg(long)]
    pub(crate) denied: bool,

    /// Print one JSON object a line, as the API has them
    #[arg(long)]
    pub(crate) json: bool,

    /// The sandbox
    pub(crate) name: String,
}
