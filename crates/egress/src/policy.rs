//! What a sandbox may reach, as data, and the questions that the gateway asks of it.
//!
//! Every question is answered by a pure function of the policy and of what was asked, so that
//! `policy explain` says exactly what the gateway does.

mod cidr;
mod connect;
mod deciding;
mod dial;
mod explain;
mod fit;
mod forward_to;
mod host_pattern;
mod identity;
mod model;
mod preset;
mod reading;
mod request;
mod resolve;
mod target;
mod verdict;

pub use cidr::InvalidCidr;
pub use explain::{Explanation, Outcome, Question, Step};
pub use forward_to::InvalidForward;
pub use host_pattern::InvalidPattern;
pub use identity::{
    is_identity_header, is_identity_protocol, is_identity_query_key, loose_key, with_dashes,
};
pub use model::{
    Action, Canned, Cidr, Credential, Domain, Edits, ForwardTo, HeaderEdit, HostPattern, Match,
    PairMatch, Pattern, Pin, Place, Policy, Reach, Rule, Subnets, TextMatch,
};
pub use preset::Preset;
pub use reading::canonical as canonical_path;
pub(crate) use request::no_method;
pub use target::InvalidUrl;
pub use verdict::{Denial, Grant, Head, Ruling, Treatment, Why};

#[cfg(test)]
mod tests;
