//! `fumehood env`.

use clap::{Args, ValueEnum};

/// Print what makes other people's clients use this server
///
/// For a shell to carry out. Unmodified clients of Vercel's Sandbox API then talk to your own server,
/// or to the one that --server or --context names: @vercel/sandbox and the `sandbox` command line on
/// Node.js, Bun and Deno, `vercel` on Python. Your own server listens on a port of this computer for them,
/// and a token of the project is made for them.
///
/// Deno has no variable for what is to be loaded first: a program of its name goes before it on the path
/// and adds --preload "$FUMEHOOD_SHIM" to run, serve, test, bench, eval and repl.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  eval \"$(fumehood env)\"
  fumehood env --shell fish | source
  eval \"$(fumehood env --context lab --project web)\"

Variables:
  FUMEHOOD_API_URL, VERCEL_OIDC_TOKEN   the server and a token for it
  NODE_OPTIONS, BUN_OPTIONS, PYTHONPATH lead their clients there; what they hold already stays
  PATH                                  the same for Deno
  FUMEHOOD_SHIM                         the same for others, a module to load first
  VERCEL_TELEMETRY_DISABLED, SANDBOX_SKIP_VERSION_CHECK
  NODE_EXTRA_CA_CERTS, DENO_CERT        with --ca-file")]
pub(crate) struct EnvArgs {
    /// For this shell [default: as $SHELL says]
    #[arg(long, value_name = "SHELL")]
    pub(crate) shell: Option<EnvShell>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EnvShell {
    Bash,
    Zsh,
    Fish,
}
