//! The section `storage`.

use super::fields::{At, Fields, Shown};
use super::scalar::ByteSize;
use crate::model::DurationMs;

/// What the section says; zero and `None` mean that it says nothing.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct StorageConfig {
    /// How far behind the newest sample a sample may be.
    pub out_of_order_time_window: DurationMs,
    /// The share of stale series in the head that starts a compaction of them.
    pub stale_series_compaction_threshold: f64,
    /// How float chunks are encoded.
    pub float_encoding: Option<FloatEncoding>,
    /// How long data is kept.
    pub retention: RetentionConfig,
    /// Exemplars kept in memory; `None` where the config does not say, zero or less for none.
    pub max_exemplars: Option<i64>,
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

/// Reads the section; a null says nothing.
pub(super) fn read(at: &At<'_>) -> (StorageConfig, Shown) {
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
        e.not_yet("max_exemplars");
        f.put("exemplars", e.finish().into_out());
    }
    (config, f.finish())
}

fn read_tsdb(at: &At<'_>, config: &mut StorageConfig) -> Shown {
    let mut f = at.fields();
    // Shown by the reference as the window in milliseconds; a value that is given here has no effect there.
    f.always("outofordertimewindow", 0i64);
    config.out_of_order_time_window = f.take("out_of_order_time_window", DurationMs(0));
    f.put("outofordertimewindow", super::render::Out::Word(config.out_of_order_time_window.0.to_string()));
    if config.out_of_order_time_window.0 != 0 {
        f.not_yet("out_of_order_time_window");
    }
    config.stale_series_compaction_threshold = f.take("stale_series_compaction_threshold", 0.0);
    f.not_yet("stale_series_compaction_threshold");
    if let Some(at) = f.section("chunk_encoding") {
        let mut c = at.fields();
        config.float_encoding = read_encoding(&mut c);
        f.put("chunk_encoding", c.finish().into_out_or_omit());
    }
    let absent = super::yaml::Node::null(at.node.pos);
    let retention = match f.section("retention") {
        Some(at) => read_retention(&at, &mut config.retention),
        None => read_retention(&At::root(at.reader, &absent), &mut config.retention),
    };
    f.put("retention", retention.into_out());
    f.finish()
}

fn read_encoding(f: &mut Fields<'_>) -> Option<FloatEncoding> {
    let name: String = f.take("floats", String::new());
    match name.as_str() {
        "" => None,
        "xor" => Some(FloatEncoding::Xor),
        "xor2" => {
            f.not_yet("floats");
            Some(FloatEncoding::Xor2)
        }
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
    ["time", "size", "percentage"].iter().for_each(|key| f.not_yet(key));
    f.finish()
}
