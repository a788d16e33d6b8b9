//! A saved machine as QEMU reads it: pages that go over the template's memory, and the devices.
//!
//! QEMU writes the devices alone; the section with the pages is put before them here. Its form is that
//! of QEMU's own migration stream.

use std::io::{self, Write};

use super::pages::{PAGE, Pages};

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
const SIZES: u64 = 0x04;
const CONTENT: u64 = 0x08;
const END: u64 = 0x10;
const SAME_BLOCK: u64 = 0x20;

/// Writes it: of a machine with so many bytes of memory.
pub(super) fn write(
    to: &mut impl Write,
    memory: u64,
    pages: &Pages,
    devices: &[u8],
) -> io::Result<()> {
    let devices = devices.strip_prefix(&HEAD).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, "QEMU has saved the devices in another form")
    })?;
    to.write_all(&HEAD)?;
    to.write_all(&[SECTION_START])?;
    to.write_all(&SECTION.to_be_bytes())?;
    write_name(to, NAME)?;
    to.write_all(&0u32.to_be_bytes())?;
    to.write_all(&VERSION.to_be_bytes())?;
    to.write_all(&(memory | SIZES).to_be_bytes())?;
    write_name(to, BLOCK)?;
    to.write_all(&memory.to_be_bytes())?;
    for (index, (at, page)) in pages.at.iter().zip(pages.bytes.chunks_exact(PAGE)).enumerate() {
        if index == 0 {
            to.write_all(&(at | CONTENT).to_be_bytes())?;
            write_name(to, BLOCK)?;
        } else {
            to.write_all(&(at | CONTENT | SAME_BLOCK).to_be_bytes())?;
        }
        to.write_all(page)?;
    }
    to.write_all(&END.to_be_bytes())?;
    to.write_all(&[SECTION_FOOTER])?;
    to.write_all(&SECTION.to_be_bytes())?;
    to.write_all(devices)
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
        let pages = Pages { at: vec![0x1000, 0x5000], bytes: [[1; PAGE], [2; PAGE]].concat() };
        let mut stream = Vec::new();
        write(&mut stream, 1 << 20, &pages, b"QEVM\0\0\0\x03devices").unwrap();
        let head = b"QEVM\0\0\0\x03\x01\x7f\xff\0\x01\x03ram\0\0\0\0\0\0\0\x04\
            \0\0\0\0\0\x10\0\x04\x04ram0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0\x10\x08\x04ram0\x01";
        assert_eq!(&stream[..head.len()], head);
        let second = head.len() - 1 + PAGE;
        assert_eq!(&stream[second..second + 9], b"\0\0\0\0\0\0\x50\x28\x02");
        let tail = b"\x02\0\0\0\0\0\0\0\x10\x7e\x7f\xff\0\x01devices";
        assert_eq!(&stream[stream.len() - tail.len()..], tail);
    }

    #[test]
    fn another_form_is_refused() {
        let refused = write(&mut Vec::new(), 1 << 20, &Pages::default(), b"QEVM\0\0\0\x04devices");
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
