//! `fumehood policy …`.

use clap::{Args, Subcommand};

use super::network::PolicyOptions;

/// See and change what a sandbox may reach
#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    Get(PolicyGet),
    Set(PolicySet),
    Explain(PolicyExplain),
    Presets(PolicyPresets),
}

/// Print what a sandbox may reach
#[derive(Debug, Args)]
pub(crate) struct PolicyGet {
    /// Print the policy as the API has it; values of headers are left out
    #[arg(long)]
    pub(crate) json: bool,

    /// The sandbox
    pub(crate) name: String,
}

/// Change what a running sandbox may reach
///
/// The options are the whole new policy; nothing of the old one is kept. It holds at once, for
/// connections that are open too: those it does not allow are cut. --allow-all is what a sandbox has
/// that was made without an option.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fumehood policy set box --allow @registries-read,api.example.com
  fumehood policy set box --deny-all
  fumehood policy get --json box > policy.json; fumehood policy set box2 --policy policy.json
                       of a policy without rules; those are shown without the values of headers, so
                       keep a file of your own of one that has some")]
pub(crate) struct PolicySet {
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,

    /// The sandbox
    pub(crate) name: String,
}

/// Say what would become of a request, and by which rule
///
/// Nothing is sent. The decision comes first, then the questions that lead to it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fumehood policy explain box 'POST https://api.example.com/v1/files'
  fumehood policy explain box https://registry.npmjs.org/lodash && echo it may

Exit codes:
  0        it would be allowed
  1        it would be denied
  241-250  it could not be found out, as for every command (see `fumehood --help`)")]
pub(crate) struct PolicyExplain {
    /// Print one JSON object, as the API has it
    #[arg(long)]
    pub(crate) json: bool,

    /// The sandbox
    pub(crate) name: String,

    /// The request: a URL (http, https, ws or wss), with a method before it if it is not GET; or
    /// tcp://HOST:PORT
    #[arg(required = true, num_args = 1..=2, value_name = "REQUEST")]
    pub(crate) request: Vec<String>,
}

/// List the presets that --allow @NAME takes, or show what is in one
#[derive(Debug, Args)]
pub(crate) struct PolicyPresets {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Which one
    pub(crate) name: Option<String>,
}
