//! Names into addresses, and for how long they may be believed.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use super::backend_url::{Authority, BackendUrl};

/// An answer is believed for at least so long; without that, a time to live of zero would be a query without pause.
const VALID_MIN: Duration = Duration::from_secs(1);
/// And for at most so long: a component that was scaled up shall not wait for its share.
const VALID_MAX: Duration = Duration::from_secs(30);
/// One name server may take so long before the next one is tried.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// The addresses of a name as of now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Resolved {
    /// Ascending, each once, never none.
    pub(super) addresses: Vec<SocketAddr>,
    /// When to ask again; `None` if it will never change.
    pub(super) valid_for: Option<Duration>,
}

/// Asks for the addresses of a backend. A name without addresses is an error.
pub(super) async fn resolve(url: &BackendUrl) -> Result<Resolved, String> {
    if let Ok(address) = url.host.parse::<IpAddr>() {
        return Ok(Resolved { addresses: vec![SocketAddr::new(address, url.port)], valid_for: None });
    }
    match (lookup(url).await, url.authority) {
        (Ok(resolved), _) => Ok(resolved),
        (Err(error), Authority::Server(_)) => Err(error),
        // The system may know names by other means than name servers.
        (Err(error), Authority::System) => system(url).await.map_err(|_| error),
    }
}

async fn lookup(url: &BackendUrl) -> Result<Resolved, String> {
    let (config, mut options) = match url.authority {
        // Read every time, because it changes with the networks.
        Authority::System => hickory_resolver::system_conf::read_system_conf().map_err(|e| e.to_string())?,
        Authority::Server(server) => (one_server(server), ResolverOpts::default()),
    };
    // The time to live is ours to respect, and a server that has both kinds of addresses shall count once.
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    options.timeout = SERVER_TIMEOUT;
    options.use_hosts_file = match url.authority {
        Authority::System => ResolveHosts::Always,
        Authority::Server(_) => ResolveHosts::Never,
    };
    let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|e| e.to_string())?;
    let found = resolver.lookup_ip(url.host.as_str()).await.map_err(|e| e.to_string())?;
    let valid_for = found.valid_until().saturating_duration_since(Instant::now());
    resolved(found.iter().map(|address| SocketAddr::new(address, url.port)), valid_for)
}

fn one_server(server: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    ResolverConfig::from_parts(None, Vec::new(), vec![NameServerConfig::new(server.ip(), true, connections.to_vec())])
}

async fn system(url: &BackendUrl) -> Result<Resolved, String> {
    let found = tokio::net::lookup_host((url.host.as_str(), url.port)).await.map_err(|e| e.to_string())?;
    let mut found: Vec<SocketAddr> = found.collect();
    if found.iter().any(SocketAddr::is_ipv4) {
        found.retain(SocketAddr::is_ipv4);
    }
    resolved(found.into_iter(), VALID_MAX)
}

fn resolved(addresses: impl Iterator<Item = SocketAddr>, valid_for: Duration) -> Result<Resolved, String> {
    let mut addresses: Vec<SocketAddr> = addresses.collect();
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() {
        return Err("the name has no addresses".to_owned());
    }
    Ok(Resolved { addresses, valid_for: Some(valid_for.clamp(VALID_MIN, VALID_MAX)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_itself_for_ever() {
        let url = BackendUrl::parse("dns:///[::1]:7").expect("a URL");
        let expected = Resolved { addresses: vec!["[::1]:7".parse().expect("an address")], valid_for: None };
        assert_eq!(resolve(&url).await, Ok(expected));
    }

    #[test]
    fn times_to_live_are_bounded_and_addresses_count_once() {
        let address: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let found = resolved([address, address].into_iter(), Duration::ZERO).expect("addresses");
        assert_eq!((found.addresses.len(), found.valid_for), (1, Some(VALID_MIN)));
        let found = resolved([address].into_iter(), Duration::from_secs(86400)).expect("addresses");
        assert_eq!(found.valid_for, Some(VALID_MAX));
        resolved(std::iter::empty(), VALID_MAX).expect_err("nothing");
    }
}
