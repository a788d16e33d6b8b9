use proptest::prelude::*;

use super::{samples::*, *};
use crate::gateway::{
    craft::{self, sum},
    frames::{ETHERNET, Inbox, Outbox},
};

fn junk(frame: &[u8]) -> Junk {
    Packet::parse(frame).unwrap_err()
}

/// What comes out of an outbox, with guest and gateway swapped.
fn turned(craft: impl FnOnce(&mut Outbox)) -> Vec<u8> {
    let (mut out, mut inbox) = (Outbox::default(), Inbox::default());
    craft(&mut out);
    let bytes = out.unsent().len();
    inbox.spare()[..bytes].copy_from_slice(out.unsent());
    inbox.filled(bytes);
    let mut frame = inbox.frame().unwrap().unwrap().to_vec();
    let (to, from) = (frame[..6].to_vec(), frame[6..12].to_vec());
    assert_eq!((&to[..], &from[..]), (&GUEST_MAC[..], &GATEWAY_MAC[..]));
    frame[..12].rotate_left(6);
    frame
}

#[test]
fn segments_and_datagrams_are_understood() {
    let options = [2, 4, 0xff, 0xc8, 1, 3, 3, 20, 4, 2, 8, 10];
    let frame = tcp(2, &options, b"data");
    for frame in [v4(6, &frame), v6(6, GUEST_V6, REMOTE_V6, &frame)] {
        let padded = [&frame[..], &[0; 9]].concat();
        let Packet::Tcp(segment) = Packet::parse(&padded).unwrap() else { panic!() };
        assert_eq!(segment.packet, &frame[ETHERNET..]);
        assert_eq!((segment.from.port(), segment.to.port()), (5000, 443));
        assert_eq!((segment.sequence, segment.window, segment.data_bytes), (9, 0xff00, 4));
        assert!(segment.flags.opens() && !segment.flags.resets());
        let options = segment.syn_options();
        assert_eq!((options.segment_bytes, options.window_scale), (Some(0xffc8), Some(14)));
        assert_eq!(options.selective, Selective::Permitted);
    }
    let frame = udp(443, b"quic");
    for frame in [v4(17, &frame), v6(17, GUEST_V6, REMOTE_V6, &frame)] {
        let Packet::Udp(datagram) = Packet::parse(&frame).unwrap() else { panic!() };
        assert_eq!((datagram.to.port(), datagram.data), (443, &b"quic"[..]));
    }
}

