//! A saved machine as QEMU reads it: pages that go over the template's memory, and the devices.
//!
//! QEMU writes the devices alone; the section with the pages is put before them here. Its form is that
//! of QEMU's own migration stream.

use std::io::{self, Read, Write};

use super::pages::PAGE;

/// Magic and version, as every stream begins.
const HEAD: [u8; 8] = *b"QEVM\0\0\0\x03";
const SECTION_START: u8 = 1;
const SECTION_FOOTER: u8 = 0x7e;
/// Devices are numbered from nought.
const SECTION: u32 = 0x7fff_0001;
const NAME: &[u8] = b"ram";
const VERSION: u32 = 4;
/// What [`crate::arguments`] calls the memory.
const BLOCK: &[u8] = b"ram0";
/// What follows a place in memory.
const NOUGHTS: u64 = 0x02;
const SIZES: u64 = 0x04;
const CONTENT: u64 = 0x08;
const END: u64 = 0x10;
const SAME_BLOCK: u64 = 0x20;

/// A stream that is being written.
#[derive(Debug)]
pub(super) struct Stream<W> {
    to: W,
    /// Whether a page has come already, which names the block.
    has_named: bool,
}

impl<W: Write> Stream<W> {
    /// Begins that of a machine with so many bytes of memory.
    pub(super) fn begin(mut to: W, memory: u64) -> io::Result<Self> {
        to.write_all(&HEAD)?;
        to.write_all(&[SECTION_START])?;
        to.write_all(&SECTION.to_be_bytes())?;
        write_name(&mut to, NAME)?;
        to.write_all(&0u32.to_be_bytes())?;
        to.write_all(&VERSION.to_be_bytes())?;
        to.write_all(&(memory | SIZES).to_be_bytes())?;
        write_name(&mut to, BLOCK)?;
        to.write_all(&memory.to_be_bytes())?;
        Ok(Self { to, has_named: false })
    }

    /// Adds a page and where it belongs.
    pub(super) fn page(&mut self, at: u64, page: &[u8; PAGE]) -> io::Result<()> {
        let is_blank = page.iter().all(|byte| *byte == 0);
        let kind = if is_blank { NOUGHTS } else { CONTENT };
        let block = if self.has_named { SAME_BLOCK } else { 0 };
        self.to.write_all(&(at | kind | block).to_be_bytes())?;
        if !std::mem::replace(&mut self.has_named, true) {
            write_name(&mut self.to, BLOCK)?;
        }
        self.to.write_all(if is_blank { &[0] } else { page })
    }

    /// Adds the devices, as QEMU has saved them.
    pub(super) fn finish(self, devices: &[u8]) -> io::Result<W> {
        let devices = devices.strip_prefix(&HEAD);
        self.finish_with(
            devices.ok_or_else(|| other("QEMU has saved the devices in another form"))?,
        )
    }

    /// Adds the devices, as they follow the pages of another stream.
    pub(super) fn finish_with(mut self, devices: &[u8]) -> io::Result<W> {
        self.to.write_all(&END.to_be_bytes())?;
        self.to.write_all(&[SECTION_FOOTER])?;
        self.to.write_all(&SECTION.to_be_bytes())?;
        self.to.write_all(devices)?;
        Ok(self.to)
    }
}

/// The pages of a stream that was written here, read again.
#[derive(Debug)]
pub(super) struct Pages<R> {
    from: R,
    memory: u64,
    page: [u8; PAGE],
    has_named: bool,
}

/// What is in a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Page<'a> {
    Noughts,
    Content(&'a [u8; PAGE]),
}

impl<R: Read> Pages<R> {
    /// Of a machine with so many bytes of memory.
    pub(super) fn begin(mut from: R, memory: u64) -> io::Result<Self> {
        let expected = Stream::begin(Vec::new(), memory)?.to;
        let mut found = vec![0; expected.len()];
        from.read_exact(&mut found)?;
        if found != expected {
            return Err(other("this is no saved machine of this form"));
        }
        Ok(Self { from, memory, page: [0; PAGE], has_named: false })
    }

