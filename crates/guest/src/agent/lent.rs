//! Bytes that pass in memory that the host may use.

use bytes::Bytes;
use protocol::{Data, Filled, Refusal, Response, Span};

use super::Agent;
use crate::refusal::refuse_io;

impl Agent {
    pub(super) fn lend(&mut self) -> Result<Response, Refusal> {
        let slots = self.lending.begin();
        let slots = slots.map_err(|error| refuse_io(&error, "memory to lend"))?;
        self.outgoing.lend();
        Ok(Response::Lending { slots })
    }

    /// Takes bytes in that the host has put here.
    pub(super) fn on_filled(&mut self, filled: &Filled) {
        let Some(chunk) = self.lending.take(filled) else { return };
        let Filled { stream, offset, last, .. } = *filled;
        if self.files.takes(stream) {
            let span = Span { offset, len: chunk.len(), last };
            self.files.on_chunk(stream, span, chunk, &mut self.outgoing);
        } else {
            let bytes = Bytes::copy_from_slice(chunk.bytes());
            self.on_data(&Data { stream, offset, bytes, last });
        }
    }
}
