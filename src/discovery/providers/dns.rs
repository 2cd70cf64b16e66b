//! Targets asked of the DNS.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::IpAddr;
use std::task::Poll;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::super::merge::Context;
use super::super::{DnsRecordType, DnsSdConfig, TargetGroup};
use crate::model::Labels;

/// How to reach name servers; read again at every refresh because the system's settings change with its networks.
type Settings = Result<(ResolverConfig, ResolverOpts), String>;

/// Asks for all names until the job stops.
pub(in super::super) async fn run(config: DnsSdConfig, context: Context) {
    let system = || hickory_resolver::system_conf::read_system_conf().map_err(|e| e.to_string());
    run_with(config, context, system).await;
}

async fn run_with(config: DnsSdConfig, context: Context, settings: impl Fn() -> Settings + Send) {
    let mut known: BTreeMap<&str, TargetGroup> = BTreeMap::new();
    let mut ticks = super::Ticks::new(super::interval_of(config.refresh_interval), &context.stop);
    while ticks.next().await {
        context.refreshes.inc();
        let settings = settings();
        let asked = config.names.iter().map(|name| ask(&config, name, settings.clone())).collect();
        let Some(answers) = context.stop.run_until_cancelled(join_all(asked)).await else { return };
        for (name, answer) in config.names.iter().zip(answers) {
            match answer {
                Ok(group) => {
                    known.insert(name, group);
                }
                Err(error) => {
                    context.failures.inc();
                    tracing::error!(job = %context.job, name, %error, "DNS discovery failed, keeping the last targets");
                }
            }
        }
        context.sink.publish(config.names.iter().filter_map(|n| known.get(n.as_str()).cloned()).collect());
    }
}

/// Waits for all at once, so that one slow server costs its time only once.
async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().map(|f| (Box::pin(f), None)).collect();
    poll_fn(|cx| {
        let mut done = true;
        for (future, output) in &mut waiting {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *output = Some(value),
                    Poll::Pending => done = false,
                }
            }
        }
        if done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, output)| output).collect()
}

async fn ask(config: &DnsSdConfig, name: &str, settings: Settings) -> Result<TargetGroup, String> {
    let (resolver_config, mut options) = settings?;
    let names = candidates(name, resolver_config.search(), resolver_config.domain(), options.ndots)?;
    // Every refresh asks the servers themselves; an answer's time to live is theirs to respect.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    let resolver = TokioResolver::builder_with_config(resolver_config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|e| e.to_string())?;
    let records = lookup(&resolver, names, record_type(config.record_type)).await?;
    let mut targets: Vec<_> = records.iter().filter_map(|record| target(config, name, record)).collect();
    // Servers rotate their answers; that is no change.
    targets.sort();
    Ok(TargetGroup { source: name.to_owned(), targets, labels: Labels::empty() })
}

/// The first name that exists decides, even without records of the type. If none exists there are no records; but if
/// some name got no usable answer, nothing is known.
async fn lookup(resolver: &TokioResolver, names: Vec<Name>, kind: RecordType) -> Result<Vec<RData>, String> {
    let mut failure = None;
    for name in names {
        match resolver.lookup(name.clone(), kind).await {
            Ok(found) => return Ok(found.answers().iter().map(|record| record.data.clone()).collect()),
            Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords {
                response_code: ResponseCode::NoError, ..
            }))) => {
                return Ok(Vec::new());
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords {
                response_code: ResponseCode::NXDomain, ..
            }))) => {}
            Err(error) => failure = Some(format!("{name}: {error}")),
        }
    }
    match failure {
        None => Ok(Vec::new()),
        Some(text) => Err(text),
    }
}

/// The full names to try in turn: with enough dots as it is first, else the search domains first.
fn candidates(name: &str, search: &[Name], domain: Option<&Name>, ndots: usize) -> Result<Vec<Name>, String> {
    let parsed = Name::from_utf8(name).map_err(|e| format!("{name:?} is not a DNS name: {e}"))?;
    if parsed.is_fqdn() {
        return Ok(vec![parsed]);
    }
    let mut rooted = parsed.clone();
    rooted.set_fqdn(true);
    let domains = if search.is_empty() { domain.map_or(&[][..], std::slice::from_ref) } else { search };
    let searched = domains.iter().filter(|d| !d.is_root()).filter_map(|domain| {
        // A combination that is too long for a name does not exist.
        let mut full = parsed.clone().append_domain(domain).ok()?;
        full.set_fqdn(true);
        Some(full)
    });
    let as_is_first = usize::from(parsed.num_labels()) > ndots;
    let mut names: Vec<Name> = searched.collect();
    names.insert(if as_is_first { 0 } else { names.len() }, rooted);
    Ok(names)
}

fn record_type(kind: DnsRecordType) -> RecordType {
    match kind {
        DnsRecordType::Srv => RecordType::SRV,
        DnsRecordType::A => RecordType::A,
        DnsRecordType::Aaaa => RecordType::AAAA,
        DnsRecordType::Mx => RecordType::MX,
        DnsRecordType::Ns => RecordType::NS,
    }
}

/// The target that a record names; `None` for records of another type, such as aliases on the way.
fn target(config: &DnsSdConfig, name: &str, record: &RData) -> Option<Labels> {
    let port = config.port.unwrap_or(0);
    let bare = |name: &Name| name.to_ascii().trim_end_matches('.').to_owned();
    let with = |address: String, extra: &[(&str, &str)]| {
        let common = [("__address__", address.as_str()), ("__meta_dns_name", name)];
        Some(Labels::from_pairs(common.into_iter().chain(extra.iter().copied())))
    };
    match (config.record_type, record) {
        (DnsRecordType::Srv, RData::SRV(srv)) => {
            let (host, port) = (srv.target.to_ascii(), srv.port.to_string());
            let labels =
                [("__meta_dns_srv_record_target", host.as_str()), ("__meta_dns_srv_record_port", port.as_str())];
            with(format!("{}:{port}", bare(&srv.target)), &labels)
        }
        (DnsRecordType::Mx, RData::MX(mx)) => {
            let host = mx.exchange.to_ascii();
            with(format!("{}:{port}", bare(&mx.exchange)), &[("__meta_dns_mx_record_target", host.as_str())])
        }
        (DnsRecordType::Ns, RData::NS(ns)) => {
            let host = ns.0.to_ascii();
            with(format!("{}:{port}", bare(&ns.0)), &[("__meta_dns_ns_record_target", host.as_str())])
        }
        (DnsRecordType::A, RData::A(a)) => with(host_port(IpAddr::V4(a.0), port), &[]),
        (DnsRecordType::Aaaa, RData::AAAA(a)) => with(host_port(IpAddr::V6(a.0), port), &[]),
        _ => None,
    }
}

fn host_port(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

#[cfg(test)]
mod tests;
