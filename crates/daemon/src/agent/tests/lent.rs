//! Bytes that pass in the guest's memory, and guests that say what is not so.

use std::{io, sync::Arc, sync::Mutex};

use futures_util::StreamExt;

use super::{
    fake::{Connections, Fake, greeted_beside},
    *,
};

/// A guest's memory, from address 0 on.
pub(super) struct Ram(Mutex<Vec<u8>>);

impl Ram {
    fn range(&self, place: &Place, act: impl FnOnce(&mut [u8])) -> io::Result<()> {
        let start = usize::try_from(place.address).map_err(io::Error::other)?;
        let mut ram = self.0.lock().unwrap();
        act(ram.get_mut(start..start + place.len()).ok_or(io::ErrorKind::NotFound)?);
        Ok(())
    }

    fn put(&self, address: u64, bytes: &[u8]) {
        let place = Place { address, bytes: u32::try_from(bytes.len()).unwrap() };
        self.range(&place, |ram| ram.copy_from_slice(bytes)).unwrap();
    }

    fn get(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let place = Place { address, bytes: u32::try_from(len).unwrap() };
        self.range(&place, |ram| bytes.extend_from_slice(ram)).unwrap();
        bytes
    }
}

struct Opened(Arc<Ram>);

impl Memory for Opened {
    fn read(&self, places: &[Place], mut into: &mut [u8]) -> io::Result<()> {
        for place in places {
            let (now, rest) = into.split_at_mut(place.len());
            self.0.range(place, |ram| now.copy_from_slice(ram))?;
            into = rest;
        }
        Ok(())
    }

    fn write(&self, places: &[Place], mut from: &[u8]) -> io::Result<()> {
        for place in places {
            let (now, rest) = from.split_at(place.len());
            self.0.range(place, |ram| ram.copy_from_slice(now))?;
            from = rest;
        }
        Ok(())
    }
}

/// So many bytes of it, and the way to look at them.
pub(super) fn memory(bytes: usize) -> (Arc<Ram>, Look) {
    let ram = Arc::new(Ram(Mutex::new(vec![0; bytes])));
    let there = Arc::clone(&ram);
    let look = move || {
        let memory: Box<dyn Memory> = Box::new(Opened(Arc::clone(&there)));
        Ok(memory)
    };
    (ram, Box::new(look))
}

const MIB: usize = 1 << 20;

async fn greeted() -> (Arc<Ram>, Agent, Fake, Connections) {
    let (ram, look) = memory(MIB);
    let (agent, fake, connections) = greeted_beside(Some(look)).await;
    (ram, agent, fake, connections)
}

async fn download(agent: &Agent, fake: &mut Fake) -> (StreamId, Download) {
    let (read, stream) = tokio::join!(agent.read("/file".into(), LONG), async {
        let (id, request) = fake.request().await;
        let Request::Read { stream, .. } = request else { panic!("{request:?}") };
        let stat = Stat { kind: EntryKind::File, size: 7, mode: 0, uid: 0, gid: 0, mtime: 0 };
        fake.reply(id, Response::Reading(stat)).await;
        stream
    });
    (stream, read.unwrap().1)
}

/// Begins a download, of which so much has come in frames that the host asks for the rest to be lent.
async fn much_has_come(agent: &Agent, fake: &mut Fake) -> (StreamId, u64, Download) {
    let (stream, mut download) = download(agent, fake).await;
    let mut offset = 0;
    while offset < 256 << 10 {
        fake.data(stream, offset, &[b'f'; CHUNK_MAX]).await;
        offset += CHUNK_MAX as u64;
    }
    let mut came = 0;
    while came < offset {
        came += download.next().await.unwrap().unwrap().len() as u64;
    }
    (stream, offset, download)
}

async fn lend(fake: &mut Fake, slots: Vec<(u16, Vec<Place>)>) {
    let (id, request) = fake.request().await;
    assert_eq!(request, Request::Lend);
    fake.reply(id, Response::Lending { slots }).await;
}

/// The address, and how many bytes, of each place.
fn lent(stream: StreamId, offset: u64, places: &[(u64, u32)]) -> Lent {
    let place = |(address, bytes): &(u64, u32)| Place { address: *address, bytes: *bytes };
    Lent { stream, offset, places: places.iter().map(place).collect(), last: false }
}

#[tokio::test]
async fn what_is_lent_is_read_where_it_is() {
    let (ram, agent, mut fake, _connections) = greeted().await;
    let (stream, offset, download) = much_has_come(&agent, &mut fake).await;
    lend(&mut fake, Vec::new()).await;
    ram.put(5000, b"lent, ");
    ram.put(9, b"in two places");
    fake.say(Body::Lent(lent(stream, offset, &[(5000, 6), (9, 13)]))).await;
    // What it has already is passed over.
    ram.put(100, b"places and again");
    fake.say(Body::Lent(lent(stream, offset + 13, &[(100, 16)]))).await;
    fake.data(stream, offset + 29, b", and along").await;
    fake.say(Body::Lent(Lent { last: true, ..lent(stream, offset + 40, &[]) })).await;
    let rest: Vec<u8> = download.map(|bytes| bytes.unwrap().to_vec()).concat().await;
    assert_eq!(String::from_utf8(rest).unwrap(), "lent, in two places and again, and along");
}

#[tokio::test]
async fn what_nobody_asked_to_lend_costs_the_stream() {
    let (_ram, agent, mut fake, _connections) = greeted().await;
    let (stream, _download) = download(&agent, &mut fake).await;
    fake.say(Body::Lent(Lent { last: true, ..lent(stream, 0, &[(0, 5)]) })).await;
    assert_eq!(fake.reset().await, stream);
}

