//! Every attack on the egress filter that is known to us, as a program in a real guest against real
//! servers on this machine, each beside the lawful use that must pass. See `cases.rs`.
//!
//! It needs root: it makes two network namespaces, `host` in which fumehood runs and `world` with
//! the servers, and nothing of what is sent leaves them. The process that is started makes and
//! sweeps them; it starts itself once more inside `host` and runs the cases there. Arguments are
//! those of any Rust test; a name may be of a group or of a case.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "they wait for real things"
)]
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]
#![expect(clippy::print_stdout, reason = "it is its own test runner")]
#![expect(clippy::panic, reason = "a case that panics has failed")]

#[path = "../e2e/hood.rs"]
#[expect(dead_code, reason = "the end-to-end tests use the rest")]
mod hood;

mod arguments;
mod audit;
mod cases;
mod guest;
mod lines;
mod namespaces;
mod runner;
mod servers;
mod trial;
mod world;

use std::{env, process::ExitCode};

use arguments::{Arguments, What};

/// Set inside the `host` namespace: the folder of the world.
const WORLD: &str = "GAUNTLET_WORLD";

fn main() -> ExitCode {
    let arguments = match Arguments::parse(env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(fault) => {
            println!("error: {fault}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.what == What::List {
        runner::list(&arguments);
        return ExitCode::SUCCESS;
    }
    match env::var_os(WORLD) {
        Some(folder) => runner::run(&arguments, folder.as_ref()),
        None if arguments.what == What::Run && runner::selects_nothing(&arguments) => {
            runner::nothing()
        }
        None => namespaces::run_inside(env::args_os().skip(1)),
    }
}
