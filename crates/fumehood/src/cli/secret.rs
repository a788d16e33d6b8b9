//! `fumehood secret …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use egress::secret::SecretName;

/// Store keys that sandboxes use and never see
///
/// A secret stays with the server, sealed. `--secret NAME@HOST` of run, create and policy set gives
/// its use to a sandbox: the guest finds a placeholder in its variable NAME, and the gateway puts
/// the value in its place in requests to HOST, and in no others.
#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    Set(SecretSet),
    /// List the secrets, without their values
    Ls {
        /// Print an array of JSON objects, as the API has them
        #[arg(long)]
        json: bool,
    },
    Rm(SecretRm),
}

/// Store a secret, in place of the one of this name before
///
/// Its value is read from stdin; on a terminal it is asked for, and not shown. One newline at its
/// end is dropped. There is no way to give it as an argument: everybody on this computer can read
/// the arguments of a process, and shells keep them in their history.
///
/// Sandboxes that use the secret get the new value with their next request.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fumehood secret set GITHUB_TOKEN                       asks for it
  fumehood secret set GITHUB_TOKEN --from-env GH_TOKEN   as it is set here
  pass show api/anthropic | fumehood secret set ANTHROPIC_API_KEY
  fumehood run --secret ANTHROPIC_API_KEY@api.anthropic.com -- ./agent")]
pub(crate) struct SecretSet {
    /// Take the value of this variable here
    #[arg(long, value_name = "VAR", conflicts_with = "from_file")]
    pub(crate) from_env: Option<String>,

    /// Read the value from this file
    #[arg(long, value_name = "FILE")]
    pub(crate) from_file: Option<PathBuf>,

    /// What to call it: letters, digits and _, no digit first, at most 64
    // Not checked here: a fault of clap's repeats what was typed, and that may be a value.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    // Taken so that it can be refused without being repeated.
    #[arg(hide = true)]
    pub(crate) more: Vec<String>,
}

/// Remove secrets
///
/// Requests of sandboxes that use one are refused from then on.
#[derive(Debug, Args)]
pub(crate) struct SecretRm {
    /// The secrets
    #[arg(required = true, value_name = "NAME", value_parser = SecretName::parse)]
    pub(crate) names: Vec<SecretName>,
}
