//! Whatever comes over the channel, the decoder goes on, and what it takes for a message is one.

#![no_main]

use arbitrary::Arbitrary;
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use protocol::{Body, Decoder, Frame, HEADER_LEN, MAGIC, PAYLOAD_MAX};
use twox_hash::XxHash64;

#[derive(Arbitrary, Debug)]
struct Input {
    parts: Vec<Part>,
    /// The bytes come in pieces of this length.
    piece: u16,
    /// Whether a good frame behind all of it is looked for: it takes a megabyte.
    end: u8,
}

#[derive(Arbitrary, Debug)]
enum Part {
    Raw(Vec<u8>),
    Magic,
    /// A frame with a right checksum, so that its payload is looked into.
    Whole {
        head: Head,
        payload: Vec<u8>,
    },
    /// The same, cut off or damaged.
    Broken {
        head: Head,
        payload: Vec<u8>,
        at: u16,
        byte: u8,
        keep: u16,
    },
    /// A header alone, that promises this much.
    Promise {
        head: Head,
        len: u32,
    },
}

#[derive(Arbitrary, Debug)]
struct Head {
    epoch: u32,
    kind: u8,
    flags: u8,
    stream: u32,
    offset: u64,
}

impl Head {
    fn bytes(&self, len: u32) -> Vec<u8> {
        // Most kinds are known ones.
        let kind = if self.kind < 240 { self.kind % 8 + 1 } else { self.kind };
        let mut out = MAGIC.to_le_bytes().to_vec();
        out.extend(self.epoch.to_le_bytes());
        out.extend([kind, self.flags, 0, 0]);
        out.extend(self.stream.to_le_bytes());
        out.extend(self.offset.to_le_bytes());
        out.extend(len.to_le_bytes());
        out
    }

    fn frame(&self, payload: &[u8]) -> Vec<u8> {
        let mut out = self.bytes(u32::try_from(payload.len()).expect("an input is short"));
        let sum = XxHash64::oneshot(XxHash64::oneshot(0, &out), payload) as u32;
        out.extend(sum.to_le_bytes());
        out.extend(payload);
        out
    }
}

impl Part {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Magic => MAGIC.to_le_bytes().to_vec(),
            Self::Whole { head, payload } => head.frame(payload),
            Self::Broken { head, payload, at, byte, keep } => {
                let mut frame = head.frame(payload);
                let at = usize::from(*at) % frame.len();
                frame[at] ^= byte;
                frame.truncate(usize::from(*keep));
                frame
            }
            Self::Promise { head, len } => {
                let mut header = head.bytes(*len);
                header.extend([0; 4]);
                header
            }
        }
    }
}

fuzz_target!(|input: Input| {
    let bytes: Vec<u8> = input.parts.iter().flat_map(Part::bytes).collect();
    let mut decoder = Decoder::default();
    let mut passed = 0;
    for piece in bytes.chunks(usize::from(input.piece).max(1)) {
        decoder.push(piece);
        while let Some(next) = decoder.next_frame() {
            passed += match next {
                Ok(frame) => check(&frame),
                Err(protocol::Skipped::Garbage(count)) => count,
                Err(protocol::Skipped::Unknown { .. }) => HEADER_LEN,
            };
            assert!(passed <= bytes.len(), "more came out than went in");
        }
    }
    if input.end % 32 != 31 {
        return;
    }
    // What is held back is one frame at most, and a whole one is found behind it.
    decoder.push(&vec![0; HEADER_LEN + PAYLOAD_MAX]);
    while decoder.next_frame().is_some() {}
    let ping = Head { epoch: 7, kind: 2, flags: 0, stream: 0, offset: 9 }.frame(&[0]);
    decoder.push(&ping);
    let found = std::iter::from_fn(|| decoder.next_frame()).any(|next| {
        matches!(next, Ok(Frame { epoch, body: Body::Request { id: 9, .. } }) if epoch.0 == 7)
    });
    assert!(found, "a frame behind garbage was lost");
});

/// The frame survives the way back, and how long it must have been at least.
fn check(frame: &Frame) -> usize {
    let mut encoded = BytesMut::new();
    frame.encode(&mut encoded);
    let mut decoder = Decoder::default();
    decoder.push(&encoded);
    assert_eq!(decoder.next_frame(), Some(Ok(frame.clone())));
    assert_eq!(decoder.next_frame(), None);
    match &frame.body {
        Body::Data(data) => HEADER_LEN + data.bytes.len(),
        _ => HEADER_LEN,
    }
}
