//! The flags of the server.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, ValueEnum};

use super::gateway::{GatewayFlags, HEADING};
use crate::config::ByteSize;
use crate::model::DurationMs;
use crate::remote::write;
use crate::telemetry::logging;
use crate::tsdb;

/// Where the configuration is unless somebody says.
pub(super) const CONFIG_FILE: &str = "watershed.yml";

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What an operator may want to know.
    Info,
    /// What an operator should look at.
    Warn,
    /// What does not work.
    Error,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object a line.
    Json,
}

impl From<WalCompression> for tsdb::Compression {
    fn from(compression: WalCompression) -> tsdb::Compression {
        match compression {
            WalCompression::None => tsdb::Compression::None,
            WalCompression::Snappy => tsdb::Compression::Snappy,
            WalCompression::Zstd => tsdb::Compression::Zstd,
        }
    }
}

impl From<LogLevel> for logging::LogLevel {
    fn from(level: LogLevel) -> logging::LogLevel {
        match level {
            LogLevel::Debug => logging::LogLevel::Debug,
            LogLevel::Info => logging::LogLevel::Info,
            LogLevel::Warn => logging::LogLevel::Warn,
            LogLevel::Error => logging::LogLevel::Error,
        }
    }
}

impl From<LogFormat> for logging::LogFormat {
    fn from(format: LogFormat) -> logging::LogFormat {
        match format {
            LogFormat::Logfmt => logging::LogFormat::Logfmt,
            LogFormat::Json => logging::LogFormat::Json,
        }
    }
}

/// How the log is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum WalCompression {
    /// Not at all.
    None,
    /// Fast.
    Snappy,
    /// Smaller.
    Zstd,
}

/// Everything that can be set for a server on the command line; names as in Prometheus.
#[derive(Args, Clone, Debug)]
pub struct ServeFlags {
    /// Configuration file, in Prometheus's format.
    #[arg(long = "config.file", value_name = "FILE", default_value = CONFIG_FILE, env = "WATERSHED_CONFIG_FILE")]
    pub config_file: PathBuf,

    /// Look so often whether the configuration has changed, and reload it if so. 0 never looks.
    #[arg(long = "config.auto-reload-interval", value_name = "DURATION", default_value = "0s")]
    pub auto_reload_interval: DurationMs,

    /// Web config file, in the format of Prometheus's exporter toolkit: TLS, client certificates, users, headers, rate limit. It
    /// and the files that it names are read again when they change.
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,

    /// Answer /-/healthy and /-/ready without credentials although the web config file names users.
    #[arg(long = "web.open-health-endpoints")]
    pub open_health_endpoints: bool,

    /// Address to listen on; may be given several times.
    #[arg(long = "web.listen-address", value_name = "HOST:PORT", default_value = "0.0.0.0:9090")]
    pub listen: Vec<String>,

    /// Connections served at the same time over all addresses. Where all are taken, the one that has waited longest for a request
    /// is closed for the next one.
    #[arg(long = "web.max-connections", value_name = "N", default_value_t = 512)]
    pub max_connections: usize,

    /// Clients that may follow notifications live.
    #[arg(long = "web.max-notifications-subscribers", value_name = "N", default_value_t = 16)]
    pub max_notification_followers: usize,

    /// Longest time to read a request, and to keep an idle connection.
    #[arg(long = "web.read-timeout", value_name = "DURATION", default_value = "5m")]
    pub read_timeout: DurationMs,

    /// Longest time for the head of a request, for a TLS handshake, and for a new connection to say anything.
    #[arg(long = "web.header-timeout", value_name = "DURATION", default_value = "10s")]
    pub header_timeout: DurationMs,

    /// Longest time that a client may not read any of its answer.
    #[arg(long = "web.write-timeout", value_name = "DURATION", default_value = "1m")]
    pub write_timeout: DurationMs,

    /// Longest time to compute an answer that is not a query, and to hand it over.
    #[arg(long = "web.answer-timeout", value_name = "DURATION", default_value = "5m")]
    pub answer_timeout: DurationMs,

    /// Largest head of a request; a larger one is answered 431, or 414 if its URL is longer than 64KiB.
    #[arg(long = "web.max-header-bytes", value_name = "SIZE", default_value = "128KB")]
    pub max_header_bytes: ByteSize,

    /// Largest form in the body of a request; a larger one is answered 413.
    #[arg(long = "web.max-form-bytes", value_name = "SIZE", default_value = "1MB")]
    pub max_form_bytes: ByteSize,

