//! An answer held whole: put in order, then handed on batch by batch.

use super::incoming::{EndpointError, Stopped};
use super::wire::AnswerError;
use crate::storage::merge::merge_chunks;
use crate::storage::{BatchSize, Cancelled, Scope, SeriesBatch, SeriesChunks};

/// Bytes that are held of one answer at most, whatever the scope allows.
pub(super) const HELD_MAX: u64 = 512 << 20;
/// Series in a batch.
pub(super) const BATCH_SERIES: usize = 256;
/// No series is added to a batch that has so many bytes of chunks.
pub(super) const BATCH_BYTES: u64 = 1 << 20;
/// What a chunk or a series takes besides its bytes.
const OVERHEAD: u64 = 64;

/// Bytes that are charged to a scope for as long as this is kept.
pub(super) struct Charged {
    scope: Scope,
    bytes: u64,
}

impl Charged {
    pub(super) fn new(scope: &Scope) -> Charged {
        Charged { scope: scope.clone(), bytes: 0 }
    }

    pub(super) fn add(&mut self, bytes: u64) -> Result<(), Stopped> {
        self.bytes += bytes;
        self.scope.charge(0, bytes)?;
        if self.bytes > HELD_MAX { Err(Stopped::from(EndpointError::TooLarge(HELD_MAX))) } else { Ok(()) }
    }

    fn release(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.scope.release(0, bytes);
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.release(self.bytes);
    }
}

/// What a series takes in memory.
pub(super) fn cost(series: &SeriesChunks) -> u64 {
    let chunks: u64 = series.chunks.iter().map(|chunk| chunk.data.len() as u64 + OVERHEAD).sum();
    chunks + series.labels.as_bytes().len() as u64 + OVERHEAD
}

/// The series of an answer.
pub(super) struct Collected {
    rest: std::vec::IntoIter<SeriesChunks>,
    charged: Charged,
}

impl Collected {
    /// Takes series for which `charged` has been charged. Those with the same labels become one: a server may send a series
    /// in several pieces, and several queries may select it.
    pub(super) fn new(mut series: Vec<SeriesChunks>, charged: Charged) -> Result<Collected, AnswerError> {
        if !series.is_sorted_by(|a, b| a.labels <= b.labels) {
            // Stable: of samples that differ the earlier query's stay.
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        Ok(Collected { rest: joined(series)?.into_iter(), charged })
    }

    /// Fills a batch. Its chunks are charged as those of any batch; what else was held of it is released.
    pub(super) fn fill(&mut self, batch: &mut SeriesBatch, left: usize) -> Result<BatchSize, Cancelled> {
        let (mut held, mut bytes) = (0, 0);
        while batch.series.len() < BATCH_SERIES.min(left)
            && bytes < BATCH_BYTES
            && let Some(series) = self.rest.next()
        {
            held += cost(&series);
            bytes += series.chunks.iter().map(|chunk| chunk.data.len() as u64).sum::<u64>();
            batch.series.push(series);
        }
        let size = batch.size();
        self.charged.release(held);
        self.charged.scope.charge(size.samples, size.bytes)?;
        Ok(size)
    }
}

fn joined(series: Vec<SeriesChunks>) -> Result<Vec<SeriesChunks>, AnswerError> {
    if series.is_sorted_by(|a, b| a.labels < b.labels) {
        return Ok(series);
    }
    let mut joined: Vec<SeriesChunks> = Vec::with_capacity(series.len());
    let mut several = false;
    for next in series {
        match joined.last_mut() {
            Some(last) if last.labels == next.labels => {
                last.chunks.extend(next.chunks);
                several = true;
            }
            last => {
                if std::mem::take(&mut several) {
                    tidy(last)?;
                }
                joined.push(next);
            }
        }
    }
    if several {
        tidy(joined.last_mut())?;
    }
    Ok(joined)
}

fn tidy(series: Option<&mut SeriesChunks>) -> Result<(), AnswerError> {
    if let Some(series) = series {
        series.chunks = merge_chunks(std::mem::take(&mut series.chunks))?;
    }
    Ok(())
}

/// Appends a series, to the last one if that is the same.
pub(super) fn push_joined(batch: &mut Vec<SeriesChunks>, next: SeriesChunks) -> Result<(), AnswerError> {
    match batch.last_mut() {
        Some(last) if last.labels == next.labels => {
            last.chunks.extend(next.chunks);
            tidy(Some(last))
        }
        _ => {
            batch.push(next);
            Ok(())
        }
    }
}
