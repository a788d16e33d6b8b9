//! IP and what is in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{GATEWAY_LOCAL, GUEST_LOCAL, Junk, Packet, is_gateway};
use crate::{
    address::{GATEWAY_V6, GUEST_V4, GUEST_V6},
    gateway::craft::{sum, sum_pseudo},
};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_V6: u8 = 58;

/// A TCP segment; between the two addresses and ports it is whatever the guest wants it to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The IP packet, without what pads the frame.
    pub packet: &'a [u8],
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub flags: Flags,
    pub sequence: u32,
    pub acknowledgement: u32,
    /// As it stands in the header, unscaled.
    pub window: u16,
    pub data_bytes: u32,
    options: &'a [u8],
}

/// The flags of a segment that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;

    /// A connection begins.
    #[must_use]
    pub fn opens(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }

    #[must_use]
    pub fn resets(self) -> bool {
        self.0 & Self::RST != 0
    }

    #[must_use]
    pub fn acknowledges(self) -> bool {
        self.0 & Self::ACK != 0
    }

    /// How many numbers of the sequence the flags take.
    #[must_use]
    pub fn length(self) -> u32 {
        u32::from(self.0 & Self::SYN != 0) + u32::from(self.0 & Self::FIN != 0)
    }
}

/// What the guest's end of a new connection can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynOptions {
    /// Longest segment it takes, in bytes of data.
    pub segment_bytes: Option<u16>,
    pub window_scale: Option<u8>,
    pub selective: Selective,
}

/// Whether acknowledgements may name what came after a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Selective {
    #[default]
    No,
    Permitted,
}

impl Segment<'_> {
    /// The options of a segment that opens a connection. Those that are unknown or cut are left out.
    #[must_use]
    pub fn syn_options(&self) -> SynOptions {
        let (mut found, mut rest) = (SynOptions::default(), self.options);
        while let Some((&kind, tail)) = rest.split_first() {
            let body = match kind {
                0 => break,
                1 => {
                    rest = tail;
                    continue;
                }
                _ => {
                    let Some(&length) = tail.first() else { break };
                    let Some(body) = rest.get(2..usize::from(length)) else { break };
                    rest = &rest[usize::from(length)..];
                    body
                }
            };
            match (kind, body) {
                (2, &[high, low]) => found.segment_bytes = Some(u16::from_be_bytes([high, low])),
                (3, &[shift]) => found.window_scale = Some(shift.min(14)),
                (4, []) => found.selective = Selective::Permitted,
                _ => {}
            }
        }
        found
    }
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The IP packet, without what pads the frame.
    pub packet: &'a [u8],
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub data: &'a [u8],
}

/// An echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<'a> {
    pub from: IpAddr,
    pub to: IpAddr,
    /// The ICMP message from its identifier on.
    pub rest: &'a [u8],
}

/// A packet's addresses and what it carries.
struct Body<'a> {
    packet: &'a [u8],
    from: IpAddr,
    to: IpAddr,
    payload: &'a [u8],
}

pub(super) fn v4(frame: &[u8]) -> Result<Packet<'_>, Junk> {
    let header: &[u8; 20] = frame.first_chunk().ok_or(Junk::Malformed)?;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let packet = frame.get(..total).ok_or(Junk::Malformed)?;
    let [.., s0, s1, s2, s3, t0, t1, t2, t3] = *header;
    let (from, to) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(t0, t1, t2, t3));
    if header[0] >> 4 != 4 || header[8] == 0 {
        return Err(Junk::Malformed);
    }
    if header[0] & 15 != 5 {
        return Err(Junk::Options(to.into()));
    }
    let payload = packet.get(20..).ok_or(Junk::Malformed)?;
    if sum(header) != u16::MAX {
        return Err(Junk::Malformed);
    }
    if from.is_unspecified() {
        return Err(Junk::Chatter);
    }
    if from != GUEST_V4 {
        return Err(Junk::Source(from.into()));
    }
    if to == GUEST_V4 || to.is_unspecified() {
        return Err(Junk::Malformed);
    }
    // More are to come, or it is not the first. (The top bit must be zero, the next says that it may
    // not be cut.)
    if u16::from_be_bytes([header[6], header[7]]) & 0xbfff != 0 {
        return Err(Junk::Fragment(to.into()));
    }
    let body = Body { packet, from: from.into(), to: to.into(), payload };
    if to.is_multicast() || to.is_broadcast() {
        return Err(for_many(&body, header[9]));
    }
    match header[9] {
        TCP => tcp(&body),
        UDP => udp(&body),
        ICMP if sum(payload) != u16::MAX => Err(Junk::Malformed),
        ICMP => echo(&body, 8),
        other => Err(Junk::Protocol(to.into(), other)),
    }
}