    /// Answers streamed at the same time (/federate, series); more wait for ten seconds and are then answered 503.
    #[arg(long = "web.max-streams", value_name = "N", default_value_t = 8)]
    pub max_streams: usize,

    /// The URL under which the server is reached from outside, for links and redirects.
    #[arg(long = "web.external-url", value_name = "URL")]
    pub external_url: Option<String>,

    /// Prefix of all paths; the path of --web.external-url by default.
    #[arg(long = "web.route-prefix", value_name = "PATH")]
    pub route_prefix: Option<String>,

    /// Allow reload and shutdown by HTTP request.
    #[arg(long = "web.enable-lifecycle")]
    pub enable_lifecycle: bool,

    /// Allow deleting and copying data by HTTP request.
    #[arg(long = "web.enable-admin-api")]
    pub enable_admin_api: bool,

    /// Accept OTLP metrics at /api/v1/otlp/v1/metrics.
    #[arg(long = "web.enable-otlp-receiver")]
    pub enable_otlp_receiver: bool,

    /// Accept remote write at /api/v1/write.
    #[arg(long = "web.enable-remote-write-receiver")]
    pub enable_remote_write_receiver: bool,

    /// Message of remote write to accept: prometheus.WriteRequest (1.0), io.prometheus.write.v2.Request (2.0); may be given
    /// several times.
    #[arg(
        long = "web.remote-write-receiver.accepted-protobuf-messages",
        value_name = "NAME",
        value_delimiter = ',',
        default_values = ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"]
    )]
    pub remote_write_messages: Vec<write::Message>,

    /// Bytes that the body of a remote write request may have as it is sent; a larger one is answered 413.
    #[arg(long = "web.remote-write-receiver.max-body-size", value_name = "SIZE", default_value = "16MB")]
    pub remote_write_max_body: ByteSize,

    /// Bytes that it may have unpacked; a larger one is answered 413.
    #[arg(long = "web.remote-write-receiver.max-message-size", value_name = "SIZE", default_value = "32MB")]
    pub remote_write_max_message: ByteSize,

    /// Bytes that all bodies of remote write together may have at the same time; beyond that the answer is 503.
    #[arg(long = "web.remote-write-receiver.max-held-size", value_name = "SIZE", default_value = "128MB")]
    pub remote_write_max_held: ByteSize,

    /// Serve this host's own metrics (processor, memory, file systems, network) at /metrics/host.
    #[arg(long = "web.enable-host-metrics")]
    pub enable_host_metrics: bool,

    /// Origins that browsers may call the API from; a regular expression, anchored at both ends.
    #[arg(long = "web.cors.origin", value_name = "REGEX", default_value = ".*")]
    pub cors_origin: String,

    /// Directory of the stored samples.
    #[arg(long = "storage.tsdb.path", value_name = "DIR", default_value = "data/")]
    pub storage_path: PathBuf,

    /// How long samples are kept; 15d if no size is given either. The config's storage.tsdb.retention wins over it.
    #[arg(
        long = "storage.tsdb.retention.time",
        value_name = "DURATION",
        default_value = "0s",
        hide_default_value = true
    )]
    pub retention_time: DurationMs,

    /// Bytes that all blocks may have together, such as 512MB; the oldest go first.
    #[arg(long = "storage.tsdb.retention.size", value_name = "SIZE", default_value = "0B", hide_default_value = true)]
    pub retention_size: ByteSize,

    /// Compression of the write-ahead log.
    #[arg(long = "storage.tsdb.wal-compression-type", value_enum, default_value = "snappy")]
    pub wal_compression: WalCompression,

    /// Shortest time span of a block.
    #[arg(long = "storage.tsdb.min-block-duration", value_name = "DURATION", default_value = "2h", hide = true)]
    pub min_block_duration: DurationMs,

    /// Longest time span of a block; a tenth of the retention time, at most 31d, by default.
    #[arg(long = "storage.tsdb.max-block-duration", value_name = "DURATION", hide = true)]
    pub max_block_duration: Option<DurationMs>,

    /// How long a sample stands for its series in queries and in /federate.
    #[arg(long = "query.lookback-delta", value_name = "DURATION", default_value = "5m")]
    pub lookback_delta: DurationMs,

    /// Time allowed for a query, waiting included.
    #[arg(long = "query.timeout", value_name = "DURATION", default_value = "2m")]
    pub query_timeout: DurationMs,

    /// Queries that run at the same time; more wait.
    #[arg(long = "query.max-concurrency", value_name = "N", default_value_t = 20)]
    pub query_max_concurrency: u32,

    /// Queries over the members of a cluster that run at the same time, besides those of --query.max-concurrency; more wait. As many
    /// requests for lists of theirs (labels, series, metadata, exemplars, rules, alerts) may run beside them.
    #[arg(long = "query.cluster-max-concurrency", value_name = "N", default_value_t = 20)]
    pub query_cluster_max_concurrency: u32,

    /// Samples that a query may hold in memory.
    #[arg(long = "query.max-samples", value_name = "N", default_value_t = 50_000_000)]
    pub query_max_samples: u64,

    /// Bytes that a query may hold in memory, such as 512MB; all queries together may hold twice that. 0 means a quarter of
    /// the memory that the machine or the container has.
    #[arg(long = "query.max-bytes", value_name = "SIZE", default_value = "0B")]
    pub query_max_bytes: ByteSize,

    /// Tell queries in the log that take so long. 0 never does.
    #[arg(long = "query.log-slower-than", value_name = "DURATION", default_value = "10s")]
    pub query_log_slower_than: DurationMs,

    /// Samples that a remote read may select with one query, if its answer is not streamed. 0 means no limit.
    #[arg(long = "storage.remote.read-sample-limit", value_name = "N", default_value = "5e7", value_parser = count)]
    pub read_sample_limit: u64,

    /// Samples that a remote read may select with one query, if its answer is streamed. 0 means no limit.
    #[arg(long = "storage.remote.read-stream-sample-limit", value_name = "N", default_value = "0", value_parser = count)]
    pub read_stream_sample_limit: u64,

    /// Bytes of one answer to a remote read, such as 512MB. 0 means no limit for streamed answers; others are held in memory
    /// before they are sent, and may always have as much as --query.max-bytes allows.
    #[arg(long = "storage.remote.read-byte-limit", value_name = "SIZE", default_value = "0B")]
    pub read_byte_limit: ByteSize,

    /// Remote reads that are answered at the same time; more wait. 0 means as many as there are threads for.
    #[arg(long = "storage.remote.read-concurrent-limit", value_name = "N", default_value = "10", value_parser = count)]
    pub read_concurrent_limit: u64,

    /// Bytes of one frame of a streamed answer to a remote read, before compression.
    #[arg(
        long = "storage.remote.read-max-bytes-in-frame",
        value_name = "BYTES",
        default_value = "1048576",
        value_parser = count
    )]
    pub read_max_bytes_in_frame: u64,

    /// Features of Prometheus to enable, a comma list; may be given several times.
    #[arg(long = "enable-feature", value_name = "NAMES")]
    pub enable_feature: Vec<String>,

    /// The role and the gateway.
    #[command(flatten)]
    pub gateway: GatewayFlags,

    /// Log this and what is more severe.
    #[arg(long = "log.level", value_enum, default_value = "info")]
    pub log_level: LogLevel,

    /// Format of log lines.
    #[arg(long = "log.format", value_enum, default_value = "logfmt")]
    pub log_format: LogFormat,
}

