//! What the guest runs: moves bytes to and from the peer and prints how fast. Built on its own, with the standard library alone.

use std::{
    env,
    io::{Read, Write},
    net::TcpStream,
    time::Instant,
};

const CHUNK: usize = 256 * 1024;
const ROUND_TRIPS: usize = 400;
const CONNECTS: usize = 100;

fn main() {
    let words: Vec<String> = env::args().collect();
    let (peer, megabytes) = (words[1].as_str(), words[2].parse::<u64>().expect("a number"));
    let bytes = megabytes << 20;
    // The emulator translates each path's code at its first run.
    download(peer, bytes / 8);
    upload(peer, bytes / 8);
    for _ in 0..3 {
        report("down_mbit", rate(bytes, || download(peer, bytes)));
        report("up_mbit", rate(bytes, || upload(peer, bytes)));
    }
    let mut trips = round_trips(peer);
    trips.sort_by(f64::total_cmp);
    report("rtt_p50_us", trips[trips.len() / 2]);
    report("rtt_p99_us", trips[trips.len() * 99 / 100]);
    let began = Instant::now();
    for _ in 0..CONNECTS {
        let mut stream = connect(peer, b'R', 0);
        let mut byte = [1];
        stream.write_all(&byte).expect("sent");
        stream.read_exact(&mut byte).expect("answered");
    }
    report("connect_us", began.elapsed().as_secs_f64() * 1e6 / CONNECTS as f64);
}

fn report(name: &str, value: f64) {
    println!("RESULT {name} {value:.1}");
}

fn rate(bytes: u64, work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    bytes as f64 * 8.0 / 1e6 / began.elapsed().as_secs_f64()
}

fn connect(peer: &str, what: u8, bytes: u64) -> TcpStream {
    let mut stream = TcpStream::connect(peer).expect("the peer listens");
    stream.set_nodelay(true).expect("a socket");
    let mut head = vec![what];
    head.extend(bytes.to_be_bytes());
    stream.write_all(&head).expect("sent");
    stream
}

fn download(peer: &str, bytes: u64) {
    let mut stream = connect(peer, b'D', bytes);
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let read = stream.read(&mut chunk).expect("more");
        assert!(read > 0, "cut short");
        left -= read as u64;
    }
}

fn upload(peer: &str, bytes: u64) {
    let mut stream = connect(peer, b'U', bytes);
    let chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let now = left.min(CHUNK as u64) as usize;
        stream.write_all(&chunk[..now]).expect("sent");
        left -= now as u64;
    }
    stream.read_exact(&mut [0]).expect("the peer has it all");
}

fn round_trips(peer: &str) -> Vec<f64> {
    let mut stream = connect(peer, b'R', 0);
    let mut byte = [1];
    (0..ROUND_TRIPS)
        .map(|_| {
            let began = Instant::now();
            stream.write_all(&byte).expect("sent");
            stream.read_exact(&mut byte).expect("answered");
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect()
}