    /// The next page and where it belongs; none once the devices follow.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Page<'_>)>> {
        let mut word = [0; 8];
        self.from.read_exact(&mut word)?;
        let word = u64::from_be_bytes(word);
        if word == END {
            self.expect(&[&[SECTION_FOOTER][..], &SECTION.to_be_bytes()].concat())?;
            return Ok(None);
        }
        let (at, marks) = (word & !(PAGE as u64 - 1), word & (PAGE as u64 - 1));
        let block = if self.has_named { SAME_BLOCK } else { 0 };
        if self.memory <= at || marks & SAME_BLOCK != block {
            return Err(other("a saved page belongs nowhere"));
        }
        if !std::mem::replace(&mut self.has_named, true) {
            let mut name = Vec::new();
            write_name(&mut name, BLOCK)?;
            self.expect(&name)?;
        }
        match marks & !SAME_BLOCK {
            NOUGHTS => self.expect(&[0]).map(|()| Some((at, Page::Noughts))),
            CONTENT => {
                self.from.read_exact(&mut self.page)?;
                Ok(Some((at, Page::Content(&self.page))))
            }
            _ => Err(other("a saved page is of another form")),
        }
    }

    /// The devices, once there are no more pages.
    pub(super) fn rest(self) -> R {
        self.from
    }

    fn expect(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut found = vec![0; bytes.len()];
        self.from.read_exact(&mut found)?;
        if found == bytes { Ok(()) } else { Err(other("a saved machine is of another form")) }
    }
}

fn other(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn write_name(to: &mut impl Write, name: &[u8]) -> io::Result<()> {
    to.write_all(&[u8::try_from(name.len()).unwrap_or(0)])?;
    to.write_all(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_before_the_devices() {
        let mut stream = Stream::begin(Vec::new(), 1 << 20).unwrap();
        stream.page(0x1000, &[1; PAGE]).unwrap();
        stream.page(0x5000, &[2; PAGE]).unwrap();
        stream.page(0x6000, &[0; PAGE]).unwrap();
        let stream = stream.finish(b"QEVM\0\0\0\x03devices").unwrap();
        let head = b"QEVM\0\0\0\x03\x01\x7f\xff\0\x01\x03ram\0\0\0\0\0\0\0\x04\
            \0\0\0\0\0\x10\0\x04\x04ram0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\x10\x08\x04ram0\x01";
        assert_eq!(&stream[..head.len()], head);
        let second = head.len() - 1 + PAGE;
        assert_eq!(&stream[second..second + 9], b"\0\0\0\0\0\0\x50\x28\x02");
        let tail = b"\x02\0\0\0\0\0\0\x60\x22\0\0\0\0\0\0\0\0\x10\x7e\x7f\xff\0\x01devices";
        assert_eq!(&stream[stream.len() - tail.len()..], tail);
    }

    #[test]
    fn what_was_written_is_read() {
        let mut stream = Stream::begin(Vec::new(), 1 << 20).unwrap();
        for (at, byte) in [(0x1000, 1), (0x2000, 0), (0xff000, 2)] {
            stream.page(at, &[byte; PAGE]).unwrap();
        }
        let stream = stream.finish(b"QEVM\0\0\0\x03devices").unwrap();
        let mut pages = Pages::begin(&stream[..], 1 << 20).unwrap();
        assert_eq!(pages.next().unwrap(), Some((0x1000, Page::Content(&[1; PAGE]))));
        assert_eq!(pages.next().unwrap(), Some((0x2000, Page::Noughts)));
        assert_eq!(pages.next().unwrap(), Some((0xff000, Page::Content(&[2; PAGE]))));
        assert_eq!(pages.next().unwrap(), None);
        assert_eq!(pages.rest(), b"devices");

        // Of a machine with less memory, and with any one byte of its form another.
        assert!(Pages::begin(&stream[..], 1 << 19).is_err());
        let read = |bytes: &[u8]| {
            let mut pages = Pages::begin(bytes, 1 << 20)?;
            while pages.next()?.is_some() {}
            Ok::<_, io::Error>(pages.rest().to_owned())
        };
        let first = Stream::begin(Vec::new(), 1 << 20).unwrap().to.len();
        let marks_and_name = first + 7..first + 13;
        for at in (0..first).chain(marks_and_name).chain([stream.len() - 12, stream.len() - 8]) {
            let mut bytes = stream.clone();
            bytes[at] ^= 0x40;
            assert!(read(&bytes).is_err(), "byte {at}");
        }
        for end in [0, 7, 40, 5000, stream.len() - 8] {
            assert!(read(&stream[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn another_form_is_refused() {
        let stream = Stream::begin(Vec::new(), 1 << 20).unwrap();
        let refused = stream.finish(b"QEVM\0\0\0\x04devices");
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
