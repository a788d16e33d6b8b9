//! `fumehood ports` and `fumehood url`.

use api::client::Resume;
use api::{MakePass, Route, SandboxReply};

use super::Context;
use crate::cli::{Ports, Url};
use crate::duration;
use crate::failure::{Exit, Failure};
use crate::say;
use crate::server::Server;
use crate::table::Table;

pub(crate) async fn run(args: &Ports, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    let routes = server.client().sandbox(&args.name, Resume::No).await?.routes;
    if args.json {
        say::out(&format!("{}\n", super::ls::json(&routes)?))?;
        return Ok(Exit::Command(0));
    }
    let mut table = Table::new(["PORT", "FOR", "URL"]);
    for route in routes {
        let visitors = if route.private { "who has a pass" } else { "everyone" };
        table.row([route.port.to_string(), visitors.to_owned(), route.url]);
    }
    say::out(&table.text())?;
    Ok(Exit::Command(0))
}

pub(crate) async fn url(args: &Url, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    let reply = server.client().sandbox(&args.name, Resume::No).await?;
    let route = route(&reply, args.port)?;
    let url = match (route.private, args.expires) {
        (false, None) => route.url.clone(),
        (false, Some(_)) => {
            let message = format!("port {} is for everyone, so its URL does not expire", args.port);
            return Err(Failure::new(Exit::Usage, message));
        }
        (true, expires) => {
            let asked = MakePass { port: args.port, duration: expires.map(duration::millis) };
            server.client().make_pass(&args.name, &asked).await?.url
        }
    };
    say::out(&format!("{url}\n"))?;
    Ok(Exit::Command(0))
}

fn route(reply: &SandboxReply, port: u16) -> Result<&Route, Failure> {
    reply.routes.iter().find(|route| route.port == port).ok_or_else(|| {
        let name = &reply.sandbox.name;
        let message = format!(
            "port {port} of {name} is not reached from outside; make the sandbox with -p {port}, or \
             see: fumehood forward {name} {port}"
        );
        Failure::new(Exit::NotFound, message)
    })
}

/// Tells a person where the ports of a new sandbox are.
pub(crate) fn tell(routes: &[Route]) {
    for route in routes {
        let pass = if route.private { ", for who has a pass: see fumehood url" } else { "" };
        say::note(&format!("port {} is at {}{pass}", route.port, route.url));
    }
}
