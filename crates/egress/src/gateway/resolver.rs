//! Names looked up in the world, as the host itself looks them up: by its `resolv.conf` and its
//! `hosts` file, which are read once, before the gateway gives up reading files.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, Record, RecordType},
    },
};
use tokio::{sync::Semaphore, time::timeout};

use crate::host::Host;

/// Questions under way at a time.
const QUESTIONS_MAX: usize = 64;
/// A question waits this long for others to be answered.
const BUSY: Duration = Duration::from_secs(1);
/// Answers that are kept.
const CACHE_ENTRIES: u64 = 1024;
/// One server is waited for this long, twice.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Nothing is believed for longer, whatever it says of itself.
const TTL_MAX: Duration = Duration::from_secs(300);
const TTL_NEGATIVE_MAX: Duration = Duration::from_secs(30);
/// Nor for less: a name that may not be kept would carry a word outside each time that it is asked for.
const TTL_MIN: Duration = Duration::from_secs(5);

/// Asks the host's name servers.
#[derive(Debug)]
pub(crate) struct Resolver {
    inner: TokioResolver,
    permits: Semaphore,
}

/// The host's settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the host's name servers cannot be found out")]
pub struct InvalidSettings(#[source] Box<NetError>);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("there is no such name")]
    NoSuchName,
    #[error("the name servers do not answer")]
    Failed(#[source] Box<NetError>),
    #[error("too many names are being looked up that nobody answers for")]
    Busy,
    #[error("it cannot be a name")]
    NoName,
}

impl Resolver {
    /// By the host's settings. Opens files now and never again.
    pub(crate) fn of_host() -> Result<Self, InvalidSettings> {
        let invalid = |error| InvalidSettings(Box::new(error));
        let mut builder = TokioResolver::builder_tokio().or_else(|error| {
            tracing::warn!(%error, "the host's name servers cannot be found out");
            // As the C library does: a host may have none and still reach addresses.
            let here = vec![NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into())];
            let config = ResolverConfig::from_parts(None, Vec::new(), here);
            Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
        })?;
        let options = builder.options_mut();
        options.cache_size = CACHE_ENTRIES;
        options.use_hosts_file = ResolveHosts::Always;
        options.timeout = TIMEOUT;
        options.attempts = 2;
        options.edns0 = true;
        options.positive_min_ttl = Some(TTL_MIN);
        options.negative_min_ttl = Some(TTL_MIN);
        options.positive_max_ttl = Some(TTL_MAX);
        options.negative_max_ttl = Some(TTL_NEGATIVE_MAX);
        options.preserve_intermediates = false;
        Ok(Self::over(builder.build().map_err(invalid)?))
    }

    pub(crate) fn over(inner: TokioResolver) -> Self {
        Self { inner, permits: Semaphore::new(QUESTIONS_MAX) }
    }

    /// The records of this type; none if the name has none.
    pub(crate) async fn records(
        &self,
        host: &Host,
        kind: RecordType,
    ) -> Result<Vec<Record>, LookupError> {
        // Names that nobody answers for hold back other lookups for no longer than this.
        let waiting = timeout(BUSY, self.permits.acquire()).await;
        let Ok(Ok(_permit)) = waiting else { return Err(LookupError::Busy) };
        // With its last dot, so that no search domain is tried.
        let name = Name::from_ascii(format!("{host}.")).map_err(|_error| LookupError::NoName)?;
        match self.inner.lookup(name, kind).await {
            Ok(found) => Ok(found.answers().to_vec()),
            Err(error) if is_no_such_name(&error) => Err(LookupError::NoSuchName),
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(error) => Err(LookupError::Failed(Box::new(error))),
        }
    }

    /// All addresses, those of IPv4 first.
    pub(crate) async fn addresses(&self, host: &Host) -> io::Result<Vec<IpAddr>> {
        let (four, six) =
            tokio::join!(self.records(host, RecordType::A), self.records(host, RecordType::AAAA));
        match (four, six) {
            (Err(error), Err(_)) => Err(io::Error::other(error)),
            (four, six) => {
                let found = [four.unwrap_or_default(), six.unwrap_or_default()].concat();
                Ok(found.iter().filter_map(|record| address_of(&record.data)).collect())
            }
        }
    }
}

pub(crate) fn address_of(data: &RData) -> Option<IpAddr> {
    data.ip_addr()
}

fn is_no_such_name(error: &NetError) -> bool {
    matches!(error, NetError::Dns(DnsError::NoRecordsFound(none))
        if none.response_code == ResponseCode::NXDomain)
}