#[test]
fn what_is_not_the_guests_or_goes_nowhere_is_junk() {
    let segment = tcp(2, &[], &[]);
    let good = v4(6, &segment);
    assert!(Packet::parse(&good).is_ok());
    let with = |at: usize, byte: u8| {
        let mut packet = good[ETHERNET..].to_vec();
        packet[at] = byte;
        junk(&seal_v4(packet))
    };
    let to = IpAddr::from(REMOTE_V4);
    assert_eq!(with(15, 3), Junk::Source("198.18.0.3".parse().unwrap()));
    assert_eq!(with(0, 0x46), Junk::Options(to));
    assert_eq!(with(0, 0x55), Junk::Malformed);
    assert_eq!(with(0, 0x44), Junk::Options(to));
    assert_eq!(with(6, 0x20), Junk::Fragment(to));
    assert_eq!(with(7, 1), Junk::Fragment(to));
    assert_eq!(with(8, 0), Junk::Malformed);
    assert_eq!(with(9, 47), Junk::Protocol(to, 47));
    assert_eq!(with(16, 224), Junk::Chatter);
    let flipped = |at: usize| {
        let mut frame = good.clone();
        frame[at] ^= 0x80;
        junk(&frame)
    };
    assert_eq!(flipped(0), Junk::Stranger);
    assert_eq!(flipped(6), Junk::Stranger);
    assert_eq!(flipped(12), Junk::EtherType(0x8800));
    assert_eq!(flipped(24), Junk::Malformed, "its own checksum");
    let own = |octets: [u8; 4]| {
        let mut packet = good[ETHERNET..].to_vec();
        packet[16..20].copy_from_slice(&octets);
        junk(&seal_v4(packet))
    };
    assert_eq!(own(GUEST_V4.octets()), Junk::Malformed);
    assert_eq!(own([0; 4]), Junk::Malformed);
    let (guest, to) = (GUEST_V6, IpAddr::from(REMOTE_V6));
    assert_eq!(junk(&v6(44, guest, REMOTE_V6, &segment)), Junk::Fragment(to));
    assert_eq!(junk(&v6(0, guest, REMOTE_V6, &segment)), Junk::Options(to));
    assert_eq!(junk(&v6(41, guest, REMOTE_V6, &segment)), Junk::Protocol(to, 41));
    assert_eq!(junk(&v6(6, REMOTE_V6, REMOTE_V6, &segment)), Junk::Source(to));
    assert_eq!(junk(&v6(6, GUEST_LOCAL, GATEWAY_V6, &segment)), Junk::Source(GUEST_LOCAL.into()));
    assert_eq!(junk(&v6(6, guest, guest, &segment)), Junk::Malformed);
    let group: Ipv6Addr = "ff02::fb".parse().unwrap();
    assert_eq!(junk(&v6(17, guest, group, &udp(5353, b""))), Junk::Multicast(group.into()));
    let zero = [&[0x13, 0x88, 0, 0], &tcp(2, &[], &[])[4..]].concat();
    assert_eq!(junk(&v4(6, &zero)), Junk::Malformed, "port 0");
    assert_eq!(junk(&v4(17, &udp(53, b"x")[..8])), Junk::Malformed, "cut");
    assert_eq!(junk(&v4(6, &tcp(2, &[0; 4], &[])[..20])), Junk::Malformed, "cut");
}

#[test]
fn a_frame_for_all_asks_who_has_an_address_and_nothing_else() {
    let mut all = v4(6, &tcp(2, &[], &[]));
    all[..6].fill(0xff);
    assert_eq!(junk(&all), Junk::Malformed);
    let arp = |source: [u8; 4], target: [u8; 4]| {
        let head = [0, 1, 0x08, 0, 6, 4, 0, 1];
        let payload = [&head[..], &GUEST_MAC, &source, &[0; 6], &target].concat();
        let mut frame = frame(ARP, &payload);
        frame[..6].fill(0xff);
        frame
    };
    let (guest, gateway) = (GUEST_V4.octets(), GATEWAY_V4.octets());
    assert_eq!(Packet::parse(&arp(guest, gateway)), Ok(Packet::WhoHas));
    assert_eq!(junk(&arp(guest, [192, 0, 2, 7])), Junk::Chatter);
    assert_eq!(junk(&arp([0; 4], guest)), Junk::Chatter);
    assert_eq!(junk(&arp(gateway, gateway)), Junk::Source(GATEWAY_V4.into()));
    let solicit = |target: Ipv6Addr, to: &str, from: Ipv6Addr| {
        let message = [&[135, 0, 0, 0, 0, 0, 0, 0], &target.octets()[..], &[1, 1], &GUEST_MAC];
        let mut frame = icmp_v6(from, to.parse().unwrap(), &message.concat());
        frame[..6].copy_from_slice(&[0x33, 0x33, 0xff, 0, 0, 1]);
        frame
    };
    let asks = solicit(GATEWAY_V6, "ff02::1:ff00:1", GUEST_V6);
    let asked = Packet::Solicit { source: GUEST_V6, target: GATEWAY_V6 };
    assert_eq!(Packet::parse(&asks), Ok(asked));
    let asks = solicit(GATEWAY_LOCAL, "ff02::1:ff6d:6501", GUEST_LOCAL);
    assert!(Packet::parse(&asks).is_ok());
    assert_eq!(junk(&solicit(REMOTE_V6, "ff02::1:ff00:7", GUEST_V6)), Junk::Chatter);
    assert_eq!(junk(&solicit(GATEWAY_V6, "ff02::1:ff00:2", GUEST_V6)), Junk::Malformed);
    let spoofed = solicit(GATEWAY_V6, "ff02::1:ff00:1", REMOTE_V6);
    assert_eq!(junk(&spoofed), Junk::Source(REMOTE_V6.into()));
}

