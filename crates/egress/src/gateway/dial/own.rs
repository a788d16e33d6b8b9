//! Which addresses are the host's own.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    sync::OnceLock,
};

/// Whether a packet to the address would come to this host itself. The kernel is asked which of its
/// addresses it would send from, and whether it takes the address for one that it may send from, as it
/// does further addresses of a network; nothing is sent. Where it cannot be asked, it is.
pub(crate) fn is_own(address: IpAddr) -> bool {
    if address.is_loopback() || address.is_unspecified() {
        return true;
    }
    let Ok(socket) = UdpSocket::bind((unspecified(address), 0)) else { return true };
    // Any port does; 9 is that of `discard`. What there is no way to is nobody's.
    let source = socket.connect((address, 9)).and_then(|()| socket.local_addr());
    let is_source = |source: IpAddr| source == address || source.is_loopback();
    source.is_ok_and(|source| is_source(source.ip())) || (tells_foreign() && is_bound(address))
}

fn unspecified(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn is_bound(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Whether the kernel lets nobody have an address that is not its own (`ip_nonlocal_bind`). One for
/// documentation is nobody's.
fn tells_foreign() -> bool {
    static TELLS: OnceLock<bool> = OnceLock::new();
    *TELLS.get_or_init(|| !is_bound(Ipv4Addr::new(192, 0, 2, 1).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_here_is_own_and_what_is_not_is_not() {
        let table = [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("0.0.0.0", true),
            ("::1", true),
            ("192.0.2.7", false),
            ("2001:db8::7", false),
        ];
        for (address, own) in table {
            assert_eq!(is_own(address.parse().unwrap()), own, "{address}");
        }
    }
}
