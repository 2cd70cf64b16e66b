//! The section `federation`: the members of the cluster frontend.

use std::collections::HashSet;
use std::time::Duration;

use url::Url;

use super::ByteSize;
use super::fields::{At, Fields, Shown};
use super::http::{self, OAuth2};
use super::labels;
use super::render::Out;
use crate::cluster::{
    Bounds, CLUSTER, CacheConfig, ExternalLabels, FederationConfig, MemberConfig, Policy, TimeBound, Via, VirtualLabels,
};
use crate::model::{DurationMs, Labels, METRIC_NAME, TimestampMs};
use crate::scrape::NameValidation;

const WAYS: [(&str, Via); 4] =
    [("auto", Via::Auto), ("pushdown", Via::Pushdown), ("remote_read", Via::RemoteRead), ("query", Via::Query)];
const EXTERNAL: [(&str, ExternalLabels); 2] = [("drop", ExternalLabels::Drop), ("keep", ExternalLabels::Keep)];
const POLICIES: [(&str, Policy); 2] = [("required", Policy::Required), ("optional", Policy::Optional)];
/// What a path of the API, pasted as a member's URL, ends in.
const API: &str = "/api/v1";

/// Reads the section.
pub(super) fn read(at: &At<'_>, names: NameValidation) -> (FederationConfig, Shown) {
    let mut f = at.fields();
    let defaults = FederationConfig::default();
    let mut members = Vec::new();
    let mut shown = Vec::new();
    for at in f.items("proxy_targets") {
        let (member, out) = read_member(&at, names);
        members.extend(member);
        shown.push(out.into_out());
    }
    let is_empty = members.is_empty() && shown.is_empty();
    f.put("proxy_targets", Out::Seq(shown));
    let cache = read_cache(&mut f);
    let local = read_local(&mut f, names);
    if is_empty && local.is_none() {
        f.mistake("proxy_targets", "there are no members to ask");
    }
    check_names(&f, &members, local.as_ref().map(|(name, _)| name.as_str()));
    let attempts: i64 = f.take("max_attempts_per_request", i64::from(defaults.max_attempts));
    let concurrency: i64 = f.take("max_concurrency", defaults.max_concurrency as i64);
    let response = f.take("max_response_bytes", ByteSize(defaults.max_response_bytes.cast_signed()));
    let series: i64 = f.take("max_fetched_series", defaults.max_fetched_series.cast_signed());
    let config = FederationConfig {
        max_attempts: positive(&f, "max_attempts_per_request", attempts).unwrap_or(defaults.max_attempts),
        max_concurrency: positive(&f, "max_concurrency", concurrency).map_or(defaults.max_concurrency, |n| n as usize),
        propagated_headers: read_headers(&mut f),
        partial_response: f.take("partial_response", defaults.partial_response),
        max_response_bytes: above_0(&f, "max_response_bytes", response.0).unwrap_or(defaults.max_response_bytes),
        max_fetched_series: above_0(&f, "max_fetched_series", series).unwrap_or(defaults.max_fetched_series),
        cache,
        members,
        local,
    };
    if config.members.iter().any(MemberConfig::has_credentials) {
        f.warn_if_open(
            "proxy_targets",
            "members are asked with credentials of this server's: whoever can reach it can query with them, unless a web \
             config file asks for a password or a certificate",
        );
    }
    let labels =
        config.members.iter().map(|member| &member.labels).chain(config.local.iter().map(|(_, labels)| labels));
    let others = labels.flat_map(|labels| labels.iter().map(|(name, _)| name));
    if let Err(error) = VirtualLabels::new(others) {
        f.mistake("proxy_targets", error.to_string());
    }
    (config, f.finish())
}

fn positive(f: &Fields<'_>, key: &str, n: i64) -> Option<u32> {
    let positive = u32::try_from(n).ok().filter(|n| *n > 0);
    if positive.is_none() {
        f.mistake(key, format!("must be above 0, got {n}"));
    }
    positive
}

fn above_0(f: &Fields<'_>, key: &str, n: i64) -> Option<u64> {
    let above_0 = u64::try_from(n).ok().filter(|n| *n > 0);
    if above_0.is_none() {
        f.mistake(key, "must be above 0");
    }
    above_0
}

