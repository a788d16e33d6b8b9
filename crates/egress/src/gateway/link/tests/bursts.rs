use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Poll, ready},
};

use super::*;

const CHUNK: usize = 64 << 10;

/// Writes so much, and says how often it had to wait.
async fn write_all(mut flow: Pin<&mut Flow>, all: usize) -> usize {
    let (chunk, mut written, mut waits) = (vec![7; CHUNK], 0, 0);
    while written < all {
        let mut waited = 0;
        let write = poll_fn(|context| {
            let polled = flow.as_mut().poll_write(context, &chunk);
            waited |= usize::from(polled.is_pending());
            Poll::Ready(ready!(polled))
        });
        written += write.await.unwrap();
        waits += waited;
    }
    waits
}

#[tokio::test]
async fn once_full_it_takes_more_when_half_is_gone() {
    linked(|peer, mut news| async move {
        let (mut guest, flow) = connect(&peer, &mut news).await;
        let (flow, mut sink) = (pin!(flow), tokio::io::sink());
        let all = 4 * LIMITS.buffer_bytes_max;
        let waits = tokio::select! {
            waits = write_all(flow, all) => waits,
            _ = tokio::io::copy(&mut guest, &mut sink) => 0,
        };
        let halves = all / (LIMITS.buffer_bytes_max / 2);
        assert!((1..=halves).contains(&waits), "{waits} times");
    })
    .await;
}
