//! What waits to be sent: control frames first, then the streams in turn, one frame each.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use bytes::BytesMut;
use protocol::{
    ALONE, Ack, Body, CHUNK_MAX, Chunk, Epoch, Frame, HEADER_LEN, Outbox, StreamId, Violation, Way,
};

/// So much is handed to the channel at once, if there is that much: one write of a port.
const BATCH: usize = CHUNK_MAX + HEADER_LEN;

#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// None until the host has said hello.
    epoch: Option<Epoch>,
    /// In this epoch.
    way: Way,
    control: BytesMut,
    lanes: BTreeMap<StreamId, Lane>,
    /// Streams that have something to send.
    turns: VecDeque<StreamId>,
    kept: u64,
    /// Full chunks since this was last asked.
    large: u64,
}

#[derive(Debug)]
struct Lane {
    outbox: Outbox,
    /// It is in `turns`.
    queued: bool,
}

impl Outgoing {
    /// Begins an epoch. The streams wait until the host says where it stands.
    pub(crate) fn begin(&mut self, epoch: Epoch) {
        self.pause();
        self.epoch = Some(epoch);
    }

    /// The host is gone: nothing is sent until the next epoch.
    pub(crate) fn pause(&mut self) {
        self.epoch = None;
        self.way = Way::Along;
        self.control = BytesMut::new();
        self.turns.clear();
        for lane in self.lanes.values_mut() {
            lane.queued = false;
            lane.outbox.on_epoch();
        }
    }

    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// The host reads what is in slots where it is, until the next epoch.
    pub(crate) fn lend(&mut self) {
        self.way = Way::Lent;
    }

    /// Bytes of control frames that wait.
    pub(crate) fn control_len(&self) -> usize {
        self.control.len()
    }

    /// Says something once, in this epoch.
    pub(crate) fn say(&mut self, body: Body) {
        if let Some(epoch) = self.epoch {
            Frame { epoch, body }.encode(&mut self.control);
        }
    }

    pub(crate) fn open(&mut self, stream: StreamId) {
        self.lanes.insert(stream, Lane { outbox: Outbox::new(stream), queued: false });
    }

    pub(crate) fn close(&mut self, stream: StreamId) {
        if let Some(lane) = self.lanes.remove(&stream) {
            self.kept -= kept(stream, &lane.outbox);
        }
    }

    /// Files and connections are over: another host process has come.
    pub(crate) fn close_transfers(&mut self) {
        self.lanes.retain(|stream, _| !stream.is_transfer());
    }

    /// How many bytes the stream may be given.
    pub(crate) fn room(&self, stream: StreamId) -> usize {
        self.lanes.get(&stream).map_or(0, |lane| lane.outbox.room())
    }

    /// Bytes that commands' streams keep until the host has them. Files and connections are few, and
    /// bounded by that.
    pub(crate) fn kept(&self) -> u64 {
        self.kept
    }

    /// How many full chunks were pushed since this was last asked.
    pub(crate) fn take_large(&mut self) -> u64 {
        mem::take(&mut self.large)
    }

    pub(crate) fn push_chunk(&mut self, stream: StreamId, chunk: Chunk) {
        self.large += u64::from(chunk.len() == CHUNK_MAX);
        self.with(stream, |outbox| outbox.push_chunk(chunk));
    }

    pub(crate) fn end(&mut self, stream: StreamId) {
        self.with(stream, Outbox::end);
    }

    /// Whether the stream is open here.
    pub(crate) fn knows(&self, stream: StreamId) -> bool {
        self.lanes.contains_key(&stream)
    }

    /// Says whether the stream is through.
    pub(crate) fn on_ack(&mut self, ack: &Ack) -> Result<bool, Violation> {
        let mut result = Ok(false);
        self.with(ack.stream, |outbox| result = outbox.on_ack(ack).map(|()| outbox.is_done()));
        result
    }

    /// Puts the next frames into `out`, which is empty; or else gives one that is large, to be
    /// written from where it is.
    pub(crate) fn fill(&mut self, out: &mut BytesMut) -> Option<&[u8]> {
        let (epoch, way) = (self.epoch?, self.way);
        mem::swap(out, &mut self.control);
        while let Some(stream) = self.turns.front().copied() {
            let next = self.lanes.get(&stream).and_then(|lane| lane.outbox.next_len(way));
            match next {
                Some(len) if ALONE <= len && out.is_empty() => {
                    return self.take_turn(stream)?.next_frame(epoch, way);
                }
                Some(len) if out.len() + len <= BATCH => {
                    let outbox = self.take_turn(stream);
                    let frame = outbox.and_then(|outbox| outbox.next_frame(epoch, way));
                    out.extend_from_slice(frame.unwrap_or_default());
                }
                Some(_) => break,
                None => drop(self.take_turn(stream)),
            }
        }
        None
    }

    /// The stream goes to the end of the queue, as long as it has something to send.
    fn take_turn(&mut self, stream: StreamId) -> Option<&mut Outbox> {
        self.turns.pop_front();
        let lane = self.lanes.get_mut(&stream)?;
        lane.queued = lane.outbox.is_ready();
        if lane.queued {
            self.turns.push_back(stream);
        }
        Some(&mut lane.outbox)
    }

    fn with(&mut self, stream: StreamId, change: impl FnOnce(&mut Outbox)) {
        let Some(lane) = self.lanes.get_mut(&stream) else { return };
        self.kept -= kept(stream, &lane.outbox);
        change(&mut lane.outbox);
        self.kept += kept(stream, &lane.outbox);
        if !lane.queued && lane.outbox.is_ready() {
            lane.queued = true;
            self.turns.push_back(stream);
        }
    }
}

fn kept(stream: StreamId, outbox: &Outbox) -> u64 {
    if stream.is_transfer() { 0 } else { outbox.written() - outbox.acked() }
}

#[cfg(test)]
mod tests;
