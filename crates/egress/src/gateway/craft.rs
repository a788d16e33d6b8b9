//! Packets that the gateway makes itself, byte by byte: answers to questions of the link, refusals,
//! datagrams. Data of connections is not among them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::{
    frames::{ETHERNET, Outbox},
    packet::{Datagram, Echo, Segment, Selective, SynOptions, guest_for},
};
use crate::address::{GATEWAY_MAC, GATEWAY_V4, GUEST_MAC, GUEST_V4};

const HOPS: u8 = 64;
/// Bytes of a refused packet that are sent back with the refusal: the packet stays below the least
/// that every link carries.
const QUOTED_BYTES_MAX: usize = 512;

/// The ones' complement sum over 16-bit words, as RFC 1071 has it. Over what carries its own
/// checksum it is `u16::MAX`.
#[must_use]
pub fn sum(bytes: &[u8]) -> u16 {
    fold(words(bytes))
}

/// The same, with the pseudo header that TCP, UDP and ICMPv6 include.
#[must_use]
pub fn sum_pseudo(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> u16 {
    let addresses = [from, to].map(|address| match address {
        IpAddr::V4(address) => words(&address.octets()),
        IpAddr::V6(address) => words(&address.octets()),
    });
    let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
    fold(addresses[0] + addresses[1] + u64::from(protocol) + length + words(payload))
}

/// Four bytes at a time: the sum is the same modulo 65535, and 2^32 of them fit.
fn words(bytes: &[u8]) -> u64 {
    let (chunks, rest) = bytes.as_chunks::<4>();
    let sum: u64 = chunks.iter().map(|chunk| u64::from(u32::from_be_bytes(*chunk))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum + u64::from(u32::from_be_bytes(last))
}

fn fold(mut sum: u64) -> u16 {
    while u64::from(u16::MAX) < sum {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// Writes the header of a frame to the guest.
pub fn ethernet(frame: &mut [u8], version: Version) {
    frame[..6].copy_from_slice(&GUEST_MAC);
    frame[6..12].copy_from_slice(&GATEWAY_MAC);
    frame[12..14].copy_from_slice(match version {
        Version::V4 => &[0x08, 0x00],
        Version::V6 => &[0x86, 0xdd],
    });
}

/// Which IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V4,
    V6,
}

impl Version {
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    #[must_use]
    pub const fn header_bytes(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }
}

/// Who speaks to whom, in which protocol.
#[derive(Clone, Copy)]
struct Way {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_V6: u8 = 58;

impl Way {
    /// ICMP of the version that the addresses have.
    fn icmp(from: IpAddr, to: IpAddr) -> Self {
        let protocol = if to.is_ipv4() { ICMP } else { ICMP_V6 };
        Self { from, to, protocol }
    }

    fn version(self) -> Version {
        Version::of(self.to)
    }

    /// Writes the IP header of a packet with this much in it.
    fn header(self, packet: &mut [u8], payload_bytes: usize) {
        let version = self.version();
        let header = &mut packet[..version.header_bytes()];
        header.fill(0);
        let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes();
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header[0] = 0x45;
                header[2..4].copy_from_slice(&length(20 + payload_bytes));
                // It may not be cut.
                header[6] = 0x40;
                header[8..10].copy_from_slice(&[HOPS, self.protocol]);
                header[12..16].copy_from_slice(&from.octets());
                header[16..20].copy_from_slice(&to.octets());
                let check = !sum(header);
                header[10..12].copy_from_slice(&check.to_be_bytes());
            }
            (from, to) => {
                header[0] = 0x60;
                header[4..6].copy_from_slice(&length(payload_bytes));
                // Neighbours prove by the highest that no router was between them.
                let hops = if self.protocol == ICMP_V6 { 255 } else { HOPS };
                header[6..8].copy_from_slice(&[self.protocol, hops]);
                header[8..24].copy_from_slice(&octets_v6(from));
                header[24..40].copy_from_slice(&octets_v6(to));
            }
        }
    }

    /// Writes the checksum of what the packet carries.
    fn seal(self, payload: &mut [u8]) {
        let at = match self.protocol {
            TCP => 16,
            UDP => 6,
            _ => 2,
        };
        payload[at..at + 2].fill(0);
        let sum = match self.protocol {
            ICMP => sum(payload),
            _ => sum_pseudo(self.from, self.to, self.protocol, payload),
        };
        // In UDP zero stands for no checksum.
        let check = if self.protocol == UDP && sum == u16::MAX { sum } else { !sum };
        payload[at..at + 2].copy_from_slice(&check.to_be_bytes());
    }

    /// Sends a packet with this much in it, which `fill` writes but for the checksum.
    fn send(self, out: &mut Outbox, payload_bytes: usize, fill: impl FnOnce(&mut [u8])) {
        let start = ETHERNET + self.version().header_bytes();
        out.push(start + payload_bytes, |frame| {
            ethernet(frame, self.version());
            self.header(&mut frame[ETHERNET..], payload_bytes);
            fill(&mut frame[start..]);
            self.seal(&mut frame[start..]);
        });
    }
}

fn octets_v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Says which Ethernet address the gateway's IPv4 address has.
pub fn i_have(out: &mut Outbox) {
    const REPLY: [u8; 8] = [0, 1, 0x08, 0, 6, 4, 0, 2];
    out.push(ETHERNET + 28, |frame| {
        ethernet(frame, Version::V4);
        frame[12..14].copy_from_slice(&[0x08, 0x06]);
        frame[14..22].copy_from_slice(&REPLY);
        frame[22..28].copy_from_slice(&GATEWAY_MAC);
        frame[28..32].copy_from_slice(&GATEWAY_V4.octets());
        frame[32..38].copy_from_slice(&GUEST_MAC);
        frame[38..42].copy_from_slice(&GUEST_V4.octets());
    });
}

/// The same for an IPv6 address, which the guest asked for from `to`.
pub fn advertise(out: &mut Outbox, to: Ipv6Addr, target: Ipv6Addr) {
    Way::icmp(target.into(), to.into()).send(out, 32, |message| {
        // Solicited, and it replaces what was known.
        message[..8].copy_from_slice(&[136, 0, 0, 0, 0x60, 0, 0, 0]);
        message[8..24].copy_from_slice(&target.octets());
        message[24..26].copy_from_slice(&[2, 1]);
        message[26..32].copy_from_slice(&GATEWAY_MAC);
    });
}

/// Answers an echo request.
pub fn echo(out: &mut Outbox, echo: &Echo<'_>) {
    let reply = if echo.to.is_ipv4() { 0 } else { 129 };
    Way::icmp(echo.to, echo.from).send(out, 4 + echo.rest.len(), |message| {
        message[..4].copy_from_slice(&[reply, 0, 0, 0]);
        message[4..].copy_from_slice(echo.rest);
    });
}

/// Says that nobody is at a port, in the name of the address that the datagram was for.
pub fn port_unreachable(out: &mut Outbox, datagram: &Datagram<'_>) {
    let quoted = &datagram.packet[..datagram.packet.len().min(QUOTED_BYTES_MAX)];
    let kind = if datagram.to.is_ipv4() { [3, 3] } else { [1, 4] };
    let way = Way::icmp(datagram.to.ip(), datagram.from.ip());
    way.send(out, 8 + quoted.len(), |message| {
        message[..8].fill(0);
        message[..2].copy_from_slice(&kind);
        message[8..].copy_from_slice(quoted);
    });
}

/// Sends a datagram to the guest; one that is too long for the link is not sent.
pub fn datagram(out: &mut Outbox, from: SocketAddr, guest_port: u16, data: &[u8]) {
    let to = guest_for(from.ip(), guest_port);
    let Ok(length) = u16::try_from(8 + data.len()) else { return };
    let way = Way { from: from.ip(), to: to.ip(), protocol: UDP };
    way.send(out, usize::from(length), |message| {
        message[..2].copy_from_slice(&from.port().to_be_bytes());
        message[2..4].copy_from_slice(&to.port().to_be_bytes());
        message[4..6].copy_from_slice(&length.to_be_bytes());
        message[8..].copy_from_slice(data);
    });
}

const FLAG_SYN: u8 = 2;
const FLAG_RST: u8 = 4;
const FLAG_ACK: u8 = 16;

/// A TCP header without options; window and checksum are zero.
fn tcp_header(header: &mut [u8], ends: (SocketAddr, SocketAddr), numbers: (u32, u32), flags: u8) {
    header.fill(0);
    header[..2].copy_from_slice(&ends.0.port().to_be_bytes());
    header[2..4].copy_from_slice(&ends.1.port().to_be_bytes());
    header[4..8].copy_from_slice(&numbers.0.to_be_bytes());
    header[8..12].copy_from_slice(&numbers.1.to_be_bytes());
    header[12..14].copy_from_slice(&[5 << 4, flags]);
}

/// Says that there is no such connection. A reset is never answered with one.
pub fn reset(out: &mut Outbox, segment: &Segment<'_>) {
    if segment.flags.resets() {
        return;
    }
    let (numbers, flags) = if segment.flags.acknowledges() {
        ((segment.acknowledgement, 0), FLAG_RST)
    } else {
        let length = segment.data_bytes.wrapping_add(segment.flags.length());
        ((0, segment.sequence.wrapping_add(length)), FLAG_RST | FLAG_ACK)
    };
    reset_with(out, (segment.to, segment.from), numbers, flags);
}

/// Refuses the connection that a guest's SYN of this number asked for.
pub fn refuse(out: &mut Outbox, from: SocketAddr, guest_port: u16, sequence: u32) {
    let to = guest_for(from.ip(), guest_port);
    reset_with(out, (from, to), (0, sequence.wrapping_add(1)), FLAG_RST | FLAG_ACK);
}

fn reset_with(out: &mut Outbox, ends: (SocketAddr, SocketAddr), numbers: (u32, u32), flags: u8) {
    let way = Way { from: ends.0.ip(), to: ends.1.ip(), protocol: TCP };
    way.send(out, 20, |header| tcp_header(header, ends, numbers, flags));
}

/// A guest's request for a connection, as it is kept until somebody has decided about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syn {
    pub sequence: u32,
    pub window: u16,
    pub options: SynOptions,
}

/// The request as a packet: what the guest sent, without options that are of no use here and without
/// data, which it sends again.
#[must_use]
pub fn syn(to: SocketAddr, guest_port: u16, syn: Syn) -> Vec<u8> {
    const OPTIONS: usize = 12;
    let from = guest_for(to.ip(), guest_port);
    let way = Way { from: from.ip(), to: to.ip(), protocol: TCP };
    let start = way.version().header_bytes();
    let mut packet = vec![0; start + 20 + OPTIONS];
    way.header(&mut packet, 20 + OPTIONS);
    let segment = &mut packet[start..];
    tcp_header(&mut segment[..20], (from, to), (syn.sequence, 0), FLAG_SYN);
    segment[12] = 8 << 4;
    segment[14..16].copy_from_slice(&syn.window.to_be_bytes());
    // What is left out stays a 1, which fills up.
    segment[20..].fill(1);
    if let Some(bytes) = syn.options.segment_bytes {
        segment[20..22].copy_from_slice(&[2, 4]);
        segment[22..24].copy_from_slice(&bytes.to_be_bytes());
    }
    if let Some(shift) = syn.options.window_scale {
        segment[24..27].copy_from_slice(&[3, 3, shift]);
    }
    if syn.options.selective == Selective::Permitted {
        segment[28..30].copy_from_slice(&[4, 2]);
    }
    way.seal(segment);
    packet
}

/// What a guest says with every segment: the number of the byte that it waits for, and how much it has
/// room for, unscaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    pub acknowledgement: u32,
    pub window: u16,
}

/// A guest's segment as a packet that says this and nothing else.
#[must_use]
pub fn acknowledgement(to: SocketAddr, guest_port: u16, sequence: u32, heard: Heard) -> Vec<u8> {
    let from = guest_for(to.ip(), guest_port);
    let way = Way { from: from.ip(), to: to.ip(), protocol: TCP };
    let start = way.version().header_bytes();
    let mut packet = vec![0; start + 20];
    way.header(&mut packet, 20);
    let segment = &mut packet[start..];
    tcp_header(segment, (from, to), (sequence, heard.acknowledgement), FLAG_ACK);
    segment[14..16].copy_from_slice(&heard.window.to_be_bytes());
    way.seal(segment);
    packet
}

#[cfg(test)]
mod tests;
