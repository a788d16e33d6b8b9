//! What a sandbox may reach, as options of `run`, `create` and `policy set`.
#![expect(clippy::struct_excessive_bools, reason = "a flag is a bool")]

use std::path::PathBuf;

use clap::Args;
use egress::policy::Cidr;

use crate::network::{Destination, SecretUse, denied};

const HEADING: &str = "Network";

/// What a new sandbox may reach, and whom it trusts.
#[derive(Clone, Debug, Args)]
pub(crate) struct NetworkOptions {
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,

    /// Whether the guest trusts the certificate authorities this host was given beside the usual
    /// ones, such as a company's [default: true with a server of your own]
    #[arg(
        long,
        help_heading = HEADING,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub(crate) trust_host_ca: Option<bool>,
}

/// A policy, made of flags, of a file, or of both.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PolicyOptions {
    /// Reach this, and nothing that is not listed: a name (ports 80 and 443), a name and port, all
    /// names below one (*.example.com), a subnet or address, or a preset (@registries-read)
    #[arg(long, help_heading = HEADING, value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) allow: Vec<Destination>,

    /// Reach every public address, as without an option; with --allow, what it names beside them
    #[arg(long, help_heading = HEADING)]
    pub(crate) allow_all: bool,

    /// Reach nothing
    #[arg(long, help_heading = HEADING)]
    pub(crate) deny_all: bool,

    /// Never reach this subnet or address, by no name either
    #[arg(long, help_heading = HEADING, value_name = "SUBNET", value_parser = denied, value_delimiter = ',')]
    pub(crate) deny: Vec<Cidr>,

    /// Put the stored secret NAME into requests to HOST, in place of the placeholder that the guest
    /// finds in its variable NAME; HOST may be reached, by the rules of a preset where one names it
    #[arg(long, help_heading = HEADING, value_name = "NAME@HOST[,HOST...]")]
    pub(crate) secret: Vec<SecretUse>,

    /// Reach this TCP port of the computer the server is on, as host.fumehood.internal:PORT
    #[arg(long, help_heading = HEADING, value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) allow_host_port: Vec<u16>,

    /// Start from the policy in this file, JSON as the API takes it; - is stdin, flags add to it
    #[arg(long, help_heading = HEADING, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    /// Open every TLS connection, so that what is inside is judged too and not its name alone
    #[arg(long, help_heading = HEADING)]
    pub(crate) strict: bool,
}

/// For the help of the commands that make a sandbox.
pub(crate) const NETWORK: &str = "\
Network:
  Without an option a sandbox reaches every public address, and nothing private: not this computer,
  not its networks, not a cloud's metadata. --allow says what is reached instead; --secret alone
  adds the use of the secret to what is reached anyway.

  fumehood run --allow @registries-read -- npm install
                       packages come in; `npm publish` is refused
  fumehood run --secret ANTHROPIC_API_KEY@api.anthropic.com --allow @registries-read -- ./agent
                       an agent with a key that it never sees; see fumehood secret set
  fumehood run --allow github.com:22 -- git clone git@github.com:me/repo
                       git over ssh
  fumehood run --allow db.example.com:5432 -- ./migrate
                       a database, or any other protocol, by name and port
  fumehood run --allow-host-port 8080 -- curl http://host.fumehood.internal:8080
                       a service of this computer
  fumehood run --deny-all -- ./untrusted
                       nothing at all

  See also fumehood policy presets, fumehood policy explain and fumehood audit.";
