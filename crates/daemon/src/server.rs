//! A server from start to end: the state's lock, what an earlier one left, the listeners.

mod ingress;

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    net::SocketAddr,
    os::fd::AsRawFd,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    net::{TcpListener, UnixListener},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{AgentProgram, Paths},
    context::{Context, IngressPlace, Kept},
    drives::Drives,
    http::{self, Access, Door, HostReach, Later, Loopback, Opened, Tickets, Token},
    identity::Issuer,
    ids,
    key_file::{self, KeyFileError},
    limits,
    network::Egress,
    pass::Passes,
    platform::hex,
    reconcile::reconcile,
    registry::Registry,
    route::IngressUrl,
    seal::{KeySource, Seal},
    secrets::Secrets,
    snapshots::{Snapshots, keep_house},
    store::{Phase, SecretRecord, SessionRecord, Store, StoreError, Stored},
    tasks::Tasks,
    templates::Templates,
    tls::{TlsError, TlsFiles},
    tokens::Tokens,
    uplink::Uplink,
};

pub use ingress::IngressConfig;

/// What a server is told.
#[derive(Debug)]
pub struct ServerConfig {
    pub paths: Paths,
    pub agent: AgentProgram,
    pub version: api::Version,
    /// TCP beside the Unix socket.
    pub listen: Option<Listen>,
    pub ingress: IngressConfig,
    /// So many machines are kept ready at most, before anybody asks for them.
    pub pool: usize,
    /// Whether the guests of remote clients too trust the authorities that this host was given, where a
    /// request does not say.
    pub trust_host_ca: bool,
    pub host_reach: HostReach,
}

/// A TCP listener.
#[derive(Clone, Debug)]
pub struct Listen {
    pub address: SocketAddr,
    /// Names by which clients may call it, beside its address.
    pub names: Vec<String>,
    pub encryption: Encryption,
}

/// What keeps the token from those on the way.
#[derive(Clone, Debug)]
pub enum Encryption {
    /// Nothing is on the way: only a loopback address can be listened on.
    LoopbackOnly,
    /// The owner says that something else does, or that it does not matter.
    Insecure,
    Tls(TlsFiles),
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("another server of this state folder is running: {0}")]
    Running(PathBuf),
    #[error("{path} cannot be used")]
    Path { path: PathBuf, source: io::Error },
    #[error("the store {path} cannot be opened")]
    Store { path: PathBuf, source: StoreError },
    #[error(transparent)]
    Key(#[from] KeyFileError),
    #[error("the templates cannot be opened")]
    Templates(#[from] machine::TemplateError),
    #[error("what an earlier server left cannot be read")]
    Reconcile(#[source] io::Error),
    #[error(
        "{sandboxes} sandboxes run, which go on; a server of them needs {needed} open files and may have {limit}: raise its limit (ulimit -n, LimitNOFILE=)"
    )]
    OpenFiles { sandboxes: u64, needed: u64, limit: u64 },
    #[error(
        "{0} can be reached by others, and the connection would not be encrypted: give --tls-cert and --tls-key, listen on a loopback address, or say --insecure if something in front of it does TLS"
    )]
    NotLoopback(SocketAddr),
    #[error(
        "{0} can be reached by others, and what visitors and sandboxes say would not be encrypted: give --ingress-tls-cert and --ingress-tls-key, listen on a loopback address, or say --ingress-insecure if something in front of it does TLS"
    )]
    IngressNotLoopback(SocketAddr),
    #[error("TLS cannot be served")]
    Tls(#[from] TlsError),
    #[error("cannot listen on {address}")]
    Listen { address: String, source: io::Error },
}

impl ServeError {
    /// Whether asking otherwise would help, and not another state of the host.
    pub fn is_of_usage(&self) -> bool {
        match self {
            Self::NotLoopback(_)
            | Self::IngressNotLoopback(_)
            | Self::Tls(_)
            | Self::OpenFiles { .. } => true,
            Self::Running(_)
            | Self::Path { .. }
            | Self::Store { .. }
            | Self::Key(_)
            | Self::Templates(_)
            | Self::Reconcile(_)
            | Self::Listen { .. } => false,
        }
    }
}

/// Where a server listens, told once it does.
#[derive(Clone, Debug)]
pub struct Listening {
    pub socket: PathBuf,
    /// As clients are to write it.
    pub url: Option<String>,
    pub token: Option<PathBuf>,
    /// Of the ingress: sandboxes' ports are names under it.
    pub ingress: IngressUrl,
}

