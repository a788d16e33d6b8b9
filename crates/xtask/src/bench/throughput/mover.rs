//! What the guest runs: moves bytes over its port as it is told. Built on its own, with the standard library alone.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
};

/// More than the kernel takes of a write, or gives of a read, at a time.
const CHUNK: usize = 256 * 1024;

fn main() {
    let ports = fs::read_dir("/sys/class/virtio-ports").expect("the kernel has ports");
    let name = ports.flatten().next().expect("there is a port").file_name();
    let path = std::path::Path::new("/dev").join(name);
    let mut port = OpenOptions::new().read(true).write(true).open(path).expect("it opens");
    port.write_all(b"!").expect("said");
    let mut chunk = vec![0; CHUNK];
    loop {
        let mut head = [0; 9];
        port.read_exact(&mut head).expect("told");
        let [what, length @ ..] = head;
        let mut left = u64::from_be_bytes(length) as usize;
        match what {
            b'O' => {
                while left > 0 {
                    left -= port.write(&chunk[..left.min(CHUNK)]).expect("sent");
                }
            }
            b'I' => {
                while left > 0 {
                    left -= port.read(&mut chunk[..left.min(CHUNK)]).expect("received");
                }
                port.write_all(b"!").expect("said");
            }
            _ => port.write_all(b"!").expect("said"),
        }
    }
}
