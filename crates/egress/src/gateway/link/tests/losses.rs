use std::time::Duration;

use super::*;

/// What a guest without options takes in a segment.
const SEGMENT: usize = 536;
/// What is sent to it.
const ALL: usize = 20 * SEGMENT;

/// The guest's side of one connection, which says when it has got what.
struct Guest {
    card: Card,
    /// The number of the first byte to it.
    first: u32,
}

impl Guest {
    /// All has come to it once, and it has said nothing of that yet.
    async fn that_heard_all(mut card: Card, news: &mut News) -> (Self, Flow) {
        card.send(&v4(6, &tcp(2, &[], &[]))).await;
        let mut flow = news.arrivals.recv().await.unwrap().accept().unwrap();
        let answer = card.receive().await;
        let number = u32::from_be_bytes(*answer[ETHERNET + 24..].first_chunk().unwrap());
        let mut guest = Self { card, first: number.wrapping_add(1) };
        guest.say(0, u16::MAX).await;
        flow.write_all(&vec![7; ALL]).await.unwrap();
        guest.hear_all(0).await;
        (guest, flow)
    }

    /// It has so many bytes and room for so many.
    async fn say(&mut self, bytes: usize, window: u16) {
        let number = self.first.wrapping_add(u32::try_from(bytes).unwrap());
        let mut segment = tcp(16, &[], &[]);
        segment[4..8].copy_from_slice(&10_u32.to_be_bytes());
        segment[8..12].copy_from_slice(&number.to_be_bytes());
        segment[14..16].copy_from_slice(&window.to_be_bytes());
        self.card.send(&v4(6, &segment)).await;
    }

    /// Where the next segment with data begins and ends.
    async fn hear(&mut self) -> (usize, usize) {
        loop {
            let frame = self.card.receive().await;
            let number = u32::from_be_bytes(*frame[ETHERNET + 24..].first_chunk().unwrap());
            let start = usize::try_from(number.wrapping_sub(self.first)).unwrap();
            let bytes = frame.len() - ETHERNET - 40;
            if 0 < bytes && start < 1 << 30 {
                return (start, start + bytes);
            }
        }
    }

    async fn hear_all(&mut self, from: usize) {
        let mut at = from;
        let heard = async {
            while at < ALL {
                let (start, end) = self.hear().await;
                if start <= at {
                    at = at.max(end);
                }
            }
        };
        let heard = tokio::time::timeout(Duration::from_secs(100), heard).await;
        assert!(heard.is_ok(), "{at} of {ALL} bytes");
    }
}

/// A guest has no room any more, drops what is on its way, and has room again.
#[tokio::test(start_paused = true)]
async fn what_a_full_guest_drops_is_sent_again_at_once() {
    with_card(|card, mut news| async move {
        let (mut guest, _flow) = Guest::that_heard_all(card, &mut news).await;
        guest.say(SEGMENT, 0).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        guest.say(SEGMENT, u16::MAX).await;
        let start = Instant::now();
        guest.hear_all(SEGMENT).await;
        let waited = start.elapsed();
        assert!(waited < Duration::from_secs(1), "{waited:?}");
    })
    .await;
}

/// Nothing that is sent is heard of for a while.
#[tokio::test(start_paused = true)]
async fn what_is_lost_is_sent_again_as_soon_as_by_linux() {
    with_card(|card, mut news| async move {
        let (mut guest, _flow) = Guest::that_heard_all(card, &mut news).await;
        let start = Instant::now();
        guest.hear_all(0).await;
        let waited = start.elapsed();
        assert!((150..300).contains(&waited.as_millis()), "{waited:?}");
    })
    .await;
}
