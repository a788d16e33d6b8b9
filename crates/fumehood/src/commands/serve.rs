//! `fumehood serve`.

use std::fs::File;
use std::io::IsTerminal;

use daemon::{
    Encryption, HostReach, IngressConfig, Listen, Listening, ServeError, ServerConfig, TlsFiles,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{
    agent_program::AGENT,
    cli::Serve,
    failure::{Exit, Failure},
    folders, own,
    rolling_log::{self, RollingLog},
    say,
};

pub(crate) async fn run(args: Serve) -> Result<Exit, Failure> {
    log(if args.detached { Watcher::Nobody } else { Watcher::Somebody })?;
    let config = ServerConfig {
        paths: folders::paths()?,
        agent: AGENT,
        version: own::version(),
        pool: args.pool,
        trust_host_ca: args.trust_host_ca,
        host_reach: match args.projects_reach_host {
            true => HostReach::Projects,
            false => HostReach::Owner,
        },
        ingress: ingress(&args),
        listen: listen(args),
    };
    let stop = CancellationToken::new();
    stop_on_signals(&stop)?;
    daemon::serve(config, stop, tell).await.map_err(failure)?;
    Ok(Exit::Command(0))
}

fn failure(error: ServeError) -> Failure {
    let exit = if error.is_of_usage() { Exit::Usage } else { Exit::Host };
    Failure::new(exit, format_args!("{:#}", anyhow::Error::from(error)))
}

fn tell(listening: &Listening) {
    say::note(&format!("listening on {}", listening.socket.display()));
    if let (Some(url), Some(token)) = (&listening.url, &listening.token) {
        say::note(&format!("and on {url}, with the token in {}", token.display()));
    }
    say::note(&format!("ports of sandboxes are names under {}", listening.ingress));
}

fn ingress(args: &Serve) -> IngressConfig {
    let files = args.ingress_tls_cert.clone().zip(args.ingress_tls_key.clone());
    let encryption = match files {
        Some((certificate, key)) => Encryption::Tls(TlsFiles { certificate, key }),
        None if args.ingress_insecure => Encryption::Insecure,
        None => Encryption::LoopbackOnly,
    };
    IngressConfig { address: args.ingress, url: args.ingress_url.clone(), encryption }
}

fn listen(args: Serve) -> Option<Listen> {
    let encryption = match args.tls_cert.zip(args.tls_key) {
        Some((certificate, key)) => Encryption::Tls(TlsFiles { certificate, key }),
        None if args.insecure => Encryption::Insecure,
        None => Encryption::LoopbackOnly,
    };
    Some(Listen { address: args.listen?, names: args.host, encryption })
}

/// Who reads what the server says while it says it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watcher {
    Somebody,
    Nobody,
}

/// To stderr, or to the file where it leads; as `FUMEHOOD_LOG` filters it (`info` when unset).
fn log(watcher: Watcher) -> Result<(), Failure> {
    let filter = EnvFilter::try_from_env("FUMEHOOD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let stderr = std::io::stderr;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        // It would say on stderr that a line cannot be written, and panic where that cannot be either.
        .log_internal_errors(false);
    if watcher == Watcher::Somebody {
        lines.with_writer(stderr).init();
        return Ok(());
    }
    let path = folders::log(&folders::state()?);
    // What is not ours to log, such as a panic's words, goes to the new file too.
    let begun = |file: &File| rustix::stdio::dup2_stderr(file).unwrap_or_default();
    let log = RollingLog::open(path.clone(), rolling_log::BYTES_MAX, begun)
        .map_err(|fault| Failure::host(format!("opening {}", path.display()), fault))?;
    lines.with_writer(log).init();
    Ok(())
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
