//! What differs, and why. Each line must still apply, for the peer that it names.

/// Which releases of the peer differ from us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// Those before 3.14, whose behaviour was changed since.
    Old,
    /// Those from 3.14 on, where older ones have nothing to compare.
    New,
    /// Every one: we differ on purpose.
    Any,
}

/// A request of the table, whom it differs from, and the reason.
pub type Difference = (&'static str, Peer, &'static str);

const HEAD: &str = "HEAD is answered wherever GET is, as RFC 9110 asks of servers";
const SLASH: &str = "the reference redirects to a path that does not exist";
const NAME: &str = "the server says its own name";
const JSON: &str = "each parser of JSON has its own words";
const ESCAPING: &str = "no name of our own metrics needs escaping, so nothing is said of it";
const PAGES: &str = "people find our own pages there";
const PROFILES: &str = "profiles are a matter of the reference's language";
const DESCRIPTION: &str = "each server describes itself";
const BYTES: &str =
    "parameters that are not UTF-8 are left out; the reference takes them for U+FFFD when it shows them";
const RETENTION: &str = "the reference shows the flags' retention as if the configuration said it";
const SEGMENT: &str = "the reference opens the next segment of its log before it reads the others";
const TREE: &str = "trees have got fields since 3.5";
const DELETE: &str = "3.5 has a method that it does not implement";
const MOVED: &str = "3.5 redirects in a way that may change the method";
const SNAPPY: &str = "each library of snappy has its own words";
const RECEIVER: &str = "our own words say what would have been right, and only one reason";
const OTLP: &str = "3.5 does not say which flag enables it";
const NO_OTLP: &str = "Debian builds 3.5 without the endpoint";
const EVERYTHING: &str =
    "an empty selector is told as the mistake that it is; the reference deletes nothing and says it did";

