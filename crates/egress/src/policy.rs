//! What a sandbox may reach, as data, and the questions that the gateway asks of it.
//!
//! Every question is answered by a pure function of the policy and of what was asked, so that
//! `policy explain` says exactly what the gateway does.

mod model;
mod verdict;

pub use model::{
    Action, Canned, Cidr, Credential, Domain, Edits, ForwardTo, HeaderEdit, HostPattern, Match,
    PairMatch, Pattern, Pin, Place, Policy, Reach, Rule, Subnets, TextMatch,
};
pub use verdict::{Denial, Grant, Head, Ruling, Treatment, Why};
