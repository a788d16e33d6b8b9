//! `fumehood fork`.

use clap::Args;

/// Make sandboxes that begin where a running one is now
///
/// They have its memory, its processes and its disk, and go on from there. Each has its own name, host
/// name, machine id, randomness, gateway and policy; secrets' placeholders stay the same. The one that
/// is forked stands still for a moment and goes on. Its connections to the outside are its own: they
/// are reset in the new ones. Commands that ran are processes there, and no commands: what they write
/// to their standard output is thrown away. Prints the new names, one a line.
///
/// Numbers that a program has drawn before are known to all: generators inside programs, such as
/// Python's random, go on alike.
#[derive(Debug, Args)]
pub(crate) struct Fork {
    /// The sandbox, which has to run
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// How many, 100 at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    pub(crate) count: u32,

    /// Print what the API answers, with sessions, ports and what a child may lack
    #[arg(long)]
    pub(crate) json: bool,
}