#[tokio::test]
async fn a_memory_that_may_not_be_looked_at_is_not_asked_for() {
    let look: Look = Box::new(|| Err(io::ErrorKind::PermissionDenied.into()));
    let (agent, mut fake, _connections) = greeted_beside(Some(look)).await;
    let (stream, offset, mut download) = much_has_come(&agent, &mut fake).await;
    well(&agent, &mut fake).await;
    fake.data(stream, offset, b"and so on").await;
    assert_eq!(download.next().await.unwrap().unwrap(), "and so on");
}

#[tokio::test]
async fn more_than_the_window_is_not_read() {
    let (_ram, agent, mut fake, _connections) = greeted().await;
    let (stream, offset, mut download) = much_has_come(&agent, &mut fake).await;
    lend(&mut fake, Vec::new()).await;
    fake.say(Body::Lent(Lent { last: true, ..lent(stream, offset + 2 * WINDOW, &[(0, 5)]) })).await;
    assert_eq!(fake.reset().await, stream);
    assert!(download.next().await.unwrap().is_err());
}

#[tokio::test]
async fn what_cannot_be_read_is_sent_again_and_no_more_lent() {
    let (_ram, agent, mut fake, _connections) = greeted().await;
    let (stream, offset, download) = much_has_come(&agent, &mut fake).await;
    lend(&mut fake, Vec::new()).await;
    // What is said behind it in the same breath is of no use any more, and no fault.
    let data = Data { stream, offset: offset + 205, bytes: Bytes::from("more"), last: false };
    fake.say_at_once(&[
        Body::Lent(lent(stream, offset, &[(MIB as u64 - 2, 5)])),
        Body::Lent(lent(stream, offset + 5, &[(8, 100), (9, 100)])),
        Body::Data(data),
    ])
    .await;
    // A new epoch begins, in which all that was not received comes in frames.
    let before = fake.epoch;
    while !matches!(fake.hear().await, Some(Body::Hello(_))) {}
    fake.say(Body::Welcome(Welcome { version: VERSION, phase: Phase::Live })).await;
    assert_ne!(fake.epoch, before);
    let mut from = offset;
    for _ in 0..2 * (256 << 10) / CHUNK_MAX {
        fake.data(stream, from, &[b'g'; CHUNK_MAX]).await;
        from += CHUNK_MAX as u64;
    }
    fake.last(stream, from).await;
    let rest =
        download.map(|bytes| bytes.unwrap().len() as u64).fold(0, |a, b| async move { a + b });
    // It does not ask again.
    let (rest, ()) = tokio::join!(rest, well(&agent, &mut fake));
    assert_eq!(rest, from - offset);
}

/// Asks, and hears no other request but that and what an epoch begins with.
async fn well(agent: &Agent, fake: &mut Fake) {
    let (answer, ()) = tokio::join!(agent.request(Request::Ping, LONG), async {
        loop {
            let (id, request) = fake.request().await;
            if request == Request::Ping {
                return fake.reply(id, Response::Done).await;
            }
            assert_eq!(request, Request::Commands);
            fake.reply(id, Response::Commands(Vec::new())).await;
        }
    });
    answer.unwrap();
}

fn slot(number: u16, address: u64) -> (u16, Vec<Place>) {
    let half = u32::try_from(SLOT_LEN / 2).unwrap();
    let place = |address| Place { address, bytes: half };
    (number, vec![place(address), place(address + 100_000)])
}

#[tokio::test]
async fn slots_are_filled_each_while_it_is_the_hosts() {
    let (ram, agent, mut fake, _connections) = greeted().await;
    let _download = much_has_come(&agent, &mut fake).await;
    // One is too small, and two have one number.
    let small = (3, vec![Place { address: 0, bytes: 100 }]);
    lend(&mut fake, vec![slot(7, 200_000), small, slot(9, 400_000), slot(9, 400_000)]).await;
    // By then it has heard that.
    well(&agent, &mut fake).await;
    let content: Vec<u8> = (0..=250).cycle().take(5 * CHUNK_MAX).collect();
    let body = futures_util::stream::iter([Ok(Bytes::from(content.clone()))]);
    let owner = Owner::DefaultUser;
    let writing = tokio::spawn(async move { agent.write_tar("/".into(), owner, body).await });
    let (id, request) = fake.request().await;
    let Request::WriteTar { stream, .. } = request else { panic!("{request:?}") };
    let (mut got, mut filled, mut ended) = (Vec::new(), Vec::new(), false);
    while !ended {
        let heard = fake.hear().await.unwrap();
        if let Body::Data(data) = &heard {
            assert_eq!(data.offset, got.len() as u64);
            got.extend_from_slice(&data.bytes);
            ended = data.last;
        }
        let Body::Filled(now) = heard else { continue };
        assert_eq!((now.stream, now.offset), (stream, got.len() as u64));
        let (_, places) = slot(now.slot, if now.slot == 7 { 200_000 } else { 400_000 });
        for place in within(&places, HEADER_LEN..HEADER_LEN + usize::from(now.bytes)) {
            got.extend(ram.get(place.address, place.len()));
        }
        filled.push(now.slot);
        ended = now.last;
        // It has both, or this one back.
        if filled.len() > 1 {
            fake.say(Body::Returned { slots: vec![now.slot, now.slot, 55] }).await;
        }
    }
    assert_same(&got, &content);
    let mut used = filled.clone();
    used.truncate(2);
    used.sort_unstable();
    assert_eq!(used, [7, 9], "no slot twice before it is returned");
    fake.reply(id, Response::Written { entries: 0, bytes: 0 }).await;
    writing.await.unwrap().unwrap();
}
