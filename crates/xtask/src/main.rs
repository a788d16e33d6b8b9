//! Chores: `cargo xtask tidy`, `cargo xtask bench`, `cargo xtask mutate`.

mod bench;
mod mutate;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask tidy           checks that neither compiler nor clippy makes
       cargo xtask mutate [NAME]  takes checks out and shows that a case of the gauntlet fails
       cargo xtask bench [NAME...] [--runs N] [--count N]
                                  measures the release binary, all or what is named, and records it in bench/:";

#[expect(clippy::print_stderr, reason = "it talks to a developer")]
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["tidy"] => tidy::run(),
        ["bench", rest @ ..] => bench::run(rest),
        ["mutate", rest @ ..] => mutate::run(rest),
        _ => {
            eprintln!("{USAGE}\n{}", bench::usage());
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
