//! What happens to a connection that the gateway has ended.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{super::connection::UNHEARD_BYTES_MAX, *};

/// A host answers early and ends while the guest still speaks.
#[tokio::test]
async fn what_was_said_before_the_end_arrives() {
    linked(|peer, mut news| async move {
        for too_much in [false, true] {
            let (mut connected, mut flow) = connect(&peer, &mut news).await;
            connected.write_all(b"the first of much").await.unwrap();
            while connected.unacknowledged() != 0 {
                tokio::task::yield_now().await;
            }
            flow.write_all(b"no").await.unwrap();
            flow.shutdown().await.unwrap();
            drop(flow);
            connected.write_all(&vec![0; UNHEARD_BYTES_MAX / 2]).await.unwrap();
            let mut said = Vec::new();
            connected.read_to_end(&mut said).await.unwrap();
            assert_eq!(said, b"no");
            if too_much {
                let more = connected.write_all(&vec![0; 2 * UNHEARD_BYTES_MAX]).await;
                assert_eq!(more.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            }
            connected.shutdown().await.unwrap();
            while news.taken().connections != 0 {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
}
