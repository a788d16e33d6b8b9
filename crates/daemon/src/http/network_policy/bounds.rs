//! How large a policy may be. A gateway holds it in memory and walks through it for every request.

/// Domains that a client lists; those of presets are not counted.
pub(super) const DOMAINS_MAX: usize = 1000;
/// Rules of one domain.
pub(super) const RULES_OF_DOMAIN_MAX: usize = 64;
/// Rules of all domains.
pub(super) const RULES_MAX: usize = 2000;
/// Regular expressions of a policy; each may take a megabyte when it is compiled, though few take
/// more than some kilobytes.
pub(super) const REGEXES_MAX: usize = 100;
pub(super) const REGEX_BYTES_MAX: usize = 1024;
/// URLs to forward to, each by itself: what tells their receivers whose requests they get is signed for
/// each, which takes a millisecond.
pub(super) const FORWARDS_MAX: usize = 100;
/// Other text that a request is compared with.
pub(super) const MATCH_BYTES_MAX: usize = 2048;
/// Methods, query matchers and header matchers of one rule, each.
pub(super) const MATCHERS_MAX: usize = 16;
pub(super) const METHOD_BYTES_MAX: usize = 32;
/// Networks that are allowed, and as many that are denied.
pub(super) const SUBNETS_MAX: usize = 256;
pub(super) const HOST_PORTS_MAX: usize = 64;
pub(super) const PRESETS_MAX: usize = 16;
/// Headers that one rule sets, that a pin names, or that an answer has.
pub(super) const HEADERS_MAX: usize = 32;
/// A header's value. Tokens are long, and servers take 8 KiB for a line at least.
pub(super) const HEADER_BYTES_MAX: usize = 8 << 10;
/// A header's name, a query key, a user name, a prefix.
pub(super) const NAME_BYTES_MAX: usize = 256;
pub(super) const URL_BYTES_MAX: usize = 2048;
/// The body of an answer.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 10;
