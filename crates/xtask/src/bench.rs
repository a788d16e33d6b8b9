//! `cargo xtask bench`: like beside like, in one run. What counts is the ratios; they are recorded in `bench/`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to a developer")]

mod api;
mod at_once;
mod burst;
mod client;
mod container;
mod density;
mod egress;
mod fork;
mod guest;
mod image;
mod interrupt;
mod pause;
mod place;
mod plot;
mod processes;
mod record;
mod row;
mod start;
mod table;
mod throughput;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use place::Place;
use record::{Computer, Record, Run};
use row::Row;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    /// How often each thing is.
    runs: usize,
    /// How many there are of what there are many of: each benchmark says what.
    count: usize,
}

struct Benchmark {
    name: &'static str,
    /// A line of the usage.
    about: &'static str,
    /// Unless others are asked for: small enough that all together take some ten minutes.
    sizes: Sizes,
    /// Which says by what QEMU the guests run.
    place: fn() -> Result<Place>,
    measure: fn(&Place, Sizes) -> Result<Vec<Row>>,
}

const ALL: [Benchmark; 9] = [
    Benchmark {
        name: "start",
        about: "from nothing to a command's result, beside runc and bwrap; --count: cold boots",
        sizes: Sizes { runs: 20, count: 3 },
        place: Place::new,
        measure: start::measure,
    },
    Benchmark {
        name: "api",
        about: "the same through Vercel's SDK, one by one and many at once; --count: sandboxes",
        sizes: Sizes { runs: 1, count: 25 },
        place: Place::new,
        measure: api::measure,
    },
    Benchmark {
        name: "burst",
        about: "many creates at once with a pool of 10, beside as many of runc; --count: creates",
        sizes: Sizes { runs: 1, count: 100 },
        place: Place::new,
        measure: burst::measure,
    },
    Benchmark {
        name: "fork",
        about: "how long a sandbox that is forked stands still, and when its children run; --count: children",
        sizes: Sizes { runs: 5, count: 100 },
        place: Place::new,
        measure: fork::measure,
    },
    Benchmark {
        name: "pause",
        about: "a sandbox to the disk and back to its first result, beside a new one; --count: nothing",
        sizes: Sizes { runs: 5, count: 1 },
        place: Place::new,
        measure: pause::measure,
    },
    Benchmark {
        name: "density",
        about: "memory and processor time of sandboxes that do nothing; --count: sandboxes",
        sizes: Sizes { runs: 1, count: 100 },
        place: Place::new,
        measure: density::measure,
    },
    Benchmark {
        name: "throughput",
        about: "commands, output and files, beside the raw channel; --count: MiB",
        sizes: Sizes { runs: 5, count: 48 },
        place: Place::new,
        measure: throughput::measure,
    },
    Benchmark {
        name: "egress",
        about: "the gateway's cost, and a guest's network beside QEMU's own and passt; --count: MiB each way",
        sizes: Sizes { runs: 1, count: 64 },
        place: Place::by_the_paths_qemu,
        measure: egress::measure,
    },
    Benchmark {
        name: "image",
        about: "an image's layers to a disk, beside skopeo and umoci; as root",
        sizes: Sizes { runs: 1, count: 1 },
        place: Place::new,
        measure: image::measure,
    },
];

/// What is shown where a user looks first.
const MAIN: &str = "main";

/// The lines of the usage.
pub(crate) fn usage() -> String {
    let line = |one: &Benchmark| format!("         {:<12}{}\n", one.name, one.about);
    ALL.iter().map(line).collect()
}

/// Runs those that are named, or all, one after another, and records what they gave.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let asked = Asked::parse(words)?;
    interrupt::cleans_up()?;
    let mut failed = Vec::new();
    for benchmark in ALL.iter().filter(|one| asked.means(one.name)) {
        eprintln!("{}: {}", benchmark.name, benchmark.about);
        if let Err(error) = one(benchmark, asked.sizes(benchmark.sizes)) {
            eprintln!("{} failed: {error:#}", benchmark.name);
            failed.push(benchmark.name);
        }
    }
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

fn one(benchmark: &Benchmark, sizes: Sizes) -> Result<()> {
    let place = (benchmark.place)()?;
    let on = Computer::this(&place)?;
    let rows = (benchmark.measure)(&place, sizes)?;
    drop(place);
    let path = root().join("bench/results.json");
    let mut record = Record::read(&path)?;
    let table = table::markdown(&rows, record.0.get(benchmark.name));
    println!("## {}\n\n{table}\n{}.\n", benchmark.name, on.in_words());
    record.0.insert(benchmark.name.to_owned(), Run { on, rows });
    publish(&record, &path)
}

/// Writes the record and all that shows it.
fn publish(record: &Record, path: &Path) -> Result<()> {
    fs::create_dir_all(root().join("bench")).context("bench/ cannot be made")?;
    record.write(path)?;
    let order = ALL.each_ref().map(|one| one.name);
    fs::write(root().join("bench/results.svg"), plot::svg(record, &order))?;
    table::put(&root().join("README.md"), MAIN, &table::main(record, &order))?;
    for name in order {
        let Some(run) = record.0.get(name) else { continue };
        let text = format!("{}\n{}.", table::markdown(&run.rows, None), run.on.in_words());
        table::put(&root().join("SPECIFICATION.md"), name, &text)?;
    }
    Ok(())
}

/// The checkout.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The words of the command line.
#[derive(Debug, PartialEq, Eq)]
struct Asked<'a> {
    /// None: all.
    names: Vec<&'a str>,
    runs: Option<usize>,
    count: Option<usize>,
}

impl<'a> Asked<'a> {
    fn parse(words: &[&'a str]) -> Result<Self> {
        let mut asked = Self { names: Vec::new(), runs: None, count: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut number = || -> Result<usize> {
                let number = words.next().and_then(|word| word.parse().ok());
                number
                    .filter(|number| 0 < *number)
                    .with_context(|| format!("{word} takes a number from 1 on"))
            };
            match *word {
                "--runs" => asked.runs = Some(number()?),
                "--count" => asked.count = Some(number()?),
                name if ALL.iter().any(|one| one.name == name) => asked.names.push(name),
                other => bail!("there is no benchmark {other:?}; there are:\n{}", usage()),
            }
        }
        ensure!(asked.count.is_none() || asked.names.len() == 1, "--count is for one benchmark");
        Ok(asked)
    }

    fn means(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.contains(&name)
    }

    fn sizes(&self, usual: Sizes) -> Sizes {
        Sizes { runs: self.runs.unwrap_or(usual.runs), count: self.count.unwrap_or(usual.count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_told_from_what_is_not_there() {
        let asked = Asked::parse(&["burst", "--count", "7", "--runs", "2"]).unwrap();
        assert_eq!(asked.sizes(Sizes { runs: 1, count: 1 }), Sizes { runs: 2, count: 7 });
        assert!(asked.means("burst") && !asked.means("fork"));
        assert!(Asked::parse(&[]).unwrap().means("fork"));
        let wrong: [&[&str]; 5] =
            [&["no"], &["start", "--runs"], &["--runs", "0"], &["--count", "3"], &["--runs", "x"]];
        for words in wrong {
            assert!(Asked::parse(words).is_err(), "{words:?}");
        }
    }
}
