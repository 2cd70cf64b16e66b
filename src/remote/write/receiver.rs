//! One request from its body to its outcome.

use std::io::Read as _;
use std::sync::Arc;

use parking_lot::Mutex;

use super::cache::SeriesCache;
use super::content::{AcceptedMessages, Content, Message, Packing};
use super::intake::{Intake, Stop};
use super::metrics::Metrics;
use super::outcome::{Complaints, Failure, Outcome, Written};
use super::v1::{self, V1};
use super::v2::V2;
use crate::model::TimestampMs;
use crate::net::ZSTD_WINDOW_LOG_MAX;
use crate::remote::snappy;
use crate::runtime::Clock;
use crate::storage::{AppendError, Appendable};
use crate::telemetry::Registry;

/// Samples further in the future than this are refused, as in the reference.
const MAX_AHEAD_MS: i64 = 10 * 60 * 1000;
/// Unpacked messages whose memory is kept for the next ones, and how large they may be.
const KEPT_BUFFERS: usize = 4;
const KEPT_BYTES: usize = 2 << 20;

/// What a receiver takes and how much of it.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The messages.
    pub accepted: AcceptedMessages,
    /// Bytes of a body, packed.
    pub max_body: usize,
    /// Bytes of a message, unpacked.
    pub max_message: usize,
    /// Bytes of all bodies that are held at the same time.
    pub max_held: usize,
    /// Whether type and unit of a series become labels (`type-and-unit-labels`).
    pub has_type_labels: bool,
}

impl Default for Config {
    /// VictoriaMetrics's limit for a message, which is ten times what any sender makes by default; a body is smaller than its
    /// message; eight of the largest bodies may be on their way.
    fn default() -> Config {
        Config {
            accepted: AcceptedMessages::ALL,
            max_body: 16 << 20,
            max_message: 32 << 20,
            max_held: 128 << 20,
            has_type_labels: false,
        }
    }
}

/// What a receiver needs of others.
pub struct Deps {
    /// Where samples go.
    pub store: Arc<dyn Appendable>,
    /// The wall clock.
    pub clock: Clock,
    /// Takes the receiver's metrics.
    pub registry: Registry,
}

