//! The decoder finds every whole frame, whatever stands around it.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use crate::*;

fn data(stream: u32, offset: u64, bytes: Vec<u8>) -> Frame {
    let last = offset % 2 == 1;
    let data = Data { stream: StreamId(stream), offset, bytes: Bytes::from(bytes), last };
    Frame { epoch: Epoch(7), body: Body::Data(data) }
}

fn decode_all(decoder: &mut Decoder) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(item) = decoder.next_frame() {
        frames.extend(item.ok());
    }
    frames
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        (any::<u32>(), any::<u64>(), bytes)
            .prop_map(|(stream, offset, bytes)| data(stream, offset, bytes)),
        (any::<u32>(), any::<u64>(), any::<u64>(), any::<bool>()).prop_map(
            |(stream, offset, limit, last)| Frame {
                epoch: Epoch(1),
                body: Body::Ack(Ack { stream: StreamId(stream), offset, limit, last }),
            }
        ),
        (any::<u64>(), ".{0,40}").prop_map(|(id, path)| Frame {
            epoch: Epoch(2),
            body: Body::Request { id, request: Request::Stat { path } },
        }),
        (any::<u32>(), prop::collection::vec((any::<u64>(), 0..4000u32), 0..=8)).prop_map(
            |(stream, places)| {
                let place = |(address, bytes)| Place { address, bytes };
                let places = places.into_iter().map(place).collect();
                let lent =
                    Lent { stream: StreamId(stream), offset: 7, places, last: stream % 2 == 1 };
                Frame { epoch: Epoch(4), body: Body::Lent(lent) }
            }
        ),
        (any::<u16>(), 0..32_000u16).prop_map(|(slot, bytes)| {
            let filled =
                Filled { stream: StreamId(3), offset: 9, slot, bytes, last: slot % 2 == 1 };
            Frame { epoch: Epoch(4), body: Body::Filled(filled) }
        }),
        prop::collection::vec(any::<u16>(), 0..9)
            .prop_map(|slots| Frame { epoch: Epoch(4), body: Body::Returned { slots } }),
        any::<u32>().prop_map(|stream| Frame {
            epoch: Epoch(3),
            body: Body::Reset(Reset { stream: StreamId(stream) }),
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn frames_come_out_as_they_went_in(
        frames in prop::collection::vec(any_frame(), 0..20),
        cut in 1usize..100,
    ) {
        let mut wire = BytesMut::new();
        for frame in &frames {
            frame.encode(&mut wire);
        }
        let (mut decoder, mut seen) = (Decoder::default(), Vec::new());
        for piece in wire.chunks(cut) {
            decoder.push(piece);
            while let Some(item) = decoder.next_frame() {
                seen.push(item.expect("nothing was damaged"));
            }
        }
        prop_assert_eq!(seen, frames);
    }

    /// Garbage, a frame cut short by a lost connection, then whole frames: these are all found.
    #[test]
    fn it_goes_on_after_a_loss(
        garbage in prop::collection::vec(any::<u8>(), 0..100),
        broken in any_frame(),
        keep in 0usize..300,
        frames in prop::collection::vec(any_frame(), 1..5),
    ) {
        let mut cut = BytesMut::new();
        broken.encode(&mut cut);
        let mut wire = BytesMut::from(&garbage[..]);
        wire.extend_from_slice(&cut[..keep.min(cut.len() - 1)]);
        // Otherwise the first byte of the next frame may be the very one that was cut off.
        wire.extend_from_slice(&[0]);
        for frame in &frames {
            frame.encode(&mut wire);
        }
        // The cut frame may promise more than has come: padding fills it up, as a host does.
        wire.resize(wire.len() + PAYLOAD_MAX, 0);
        let mut decoder = Decoder::default();
        decoder.push(&wire);
        prop_assert!(decode_all(&mut decoder).ends_with(&frames));
    }

    #[test]
    fn garbage_alone_gives_no_frame_and_is_not_kept(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        prop_assert_eq!(decode_all(&mut decoder), vec![]);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_seen() {
    let mut wire = BytesMut::new();
    data(4, 9, b"payload".to_vec()).encode(&mut wire);
    for bit in 0..wire.len() * 8 {
        let mut damaged = wire.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut decoder = Decoder::default();
        decoder.push(&damaged);
        assert_eq!(decode_all(&mut decoder), vec![], "bit {bit}");
    }
}

#[test]
fn a_length_over_the_limit_is_not_waited_for() {
    let mut wire = BytesMut::new();
    data(4, 9, b"payload".to_vec()).encode(&mut wire);
    let mut hostile = wire.to_vec();
    hostile[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
    hostile.extend_from_slice(&wire);
    let mut decoder = Decoder::default();
    decoder.push(&hostile);
    assert_eq!(decode_all(&mut decoder).len(), 1);
}

/// Nested false frames must not make the host sum a megabyte for each of them.
#[test]
fn false_frames_cost_little() {
    let mut head = BytesMut::new();
    data(4, 9, vec![0; PAYLOAD_MAX]).encode(&mut head);
    let head = &head[..HEADER_LEN];
    let hostile: Vec<u8> = head.iter().copied().cycle().take(2 * PAYLOAD_MAX).collect();
    let mut decoder = Decoder::default();
    decoder.push(&hostile);
    let mut skipped = 0;
    while let Some(item) = decoder.next_frame() {
        item.unwrap_err();
        skipped += 1;
    }
    assert!(skipped < 100, "{skipped} looks at {} bytes", hostile.len());
}

#[test]
fn a_request_that_is_too_long_is_known_before_it_is_sent() {
    let request = |len| Request::Stat { path: "x".repeat(len) };
    assert!(request(PAYLOAD_MAX - 4).fits());
    assert!(!request(PAYLOAD_MAX - 3).fits());
    let frame =
        Frame { epoch: Epoch(1), body: Body::Request { id: 1, request: request(PAYLOAD_MAX - 4) } };
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    assert_eq!(out.len(), HEADER_LEN + PAYLOAD_MAX);
}

#[test]
fn no_more_is_lent_than_a_frame_may_hold() {
    let (stream, offset, last) = (StreamId(3), 0, false);
    let lent = |places| Body::Lent(Lent { stream, offset, places, last });
    let place = |bytes| Place { address: 0, bytes };
    let filled = |bytes| Body::Filled(Filled { stream, offset, slot: 0, bytes, last });
    let most = u32::try_from(CHUNK_MAX).unwrap();
    for (body, expected) in [
        (lent(vec![place(most)]), true),
        (lent(vec![place(most), place(1)]), false),
        (lent(vec![place(u32::MAX), place(1)]), false),
        (lent(vec![place(1); Lent::PLACES_MAX]), true),
        (lent(vec![place(1); Lent::PLACES_MAX + 1]), false),
        (filled(u16::try_from(CHUNK_MAX).unwrap()), true),
        (filled(u16::MAX), false),
    ] {
        let (mut wire, mut decoder) = (BytesMut::new(), Decoder::default());
        Frame { epoch: Epoch(1), body: body.clone() }.encode(&mut wire);
        decoder.push(&wire);
        assert_eq!(decode_all(&mut decoder).len(), usize::from(expected), "{body:?}");
    }
}
