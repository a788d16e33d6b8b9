//! `ports`, `url`, `forward`, and the ports of a new sandbox.

use std::num::NonZeroU16;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::duration;

/// Ports that are reached from outside.
#[derive(Clone, Debug, Args)]
pub(crate) struct PortOptions {
    /// Give this port of the guest a URL, for everyone who reaches this computer's ingress; may be given
    /// 15 times
    #[arg(short, long = "port", value_name = "PORT")]
    pub(crate) public: Vec<NonZeroU16>,

    /// Give this port of the guest a URL that opens with a pass: `fumehood url` makes one
    #[arg(long = "private-port", value_name = "PORT")]
    pub(crate) private: Vec<NonZeroU16>,
}

/// List the ports of a sandbox that are reached from outside, with their URLs
#[derive(Debug, Args)]
pub(crate) struct Ports {
    /// Print an array of JSON objects, as the API has them
    #[arg(long)]
    pub(crate) json: bool,

    /// The sandbox
    pub(crate) name: String,
}

/// Print the URL of a sandbox's port
///
/// That of a private port has a pass in it, which holds for a time: who opens it in a browser is let in
/// until then. A program may send the pass in the header `x-fumehood-pass`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  box=$(fumehood create -p 3000 --private-port 8080)
  curl $(fumehood url $box 3000)
  fumehood url $box 8080 --expires 1h           to be sent to somebody")]
pub(crate) struct Url {
    /// How long the pass holds, such as 90s, 5m or 2d; a year at most [default: 1d]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) expires: Option<Duration>,

    /// The sandbox
    pub(crate) name: String,

    /// The port of the guest, as it was given to -p or --private-port
    pub(crate) port: u16,
}

/// Forward a port of this computer to one of a sandbox
///
/// Any TCP protocol, and any port of the guest, also one without a URL and one on which a program
/// listens on 127.0.0.1 alone. Only this computer reaches it. Ctrl-C ends it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fumehood forward box 5432                     on the same port here
  fumehood forward box 8080:80                  on port 8080 here
  fumehood forward box 0:80                     on a free port, which is told")]
pub(crate) struct Forward {
    /// The sandbox
    pub(crate) name: String,

    /// The port of the guest, behind the one here if it is another
    #[arg(value_name = "[HERE:]PORT")]
    pub(crate) ports: Forwarded,
}

/// A port here and one of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forwarded {
    pub(crate) here: u16,
    pub(crate) guest: u16,
}

impl FromStr for Forwarded {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (here, guest) = text.split_once(':').unwrap_or((text, text));
        let guest: Option<NonZeroU16> = guest.parse().ok();
        let guest = guest.ok_or("a port is a number from 1 to 65535")?;
        let here = here.parse().ok().ok_or("a port here is a number from 0 to 65535")?;
        Ok(Self { here, guest: guest.get() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_forwarded_to_itself_unless_another_is_named() {
        let forwarded = |here, guest| Ok(Forwarded { here, guest });
        assert_eq!("80".parse(), forwarded(80, 80));
        assert_eq!("8080:80".parse(), forwarded(8080, 80));
        assert_eq!("0:80".parse(), forwarded(0, 80));
        for bad in ["", "0", ":80", "80:", "80:0", "a", "1:2:3", "65536", "-1"] {
            assert!(bad.parse::<Forwarded>().is_err(), "{bad}");
        }
    }
}