/// A whole number, which may be written as `5e7`, as in the reference.
fn count(text: &str) -> Result<u64, String> {
    let refused = || format!("{text:?} is not a whole number of 0 or more");
    match text.parse::<u64>() {
        Ok(n) => Ok(n),
        Err(_) => match text.parse::<f64>() {
            // Up to 2^53 every whole number is exact.
            Ok(n) if n >= 0.0 && n.fract() == 0.0 && n <= 9e15 => Ok(n as u64),
            _ => Err(refused()),
        },
    }
}

/// Every flag with its value as text, for the flags API.
pub(super) fn values(command: &Command, matches: &ArgMatches) -> BTreeMap<String, String> {
    let mut flags = BTreeMap::new();
    for arg in command.get_arguments() {
        let Some(long) = arg.get_long() else { continue };
        if matches!(long, "help" | "version") {
            continue;
        }
        let id = arg.get_id().as_str();
        // The gateway's are many; only those that are given say something.
        if arg.get_help_heading() == Some(HEADING) && matches.value_source(id).is_none() {
            continue;
        }
        let value = if arg.get_action().takes_values() {
            let raw = matches.get_raw(id).into_iter().flatten();
            raw.map(|v| v.to_string_lossy()).collect::<Vec<_>>().join(",")
        } else {
            (matches.value_source(id) == Some(ValueSource::CommandLine)).to_string()
        };
        flags.insert(long.to_owned(), value);
    }
    flags
}
