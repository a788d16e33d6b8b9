//! In a process of its own: there is no way back.

use std::{
    fs::File,
    io::{self, ErrorKind},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::{UnixListener, UnixStream},
    process::Command,
};

use super::confine;

const INSIDE: &str = "FUMEHOOD_TEST_CONFINED";

#[test]
fn a_gateway_opens_starts_and_reaches_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("api.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "gateway::confine::tests::inside", "--nocapture"])
        .env(INSIDE, &socket)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("confined as it should be"), "{said}");
}

/// Does nothing unless it is started by the test above.
#[test]
fn inside() {
    let Some(socket) = std::env::var_os(INSIDE) else { return };
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    // Opened before, it stays usable.
    let log = tempfile::tempfile().unwrap();
    confine().unwrap();

    refused("open", File::open("/etc/passwd"));
    refused("read a link", std::fs::read_link("/proc/self/exe"));
    refused("list", std::fs::read_dir("/"));
    refused("start", Command::new("/bin/true").status());
    refused("connect to a Unix socket", UnixStream::connect(socket));
    refused("pair", UnixStream::pair());
    let netlink = rustix::net::socket(
        rustix::net::AddressFamily::NETLINK,
        rustix::net::SocketType::RAW,
        None,
    );
    refused("open netlink", netlink.map_err(io::Error::from));
    let exits = rustix::process::test_kill_process(rustix::process::Pid::INIT);
    refused("signal", exits.map_err(io::Error::from));

    TcpStream::connect(address).unwrap();
    UdpSocket::bind("127.0.0.1:0").unwrap().connect(address).unwrap();
    log.set_len(0).unwrap();
    io::Write::write_all(&mut &log, b"still here").unwrap();
    io::Write::write_all(&mut io::stdout(), b"confined as it should be\n").unwrap();
}

#[track_caller]
fn refused<T>(what: &str, result: io::Result<T>) {
    let error = result.err().unwrap_or_else(|| panic!("it could {what}"));
    let expected = [ErrorKind::PermissionDenied, ErrorKind::Unsupported];
    assert!(expected.contains(&error.kind()), "{what}: {error}");
}
