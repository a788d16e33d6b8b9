//! `burst`: many sandboxes asked for at once, through the API, each with its first command, beside as many `runc run`.
#![expect(clippy::print_stderr, reason = "it talks to a developer")]

use std::time::Duration;

use anyhow::Result;

use super::{
    Sizes,
    at_once::at_once,
    client::{Client, Sandbox},
    container::Container,
    place::{Place, Server},
    row::{Row, Unit},
};

const POOL: usize = 10;
/// A hundred of the default size have no room in 24 GiB.
const MEMORY_MIB: Option<u64> = Some(1024);
/// The pool keeps as many as were asked for in some seconds more than this.
const RUSH: Duration = Duration::from_secs(25);
const RUNC: &str = "runc run, all at once";
const LAST_RUNC: &str = "runc run, all at once: until the last";

/// `count` is how many there are at once.
pub(super) fn measure(place: &Place, sizes: Sizes) -> Result<Vec<Row>> {
    let (server, container) = (place.server("pooled", POOL), Container::new(place)?);
    let mut all = Burst::default();
    let mut native = Burst::default();
    for turn in 0..sizes.runs {
        stop(&server, &burst(&server, POOL)?.0)?;
        let ready = server.ready_after(RUSH)?;
        if ready < POOL {
            eprintln!("the computer is too busy for more than {ready} machines to be ready");
        }
        let (made, last) = burst(&server, sizes.count)?;
        all.add(made.iter().map(|(_, time)| *time), last);
        stop(&server, &made)?;
        let containers = (0..sizes.count).map(|_| container.clone()).collect();
        let first = turn * sizes.count;
        let (made, last) = at_once(containers, |container, n| container.run(first + n))?;
        native.add(made.into_iter(), last);
    }
    Ok(vec![
        Row::times("create and first result, all at once", all.each).beside(RUNC).main(),
        Row::times("create and first result, all at once: until the last", all.last)
            .beside(LAST_RUNC)
            .main(),
        Row::new("sandboxes, all at once", Unit::PerSecond, all.rates)
            .beside("containers, all at once"),
        Row::times(RUNC, native.each),
        Row::times(LAST_RUNC, native.last),
        Row::new("containers, all at once", Unit::PerSecond, native.rates),
    ])
}

/// What was seen of all bursts.
#[derive(Default)]
struct Burst {
    each: Vec<Duration>,
    last: Vec<Duration>,
    rates: Vec<f64>,
}

impl Burst {
    fn add(&mut self, each: impl ExactSizeIterator<Item = Duration>, last: Duration) {
        self.rates.push(each.len() as f64 / last.as_secs_f64());
        self.each.extend(each);
        self.last.push(last);
    }
}

/// So many at once, and when the last was answered.
fn burst(server: &Server, count: usize) -> Result<(Vec<(Sandbox, Duration)>, Duration)> {
    let clients: Vec<Client> = (0..count).map(|_| server.client()).collect::<Result<_>>()?;
    at_once(clients, |client, _| client.first_result(MEMORY_MIB))
}

fn stop(server: &Server, made: &[(Sandbox, Duration)]) -> Result<()> {
    let mut client = server.client()?;
    made.iter().try_for_each(|(sandbox, _)| client.stop(sandbox))
}
