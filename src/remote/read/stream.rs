//! An endpoint's answer as a stream of series.

use super::answer::{Asked, Decoder};
use super::collect::{BATCH_BYTES, BATCH_SERIES, Charged, Collected, HELD_MAX, cost, push_joined};
use super::endpoint::Attempt;
use super::framing::Framing;
use super::incoming::{EndpointError, Incoming, Stopped};
use super::wire::ResponseKind;
use crate::model::Annotations;
use crate::remote::snappy;
use crate::storage::{
    Limit, QueryError, Scope, SeriesBatch, SeriesChunks, SeriesStream, StreamEnd, StreamStats, StreamStep,
};

/// What is read, and where it stands.
pub(super) struct EndpointStream {
    answer: Answer,
    phase: Phase,
    scope: Scope,
    /// Whether the whole answer must be there before its first series is handed on.
    whole: bool,
    left: usize,
    stats: StreamStats,
}

/// The answer that comes in.
struct Answer {
    attempt: Attempt,
    incoming: Incoming,
    asked: Vec<Asked>,
    decoder: Decoder,
}

enum Phase {
    /// Nothing has been read.
    Waiting,
    /// Frames are handed on as they come.
    Frames(Frames),
    /// The answer is complete.
    Collected(Collected),
    Ended,
}

impl EndpointStream {
    pub(super) fn new(
        attempt: Attempt,
        incoming: Incoming,
        asked: Vec<Asked>,
        scope: &Scope,
        sorted: bool,
        limit: Limit,
    ) -> EndpointStream {
        // Several queries may select one series; only together are they right.
        let whole = sorted || asked.len() > 1;
        EndpointStream {
            answer: Answer { attempt, incoming, asked, decoder: Decoder::default() },
            phase: Phase::Waiting,
            scope: scope.clone(),
            whole,
            left: limit.unwrap_or(usize::MAX),
            stats: StreamStats::default(),
        }
    }

    fn fill(&mut self, batch: &mut SeriesBatch) -> Result<(), Stopped> {
        if self.left == 0 {
            return Ok(());
        }
        if let Phase::Waiting = self.phase {
            self.phase = self.answer.open(&self.scope, self.whole)?;
        }
        let size = match &mut self.phase {
            Phase::Waiting | Phase::Ended => return Ok(()),
            Phase::Collected(collected) => collected.fill(batch, self.left)?,
            Phase::Frames(frames) => {
                frames.fill(&mut self.answer, batch)?;
                batch.series.truncate(self.left);
                batch.size()
            }
        };
        self.left -= batch.series.len();
        self.stats.add(&size);
        Ok(())
    }
}

impl SeriesStream for EndpointStream {
    fn next(&mut self, batch: &mut SeriesBatch) -> Result<StreamStep, QueryError> {
        batch.series.clear();
        self.scope.check()?;
        if let Err(stopped) = self.fill(batch) {
            self.phase = Phase::Ended;
            batch.series.clear();
            return Err(self.answer.attempt.stopped(stopped));
        }
        if !batch.series.is_empty() {
            return Ok(StreamStep::Batch);
        }
        self.phase = Phase::Ended;
        Ok(StreamStep::End(StreamEnd { annotations: Annotations::none(), stats: self.stats }))
    }
}

impl Answer {
    fn open(&mut self, scope: &Scope, whole: bool) -> Result<Phase, Stopped> {
        let kind = self.incoming.head()?;
        if kind == ResponseKind::StreamedChunks && !whole {
            return Ok(Phase::Frames(Frames::new(scope, self.attempt.frame_limit())));
        }
        let mut charged = Charged::new(scope);
        let series = match kind {
            ResponseKind::StreamedChunks => self.all_frames(&mut charged)?,
            ResponseKind::Samples => self.samples(scope, &mut charged)?,
        };
        self.complete();
        Ok(Phase::Collected(Collected::new(series, charged)?))
    }

    /// The answer has come to its proper end.
    fn complete(&mut self) {
        self.attempt.succeeded(self.decoder.unasked);
    }

