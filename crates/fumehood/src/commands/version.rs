//! `fumehood version`.

use crate::cli::Version;
use crate::failure::{Exit, Failure};
use crate::{own, say};

pub(crate) fn run(args: &Version) -> Result<Exit, Failure> {
    let own = own::version();
    if args.json {
        say::out(&format!("{}\n", super::ls::json(&own)?))?;
    } else {
        say::out(&format!("fumehood {}\n", own.version))?;
    }
    Ok(Exit::Command(0))
}
