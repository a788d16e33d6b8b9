//! Messages to the kernel that set up interfaces, addresses, routes and neighbours (rtnetlink).

use std::{io, net::IpAddr};

use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with},
};

const SET_LINK: u16 = libc::RTM_NEWLINK;
const NEW_ADDRESS: u16 = libc::RTM_NEWADDR;
const NEW_ROUTE: u16 = libc::RTM_NEWROUTE;
const NEW_NEIGHBOUR: u16 = libc::RTM_NEWNEIGH;
const ERROR: u16 = 2;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const REPLACE: u16 = 0x100;
const CREATE: u16 = 0x400;

const HEAD_LEN: usize = 16;
const UP: u32 = 1;
/// No search for whether somebody else has the address: nobody else is there.
const NO_DAD: u8 = 0x02;
const PERMANENT: u16 = 0x80;
const MAIN_TABLE: u8 = 254;
/// Set up while booting, as opposed to by a person.
const BY_BOOT: u8 = 3;
const UNICAST: u8 = 1;

/// Attributes, by the kind of message that they are in.
const LINK_MTU: u16 = 4;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
const ROUTE_OUT: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const NEIGHBOUR: u16 = 1;
const NEIGHBOUR_MAC: u16 = 2;

/// One thing to be set up at the interface with this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Up {
        mtu: u32,
    },
    Address {
        address: IpAddr,
        prefix: u8,
    },
    Neighbour {
        address: IpAddr,
        mac: [u8; 6],
    },
    /// By which everything is reached that is not on the link.
    DefaultRoute {
        gateway: IpAddr,
    },
}

impl Setting {
    pub(super) fn message(&self, interface: u32) -> Vec<u8> {
        match *self {
            Self::Up { mtu } => {
                let mut message = Message::new(SET_LINK, 0);
                message.put(&[0; 4]).put(&interface.to_ne_bytes());
                message.put(&UP.to_ne_bytes()).put(&UP.to_ne_bytes());
                message.attribute(LINK_MTU, &mtu.to_ne_bytes()).finish()
            }
            Self::Address { address, prefix } => {
                let mut message = Message::new(NEW_ADDRESS, CREATE | REPLACE);
                message.put(&[family(address), prefix, NO_DAD, 0]).put(&interface.to_ne_bytes());
                let bytes = octets(address);
                message.attribute(LOCAL, &bytes).attribute(ADDRESS, &bytes).finish()
            }
            Self::Neighbour { address, mac } => {
                let mut message = Message::new(NEW_NEIGHBOUR, CREATE | REPLACE);
                message.put(&[family(address), 0, 0, 0]).put(&interface.to_ne_bytes());
                message.put(&PERMANENT.to_ne_bytes()).put(&[0, 0]);
                message.attribute(NEIGHBOUR, &octets(address));
                message.attribute(NEIGHBOUR_MAC, &mac).finish()
            }
            Self::DefaultRoute { gateway } => {
                let mut message = Message::new(NEW_ROUTE, CREATE | REPLACE);
                message.put(&[family(gateway), 0, 0, 0, MAIN_TABLE, BY_BOOT, 0, UNICAST]);
                message.put(&[0; 4]).attribute(ROUTE_GATEWAY, &octets(gateway));
                message.attribute(ROUTE_OUT, &interface.to_ne_bytes()).finish()
            }
        }
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 10,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut message = Self(vec![0; HEAD_LEN]);
        message.0[4..6].copy_from_slice(&kind.to_ne_bytes());
        message.0[6..8].copy_from_slice(&(REQUEST | ACK | flags).to_ne_bytes());
        message
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(4 + value.len()).expect("attributes are short");
        self.put(&length.to_ne_bytes()).put(&kind.to_ne_bytes()).put(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(&mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("messages are short");
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        std::mem::take(&mut self.0)
    }
}

/// What the kernel answered; none if it is no answer.
fn outcome(reply: &[u8]) -> Option<io::Result<()>> {
    let kind = u16::from_ne_bytes(*reply.get(4..)?.first_chunk()?);
    let code = i32::from_ne_bytes(*reply.get(HEAD_LEN..)?.first_chunk()?);
    match (kind, code) {
        (ERROR, 0) => Some(Ok(())),
        (ERROR, code) => Some(Err(io::Error::from_raw_os_error(code.wrapping_neg()))),
        _ => None,
    }
}

/// A way to the kernel.
#[derive(Debug)]
pub(super) struct Netlink(OwnedFd);

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        // Without a protocol of its own it is the one for routes.
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        Ok(Self(socket_with(family, kind, SocketFlags::CLOEXEC, None)?))
    }

    pub(super) fn set(&self, interface: u32, setting: &Setting) -> io::Result<()> {
        send(&self.0, &setting.message(interface), SendFlags::empty())?;
        let mut reply = [0; 1024];
        loop {
            let got = match recv(&self.0, reply.as_mut_slice(), RecvFlags::empty()) {
                Ok((got, _)) => got,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            if let Some(outcome) = outcome(&reply[..got]) {
                return outcome;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn a_message_has_the_kernels_form() {
        let address = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2));
        let up = [
            vec![40, 0, 0, 0, 16, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            vec![0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0],
            vec![8, 0, 4, 0, 0xdc, 5, 0, 0],
        ];
        assert_eq!(Setting::Up { mtu: 1500 }.message(2), up.concat());
        let set = [
            vec![40, 0, 0, 0, 20, 0, 5, 5, 0, 0, 0, 0, 0, 0, 0, 0],
            vec![2, 30, 2, 0, 2, 0, 0, 0],
            vec![8, 0, 2, 0, 198, 18, 0, 2, 8, 0, 1, 0, 198, 18, 0, 2],
        ];
        assert_eq!(Setting::Address { address, prefix: 30 }.message(2), set.concat());
        let route = [
            vec![44, 0, 0, 0, 24, 0, 5, 5, 0, 0, 0, 0, 0, 0, 0, 0],
            vec![2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0],
            vec![8, 0, 5, 0, 198, 18, 0, 2, 8, 0, 4, 0, 2, 0, 0, 0],
        ];
        assert_eq!(Setting::DefaultRoute { gateway: address }.message(2), route.concat());
        let neighbour = [
            vec![48, 0, 0, 0, 28, 0, 5, 5, 0, 0, 0, 0, 0, 0, 0, 0],
            vec![2, 0, 0, 0, 2, 0, 0, 0, 0x80, 0, 0, 0],
            vec![8, 0, 1, 0, 198, 18, 0, 2, 10, 0, 2, 0, 1, 2, 3, 4, 5, 6, 0, 0],
        ];
        let setting = Setting::Neighbour { address, mac: [1, 2, 3, 4, 5, 6] };
        assert_eq!(setting.message(2), neighbour.concat());
    }

    #[test]
    fn the_kernels_answer_is_told_from_other_words() {
        let mut reply = vec![0; 36];
        assert!(outcome(&reply).is_none());
        reply[4] = 2;
        assert!(outcome(&reply).unwrap().is_ok());
        reply[16..20].copy_from_slice(&(-17_i32).to_ne_bytes());
        let error = outcome(&reply).unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(17));
        assert!(outcome(&reply[..19]).is_none());
    }

    #[test]
    fn the_kernel_takes_messages_of_this_form() {
        let netlink = Netlink::open().unwrap();
        let missing = netlink.set(u32::MAX >> 1, &Setting::Up { mtu: 1500 }).unwrap_err();
        let expected = [libc::ENODEV, libc::EPERM];
        assert!(expected.contains(&missing.raw_os_error().unwrap()), "{missing}");
    }
}
