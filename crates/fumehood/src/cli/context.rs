//! `fumehood context …`.

use clap::Subcommand;

/// Remember servers, to use one by its name
///
/// A context is a server with the token, certificate authority and project to use it with. They are
/// kept in $FUMEHOOD_CONFIG_DIR/contexts.json [default: ~/.config/fumehood], which only you can
/// read. `local` is your own server on this computer.
#[derive(Debug, Subcommand)]
pub(crate) enum Contexts {
    /// Remember a server under a name, in place of the one before
    ///
    /// Takes --server, --token-file (or the variable FUMEHOOD_TOKEN), --ca-file and --project.
    #[command(after_help = "\
Examples:
  fumehood context add lab --server https://lab.example.com:7007 --token-file token
  fumehood context use lab
  fumehood --context lab ls")]
    Add {
        /// What to call it: letters, digits, - and _
        name: String,
    },
    /// List the contexts, without their tokens
    Ls {
        /// Print an array of JSON objects
        #[arg(long)]
        json: bool,
    },
    /// Use a context from now on, where no option or variable names another
    Use {
        /// The context; `local` for your own server
        name: String,
    },
    /// Forget contexts with their tokens
    Rm {
        /// The contexts
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}
