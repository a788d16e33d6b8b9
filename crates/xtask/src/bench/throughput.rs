//! `throughput`: commands, their output, and files, through the API, beside what the channel carries at best; and a sandbox's disk
//! beside a raw one.
//!
//! The raw channel is a guest on the same machine whose only program moves bytes over the same kind of port, with no protocol: what
//! QEMU and the guest's kernel give. What a command prints has a pipe before it: it is beside a program's output that
//! is moved from a pipe to that port.

mod disk;
mod raw;

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{
    Sizes,
    container::Container,
    place::{Place, clocked},
    row::{Row, Unit},
};
use disk::Disks;
use raw::{Direction, Raw};

const RUNC_EXEC: &str = "runc exec";
const OUT: &str = "raw channel, out of the guest";
const OUTPUT: &str = "raw channel, a program's output by a pipe";
const IN: &str = "raw channel, into the guest";
const FILE: &str = "throughput.bin";
/// Round trips for each run of everything else.
const TRIPS: usize = 10;
const DISK_TURNS: usize = 3;

/// `count` is how many MiB pass each way: less than is kept of a command's output.
pub(super) fn measure(place: &Place, sizes: Sizes) -> Result<Vec<Row>> {
    let container = Container::new(place)?;
    let mut raw = Raw::start(place)?;
    let server = place.server("throughput", 0);
    let mut client = server.client()?;
    let sandbox = client.create(None)?;
    let bytes = sizes.count << 20;
    let made = format!("yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c {bytes} > text");
    client.run(&sandbox, &["sh", "-c", &made])?;
    let mut disks = Disks::new(&server, &mut raw, bytes)?;
    // The emulator translates each path's code at its first run.
    client.upload(&sandbox, FILE, bytes / 8)?;
    client.count_output(&sandbox, &["cat", "text"])?;
    raw.pass(Direction::Output, bytes)?;
    let [mut raw_out, mut raw_output, mut raw_in] = [const { Vec::new() }; 3];
    let [mut output, mut uploads, mut downloads] = [const { Vec::new() }; 3];
    let [mut execs, mut runc_execs, mut raw_trips] = [const { Vec::new() }; 3];
    for _ in 0..sizes.runs {
        for _ in 0..DISK_TURNS {
            disks.turn(&mut raw, bytes)?;
        }
        raw_out.push(rate(bytes, raw.pass(Direction::Out, bytes)?));
        raw_output.push(rate(bytes, raw.pass(Direction::Output, bytes)?));
        raw_in.push(rate(bytes, raw.pass(Direction::In, bytes)?));
        let (count, time) = clocked(|| client.count_output(&sandbox, &["cat", "text"]))?;
        ensure!(bytes <= count, "{count} bytes of output came");
        output.push(rate(bytes, time));
        uploads.push(rate(bytes, clocked(|| client.upload(&sandbox, FILE, bytes))?.1));
        let (count, time) = clocked(|| client.download(&sandbox, FILE))?;
        ensure!(bytes == count, "{count} bytes of a file came");
        downloads.push(rate(bytes, time));
        for _ in 0..TRIPS {
            raw_trips.push(raw.pass(Direction::Echo, 1)?);
            execs.push(clocked(|| client.run(&sandbox, &["true"]))?.1);
            runc_execs.push(container.exec()?);
        }
    }
    let row = |name, values| Row::new(name, Unit::MebibytesPerSecond, values);
    let mut rows = vec![
        row("output of a command", output).beside(OUTPUT).main(),
        row(OUTPUT, raw_output).beside(OUT),
        row("file, out of the guest", downloads).beside(OUT).main(),
        row(OUT, raw_out),
        row("file, into the guest", uploads).beside(IN).main(),
        row(IN, raw_in),
        Row::times("command: round trip", execs).beside(RUNC_EXEC).main(),
        Row::times(RUNC_EXEC, runc_execs),
        Row::times("raw channel: round trip", raw_trips),
    ];
    rows.extend(disks.rows());
    Ok(rows)
}

fn rate(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / f64::from(1 << 20) / time.as_secs_f64()
}
