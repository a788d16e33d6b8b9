//! `fumehood token …`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::duration;

/// Let others use this server, each in a project of their own
///
/// A token is for one project: whoever has it sees its sandboxes, sessions, commands, secrets and
/// audit, and nothing of any other. It is a JWT that Vercel's clients take for VERCEL_OIDC_TOKEN,
/// and our command line for FUMEHOOD_TOKEN. Tokens count over TCP (`fumehood serve --listen`); who
/// can open the server's Unix socket needs none.
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    Create(TokenCreate),
    /// List the tokens, without what they are
    Ls {
        /// Print an array of JSON objects, as the API has them
        #[arg(long)]
        json: bool,
    },
    /// Revoke tokens
    ///
    /// Nothing is let in with one from then on; sandboxes that were made with it run on.
    Revoke {
        /// The tokens, as `token ls` names them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Sign with another key from now on, which revokes every token there is
    RotateKey,
}

/// Make a token of a project and print it
///
/// It is printed this once and kept nowhere.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  export VERCEL_OIDC_TOKEN=$(fumehood token create --project web --expires 12h)
  fumehood token create --project web --scope read > token")]
pub(crate) struct TokenCreate {
    /// When it ends, such as 12h or 90d [default: it does not end by itself]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) expires: Option<Duration>,

    /// What it is good for: everything, or seeing what there is
    #[arg(long, value_name = "SCOPE", default_value = "full")]
    pub(crate) scope: Scope,

    /// Print it as JSON, with its id
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// Everything in its project
    Full,
    /// See what there is, read files, logs and the audit; change and start nothing
    Read,
}
