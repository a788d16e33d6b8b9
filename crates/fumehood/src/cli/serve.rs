//! `serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use daemon::route::IngressUrl;

/// Run a server in the foreground
///
/// Without --listen, on the Unix socket of your own server, where the command line finds it. With
/// --listen, over TCP too: every request needs the bearer token that is in the file `token` of the
/// state folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fumehood serve --listen 127.0.0.1:7007
  fumehood serve --listen 0.0.0.0:7007 --host box.example.com \\
    --tls-cert cert.pem --tls-key key.pem
  fumehood serve --ingress 0.0.0.0:443 --ingress-url https://box.example.com \\
    --ingress-tls-cert wildcard.pem --ingress-tls-key wildcard-key.pem

A certificate of your own, for clients to give to --ca-file:
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 \\
    -subj /CN=box.example.com -addext subjectAltName=DNS:box.example.com \\
    -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out cert.pem

Folders:
  $FUMEHOOD_STATE_DIR   sandboxes, templates, socket, token [default: ~/.local/state/fumehood]
  $FUMEHOOD_CACHE_DIR   images and kernels [default: ~/.cache/fumehood]

$FUMEHOOD_QEMU is the emulator to use [default: what scripts/qemu.sh has built, else the path's qemu-system-x86_64]

$FUMEHOOD_LOG says what is logged, for example `debug` [default: info]")]
pub(crate) struct Serve {
    /// Listen on this address too, such as 127.0.0.1:7007
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,

    /// A name that clients call this server by, beside its address; may be given more than once
    #[arg(long, value_name = "NAME", requires = "listen")]
    pub(crate) host: Vec<String>,

    /// Listen beyond this computer without TLS: the token can be read on the way
    #[arg(long, requires = "listen", conflicts_with = "tls_cert")]
    pub(crate) insecure: bool,

    /// The certificate chain to serve TLS with, as PEM; read at the start
    #[arg(long, value_name = "FILE", requires = "tls_key", requires = "listen")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Take visitors of sandboxes' ports on this address [default: a port of 127.0.0.1, 7080 if it is
    /// free, and from then on the same]
    #[arg(long, value_name = "ADDR", help_heading = "Ports")]
    pub(crate) ingress: Option<SocketAddr>,

    /// How visitors call that address: every name under this URL's domain has to lead to it [default:
    /// http://localhost:PORT]
    #[arg(long, value_name = "URL", value_parser = IngressUrl::parse, help_heading = "Ports")]
    pub(crate) ingress_url: Option<IngressUrl>,

    /// The certificate chain to serve visitors with, for *.DOMAIN, as PEM; read at the start
    #[arg(long, value_name = "FILE", requires = "ingress_tls_key", help_heading = "Ports")]
    pub(crate) ingress_tls_cert: Option<PathBuf>,

    /// Its private key, as PEM
    #[arg(long, value_name = "FILE", requires = "ingress_tls_cert", help_heading = "Ports")]
    pub(crate) ingress_tls_key: Option<PathBuf>,

    /// Take visitors from beyond this computer without TLS
    #[arg(long, requires = "ingress", conflicts_with = "ingress_tls_cert", help_heading = "Ports")]
    pub(crate) ingress_insecure: bool,

    /// Keep at most so many machines ready, of the kinds asked for in the last ten minutes; each takes
    /// some 40 MiB of memory, and 0 makes every sandbox wait for its own
    #[arg(long, value_name = "N", default_value_t = 3, env = "FUMEHOOD_POOL")]
    pub(crate) pool: usize,

    /// Have every guest trust the certificate authorities this host was given beside the usual ones, such
    /// as a company's; else those of clients on the Unix socket do, and others that ask for it
    #[arg(long, env = "FUMEHOOD_TRUST_HOST_CA")]
    pub(crate) trust_host_ca: bool,

    /// Let tokens of projects open ports of this host, reserved networks and local registries, as your own
    /// requests do; whoever has such a token then reaches what you reach from here
    #[arg(long, env = "FUMEHOOD_PROJECTS_REACH_HOST")]
    pub(crate) projects_reach_host: bool,

    /// Leave the session of whoever started it (as the command line does)
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}
