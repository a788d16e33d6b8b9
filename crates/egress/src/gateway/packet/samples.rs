//! Frames as a guest might send them, for tests.

use super::*;
use crate::gateway::craft::{sum, sum_pseudo};

pub(crate) const REMOTE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
pub(crate) const REMOTE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);

pub(crate) fn frame(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&GATEWAY_MAC, &GUEST_MAC, &ether_type.to_be_bytes()[..], payload].concat()
}

pub(crate) fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0];
    packet.extend(GUEST_V4.octets());
    packet.extend(REMOTE_V4.octets());
    packet.extend(payload);
    seal_v4(packet)
}

pub(crate) fn seal_v4(mut packet: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(packet.len()).unwrap();
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[10..12].fill(0);
    let check = !sum(&packet[..20]);
    packet[10..12].copy_from_slice(&check.to_be_bytes());
    frame(IPV4, &packet)
}

pub(crate) fn v6(protocol: u8, from: Ipv6Addr, to: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, protocol, 255];
    packet[4..6].copy_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    frame(IPV6, &packet)
}

pub(crate) fn icmp_v6(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    message[2..4].fill(0);
    let check = !sum_pseudo(from.into(), to.into(), 58, &message);
    message[2..4].copy_from_slice(&check.to_be_bytes());
    v6(58, from, to, &message)
}

/// From port 5000 to 443.
pub(crate) fn tcp(flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
    let offset = u8::try_from(5 + options.len() / 4).unwrap() << 4;
    let head = [0x13, 0x88, 1, 0xbb, 0, 0, 0, 9, 0, 0, 0, 8, offset, flags, 0xff, 0, 0, 0, 0, 0];
    [&head, options, data].concat()
}

pub(crate) fn udp(port: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).unwrap();
    [&[0x13, 0x88], &port.to_be_bytes()[..], &length.to_be_bytes(), &[0, 0], data].concat()
}
