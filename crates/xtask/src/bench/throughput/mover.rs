//! What a guest runs. Of the raw channel: moves bytes over its port, its own or what a program prints, and works on its
//! disk, as it is told. In a sandbox: works on the disk as its arguments say. Built on its own, with the standard library
//! alone.

use std::{
    env,
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd},
    os::unix::fs::{FileExt, OpenOptionsExt},
    process::{Command, Stdio},
    time::Instant,
};

/// More than the kernel takes of a write, or gives of a read, at a time.
const CHUNK: usize = 256 * 1024;
const PAGE: usize = 4096;
/// `O_DIRECT`: past the guest's own cache.
const DIRECT: i32 = 0x4000;
const PAGES_READ: usize = 2000;
const DISK: &str = "/disk/bench.bin";
/// In the guest's memory, since its root is.
const TEXT: &str = "/text";
const F_SETPIPE_SZ: i32 = 1031;
/// As wide as a command's output is made, and the most that the kernel gives.
const PIPE_WIDE: i32 = 1 << 20;

unsafe extern "C" {
    fn fcntl(fd: i32, command: i32, ...) -> i32;
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [what, length, path] => {
            let length = length.parse().expect("a number of bytes");
            println!("{}", work(what.as_bytes()[0], path, length));
        }
        [path] => print(path),
        _ => serve(),
    }
}

fn serve() -> ! {
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
            b'C' => pass_output(&mut port, left),
            b'E' => port.write_all(b"!").expect("said"),
            _ => port.write_all(&work_apart(what, left).to_be_bytes()).expect("said"),
        }
    }
}

/// Of a program that prints a file, by a pipe, to the port.
fn pass_output(port: &mut fs::File, bytes: usize) {
    if !fs::metadata(TEXT).is_ok_and(|text| text.len() == bytes as u64) {
        fs::write(TEXT, vec![b'x'; bytes]).expect("it has room");
    }
    let mut command = Command::new("/program");
    let mut child = command.arg(TEXT).stdout(Stdio::piped()).spawn().expect("it runs");
    let output = child.stdout.take().expect("it is piped");
    // SAFETY: it takes a number, and touches no memory.
    let width = unsafe { fcntl(output.as_raw_fd(), F_SETPIPE_SZ, PIPE_WIDE) };
    assert_eq!(width, PIPE_WIDE);
    // All that the pipe holds: less is slower.
    pass_all(output, port, PIPE_WIDE as usize);
    child.wait().expect("it ends");
}

/// As `cat` does, which reads and writes 128 KiB at a time.
fn print(path: &str) {
    // Not by the library's own, which looks for the ends of lines.
    let output = io::stdout().as_fd().try_clone_to_owned().expect("it is there");
    pass_all(fs::File::open(path).expect("it is there"), fs::File::from(output), CHUNK / 2);
}

/// So much at a time; the library's own has the kernel do it.
fn pass_all(mut from: impl Read, mut to: impl Write, piece: usize) {
    let mut chunk = vec![0; piece];
    while let count @ 1.. = from.read(&mut chunk).expect("read") {
        to.write_all(&chunk[..count]).expect("written");
    }
}

/// In a process of its own, as in a sandbox.
fn work_apart(what: u8, bytes: usize) -> u64 {
    let (what, bytes) = (char::from(what).to_string(), bytes.to_string());
    let mut command = Command::new("/program");
    let output = command.args([&what, &bytes, DISK]).output().expect("it runs");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number of nanoseconds")
}

/// Does one thing with a file of so many bytes, and says how many nanoseconds it took.
fn work(what: u8, path: &str, bytes: usize) -> u64 {
    match what {
        b'W' => {
            // What a run before left is no part of it.
            drop(fs::remove_file(path));
            sync();
            timed(|| write(path, bytes))
        }
        b'R' => {
            sync();
            fs::write("/proc/sys/vm/drop_caches", "3").expect("caches are dropped");
            timed(|| read(path, bytes))
        }
        _ => timed(|| read_pages(path, bytes)),
    }
}

fn timed(work: impl FnOnce()) -> u64 {
    let began = Instant::now();
    work();
    began.elapsed().as_nanos() as u64
}

/// All that is dirty is on the disk before something is timed.
fn sync() {
    let status = Command::new("sync").status().expect("there is a sync");
    assert!(status.success());
}

fn write(path: &str, bytes: usize) {
    let mut file = fs::File::create(path).expect("it is made");
    let chunk = vec![b'x'; CHUNK];
    let mut left = bytes;
    while left > 0 {
        left -= file.write(&chunk[..left.min(CHUNK)]).expect("written");
    }
    file.sync_all().expect("synced");
}

fn read(path: &str, bytes: usize) {
    let mut file = fs::File::open(path).expect("it is there");
    let mut chunk = vec![0; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let count = file.read(&mut chunk).expect("read");
        assert!(count > 0, "it is as long as was written");
        left -= count;
    }
}

#[repr(align(4096))]
struct Page([u8; PAGE]);

fn read_pages(path: &str, bytes: usize) {
    let mut open = OpenOptions::new();
    let file = open.read(true).custom_flags(DIRECT).open(path).expect("it is there");
    let mut page = Box::new(Page([0; PAGE]));
    let mut random = 1u64;
    for _ in 0..PAGES_READ {
        // Knuth's MMIX: the upper bits are random enough.
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (random >> 33) as usize % (bytes / PAGE) * PAGE;
        file.read_exact_at(&mut page.0, at as u64).expect("read");
    }
}