fn read_headers(f: &mut Fields<'_>) -> Vec<String> {
    let headers: Vec<String> = f.take("extra_propagated_headers", Vec::new());
    for header in &headers {
        if crate::net::header::HeaderName::from_bytes(header.as_bytes()).is_err() {
            f.mistake("extra_propagated_headers", format!("{header:?} is not the name of a header"));
        }
    }
    headers
}

/// Two members of one name could not be told apart; two with one server would count its series twice.
fn check_names(f: &Fields<'_>, members: &[MemberConfig], local: Option<&str>) {
    let mut names: HashSet<&str> = HashSet::from_iter(local);
    let mut urls = HashSet::new();
    for member in members {
        if !names.insert(member.name.as_str()) {
            f.mistake("proxy_targets", format!("there are several members with the name {:?}", member.name));
        }
        for url in &member.urls {
            if !urls.insert((url.as_str(), member.tenant.as_deref())) {
                let place = url.host_str().unwrap_or_default();
                f.warn("proxy_targets", &format!("the server {place} is there twice; its series will count twice"));
            }
        }
    }
}

fn read_member(at: &At<'_>, names: NameValidation) -> (Option<MemberConfig>, Shown) {
    let mut f = at.fields();
    let name: String = f.take("name", String::new());
    if name.is_empty() && !f.has_faulty() {
        f.mistake("name", "is missing: it becomes the value of the label __cluster__");
    }
    let url = read_url(&mut f, "url");
    let replicas = read_replicas(&mut f);
    let urls: Vec<Url> = match (url, replicas) {
        (Some(url), replicas) if replicas.is_empty() => vec![url],
        (None, replicas) if !replicas.is_empty() => replicas,
        (Some(_), _) => {
            f.mistake("replicas", "url and replicas exclude each other");
            Vec::new()
        }
        (None, _) => {
            if !f.has("url") && !f.has("replicas") {
                f.mistake("url", "is missing: the address below which the member serves /api/v1/query");
            }
            Vec::new()
        }
    };
    let client = http::read(&mut f, true, OAuth2::Refused).client;
    let timeout = f.take("timeout", DurationMs::from_secs(30));
    if timeout.0 <= 0 {
        f.mistake("timeout", "must be above 0");
    }
    let pairs = labels::read(&mut f, "labels", names);
    if pairs.iter().any(|(name, _)| name == CLUSTER) {
        f.mistake("labels", "__cluster__ is the member's name; no other label can be it");
    }
    let tenant: String = f.take("tenant", String::new());
    let policy = f.choice("policy", Policy::Required, &POLICIES);
    let via = f.choice("via", Via::Auto, &WAYS);
    let external_labels = f.choice("external_labels", ExternalLabels::Drop, &EXTERNAL);
    if external_labels == ExternalLabels::Keep && matches!(via, Via::Pushdown | Via::Query) {
        f.mistake("external_labels", "only remote read shows them: to keep them, via must be auto or remote_read");
    }
    let replica_labels: Vec<String> = f.take("replica_labels", Vec::new());
    if replica_labels.iter().any(|name| name == CLUSTER || name == METRIC_NAME) {
        f.mistake("replica_labels", "replicas differ neither in their cluster nor in the names of their metrics");
    }
    if via == Via::Pushdown && !replica_labels.is_empty() {
        f.mistake("replica_labels", "replicas become one over their samples only: via must not be pushdown");
    }
    let bounds = Bounds { min: read_bound(&mut f, "min_time"), max: read_bound(&mut f, "max_time") };
    if let (Some(TimeBound::At(min)), Some(TimeBound::At(max))) = (bounds.min, bounds.max)
        && min > max
    {
        f.mistake("max_time", "is before min_time");
    }
    let shown_name = name.clone();
    let member = urls.first().cloned().map(|first| MemberConfig {
        urls,
        client,
        tenant: Some(tenant).filter(|tenant| !tenant.is_empty()),
        timeout: Duration::from_millis(timeout.0.max(1).cast_unsigned()),
        policy,
        labels: labels::to_labels(&pairs),
        via,
        external_labels,
        replica_labels,
        bounds,
        ..MemberConfig::new(shown_name, first)
    });
    (member, f.finish())
}