/// Takes requests of remote write into a store; from several threads at once.
pub struct Receiver {
    config: Config,
    store: Arc<dyn Appendable>,
    clock: Clock,
    cache: Arc<SeriesCache>,
    metrics: Metrics,
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl Receiver {
    /// A receiver that has seen no series yet.
    pub fn new(config: Config, deps: Deps) -> Receiver {
        let cache = Arc::new(SeriesCache::new());
        let metrics = Metrics::new(&deps.registry, &cache);
        let (store, clock) = (deps.store, deps.clock);
        Receiver { config, store, clock, cache, metrics, buffers: Mutex::default() }
    }

    /// What was configured.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Counts a request whose body was not taken because it is too large.
    pub fn note_too_large(&self) {
        self.metrics.too_large.inc();
    }

    /// Counts a request whose body was not taken because others are.
    pub fn note_busy(&self) {
        self.metrics.busy.inc();
    }

    /// Counts a request of a kind that is not taken.
    pub fn note_unsupported(&self) {
        self.metrics.unsupported.inc();
    }

    /// Takes a request into the store. Computes, and may wait for the disk.
    pub fn receive(&self, content: Content, body: &[u8]) -> Outcome {
        let mut message = self.buffers.lock().pop().unwrap_or_default();
        let outcome = match unpack(content.packing, body, self.config.max_message, &mut message) {
            Ok(()) => self.take(content.message, &message),
            Err(failure) => Outcome { written: Written::default(), failure: Some(failure) },
        };
        if message.capacity() <= KEPT_BYTES {
            let mut buffers = self.buffers.lock();
            if buffers.len() < KEPT_BUFFERS {
                buffers.push(message);
            }
        }
        self.count(&outcome);
        outcome
    }

    fn take(&self, kind: Message, message: &[u8]) -> Outcome {
        let now = self.clock.now();
        let max_t = TimestampMs(now.0.saturating_add(MAX_AHEAD_MS));
        let store = &*self.store;
        let (written, complaints, failure) = match kind {
            Message::V1 => {
                let mut intake = Intake::new(store, &self.cache, &V1, now, max_t);
                let walked = v1::walk(message, &mut intake);
                let walked = walked.map(|metadata| self.metrics.ignored_metadata.add(metadata));
                intake.finish(walked)
            }
            Message::V2 => match V2::new(message, self.config.has_type_labels, |text| self.cache.hash(text)) {
                Ok(names) => {
                    let mut intake = Intake::new(store, &self.cache, &names, now, max_t);
                    let walked = names.walk(message, &mut intake);
                    intake.finish(walked)
                }
                Err(stop) => (Written::default(), Complaints::default(), Some(stop.into())),
            },
        };
        self.metrics.count(written, &complaints);
        if matches!(failure, Some(Failure::Invalid(_))) && complaints.counts().is_empty() {
            self.metrics.malformed.inc();
        }
        Outcome { written, failure }
    }

    fn count(&self, outcome: &Outcome) {
        match &outcome.failure {
            Some(Failure::TooLarge(_)) => self.metrics.too_large.inc(),
            Some(Failure::Store(error)) => {
                self.metrics.failed.inc();
                // While the store takes nothing every request fails; what made it so has been logged by the store.
                if !matches!(error, AppendError::Latched(_) | AppendError::Closed) {
                    tracing::error!(%error, "a remote write request could not be stored");
                }
            }
            Some(Failure::Invalid(why)) => tracing::debug!(%why, "a remote write request was not taken as a whole"),
            None => {}
        }
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Failure {
        match stop {
            Stop::Message(error) => error.into(),
            Stop::TooManySymbols => Failure::Invalid("there are too many symbols".to_owned()),
            Stop::TooMuchText => Failure::TooLarge("its series have too many bytes of labels and metadata".to_owned()),
            Stop::Store(error) => error.into(),
        }
    }
}

fn unpack(packing: Packing, body: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), Failure> {
    match packing {
        Packing::Snappy => Ok(snappy::decode(body, max, out)?),
        Packing::Zstd => unpack_zstd(body, max, out),
    }
}

/// The declared length is only believed as far as the limit allows; the rest is seen while it grows.
fn unpack_zstd(body: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), Failure> {
    let damaged = |e: std::io::Error| Failure::Invalid(format!("not a frame of zstd: {e}"));
    let too_large = || Failure::TooLarge(format!("the unpacked message would have more than the {max} bytes allowed"));
    out.clear();
    if let Ok(Some(declared)) = zstd::zstd_safe::get_frame_content_size(body) {
        let declared = usize::try_from(declared).ok().filter(|n| *n <= max).ok_or_else(too_large)?;
        out.reserve(declared);
    }
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(damaged)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(damaged)?;
    decoder.take(limit).read_to_end(out).map_err(damaged)?;
    if out.len() > max { Err(too_large()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn unpacked(packing: Packing, body: &[u8], max: usize) -> Result<Vec<u8>, Failure> {
        let mut out = vec![1, 2, 3];
        unpack(packing, body, max, &mut out).map(|()| out)
    }

    #[test]
    fn both_packings_come_back_and_neither_unpacks_beyond_the_limit() {
        let message = vec![7; 1 << 20];
        let mut snappy = Vec::new();
        snappy::encode(&message, &mut snappy).unwrap();
        let sized = zstd::bulk::compress(&message, 3).unwrap();
        let streamed = zstd::stream::encode_all(&message[..], 3).unwrap();
        assert!(matches!(zstd::zstd_safe::get_frame_content_size(&streamed), Ok(None)));
        for (packing, body) in [(Packing::Snappy, &snappy), (Packing::Zstd, &sized), (Packing::Zstd, &streamed)] {
            assert_eq!(unpacked(packing, body, 1 << 20).unwrap(), message);
            assert!(matches!(unpacked(packing, body, (1 << 20) - 1), Err(Failure::TooLarge(_))), "{packing:?}");
            assert!(matches!(unpacked(packing, &body[..body.len() / 2], 1 << 20), Err(Failure::Invalid(_))));
            assert!(matches!(unpacked(packing, b"nonsense", 1 << 20), Err(Failure::Invalid(_))));
        }
    }

    #[test]
    fn a_frame_of_zstd_cannot_ask_for_a_window_beyond_what_decoders_must_support() {
        let with_window = |log| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(b"message").unwrap();
            encoder.finish().unwrap()
        };
        let window = |log| unpacked(Packing::Zstd, &with_window(log), 1 << 20);
        assert_eq!(window(ZSTD_WINDOW_LOG_MAX).unwrap(), b"message");
        assert!(matches!(window(ZSTD_WINDOW_LOG_MAX + 1), Err(Failure::Invalid(_))));
    }
}
