//! One way to the origin, in one version of HTTP, and all that was measured of it.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use egress::gateway::lone::Memory;
use rustls::ClientConfig;
use tokio::{
    net::TcpStream,
    time::{Instant, interval, sleep},
};

use crate::{
    Result,
    client::{Client, Version, trusting},
    origin::Origin,
    process::{Gateway, Treatment},
};

/// Bytes of each body.
pub(crate) const BODY_BYTES: u64 = 512 << 20;
const WARM_BYTES: u64 = 16 << 20;
/// Bytes of a small reply.
const SMALL_BYTES: u64 = 64;
const REQUESTS: usize = 500;
const CONNECTIONS: usize = 50;
/// How often the gateway's memory is looked at while bytes pass.
const LOOK: Duration = Duration::from_millis(10);
/// After so long nothing is under way any more.
const REST: Duration = Duration::from_secs(1);

pub(crate) struct Row {
    pub(crate) version: Version,
    /// None: without a gateway.
    pub(crate) treatment: Option<Treatment>,
    config: Arc<ClientConfig>,
    gateway: Option<Rc<Gateway>>,
    pub(crate) measured: Measured,
}

/// All turns together.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// MiB/s.
    pub(crate) down: Vec<f64>,
    pub(crate) up: Vec<f64>,
    /// Milliseconds of a request, of 64 bytes in reply, on a connection that is there.
    pub(crate) request: Vec<f64>,
    /// Milliseconds from nothing to the first reply.
    pub(crate) connection: Vec<f64>,
    /// The gateway's processor time, in seconds for each GiB.
    pub(crate) cpu_down: Vec<f64>,
    pub(crate) cpu_up: Vec<f64>,
    /// The gateway's before it had anything to do, at most in each turn, and at the end.
    pub(crate) idle: Memory,
    pub(crate) most: Vec<Memory>,
    pub(crate) after: Memory,
}

#[derive(Clone, Copy)]
enum Direction {
    Down,
    Up,
}

impl Row {
    /// With a gateway of its own, if there is to be one.
    pub(crate) async fn prepare(
        program: &std::path::Path,
        origin: &Origin,
        (version, treatment): (Version, Option<Treatment>),
    ) -> Result<Self> {
        let gateway = match treatment {
            Some(treatment) => Some(Rc::new(Gateway::start(program, origin, treatment).await?)),
            None => None,
        };
        let mut measured = Measured::default();
        if let Some(gateway) = &gateway {
            sleep(REST).await;
            measured.idle = gateway.memory()?;
        }
        let root = match (treatment, &gateway) {
            (Some(Treatment::Opened), Some(gateway)) => &gateway.authority,
            _ => &origin.root,
        };
        let config = trusting(root, version)?;
        Ok(Self { version, treatment, config, gateway, measured })
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.treatment {
            None => "no gateway",
            Some(Treatment::Spliced) => "spliced",
            Some(Treatment::Opened) => "opened",
        }
    }

    pub(crate) async fn turn(&mut self, origin: &Origin) -> Result<()> {
        let mut client = self.client(origin).await?;
        client.down(WARM_BYTES).await?;
        client.up(WARM_BYTES).await?;
        let watch = self.gateway.clone().map(Watch::start);
        let (rate, cpu) = self.transfer(&mut client, Direction::Down).await?;
        self.measured.down.push(rate);
        self.measured.cpu_down.push(cpu);
        let (rate, cpu) = self.transfer(&mut client, Direction::Up).await?;
        self.measured.up.push(rate);
        self.measured.cpu_up.push(cpu);
        let most = watch.map(Watch::end);
        for _ in 0..REQUESTS {
            let began = Instant::now();
            client.down(SMALL_BYTES).await?;
            self.measured.request.push(milliseconds(began));
        }
        drop(client);
        for _ in 0..CONNECTIONS {
            let began = Instant::now();
            let mut client = self.client(origin).await?;
            client.down(SMALL_BYTES).await?;
            self.measured.connection.push(milliseconds(began));
        }
        if let (Some(gateway), Some(most)) = (&self.gateway, most) {
            self.measured.most.push(most.most(gateway.memory()?));
        }
        Ok(())
    }

    /// The gateway's memory when all is over.
    pub(crate) async fn rest(&mut self) -> Result<()> {
        if let Some(gateway) = &self.gateway {
            sleep(REST).await;
            self.measured.after = gateway.memory()?;
        }
        Ok(())
    }

    async fn client(&self, origin: &Origin) -> Result<Client> {
        let config = Arc::clone(&self.config);
        if let Some(gateway) = &self.gateway {
            return Client::begin(gateway.connect(origin).await?, config).await;
        }
        let stream = TcpStream::connect(origin.address).await?;
        stream.set_nodelay(true)?;
        Client::begin(stream, config).await
    }

    /// How fast a body passes, and the gateway's processor time for it.
    async fn transfer(&self, client: &mut Client, direction: Direction) -> Result<(f64, f64)> {
        let cpu = || self.gateway.as_ref().map_or(Ok(0.0), |gateway| gateway.cpu());
        let (used, began) = (cpu()?, Instant::now());
        match direction {
            Direction::Down => client.down(BODY_BYTES).await?,
            Direction::Up => client.up(BODY_BYTES).await?,
        }
        let (seconds, used) = (began.elapsed().as_secs_f64(), cpu()? - used);
        #[expect(clippy::cast_precision_loss, reason = "it is a measurement")]
        let mebibytes = (BODY_BYTES >> 20) as f64;
        Ok((mebibytes / seconds, used * 1024.0 / mebibytes))
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Looks at a gateway's memory, over and over.
struct Watch {
    most: Rc<Cell<Memory>>,
    looking: tokio::task::JoinHandle<()>,
}

impl Watch {
    fn start(gateway: Rc<Gateway>) -> Self {
        let most = Rc::new(Cell::new(Memory::default()));
        let seen = Rc::clone(&most);
        let looking = tokio::task::spawn_local(async move {
            let mut looks = interval(LOOK);
            while let Ok(memory) = gateway.memory() {
                seen.set(seen.get().most(memory));
                looks.tick().await;
            }
        });
        Self { most, looking }
    }

    fn end(self) -> Memory {
        self.looking.abort();
        self.most.get()
    }
}
