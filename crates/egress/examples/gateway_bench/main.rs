//! What a gateway costs, without a guest: a real gateway process, with a driver on its frame socket
//! that speaks TCP as a guest does, and an HTTP server over TLS on the host's loopback.
//!
//! `cargo run --release -p egress --example gateway_bench -- target/release/fumehood [--turns N]`, as `cargo xtask bench egress`
//! does, which makes tables of it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

mod body;
mod client;
mod origin;
mod process;
mod row;
mod values;

use std::path::PathBuf;

use tokio::{runtime::Builder, task::LocalSet};

use client::Version;
use origin::Origin;
use process::Treatment;
use row::Row;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const TURNS: usize = 3;
const TREATMENTS: [Option<Treatment>; 3] =
    [None, Some(Treatment::Spliced), Some(Treatment::Opened)];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (program, turns) = match &words[..] {
        [program] => (program, TURNS),
        [program, flag, turns] if flag == "--turns" => (program, turns.parse()?),
        _ => return Err("usage: gateway_bench FUMEHOOD [--turns N]".into()),
    };
    println!("{}", local(measure(program.into(), turns))?);
    Ok(())
}

fn local<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, future)
}

async fn measure(program: PathBuf, turns: usize) -> Result<serde_json::Value> {
    let origin = Origin::start()?;
    if !origin.is_inspected() {
        eprintln!("port 443 cannot be had: spliced connections pass without a look at their SNI");
    }
    let mut rows = Vec::new();
    for version in [Version::Http1, Version::Http2] {
        for treatment in TREATMENTS {
            rows.push(Row::prepare(&program, &origin, (version, treatment)).await?);
        }
    }
    for turn in 1..=turns {
        for row in &mut rows {
            eprintln!("turn {turn} of {turns}: {}, {}", row.version.name(), row.name());
            row.turn(&origin).await?;
        }
    }
    for row in &mut rows {
        row.rest().await?;
    }
    Ok(values::json(&rows))
}
