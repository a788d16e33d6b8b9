use smoltcp::{
    phy::ChecksumCapabilities,
    wire::{
        ArpPacket, ArpRepr, EthernetFrame, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr,
        Icmpv6DstUnreachable, Icmpv6Packet, Icmpv6Repr, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr,
        TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, UdpPacket, UdpRepr,
    },
};

use super::*;
use crate::{
    address::{GATEWAY_V6, GUEST_V6},
    gateway::frames::Inbox,
};

fn made(craft: impl FnOnce(&mut Outbox)) -> Vec<u8> {
    let (mut out, mut inbox) = (Outbox::default(), Inbox::default());
    craft(&mut out);
    let bytes = out.unsent().len();
    inbox.spare()[..bytes].copy_from_slice(out.unsent());
    inbox.filled(bytes);
    let frame = inbox.frame().unwrap().unwrap().to_vec();
    assert!(inbox.frame().unwrap().is_none(), "one frame");
    assert_eq!(frame[..12], [GUEST_MAC, GATEWAY_MAC].concat());
    frame[ETHERNET..].to_vec()
}

fn v4(packet: &[u8]) -> (Ipv4Repr, &[u8]) {
    let packet = Ipv4Packet::new_checked(packet).unwrap();
    (Ipv4Repr::parse(&packet, &ChecksumCapabilities::default()).unwrap(), packet.payload())
}

fn v6(packet: &[u8]) -> (Ipv6Repr, &[u8]) {
    let packet = Ipv6Packet::new_checked(packet).unwrap();
    (Ipv6Repr::parse(&packet).unwrap(), packet.payload())
}

#[test]
fn a_datagram_is_sound_in_both_versions() {
    let sums = ChecksumCapabilities::default();
    let packet = made(|out| datagram(out, (GATEWAY_V4, 53).into(), 5000, b"odd"));
    let (ip, payload) = v4(&packet);
    assert_eq!((ip.src_addr, ip.dst_addr), (GATEWAY_V4, GUEST_V4));
    let udp = UdpPacket::new_checked(payload).unwrap();
    let from_to = (ip.src_addr.into(), ip.dst_addr.into());
    let ports = UdpRepr::parse(&udp, &from_to.0, &from_to.1, &sums).unwrap();
    assert_eq!((ports.src_port, ports.dst_port, udp.payload()), (53, 5000, &b"odd"[..]));
    let packet = made(|out| datagram(out, (GATEWAY_V6, 53).into(), 5000, b"even"));
    let (ip, payload) = v6(&packet);
    assert_eq!((ip.src_addr, ip.dst_addr), (GATEWAY_V6, GUEST_V6));
    let udp = UdpPacket::new_checked(payload).unwrap();
    assert!(UdpRepr::parse(&udp, &ip.src_addr.into(), &ip.dst_addr.into(), &sums).is_ok());
    let mut out = Outbox::default();
    datagram(&mut out, (GATEWAY_V4, 53).into(), 5000, &vec![0; 70_000]);
    assert!(out.unsent().is_empty());
}

#[test]
fn a_refused_datagram_is_quoted() {
    let sums = ChecksumCapabilities::default();
    let quoted = made(|out| datagram(out, (Ipv6Addr::LOCALHOST, 443).into(), 5000, &[7; 2000]));
    let refused = |packet, from: IpAddr, to: IpAddr| Datagram {
        packet,
        from: (from, 5000).into(),
        to: (to, 443).into(),
        data: &[],
    };
    let to: IpAddr = Ipv6Addr::LOCALHOST.into();
    let packet = made(|out| port_unreachable(out, &refused(&quoted, GUEST_V6.into(), to)));
    let (ip, payload) = v6(&packet);
    assert!(packet.len() < 1280);
    let icmp = Icmpv6Packet::new_checked(payload).unwrap();
    let parsed = Icmpv6Repr::parse(&ip.src_addr, &ip.dst_addr, &icmp, &sums).unwrap();
    let Icmpv6Repr::DstUnreachable { reason, header, .. } = parsed else { panic!("{parsed:?}") };
    assert_eq!(reason, Icmpv6DstUnreachable::PortUnreachable);
    assert_eq!(header.src_addr, Ipv6Addr::LOCALHOST);

    let to: IpAddr = [192, 0, 2, 7].into();
    let quoted = made(|out| datagram(out, (to, 443).into(), 5000, b"quic"));
    let packet = made(|out| port_unreachable(out, &refused(&quoted, GUEST_V4.into(), to)));
    let (ip, payload) = v4(&packet);
    assert_eq!(IpAddr::from(ip.src_addr), to);
    let icmp = Icmpv4Packet::new_checked(payload).unwrap();
    let parsed = Icmpv4Repr::parse(&icmp, &sums).unwrap();
    let Icmpv4Repr::DstUnreachable { reason, data, .. } = parsed else { panic!("{parsed:?}") };
    assert_eq!(reason, Icmpv4DstUnreachable::PortUnreachable);
    assert_eq!(&data[8..], b"quic");
}

#[test]
fn a_refused_connection_hears_a_reset_that_it_believes() {
    let packet = made(|out| refuse(out, ([192, 0, 2, 7], 443).into(), 5000, u32::MAX));
    let (ip, payload) = v4(&packet);
    let tcp = TcpPacket::new_checked(payload).unwrap();
    let from_to = (ip.src_addr.into(), ip.dst_addr.into());
    let sums = ChecksumCapabilities::default();
    let repr = TcpRepr::parse(&tcp, &from_to.0, &from_to.1, &sums).unwrap();
    assert_eq!(repr.control, TcpControl::Rst);
    assert_eq!(repr.ack_number, Some(TcpSeqNumber(0)), "one more than its number");
    assert_eq!((repr.src_port, repr.dst_port), (443, 5000));
}

#[test]
fn the_gateway_says_which_card_it_has() {
    let mut out = Outbox::default();
    i_have(&mut out);
    let frame = EthernetFrame::new_checked(&out.unsent()[4..]).unwrap();
    let arp = ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).unwrap()).unwrap();
    let ArpRepr::EthernetIpv4 { source_hardware_addr, source_protocol_addr, .. } = arp else {
        panic!("{arp:?}")
    };
    assert_eq!(source_hardware_addr.0, GATEWAY_MAC);
    assert_eq!(source_protocol_addr, GATEWAY_V4);

    let packet = made(|out| advertise(out, GUEST_V6, GATEWAY_V6));
    let (ip, payload) = v6(&packet);
    assert_eq!(ip.hop_limit, 255);
    let icmp = Icmpv6Packet::new_checked(payload).unwrap();
    assert!(icmp.verify_checksum(&ip.src_addr, &ip.dst_addr));
    assert_eq!((payload[0], payload[4]), (136, 0x60));
    assert_eq!(payload[8..], [&GATEWAY_V6.octets()[..], &[2, 1], &GATEWAY_MAC].concat());
}
