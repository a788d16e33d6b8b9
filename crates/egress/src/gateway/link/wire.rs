//! The link as smoltcp sees it: one packet in, packets out with an Ethernet header before them.

use smoltcp::{
    phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken},
    time::Instant,
};

use crate::{
    address::MTU,
    gateway::{
        craft::{Version, ethernet},
        frames::{ETHERNET, Outbox},
    },
};

/// Bytes of the longest answer that smoltcp gives at once: an acknowledgement with all its options,
/// in IPv6.
const ANSWER_BYTES_MAX: usize = 40 + 60;

#[derive(Debug)]
pub(super) struct Wire<'a> {
    arrived: Option<&'a [u8]>,
    out: &'a mut Outbox,
    version: Version,
}

impl<'a> Wire<'a> {
    pub(super) fn new(out: &'a mut Outbox, version: Version) -> Self {
        Self { arrived: None, out, version }
    }

    /// With one packet that has arrived.
    pub(super) fn carrying(packet: &'a [u8], out: &'a mut Outbox, version: Version) -> Self {
        Self { arrived: Some(packet), out, version }
    }
}

impl Device for Wire<'_> {
    type RxToken<'b>
        = Arrived<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Place<'b>
    where
        Self: 'b;

    fn receive(&mut self, _: Instant) -> Option<(Arrived<'_>, Place<'_>)> {
        let packet = self.arrived.take()?;
        Some((Arrived(packet), Place { out: self.out, version: self.version }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Place<'_>> {
        let Self { out, version, .. } = self;
        if out.has_room() { Some(Place { out, version: *version }) } else { None }
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = usize::from(MTU);
        // The link is memory of this machine, and what a guest sends is whatever it likes.
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities
    }
}

#[derive(Debug)]
pub(super) struct Arrived<'a>(&'a [u8]);

impl RxToken for Arrived<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Where a packet may be put.
#[derive(Debug)]
pub(super) struct Place<'a> {
    out: &'a mut Outbox,
    version: Version,
}

impl TxToken for Place<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut f = Some(f);
        let pushed = self.out.push(ETHERNET + length, |frame| {
            ethernet(frame, self.version);
            f.take().map(|f| f(&mut frame[ETHERNET..]))
        });
        match (pushed.flatten(), f) {
            (Some(result), _) => result,
            // No room: only answers come here, for data waits until there is some.
            (None, Some(f)) => {
                let mut lost = [0; ANSWER_BYTES_MAX];
                match lost.get_mut(..length) {
                    Some(place) => f(place),
                    None => f(&mut vec![0; length]),
                }
            }
            (None, None) => unreachable!("a packet is written once"),
        }
    }
}