/// Serves until `stop` is cancelled or a newer server takes over. Machines run on afterwards.
pub async fn serve(
    config: ServerConfig,
    stop: CancellationToken,
    listening: impl FnOnce(&Listening),
) -> Result<(), ServeError> {
    let state = config.paths.state();
    config.paths.make().map_err(|source| ServeError::Path { path: state.to_owned(), source })?;
    let _lock = lock(&config.paths).await?;
    let tasks = Tasks::default();
    let served = serve_with(&tasks, config, stop, listening).await;
    tasks.end().await;
    served
}

async fn serve_with(
    tasks: &Tasks,
    config: ServerConfig,
    stop: CancellationToken,
    listening: impl FnOnce(&Listening),
) -> Result<(), ServeError> {
    let paths = &config.paths;
    let store_path = paths.store();
    let opened = Store::open(&store_path);
    let (store, mut stored) =
        opened.map_err(|source| ServeError::Store { path: store_path, source })?;
    enough_files(&stored)?;
    let tokens = std::mem::take(&mut stored.tokens);
    let tokens = Arc::new(Tokens::load(paths.token_key(), store.clone(), tokens)?);
    let egress = egress(paths, &store, std::mem::take(&mut stored.secrets))?;
    let templates = Templates::open(paths, &egress.uplink)?;
    let kept = kept(paths, store, templates, &mut stored);
    let ingress::Opened { door, port, url } =
        ingress::open(config.ingress, &paths.ingress_port()).await?;
    let place = IngressPlace {
        url: url.clone(),
        passes: Passes::load(&paths.pass_key())?,
        tickets: Tickets::default(),
    };
    let context = Context::new(paths.clone(), kept, (egress, place), config.agent, tasks.clone());
    let context = Arc::new(context.with_pool(config.pool));
    let sandboxes = reconcile(&context, stored).await.map_err(ServeError::Reconcile)?;
    let registry = Arc::new(Registry::new(Arc::clone(&context), sandboxes));
    let handover = stop.child_token();
    let ingress = http::Ingress::new(Arc::clone(&registry), port, handover.clone());
    let visitors = (door, ingress);
    let tcp = match &config.listen {
        Some(listen) => Some(open_tcp(listen).await?),
        None => None,
    };
    let (loopback, later) = Loopback::new(paths.port(), tcp.as_ref());
    let server = http::Shared {
        registry,
        tokens: Arc::clone(&tokens),
        version: config.version.clone(),
        loopback: Arc::new(loopback),
        trust_host_ca: config.trust_host_ca,
        host_reach: config.host_reach,
        handover: handover.clone(),
    };
    begin_upkeep(&context, handover.clone());
    let parking = Parking::begin(&context);
    tokio::spawn(keep_house(Arc::clone(&context)));

    let unix = Door::Unix(bind_unix(&paths.socket())?);
    let mut told = Listening { socket: paths.socket(), url: None, token: None, ingress: url };
    let mut doors = Vec::new();
    if let Some((listen, (door, address))) = config.listen.zip(tcp) {
        let token_path = paths.token();
        let unusable = |source| ServeError::Path { path: token_path.clone(), source };
        let administrator = token(&token_path).map_err(unusable)?;
        let scheme = if matches!(door, Door::Tls(..)) { "https" } else { "http" };
        told.url = Some(format!("{scheme}://{address}"));
        told.token = Some(token_path);
        let access = Access::Bearer { administrator, tokens, address, names: listen.names };
        doors.push((door, http::router(server.clone(), access)));
    }
    doors.push((unix, http::router(server.clone(), Access::Owner)));
    http::reopen_loopback(&server).await;
    listening(&told);
    run((doors, later), visitors, &handover).await;
    parking.end().await;
    // Who connects from here on is to start another server.
    drop(std::fs::remove_file(paths.socket()));
    Ok(())
}

/// What the server keeps on the disk, as it was left.
fn kept(paths: &Paths, store: Store, templates: Templates, stored: &mut Stored) -> Kept {
    let held = std::mem::take(&mut stored.attachments);
    let drives = std::mem::take(&mut stored.drives);
    let drives = Drives::new(paths.drives(), store.clone(), drives, held);
    let snapshots = std::mem::take(&mut stored.snapshots);
    let snapshots = Snapshots::new(paths, store.clone(), snapshots);
    Kept { store, templates, drives, snapshots }
}

/// The task that keeps machines ready.
struct Parking {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Parking {
    fn begin(context: &Arc<Context>) -> Self {
        let (context, stop) = (Arc::clone(context), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move { context.pool.keep(&context, stopped).await });
        Self { stop, task }
    }

    async fn end(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "parked machines may be left for the next server");
        }
    }
}

