//! A gateway from its start to its end.

use std::{
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    rc::Rc,
};

use futures_util::FutureExt;
use rustls::RootCertStore;
use tokio::{runtime, sync::watch, task::LocalSet};

use super::{
    active::Active,
    confine::{ConfineError, confine},
    connection::Gateway,
    control_server::ControlServer,
    dial::Lookup,
    link::{Link, LinkError},
    recorder::Recorder,
    resolver::{InvalidSettings, Resolver},
    serving::{Before, Serving},
};
use crate::{
    clock,
    control::Configuration,
    event::{Decision, Event, Kind},
};

/// What a gateway is given by who starts it. It opens nothing by itself.
#[derive(Debug)]
pub struct Inherited {
    /// Connected to the network card of its guest.
    pub network: OwnedFd,
    /// Listens for the server ([`crate::control`]).
    pub control: OwnedFd,
    /// The two files of the audit log, opened to read and append.
    pub logs: [OwnedFd; 2],
}

/// Why a gateway ended, other than by the end of its guest.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error(transparent)]
    Confine(#[from] ConfineError),
    #[error("the audit log cannot be used")]
    Log(#[source] io::Error),
    #[error("the runtime cannot be started")]
    Runtime(#[source] io::Error),
    #[error("the control socket broke")]
    Control(#[source] io::Error),
    #[error(transparent)]
    Resolver(#[from] InvalidSettings),
    #[error("the guest's network card cannot be used")]
    Network(#[source] io::Error),
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Holds one guest's network until the guest is gone. It confines the whole process for good, and
/// so is called in a process of its own, before anything else runs in it.
pub fn run(inherited: Inherited) -> Result<(), GatewayError> {
    let Inherited { network, control, logs } = inherited;
    let recorder = Recorder::open(logs.map(File::from)).map_err(GatewayError::Log)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(GatewayError::Runtime)?;
    let resolver = {
        let _entered = runtime.enter();
        Resolver::of_host()?
    };
    let roots = host_roots();
    confine()?;
    LocalSet::new().block_on(&runtime, async {
        let network = UnixStream::from(network);
        network.set_nonblocking(true).map_err(GatewayError::Network)?;
        let network = tokio::net::UnixStream::from_std(network).map_err(GatewayError::Network)?;
        let control = UnixListener::from(control);
        control.set_nonblocking(true).map_err(GatewayError::Control)?;
        let control = tokio::net::UnixListener::from_std(control).map_err(GatewayError::Control)?;
        let world = World { resolver: Rc::new(resolver), roots };
        hold(network, control, recorder, world).await
    })
}

/// What is read of the host before the gateway gives up reading.
struct World {
    resolver: Rc<Resolver>,
    /// Whom this host trusts.
    roots: RootCertStore,
}

/// The host's own store. What cannot be read is not trusted.
fn host_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the host's root certificates cannot be read");
    }
    let (_, unusable) = roots.add_parsable_certificates(found.certs);
    if 0 < unusable {
        tracing::debug!(unusable, "root certificates that cannot be used");
    }
    roots
}

async fn hold(
    network: tokio::net::UnixStream,
    control: tokio::net::UnixListener,
    recorder: Recorder,
    world: World,
) -> Result<(), GatewayError> {
    let World { resolver, roots } = world;
    let (configured, current) = watch::channel(None);
    let asked = Rc::clone(&resolver);
    let lookup: Lookup = Rc::new(move |host| {
        let resolver = Rc::clone(&asked);
        async move { resolver.addresses(&host).await }.boxed_local()
    });
    // An event of this session has been told already.
    let before = if 0 < *recorder.written().borrow() { Before::Another } else { Before::Nobody };
    let gateway = Rc::new(Gateway::new(current, recorder.clone(), lookup));
    let apply = |configuration: Configuration| {
        let revision = configuration.revision;
        let active = Active::build(configuration, &roots).map_err(|error| chain(&error))?;
        configured.send_replace(Some(Rc::new(active)));
        let mut event = Event::new(clock::now_ms(), Decision::Note, Kind::Gateway, "");
        event.reason = Some(format!("revision {revision} of the policy holds"));
        recorder.tell(event);
        Ok(())
    };
    let (link, news) = Link::new(network).map_err(LinkError::Io)?;
    let serving = Rc::new(Serving::new(gateway, resolver, before));
    let traffic = serving.traffic();
    let serving = serving.run(news);
    let server = ControlServer { apply, revision: None, recorder: recorder.clone(), traffic };
    tokio::select! {
        result = server.run(control) => result.map_err(GatewayError::Control),
        result = link.run() => Ok(result?),
        () = serving => Ok(()),
    }
}

/// An error with all that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