pub(super) fn v6(frame: &[u8]) -> Result<Packet<'_>, Junk> {
    let header: &[u8; 40] = frame.first_chunk().ok_or(Junk::Malformed)?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let packet = frame.get(..40 + length).ok_or(Junk::Malformed)?;
    let (from, to) = (address(&header[8..])?, address(&header[24..])?);
    if header[0] >> 4 != 6 || header[7] == 0 {
        return Err(Junk::Malformed);
    }
    let body = Body { packet, from: from.into(), to: to.into(), payload: &packet[40..] };
    if header[6] == ICMP_V6 && header[7] == 255 && body.payload.first() == Some(&SOLICIT) {
        return solicit(&body, from);
    }
    if to.is_multicast() {
        return Err(if from == GUEST_V6 { for_many(&body, header[6]) } else { Junk::Chatter });
    }
    // The link's own addresses are for finding each other.
    let finds = from == GUEST_LOCAL && is_gateway(to.into()) && header[6] == ICMP_V6;
    if from != GUEST_V6 && !finds {
        return Err(if from.is_unspecified() { Junk::Chatter } else { Junk::Source(from.into()) });
    }
    if to == GUEST_V6 || to == GUEST_LOCAL || to.is_unspecified() {
        return Err(Junk::Malformed);
    }
    match header[6] {
        TCP => tcp(&body),
        UDP => udp(&body),
        ICMP_V6 if sum_pseudo(body.from, body.to, ICMP_V6, body.payload) != u16::MAX => {
            Err(Junk::Malformed)
        }
        ICMP_V6 => echo(&body, 128),
        44 => Err(Junk::Fragment(to.into())),
        0 | 43 | 60 => Err(Junk::Options(to.into())),
        other => Err(Junk::Protocol(to.into(), other)),
    }
}

fn address(bytes: &[u8]) -> Result<Ipv6Addr, Junk> {
    bytes.first_chunk::<16>().map(|&octets| octets.into()).ok_or(Junk::Malformed)
}

/// A packet for a group or for all: services that look for each other are told of, the rest is what
/// every system says.
fn for_many(body: &Body<'_>, protocol: u8) -> Junk {
    if protocol == UDP { Junk::Multicast(body.to) } else { Junk::Chatter }
}

fn tcp<'a>(body: &Body<'a>) -> Result<Packet<'a>, Junk> {
    let header: &[u8; 20] = body.payload.first_chunk().ok_or(Junk::Malformed)?;
    let [f0, f1, t0, t1, s0, s1, s2, s3, a0, a1, a2, a3, offset, flags, w0, w1, ..] = *header;
    let header_bytes = usize::from(offset >> 4) * 4;
    let options = body.payload.get(20..header_bytes).ok_or(Junk::Malformed)?;
    let (from, to) = ends(body, [f0, f1], [t0, t1])?;
    let data_bytes = body.payload.len() - header_bytes;
    Ok(Packet::Tcp(Segment {
        packet: body.packet,
        from,
        to,
        flags: Flags(flags),
        sequence: u32::from_be_bytes([s0, s1, s2, s3]),
        acknowledgement: u32::from_be_bytes([a0, a1, a2, a3]),
        window: u16::from_be_bytes([w0, w1]),
        data_bytes: u32::try_from(data_bytes).ok().ok_or(Junk::Malformed)?,
        options,
    }))
}

fn udp<'a>(body: &Body<'a>) -> Result<Packet<'a>, Junk> {
    let (header, rest) = body.payload.split_first_chunk::<8>().ok_or(Junk::Malformed)?;
    let [f0, f1, t0, t1, l0, l1, ..] = *header;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let (from, to) = ends(body, [f0, f1], [t0, t1])?;
    let data = length.checked_sub(8).and_then(|length| rest.get(..length));
    let data = data.ok_or(Junk::Malformed)?;
    Ok(Packet::Udp(Datagram { packet: body.packet, from, to, data }))
}

fn ends(body: &Body<'_>, from: [u8; 2], to: [u8; 2]) -> Result<(SocketAddr, SocketAddr), Junk> {
    let (from, to) = (u16::from_be_bytes(from), u16::from_be_bytes(to));
    if from == 0 || to == 0 {
        return Err(Junk::Malformed);
    }
    Ok((SocketAddr::new(body.from, from), SocketAddr::new(body.to, to)))
}

fn echo<'a>(body: &Body<'a>, request: u8) -> Result<Packet<'a>, Junk> {
    let (header, _) = body.payload.split_first_chunk::<8>().ok_or(Junk::Malformed)?;
    if header[..2] != [request, 0] {
        return Err(Junk::Icmp(body.to));
    }
    if !is_gateway(body.to) {
        return Err(Junk::Echo(body.to));
    }
    Ok(Packet::Echo(Echo { from: body.from, to: body.to, rest: &body.payload[4..] }))
}

const SOLICIT: u8 = 135;

/// A neighbour solicitation for one of the gateway's addresses.
fn solicit<'a>(body: &Body<'a>, from: Ipv6Addr) -> Result<Packet<'a>, Junk> {
    let message: &[u8; 24] = body.payload.first_chunk().ok_or(Junk::Malformed)?;
    if sum_pseudo(body.from, body.to, ICMP_V6, body.payload) != u16::MAX || message[1] != 0 {
        return Err(Junk::Malformed);
    }
    let target = address(&message[8..])?;
    let [.., g0, g1, g2] = target.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, g0, g1, g2]);
    if target != GATEWAY_V6 && target != GATEWAY_LOCAL {
        // Systems look for themselves, and for neighbours that are not there.
        return Err(Junk::Chatter);
    }
    if body.to != target && body.to != group {
        return Err(Junk::Malformed);
    }
    if from != GUEST_V6 && from != GUEST_LOCAL {
        return Err(Junk::Source(from.into()));
    }
    Ok(Packet::Solicit { source: from, target })
}
