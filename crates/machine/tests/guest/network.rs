//! The network card: a peer on its port that answers the guest as a gateway would.

use std::{os::fd::OwnedFd, thread::JoinHandle, time::Duration};

use machine::{MTU, Machine, NetworkPort, RunState, Start};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tokio::time::timeout;

use crate::bench::{Bench, Guest};

const GATEWAY_MAC: [u8; 6] = [0x02, 0x66, 0x75, 0x6d, 0x65, 0x01];
const GATEWAY: [u8; 4] = [198, 18, 0, 1];

const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];

/// Answers ARP and echo requests until it is dropped, which closes the connection.
struct Peer {
    socket: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    fn connect(port: &NetworkPort) -> Self {
        let socket = port.connect().unwrap();
        rustix::io::ioctl_fionbio(&socket, false).unwrap();
        let own = socket.try_clone().unwrap();
        let thread = Some(std::thread::spawn(move || serve(&own)));
        Self { socket: Some(socket), thread }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        shutdown(self.socket.take().unwrap(), Shutdown::Both).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(socket: &OwnedFd) {
    let mut message = vec![0; 4 + 14 + usize::from(MTU) + 1];
    loop {
        let (got, _) = recv(socket, message.as_mut_slice(), RecvFlags::empty()).unwrap();
        let Some((length, frame)) = message[..got].split_first_chunk() else { return };
        assert_eq!(u32::from_be_bytes(*length) as usize, frame.len());
        if let Some(reply) = answer(frame) {
            let message = [length.as_slice(), &reply].concat();
            // Who ends the connection may do so before it is answered.
            if send(socket, &message, SendFlags::NOSIGNAL).is_err() {
                return;
            }
        }
    }
}

fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let (kind, body) = (&frame[12..14], &frame[14..]);
    let mut reply = frame.to_vec();
    reply[..6].copy_from_slice(&frame[6..12]);
    reply[6..12].copy_from_slice(&GATEWAY_MAC);
    if kind == ARP && body[7] == 1 && body[24..28] == GATEWAY {
        reply[14 + 7] = 2;
        reply[14 + 8..14 + 14].copy_from_slice(&GATEWAY_MAC);
        reply[14 + 14..14 + 18].copy_from_slice(&GATEWAY);
        reply[14 + 18..14 + 28].copy_from_slice(&body[8..18]);
        return Some(reply);
    }
    if kind == IPV4 && body[9] == 1 && body[20] == 8 {
        reply[14 + 12..14 + 16].copy_from_slice(&body[16..20]);
        reply[14 + 16..14 + 20].copy_from_slice(&body[12..16]);
        reply[14 + 20] = 0;
        // The checksum, of which one word has become less by 0x0800.
        let sum = u32::from(u16::from_be_bytes([body[22], body[23]])) + 0x0800;
        let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        reply[14 + 22..14 + 24].copy_from_slice(&sum.to_be_bytes());
        return Some(reply);
    }
    None
}

impl Bench {
    async fn networked(&self) -> (Machine, Guest) {
        let template = self.template(1).await;
        let spec = self.clone_spec("m", Start::Running);
        let machine = self.cloned(&template, spec).await;
        let mut guest = Guest::over(machine.agent().await.unwrap());
        assert_eq!(guest.ask("up").await, "ok");
        (machine, guest)
    }
}

#[tokio::test]
async fn a_clone_has_a_network_and_each_new_peer_is_served() {
    let bench = bench!();
    let (machine, mut guest) = bench.networked().await;
    let port = machine.network();
    // Nobody is there; what is sent is lost, and the card goes on.
    assert_ne!(guest.ask("ping 64").await, "pong");
    for _ in 0..3 {
        let peer = Peer::connect(&port);
        assert_eq!(guest.ask_until("ping 64", |reply| reply == "pong").await, "pong");
        let largest = MTU - 20;
        assert_eq!(guest.ask(&format!("ping {largest}")).await, "pong");
        drop(peer);
        assert_ne!(guest.ask("ping 64").await, "pong");
    }
    machine.kill().await;
}

#[tokio::test]
async fn a_peer_that_dies_with_its_hands_full_leaves_no_trace() {
    let bench = bench!();
    let (machine, mut guest) = bench.networked().await;
    let port = machine.network();
    for _ in 0..3 {
        let peer = Peer::connect(&port);
        assert_eq!(guest.ask_until("ping 64", |reply| reply == "pong").await, "pong");
        drop(peer);
        // Takes nothing, until QEMU waits for it.
        let stalled = port.connect().unwrap();
        guest.say("blast").await;
        while timeout(Duration::from_millis(300), machine.run_state()).await.is_ok() {}
        drop(stalled);
        assert_eq!(guest.line_in_time().await, "400");
    }
    assert_eq!(machine.run_state().await.unwrap(), RunState::Running);
    machine.kill().await;
}
