//! Chores: `cargo xtask tidy`, `cargo xtask bench start`, `cargo xtask bench api`, `cargo xtask bench fork`, `cargo xtask bench egress`,
//! `cargo xtask bench image`, `cargo xtask mutate`.

mod bench;
mod mutate;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask tidy           checks that neither compiler nor clippy makes
       cargo xtask bench start    time from nothing to a command's result, beside runc
       cargo xtask bench api      the same through Vercel's SDK, one by one and many at once
       cargo xtask bench fork     how long a sandbox that is forked stands still, and when its children run
       cargo xtask bench egress   the gateway's cost, and a guest's network beside QEMU's own and passt
       cargo xtask bench image    an image's layers to a disk, beside umoci
       cargo xtask mutate [NAME]  takes checks out and shows that a case of the gauntlet fails";

#[expect(clippy::print_stderr, reason = "it talks to a developer")]
fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["tidy"] => tidy::run(),
        ["bench", "start", rest @ ..] => bench::start::run(rest),
        ["bench", "api", rest @ ..] => bench::api::run(rest),
        ["mutate", rest @ ..] => mutate::run(rest),
        ["bench", "fork", rest @ ..] => bench::fork::run(rest),
        ["bench", "egress", rest @ ..] => bench::egress::run(rest),
        ["bench", "image", rest @ ..] => bench::image::run(rest),
        _ => {
            eprintln!("{USAGE}");
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
