//! Where callers come in: the doors a server is started with, and one that is opened when somebody on
//! this computer needs TCP.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use axum::Router;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
};
use tokio_util::sync::CancellationToken;

use super::connections::{self, Door};
use crate::limits;

/// A door and what is behind it.
pub(crate) type Opened = (Door, Router);

/// The door on this computer's loopback. Its port is remembered, so that the next server has it too
/// and clients go on.
#[derive(Debug)]
pub(crate) struct Loopback {
    remembered: PathBuf,
    open: Mutex<Option<String>>,
    doors: mpsc::Sender<Opened>,
}

/// Doors that are opened while a server runs.
pub(crate) type Later = mpsc::Receiver<Opened>;

impl Loopback {
    /// With the TCP door that the server is started with, if there is one: clients on this computer
    /// can use it as it is when it is on loopback and speaks no TLS.
    pub(crate) fn new(remembered: PathBuf, tcp: Option<&(Door, SocketAddr)>) -> (Self, Later) {
        let (doors, later) = mpsc::channel(1);
        let plain = tcp
            .filter(|(door, address)| matches!(door, Door::Tcp(_)) && address.ip().is_loopback());
        let url = plain.map(|(_, address)| format!("http://{address}"));
        (Self { remembered, open: Mutex::new(url), doors }, later)
    }

    /// Its URL; opened if it is not.
    pub(crate) async fn open(
        &self,
        router: impl FnOnce(SocketAddr) -> io::Result<Router>,
    ) -> io::Result<String> {
        let mut open = self.open.lock().await;
        if let Some(url) = &*open {
            return Ok(url.clone());
        }
        let port = self.port().unwrap_or(0);
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            // Somebody else has it by now.
            Err(error) if port != 0 && error.kind() == io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?
            }
            listener => listener?,
        };
        let address = listener.local_addr()?;
        let router = router(address)?;
        std::fs::write(&self.remembered, address.port().to_string())?;
        let door = (Door::Tcp(listener), router);
        self.doors.send(door).await.map_err(|_closing| io::ErrorKind::BrokenPipe)?;
        let url = format!("http://{address}");
        *open = Some(url.clone());
        Ok(url)
    }

    /// Whether an earlier server had it open.
    pub(crate) fn was_open(&self) -> bool {
        self.port().is_some()
    }

    fn port(&self) -> Option<u16> {
        std::fs::read_to_string(&self.remembered).ok()?.trim().parse().ok()
    }
}

/// Serves until `stop`, and then until the requests under way are over.
pub(crate) async fn serve_all(doors: Vec<Opened>, mut later: Later, stop: CancellationToken) {
    let most = limits::connections_max();
    let behind = |(door, router)| connections::serve(door, router, most, stop.clone());
    let mut served: FuturesUnordered<_> = doors.into_iter().map(behind).collect();
    loop {
        tokio::select! {
            Some(door) = later.recv() => served.push(behind(door)),
            next = served.next() => {
                if next.is_none() {
                    return;
                }
            }
        }
    }
}