pub const DIFFERENCES: &[Difference] = &[
    (
        "GET /api/v1/query?query=1&time=1&stats=all",
        Peer::Any,
        "we count what queries hold in memory, not what they read",
    ),
    ("GET /api/v1/query?query=%ff&time=$END", Peer::Any, BYTES),
    ("GET /api/v1/label/%ff/values", Peer::Any, BYTES),
    ("HEAD /api/v1/query?query=1", Peer::Any, HEAD),
    ("HEAD /api/v1/labels", Peer::Any, HEAD),
    ("GET /api/v1/parse_query?query=1 %2B foo{a=\"é\"}", Peer::Old, TREE),
    ("GET /api/v1/parse_query?query=sum without (x) (rate(foo[5m:1m] @ start()))", Peer::Old, TREE),
    ("POST /api/v1/parse_query FORM query=topk(2, foo offset 5m)", Peer::Old, TREE),
    ("DELETE /api/v1/series?match[]=up", Peer::Old, DELETE),
    ("PUT /api/v1/series?match[]=up", Peer::Old, DELETE),
    ("GET /api/v1/status/tsdb?limit=10001", Peer::Old, "3.5 has no such limit"),
    ("GET /mon/api/v1/status/tsdb/blocks", Peer::Old, "came after 3.5"),
    ("GET //api/v1//labels?limit=1", Peer::Old, MOVED),
    ("GET //nothing", Peer::Old, MOVED),
    ("GET /api/v1/otlp/v1/metrics", Peer::Old, NO_OTLP),
    ("PUT /api/v1/otlp/v1/metrics", Peer::Old, NO_OTLP),
    ("POST /api/v1/write", Peer::Any, SNAPPY),
    ("POST /api/v1/write TEXT x", Peer::Any, RECEIVER),
    ("POST /api/v1/write FORM a=b", Peer::Any, RECEIVER),
    ("POST /api/v1/write WITH Content-Type: application/x-protobuf;proto=unknown", Peer::Any, RECEIVER),
    ("POST /api/v1/write WITH Content-Encoding: br", Peer::Any, RECEIVER),
    ("POST /api/v1/read", Peer::Any, SNAPPY),
    ("POST /api/v1/read TEXT no snappy at all", Peer::Any, SNAPPY),
    ("POST /api/v1/read FORM match[]=up", Peer::Any, SNAPPY),
    (
        "GET /api/v1/labels?start=$END&end=$START",
        Peer::Any,
        "a range that ends before it begins selects nothing; the reference does not look at ranges within the head",
    ),
    (
        "GET /api/v1/label/instance/values?match[]=up&match[]=special&start=$START&end=$END",
        Peer::Any,
        "only series with samples in the range count; the reference does not look at ranges within the head",
    ),
    (
        "GET /api/v1/series?match[]=special&start=$START&end=$END",
        Peer::Any,
        "series whose samples are all deleted are not there; the reference shows them until its head is cut",
    ),
    ("GET /api/v1/labels/", Peer::Any, SLASH),
    ("GET /-/healthy/", Peer::Any, "nothing stands behind a slash; the reference redirects"),
    ("GET /api/v1/QUERY?query=1", Peer::Any, SLASH),
    ("GET /api/v1/targets/relabel_steps?scrapePool=second&labels=[]", Peer::New, JSON),
    ("GET /api/v1/targets/relabel_steps?scrapePool=second&labels={\"a\":1}", Peer::New, JSON),
    ("GET /api/v1/targets/relabel_steps?scrapePool=second&labels=x", Peer::New, JSON),
    ("GET /api/v1/status/config", Peer::Any, RETENTION),
    ("GET /api/v1/status/config?x=y", Peer::Any, RETENTION),
    ("GET /api/v1/status/walreplay", Peer::Any, SEGMENT),
    ("GET /api/v1/status/walreplay?x=y", Peer::Any, SEGMENT),
    (
        "GET /api/v1/status/self_metrics?metric_name_pattern=(",
        Peer::New,
        "the reference shows the expression with what it adds to it",
    ),
    ("GET /api/v1/openapi.yaml", Peer::New, DESCRIPTION),
    ("GET /api/v1/openapi.yaml?openapi_version=3.2", Peer::New, DESCRIPTION),
    ("GET /api/v1/openapi.yaml?openapi_version=x", Peer::New, DESCRIPTION),
    ("GET /federate?match[]={}", Peer::Any, "what has no condition is satisfied by every series"),
    ("GET /federate", Peer::Any, "a request that forgot to say what it wants is told so"),
    ("GET /-/healthy", Peer::Any, NAME),
    ("GET /mon/-/healthy", Peer::Any, NAME),
    ("GET /mon/-/healthy WITH Origin: https://a.example", Peer::Any, NAME),
    ("GET /-/healthy?x=%zz", Peer::Any, NAME),
    ("GET /-/ready", Peer::Any, NAME),
    ("GET /-/ready?x=y", Peer::Any, NAME),
    ("GET /metrics WITH Accept: text/plain", Peer::Any, ESCAPING),
    ("GET /metrics", Peer::Any, ESCAPING),
    ("GET /metrics WITH Accept: application/openmetrics-text;version=1.0.0", Peer::Any, ESCAPING),
    ("GET /metrics WITH Accept: image/png", Peer::Any, ESCAPING),
    ("HEAD /-/quit", Peer::Any, HEAD),
    (
        "POST /mon",
        Peer::Any,
        "who asks for the prefix in the wrong way is told the right one; the reference knows nothing there",
    ),
    ("GET /debug/x", Peer::Any, PROFILES),
    ("GET /debug/pprof/cmdline", Peer::Any, PROFILES),
    ("GET /consoles/x.html", Peer::Any, "there are no consoles to look for"),
    ("GET /", Peer::Any, PAGES),
    ("GET /graph", Peer::Any, PAGES),
    ("POST /api/v1/admin/tsdb/delete_series?match[]={}", Peer::Any, EVERYTHING),
    ("POST /mon/api/v1/otlp/v1/metrics", Peer::Old, OTLP),
    ("POST /api/v1/otlp/v1/metrics", Peer::Old, OTLP),
    ("POST /api/v1/otlp/v1/metrics TEXT x", Peer::Old, OTLP),
];

/// Endpoints that releases of the peer do not have: their requests are not compared with those.
pub const ABSENT: &[(&str, Peer, &str)] = &[
    ("/api/v1/features", Peer::Old, "came after 3.5"),
    ("/api/v1/targets/relabel_steps", Peer::Old, "came after 3.5"),
    ("/api/v1/status/tsdb/blocks", Peer::Old, "came after 3.5"),
    ("/api/v1/status/self_metrics", Peer::Old, "came after 3.5"),
    ("/api/v1/openapi.yaml", Peer::Old, "came after 3.5"),
    ("/api/v1/search/metric_names", Peer::Old, "came after 3.5"),
    ("/api/v1/search/label_names", Peer::Old, "came after 3.5"),
    ("/api/v1/search/label_values", Peer::Old, "came after 3.5"),
    ("/api/v1/scrape_pools/config", Peer::Any, "comes with the release after 3.14.0"),
];

/// Endpoints whose good requests no line of text can be, and where they are tested instead.
pub const GOOD_ELSEWHERE: &[(&str, &str)] = &[
    ("/api/v1/read", "bodies are compressed messages: `tests/remote`"),
    ("/api/v1/write", "bodies are compressed messages: `tests/remote`"),
    ("/api/v1/otlp/v1/metrics", "bodies are messages: `tests/remote`"),
    ("/api/v1/notifications/live", "has no end: `tools`"),
    ("/api/v1/search/metric_names", "not in this version"),
    ("/api/v1/search/label_names", "not in this version"),
    ("/api/v1/search/label_values", "not in this version"),
];