#[test]
fn echo_requests_reach_the_gateway_alone() {
    let request = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    assert_eq!(junk(&v4(1, &request)), Junk::Echo(REMOTE_V4.into()));
    assert_eq!(junk(&v4(1, &[8, 0, 0, 0, 0, 0, 0, 0])), Junk::Malformed);
    assert_eq!(junk(&v4(1, &[13, 0, 0xf2, 0xff, 0, 0, 0, 0])), Junk::Icmp(REMOTE_V4.into()));
    let ping = icmp_v6(GUEST_V6, GATEWAY_V6, &[128, 0, 0, 0, 0, 1, 0, 2, 7]);
    let Packet::Echo(echo) = Packet::parse(&ping).unwrap() else { panic!() };
    assert_eq!(echo.rest, [0, 1, 0, 2, 7]);
    // The answer is a message that is sound, and no request.
    let mut pong = turned(|out| craft::echo(out, &echo));
    pong[ETHERNET + 8..ETHERNET + 40].rotate_left(16);
    assert_eq!(junk(&pong), Junk::Icmp(GATEWAY_V6.into()));
}

proptest! {
    #[test]
    fn nothing_panics_and_every_source_is_the_guests(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in 0..6_usize,
    ) {
        let frame = match kind {
            0 => bytes,
            1 => frame(IPV4, &bytes),
            2 => frame(IPV6, &bytes),
            3 => v4(6, &bytes),
            4 => v6(58, GUEST_V6, GATEWAY_V6, &bytes),
            _ => v4(17, &bytes),
        };
        match Packet::parse(&frame) {
            Ok(Packet::Tcp(segment)) => {
                prop_assert_eq!(segment.from, guest_for(segment.to.ip(), segment.from.port()));
                prop_assert!(segment.syn_options().window_scale <= Some(14));
            }
            Ok(Packet::Udp(datagram)) => {
                prop_assert_eq!(datagram.from, guest_for(datagram.to.ip(), datagram.from.port()));
            }
            _ => {}
        }
    }

    #[test]
    fn the_sum_is_that_of_the_words(bytes in prop::collection::vec(any::<u8>(), 0..99)) {
        let mut slow: u32 = 0;
        for pair in bytes.chunks(2) {
            slow += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            slow = (slow & 0xffff) + (slow >> 16);
        }
        prop_assert_eq!(u32::from(sum(&bytes)), slow);
    }

    #[test]
    fn a_syn_that_was_kept_says_what_it_said(
        sequence: u32, window: u16, segment_bytes: Option<u16>, window_scale in prop::option::of(0..=14_u8),
        v6: bool, selective: bool,
    ) {
        let options = SynOptions {
            segment_bytes,
            window_scale,
            selective: if selective { Selective::Permitted } else { Selective::No },
        };
        let address: IpAddr = if v6 { REMOTE_V6.into() } else { REMOTE_V4.into() };
        let to = SocketAddr::new(address, 443);
        let syn = craft::Syn { sequence, window, options };
        let packet = craft::syn(to, 5000, syn);
        let frame = frame(if v6 { IPV6 } else { IPV4 }, &packet);
        let Ok(Packet::Tcp(segment)) = Packet::parse(&frame) else { panic!() };
        prop_assert_eq!((segment.to, segment.from), (to, guest_for(to.ip(), 5000)));
        prop_assert!(segment.flags.opens());
        prop_assert_eq!(segment.sequence, sequence);
        prop_assert_eq!(segment.window, window);
        prop_assert_eq!(segment.syn_options(), options);
    }
}
