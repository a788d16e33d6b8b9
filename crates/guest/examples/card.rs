//! Has a guest's card as the agent has it, for a guest without the agent: `card NAME PROGRAM [ARGUMENT...]`
//! runs a program meanwhile. For `cargo xtask bench egress`.
#![expect(clippy::print_stderr, reason = "it talks to a developer")]

#[path = "../src/sys/interface.rs"]
#[expect(dead_code, unsafe_code, reason = "it is the agent's, which does more with it")]
mod interface;

use std::{
    env, fs, io,
    process::{Command, ExitCode},
};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let [name, program, arguments @ ..] = words.as_slice() else {
        eprintln!("usage: card NAME PROGRAM [ARGUMENT...]");
        return ExitCode::from(2);
    };
    let run = || {
        let index = fs::read_to_string(format!("/sys/class/net/{name}/ifindex"))?;
        let index = index.trim().parse().map_err(io::Error::other)?;
        let _kept = interface::take_as_checked(name, index)?;
        Command::new(program).args(arguments).status()
    };
    match run() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        other => {
            eprintln!("card: {other:?}");
            ExitCode::FAILURE
        }
    }
}
