//! `fumehood serve`.

use std::io::IsTerminal;

use daemon::{BeyondLoopback, Listen, Listening, Paths, ServerConfig};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{
    agent_program::AGENT,
    cli::Serve,
    failure::{Exit, Failure},
    folders, own, say,
};

pub(crate) async fn run(args: Serve) -> Result<Exit, Failure> {
    log();
    let config = ServerConfig {
        paths: Paths::new(folders::state()?, folders::cache()?),
        agent: AGENT,
        version: own::version(),
        listen: listen(&args)?,
    };
    let stop = CancellationToken::new();
    stop_on_signals(&stop)?;
    daemon::serve(config, stop, tell)
        .await
        .map_err(|error| Failure::new(Exit::Host, anyhow::Error::from(error)))?;
    Ok(Exit::Command(0))
}

fn tell(listening: &Listening) {
    say::note(&format!("listening on {}", listening.socket.display()));
    if let (Some(address), Some(token)) = (listening.tcp, &listening.token) {
        say::note(&format!("and on http://{address}, with the token in {}", token.display()));
    }
}

fn listen(args: &Serve) -> Result<Option<Listen>, Failure> {
    if args.tls_cert.is_some() || args.tls_key.is_some() {
        return Err(Failure::new(
            Exit::Usage,
            "TLS is not served yet: put something that does in front",
        ));
    }
    Ok(args.listen.map(|address| Listen {
        address,
        names: args.host.clone(),
        beyond_loopback: match args.insecure {
            true => BeyondLoopback::Insecure,
            false => BeyondLoopback::Refused,
        },
    }))
}

/// To stderr, as `FUMEHOOD_LOG` filters it (`info` when unset).
fn log() {
    let filter = EnvFilter::try_from_env("FUMEHOOD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let stderr = std::io::stderr;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        .init();
}

/// Machines run on when a server ends; the next one finds them.
fn stop_on_signals(stop: &CancellationToken) -> Result<(), Failure> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals =
            signal(kind).map_err(|fault| Failure::host("listening for signals", fault))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            if signals.recv().await.is_some() {
                stop.cancel();
            }
        });
    }
    Ok(())
}
