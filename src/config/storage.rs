//! The section `storage`.

use super::fields::{At, Fields, Shown};
use super::scalar::ByteSize;
use crate::model::{DurationMs, Labels};
use crate::tsdb::ship;

/// What the section says; zero and `None` mean that it says nothing.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StorageConfig {
    /// How far behind the newest sample a sample may be.
    pub out_of_order_time_window: DurationMs,
    /// The share of stale series in the head that starts a compaction of them.
    pub stale_series_compaction_threshold: f64,
    /// How float chunks are encoded; `None` where the config does not say, and the flags do.
    pub float_encoding: Option<FloatEncoding>,
    /// How long data is kept; `None` where the config does not say, and the flags do.
    pub retention: Option<RetentionConfig>,
    /// Exemplars kept in memory; `None` where the config does not say, zero or less for none.
    pub max_exemplars: Option<i64>,
    /// Whether every commit waits for the disk; else a power cut takes up to a minute.
    pub fsync: Fsync,
    /// Fewer and larger writes, for media that wear out.
    pub low_write: Option<LowWriteConfig>,
    /// Where finished blocks are copied to.
    pub ship: Option<ship::Config>,
}

/// When the write-ahead log is forced to disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fsync {
    /// Once a minute.
    #[default]
    Minute,
    /// Before a commit is acknowledged.
    Commit,
}

/// How writes are collected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LowWriteConfig {
    /// How long samples may stay in memory before they are written to the log; what a crash of the process takes.
    pub flush_interval: DurationMs,
    /// Bytes that are written at once at the latest.
    pub buffer_size: ByteSize,
}

/// How long data is kept; each limit is zero where it is not given.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct RetentionConfig {
    /// By age.
    pub time: DurationMs,
    /// By bytes on disk.
    pub size: ByteSize,
    /// By share of the disk, 0 to 100.
    pub percentage: f64,
}

/// Encodings of float chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FloatEncoding {
    /// The classic one.
    Xor,
    /// Its successor.
    Xor2,
}

/// Reads the section; a null says nothing. What is shipped carries the external `labels`.
pub(super) fn read(at: &At<'_>, labels: &Labels) -> (StorageConfig, Shown) {
    let mut f = at.fields();
    let mut config = StorageConfig::default();
    // Also without the section the effective config has a retention.
    let absent = super::yaml::Node::null(at.node.pos);
    let tsdb = match f.section("tsdb") {
        Some(at) => read_tsdb(&at, &mut config),
        None => read_tsdb(&At::root(at.reader, &absent), &mut config),
    };
    f.put("tsdb", tsdb.into_out());
    if let Some(at) = f.section("exemplars") {
        let mut e = at.fields();
        config.max_exemplars = Some(e.take("max_exemplars", 0));
        f.put("exemplars", e.finish().into_out());
    }
    let fsync = f.take("fsync", String::new());
    match fsync.as_str() {
        "" | "minute" => {}
        "commit" => config.fsync = Fsync::Commit,
        other => f.mistake("fsync", format!("must be 'minute' or 'commit', got {other:?}")),
    }
    if let Some(at) = f.section("low_write") {
        let (low_write, shown) = read_low_write(&at);
        if config.fsync == Fsync::Commit {
            f.mistake("low_write", "contradicts 'fsync: commit', which writes with every commit".to_owned());
        }
        config.low_write = Some(low_write);
        f.put("low_write", shown.into_out());
    }
    if let Some(at) = f.section("ship") {
        let (ship, shown) = super::ship::read(&at, labels);
        config.ship = ship;
        f.put("ship", shown.into_out());
    }
    (config, f.finish())
}

fn read_low_write(at: &At<'_>) -> (LowWriteConfig, Shown) {
    let mut f = at.fields();
    let flush_interval = f.take("flush_interval", DurationMs::from_secs(300));
    let buffer_size = f.take("buffer_size", ByteSize(4 << 20));
    if flush_interval.0 <= 0 {
        f.mistake("flush_interval", "must be more than 0".to_owned());
    }
    if !(1 << 16..=1 << 30).contains(&buffer_size.0) {
        f.mistake("buffer_size", format!("must be between 64KB and 1GB, got {buffer_size}"));
    }
    (LowWriteConfig { flush_interval, buffer_size }, f.finish())
}

fn read_tsdb(at: &At<'_>, config: &mut StorageConfig) -> Shown {
    let mut f = at.fields();
    // Shown by the reference as the window in milliseconds; a value that is given here has no effect there.
    f.always("outofordertimewindow", 0i64);
    config.out_of_order_time_window = f.take("out_of_order_time_window", DurationMs(0));
    f.put("outofordertimewindow", super::render::Out::Word(config.out_of_order_time_window.0.to_string()));
    config.stale_series_compaction_threshold = f.take("stale_series_compaction_threshold", 0.0);
    if !(0.0..=1.0).contains(&config.stale_series_compaction_threshold) {
        f.warn("stale_series_compaction_threshold", "is a share, from 0 (never) to 1, so this one does nothing useful");
    }
    if let Some(at) = f.section("chunk_encoding") {
        let mut c = at.fields();
        config.float_encoding = read_encoding(&mut c);
        f.put("chunk_encoding", c.finish().into_out_or_omit());
    }
    let absent = super::yaml::Node::null(at.node.pos);
    let retention = match f.section("retention") {
        Some(at) => read_retention(&at, config.retention.insert(RetentionConfig::default())),
        None => read_retention(&At::root(at.reader, &absent), &mut RetentionConfig::default()),
    };
    f.put("retention", retention.into_out());
    f.finish()
}

fn read_encoding(f: &mut Fields<'_>) -> Option<FloatEncoding> {
    let name: String = f.take("floats", String::new());
    match name.as_str() {
        "" => None,
        "xor" => {
            if f.features().st_storage {
                f.warn(
                    "floats",
                    "chunks with start timestamps, which st-storage keeps, are encoded as xor2 all the same",
                );
            }
            Some(FloatEncoding::Xor)
        }
        "xor2" => Some(FloatEncoding::Xor2),
        other => {
            let why =
                "'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must be omitted entirely";
            f.mistake("floats", format!("{why}, got {other:?}"));
            None
        }
    }
}

fn read_retention(at: &At<'_>, config: &mut RetentionConfig) -> Shown {
    let mut f = at.fields();
    config.time = f.take("time", DurationMs(0));
    config.size = f.take("size", ByteSize(0));
    config.percentage = f.take("percentage", 0.0);
    if config.size.0 < 0 {
        let why = "'storage.tsdb.retention.size' must be greater than or equal to 0, got";
        f.mistake("size", format!("{why} {}", config.size));
    }
    if !(0.0..=100.0).contains(&config.percentage) {
        let why = "'storage.tsdb.retention.percentage' must be in the range [0, 100], got";
        f.mistake("percentage", format!("{why} {}", config.percentage));
    }
    if config.percentage > 0.0 && config.size.0 > 0 {
        f.warn("size", "has no effect beside 'percentage'");
    }
    f.finish()
}
