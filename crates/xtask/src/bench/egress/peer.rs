//! The server that guests of the benchmark talk to, on the host's loopback.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::Result;

const CHUNK: usize = 256 * 1024;

/// Serves for as long as the process lives.
pub(super) fn start() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A guest that goes away in the middle is seen by who reads its results.
            thread::spawn(move || drop(serve(stream)));
        }
    });
    Ok(address)
}

/// `D` and a length: sends so much. `U` and a length: takes so much and answers a byte. `R`: answers
/// every byte.
fn serve(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let [what, length @ ..] = head;
    let mut left = usize::try_from(u64::from_be_bytes(length))?;
    let mut chunk = vec![0; CHUNK];
    match what {
        b'D' => {
            while left > 0 {
                let now = left.min(CHUNK);
                stream.write_all(&chunk[..now])?;
                left -= now;
            }
            // The guest closes when it has it all.
            while stream.read(&mut chunk)? > 0 {}
        }
        b'U' => {
            while left > 0 {
                let read = stream.read(&mut chunk)?;
                anyhow::ensure!(read > 0, "cut short");
                left -= read.min(left);
            }
            stream.write_all(&[1])?;
        }
        _ => {
            let mut byte = [0];
            while stream.read(&mut byte)? == 1 {
                stream.write_all(&byte)?;
            }
        }
    }
    Ok(())
}