/// `local: true`, or a section with a name and labels.
fn read_local(f: &mut Fields<'_>, names: NameValidation) -> Option<(String, Labels)> {
    const NAME: &str = "local";
    let at = f.section("local")?;
    if at.is_scalar() {
        let is_local = at.read::<bool>()?;
        f.put("local", Out::Word(is_local.to_string()));
        return is_local.then(|| (NAME.to_owned(), Labels::empty()));
    }
    let mut fields = at.fields();
    let name: String = fields.take("name", NAME.to_owned());
    let pairs = labels::read(&mut fields, "labels", names);
    if name.is_empty() {
        fields.mistake("name", "must not be empty: it becomes the value of the label __cluster__");
    }
    f.put("local", fields.finish().into_out());
    Some((name, labels::to_labels(&pairs)))
}

/// `cache: true` or `false`, or a section of bounds.
fn read_cache(f: &mut Fields<'_>) -> Option<CacheConfig> {
    let defaults = CacheConfig::default();
    let Some(at) = f.section("cache") else { return Some(defaults) };
    if at.is_scalar() {
        let is_on = at.read::<bool>()?;
        f.put("cache", Out::Word(is_on.to_string()));
        return is_on.then_some(defaults);
    }
    let mut fields = at.fields();
    let max_bytes = fields.take("max_bytes", ByteSize(defaults.max_bytes.cast_signed()));
    let max_freshness = fields.take("max_freshness", defaults.max_freshness);
    if max_bytes.0 <= 0 {
        fields.mistake("max_bytes", "must be above 0; to keep nothing, write cache: false");
    }
    if max_freshness.0 < 0 {
        fields.mistake("max_freshness", "must not be below 0");
    }
    f.put("cache", fields.finish().into_out());
    Some(CacheConfig { max_bytes: max_bytes.0.max(0).cast_unsigned(), max_freshness })
}

fn parse_time(text: &str) -> Option<TimestampMs> {
    text.parse::<jiff::Timestamp>().ok().map(|t| TimestampMs(t.as_millisecond()))
}

/// A time, or how long ago as a duration with a minus sign.
fn read_bound(f: &mut Fields<'_>, key: &'static str) -> Option<TimeBound> {
    let text: String = f.take(key, String::new());
    if text.is_empty() {
        return None;
    }
    let ago = text.strip_prefix('-').map(str::parse::<DurationMs>);
    let bound = match ago {
        Some(Ok(duration)) => Some(TimeBound::Ago(duration)),
        _ => parse_time(&text).map(TimeBound::At),
    };
    if bound.is_none() {
        f.mistake(
            key,
            format!("must be a time such as 2026-01-31T00:00:00Z, or how long ago such as -30d, got {text:?}"),
        );
    }
    bound
}

fn read_replicas(f: &mut Fields<'_>) -> Vec<Url> {
    let items = f.items("replicas");
    let urls: Vec<Url> = items.iter().filter_map(check_url).collect();
    let shown: Vec<Out> = items.iter().filter_map(At::text).map(http::show_url).collect();
    f.put("replicas", if shown.is_empty() { Out::Omit } else { Out::Seq(shown) });
    urls
}

fn read_url(f: &mut Fields<'_>, key: &'static str) -> Option<Url> {
    let at = f.section(key)?;
    let text = at.text()?;
    f.put(key, http::show_url(text));
    check_url(&at)
}

fn check_url(at: &At<'_>) -> Option<Url> {
    let text = at.text()?;
    match Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            at.mistake(format!("its scheme is {}, neither http nor https", url.scheme()));
        }
        Ok(url) if url.path().trim_end_matches('/').ends_with(API) => {
            at.mistake(format!("must be what stands before {API}, since that is added"));
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            at.mistake("has more than a host and a path");
        }
        Ok(url) => return Some(url),
        // The text is not repeated: it may hold a password.
        Err(error) => at.mistake(format!("not a URL: {error}")),
    }
    None
}
