//! `fumehood forward`: a port here that is one of the guest's.

use std::net::Ipv4Addr;
use std::sync::Arc;

use api::client::Client;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{Context, running};
use crate::cli::Forward;
use crate::failure::{Exit, Failure};
use crate::say;
use crate::server::Server;
use crate::signals::Signals;

/// As many connections at a time as leave some to others.
const CONNECTIONS_MAX: usize = 64;

pub(crate) async fn run(args: Forward, context: &Context) -> Result<Exit, Failure> {
    let server = Server::reach(&context.server).await?;
    let session = running(&server, &args.name).await?.session.id;
    let (here, port) = (args.ports.here, args.ports.guest);
    let listening = |fault| Failure::host(format!("listening on port {here}"), fault);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, here)).await.map_err(listening)?;
    let address = listener.local_addr().map_err(listening)?;
    say::note(&format!("port {port} of {} is at {address}; Ctrl-C ends it", args.name));
    let mut signals =
        Signals::listen().map_err(|fault| Failure::host("listening for signals", fault))?;
    let target = Target { client: server.client().clone(), session, port };
    tokio::select! {
        signal = signals.next() => Ok(Exit::Signal(signal)),
        failure = serve(listener, target) => Err(failure),
    }
}

#[derive(Clone, Debug)]
struct Target {
    client: Client,
    session: String,
    port: u16,
}

async fn serve(listener: TcpListener, target: Target) -> Failure {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let slot = Arc::clone(&slots).acquire_owned().await.ok();
        let caller = match listener.accept().await {
            Ok((caller, _)) => caller,
            Err(fault) => return Failure::host("taking a connection", fault),
        };
        let target = target.clone();
        tokio::spawn(async move {
            forward(caller, &target).await;
            drop(slot);
        });
    }
}

/// One connection, to its end. Who called sees it closed; why is told here.
async fn forward(mut caller: TcpStream, target: &Target) {
    match target.client.connect_port(&target.session, target.port).await {
        Ok(mut tunnel) => {
            // Either end may break it off.
            drop(copy_bidirectional(&mut caller, &mut tunnel).await);
        }
        Err(fault) => {
            let fault = Failure::from(fault).message().unwrap_or_default();
            say::note(&fault);
        }
    }
}