/// Before anything is touched: a machine that cannot be taken up for want of a descriptor is not lost.
fn enough_files(stored: &Stored) -> Result<(), ServeError> {
    let runs = |session: &&SessionRecord| !matches!(session.phase, Phase::Stopped | Phase::Paused);
    let sandboxes = stored.sessions.iter().filter(runs).count() as u64;
    let (needed, limit) = (limits::files_needed(sandboxes), limits::open_files());
    match sandboxes != 0 && limit < needed {
        true => Err(ServeError::OpenFiles { sandboxes, needed, limit }),
        false => Ok(()),
    }
}

/// What gateways are made with.
fn egress(
    paths: &Paths,
    store: &Store,
    secrets: Vec<SecretRecord>,
) -> Result<Egress, KeyFileError> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let source = KeySource::find(credentials.as_deref(), paths.seal_key());
    let seal = Arc::new(Seal::load(&source)?);
    let secrets = Secrets::new(Arc::clone(&seal), store.clone(), secrets);
    let uplink = Uplink::of_host(|name| std::env::var(name).ok());
    let issuer = Issuer::new(paths.identity_key());
    Ok(Egress { seal, secrets, uplink, issuer })
}

async fn run(
    (doors, later): (Vec<Opened>, Later),
    (ingress, visited): (Door, http::Ingress),
    stop: &CancellationToken,
) {
    let visits = http::serve(ingress, visited, limits::connections_max(), stop.clone());
    let served = http::serve_all(doors, later, stop.clone());
    let drained = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        _ = async { tokio::join!(served, visits) } => {}
        () = drained => {}
    }
}

/// How long requests under way may take once the server is told to stop. Those that are cut find
/// everything as it was with the next server.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// Finds the platform before anybody asks for it, and clears old templates away.
fn begin_upkeep(context: &Arc<Context>, stop: CancellationToken) {
    let context = Arc::clone(context);
    tokio::spawn(async move {
        match context.platform().await {
            Ok(platform) => {
                let collecting = context.templates.clone().keep_collecting(platform.clone());
                let _stopped = stop.run_until_cancelled(collecting).await;
            }
            Err(error) => {
                tracing::warn!(error = crate::causes(&error), "no sandbox can be made yet");
            }
        }
    });
}

/// How long a server that does not answer any more may take to die: the kernel gives its lock back
/// when the last of its threads has ended, and one may be waiting for the disk.
const DYING: std::time::Duration = std::time::Duration::from_secs(10);
const LOCK_POLL: std::time::Duration = std::time::Duration::from_millis(20);

async fn lock(paths: &Paths) -> Result<File, ServeError> {
    let path = paths.lock();
    let io = |source| ServeError::Path { path: path.clone(), source };
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io)?;
    let deadline = Instant::now() + DYING;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock)
                if Instant::now() < deadline && !is_answered(&paths.socket()) =>
            {
                tokio::time::sleep(LOCK_POLL).await;
            }
            Err(TryLockError::WouldBlock) => return Err(ServeError::Running(path)),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
    }
}

fn is_answered(socket: &Path) -> bool {
    at_short_path(socket, UnixStream::connect).is_ok()
}

/// The lock is held, so a socket that is there was left behind.
fn bind_unix(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Listen { address: path.display().to_string(), source };
    drop(std::fs::remove_file(path));
    let listener = at_short_path(path, UnixListener::bind).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// A socket's address has at most 107 bytes, a path more: the folder is named by descriptor.
fn at_short_path<T>(path: &Path, of: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = File::open(folder)?;
    of(PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name))
}

async fn open_tcp(listen: &Listen) -> Result<(Door, SocketAddr), ServeError> {
    let address = listen.address;
    let tls = match &listen.encryption {
        Encryption::LoopbackOnly if !address.ip().is_loopback() => {
            return Err(ServeError::NotLoopback(address));
        }
        Encryption::LoopbackOnly | Encryption::Insecure => None,
        Encryption::Tls(files) => Some(files.acceptor(&["http/1.1"])?),
    };
    let failed = |source| ServeError::Listen { address: address.to_string(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let door = match tls {
        Some(tls) => Door::Tls(listener, tls),
        None => Door::Tcp(listener),
    };
    Ok((door, address))
}

/// The administrator's bearer token, made at the first start.
pub(crate) fn token(path: &Path) -> io::Result<Token> {
    if !path.try_exists()? {
        let bytes: [u8; 32] = ids::random();
        key_file::write(path, format!("{}\n", hex(&bytes)).as_bytes())?;
    }
    let text = std::fs::read_to_string(path)?;
    let token = text.trim();
    if token.len() < 32 {
        return Err(io::Error::other(
            "the token is shorter than 32 characters; remove the file to have one made",
        ));
    }
    Ok(Token::new(token.to_owned()))
}
