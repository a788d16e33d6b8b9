//! `fumehood connect`: a login shell.

use super::{Context, exec, running};
use crate::cli::{CommandOptions, Connect, EnvOptions};
use crate::failure::{Exit, Failure};
use crate::request::Tty;
use crate::server::Server;

/// The user's own shell; an image without a user database has `sh` at best.
const LOGIN_SHELL: &str = "\
shell=$(getent passwd \"$(id -u)\" 2>/dev/null | cut -d: -f7)
[ -x \"$shell\" ] || shell=/bin/sh
exec \"$shell\" -l";

pub(crate) async fn run(args: Connect, context: &Context) -> Result<Exit, Failure> {
    let options = CommandOptions {
        env: EnvOptions { env: Vec::new() },
        workdir: None,
        user: None,
        interactive: true,
    };
    let argv = ["/bin/sh", "-c", LOGIN_SHELL].map(str::to_owned).to_vec();
    let mut start = options.request(argv, Tty::Yes)?;
    start.sudo = args.sudo;
    let server = Server::reach(&context.server).await?;
    let session = running(&server, &args.name).await?.session.id;
    exec::attach(&server, &session, start).await
}
