//! The cases. A group shares one sandbox; its cases run in order.
//!
//! What each class of published attacks (bypasses and incidents of other filters) is held by:
//!
//! | class | groups |
//! | --- | --- |
//! | parsers that differ: NUL, dots, case, IDN, wildcards, look-alikes, empty lists | `names`, `smuggling`, `rules` |
//! | DNS: unlisted names, tunnels in names, other resolvers, rebinding | `dns` |
//! | an allowed service as a channel: publish, push, foreign keys | `rules`, `credentials` |
//! | domain fronting, SNI alone | `hello`, `fronting`, `limits` |
//! | destinations: spellings, metadata, the host itself, redirects, stale connections | `addresses`, `reserved`, `live` |
//! | other than TCP: QUIC, ICMP, raw frames, IPv6, vsock, neighbours | `link`, `transport` |
//! | proxy variables that are ignored | `transport` |
//! | credentials where guests find them: metadata, memory, disk, logs | `reserved`, `search` |
//! | what is written back to the host, snapshots with secrets in them | end-to-end tests: `files`, `identity` |

mod addresses;
mod clients;
mod credentials;
mod dns;
mod flood;
mod fronting;
mod hello;
mod limits;
mod link;
mod live;
mod names;
mod reserved;
mod rules;
mod search;
mod smuggling;
mod streams;
mod transport;
mod uplink;

use crate::{guest::Guest, hood::Hood, trial::Trial};

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut Trial<'_>),
}

pub(crate) struct Group {
    pub(crate) name: &'static str,
    /// Of fumehood's environment; with any, the group has a server of its own.
    pub(crate) variables: &'static [(&'static str, &'static str)],
    pub(crate) guest: fn(&Hood) -> Guest<'_>,
    pub(crate) cases: &'static [Case],
}

/// The cases by the names of their functions.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        &[$($crate::cases::Case { name: stringify!($name), run: $name }),+]
    };
}
pub(crate) use cases;

pub(crate) const GROUPS: &[&Group] = &[
    &names::GROUP,
    &dns::GROUP,
    &addresses::GROUP,
    &reserved::GROUP,
    &hello::GROUP,
    &transport::GROUP,
    &link::GROUP,
    &fronting::GROUP,
    &smuggling::GROUP,
    &rules::GROUP,
    &credentials::GROUP,
    &search::GROUP,
    &live::GROUP,
    &uplink::GROUP,
    &clients::GROUP,
    &streams::GROUP,
    &limits::GROUP,
    &flood::GROUP,
];
