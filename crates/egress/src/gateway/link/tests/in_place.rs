//! Bytes that pass between the guest and a host where they lie.

use bytes::Bytes;
use proptest::prelude::*;
use tokio::{
    io::{duplex, split},
    runtime::Builder,
};

use super::*;
use crate::gateway::{
    rewound::Rewound,
    spliced::{Passed, splice},
};

/// Writes bytes of the pattern in pieces of these sizes, and ends.
async fn say<W: AsyncWrite + Unpin>(mut to: W, all: usize, sizes: &[usize]) {
    let (mut written, mut sizes) = (0, sizes.iter().cycle());
    while written < all {
        let mut piece = vec![0; (all - written).min(*sizes.next().unwrap())];
        pattern(written, &mut piece);
        to.write_all(&piece).await.unwrap();
        written += piece.len();
    }
    to.shutdown().await.unwrap();
}

/// Reads bytes of the pattern to their end.
async fn hear<R: AsyncRead + Unpin>(mut from: R, size: usize) -> usize {
    let (mut buffer, mut expected, mut read) = (vec![0; size], vec![0; size], 0);
    loop {
        let bytes = from.read(&mut buffer).await.unwrap();
        if bytes == 0 {
            return read;
        }
        pattern(read, &mut expected[..bytes]);
        assert_eq!(buffer[..bytes], expected[..bytes], "after {read}");
        read += bytes;
    }
}

/// One splice with so many bytes each way, of which the first ones from the guest were read before.
async fn pass((up, first, down): (usize, usize, usize), sizes: Vec<usize>) {
    linked(|peer, mut news| async move {
        let (guest, flow) = connect(&peer, &mut news).await;
        let mut head = vec![0; first.min(up)];
        pattern(0, &mut head);
        let skipped = head.len();
        let mut flow = Rewound::new(Bytes::from(head), flow);
        let (host, mut upstream) = duplex(sizes[0]);
        let passed = Passed::default();
        let (from_guest, mut to_guest) = split(guest);
        let (from_host, to_host) = split(host);
        let speaks = async {
            let mut rest = vec![0; up];
            pattern(0, &mut rest);
            to_guest.write_all(&rest[skipped..]).await.unwrap();
            to_guest.shutdown().await.unwrap();
        };
        let (spliced, (), (), there, here) = tokio::join!(
            splice(&mut flow, &mut upstream, &passed),
            speaks,
            say(to_host, down, &sizes),
            hear(from_host, sizes[sizes.len() / 2]),
            hear(from_guest, sizes[sizes.len() - 1]),
        );
        spliced.unwrap();
        assert_eq!((there, here), (up, down));
        assert_eq!((passed.sent.get(), passed.received.get()), (up as u64, down as u64));
    })
    .await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn both_ways_arrive_whole_and_in_order(
        up in 0..3_000_000_usize,
        first in 0..5000_usize,
        down in 0..9_000_000_usize,
        sizes in prop::collection::vec(prop_oneof![1000..5000_usize, 5000..700_000_usize], 1..6),
    ) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(pass((up, first, down), sizes));
    }
}

#[tokio::test]
async fn a_reset_of_the_guest_ends_it_while_the_host_is_silent() {
    linked(|peer, mut news| async move {
        let (guest, mut flow) = connect(&peer, &mut news).await;
        let (_host, mut upstream) = duplex(1000);
        let passed = Passed::default();
        let splicing = splice(&mut flow, &mut upstream, &passed);
        let (ended, ()) = tokio::join!(splicing, async { drop(guest) });
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    })
    .await;
}