    fn all_frames(&mut self, charged: &mut Charged) -> Result<Vec<SeriesChunks>, Stopped> {
        let mut framing = Framing::new(self.attempt.frame_limit());
        let mut series = Vec::new();
        while let Some(bytes) = self.data()? {
            framing.push(&bytes);
            while let Some(message) = framing.next_frame()? {
                let before = series.len();
                self.decoder.frame(message, &self.asked, &mut series)?;
                charged.add(series[before..].iter().map(cost).sum())?;
            }
        }
        framing.finish()?;
        Ok(series)
    }

    fn samples(&mut self, scope: &Scope, charged: &mut Charged) -> Result<Vec<SeriesChunks>, Stopped> {
        // The packed and the unpacked message are held until the series are made.
        let mut raw = Charged::new(scope);
        let (mut packed, mut message, mut series) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(bytes) = self.data()? {
            raw.add(bytes.len() as u64)?;
            packed.extend_from_slice(&bytes);
        }
        let declared = snappy::declared_len(&packed).unwrap_or(0);
        if declared > HELD_MAX {
            return Err(EndpointError::TooLarge(HELD_MAX).into());
        }
        raw.add(declared)?;
        snappy::decode(&packed, usize::try_from(HELD_MAX).unwrap_or(usize::MAX), &mut message)?;
        drop(packed);
        self.decoder.samples(&message, &self.asked, &mut series)?;
        charged.add(series.iter().map(cost).sum())?;
        Ok(series)
    }

    fn data(&mut self) -> Result<Option<bytes::Bytes>, Stopped> {
        let data = self.incoming.data()?;
        self.attempt.took(data.as_ref().map_or(0, |bytes| bytes.len() as u64));
        Ok(data)
    }
}

/// A streamed answer that is handed on while it comes.
struct Frames {
    framing: Framing,
    scope: Scope,
    /// The newest series: the next frame may go on with it.
    last: Option<SeriesChunks>,
    decoded: Vec<SeriesChunks>,
    is_over: bool,
}

impl Frames {
    fn new(scope: &Scope, frame_limit: u64) -> Frames {
        let framing = Framing::new(frame_limit);
        Frames { framing, scope: scope.clone(), last: None, decoded: Vec::new(), is_over: false }
    }

    fn fill(&mut self, answer: &mut Answer, batch: &mut SeriesBatch) -> Result<(), Stopped> {
        batch.series.extend(self.last.take());
        let mut bytes = batch.size().bytes;
        while !self.is_over && (batch.series.len() <= 1 || (batch.series.len() < BATCH_SERIES && bytes < BATCH_BYTES)) {
            bytes += self.frame(answer, batch)?;
            if bytes > HELD_MAX {
                return Err(EndpointError::TooLarge(HELD_MAX).into());
            }
        }
        if !self.is_over {
            self.last = batch.series.pop();
        }
        Ok(())
    }

    /// Takes the next frame, and says how many bytes of chunks it had.
    fn frame(&mut self, answer: &mut Answer, batch: &mut SeriesBatch) -> Result<u64, Stopped> {
        while !answer.next_frame(&mut self.framing, &mut self.decoded)? {
            let Some(data) = answer.data()? else {
                self.framing.finish()?;
                self.is_over = true;
                answer.complete();
                return Ok(0);
            };
            self.framing.push(&data);
        }
        let mut bytes = 0;
        for series in self.decoded.drain(..) {
            let samples = series.chunks.iter().map(|chunk| u64::from(chunk.sample_count())).sum();
            let size = series.chunks.iter().map(|chunk| chunk.data.len() as u64).sum();
            self.scope.charge(samples, size)?;
            bytes += size;
            push_joined(&mut batch.series, series)?;
        }
        Ok(bytes)
    }
}

impl Answer {
    /// Decodes the next frame if it has come whole.
    fn next_frame(&mut self, framing: &mut Framing, out: &mut Vec<SeriesChunks>) -> Result<bool, Stopped> {
        match framing.next_frame()? {
            Some(message) => {
                self.decoder.frame(message, &self.asked, out)?;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}
