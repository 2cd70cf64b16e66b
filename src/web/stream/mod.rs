//! Answers that grow with the data: written by a straight loop on a thread of their own, in constant memory.
//!
//! The loop writes into an [`io::Write`] that cuts chunks, compressed if the client asked for it, and passes them on
//! through a short queue; a full queue holds the loop back. Threads are our own and not those of the CPU pool because a
//! slow link may hold one back for minutes, which must not keep others from computing; their number bounds the memory.
//!
//! A question that was answered [shortly](short) the last time is answered where it was asked, without a thread: for what one
//! site sends to another, going to the thread and back would be a good part of the answer's time.
//!
//! * What fails before the first chunk left is an ordinary error with its status.
//! * What fails later ends the connection without the body's proper end, so that the client knows.
//! * A client that goes away drops the body, which cancels the read's [`Scope`].

mod chunks;
mod short;

use std::hash::Hash;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use flate2::write::GzEncoder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use zstd::stream::write::Encoder as ZstdEncoder;

pub(super) use self::chunks::Place;
use self::chunks::{Buffers, CHUNK, Chunks, Part, QUEUE, StreamBody};
pub(super) use self::short::Question;
use self::short::{Elsewhere, SHORT, Short};
use super::encoding::{ContentEncoding, LEVEL, ZSTD_LEVEL};
use super::telemetry::StreamMetrics;
use crate::runtime::{CpuPool, Tasks};
use crate::storage::{Cancelled, QueryError, Scope};

/// How long a request waits for a free thread.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The threads for streamed answers.
pub(super) struct Streams {
    pool: CpuPool,
    permits: Arc<Semaphore>,
    tasks: Tasks,
    timeout: Duration,
    buffers: Arc<Buffers>,
    short: Arc<Short>,
}

/// Where an answer is written to.
pub(super) trait Sink: Write {
    /// Takes all of `buffer` and leaves an empty one; cheaper than `write_all` for large pieces.
    fn take(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.write_all(buffer)?;
        buffer.clear();
        Ok(())
    }
}

/// What a streamed answer needs besides its content.
pub(super) struct Plan {
    pub(super) content_type: &'static str,
    pub(super) encoding: ContentEncoding,
    pub(super) scope: Scope,
    pub(super) metrics: StreamMetrics,
    /// What tells the question from others, if the answer can be computed [here](Place::Here).
    pub(super) question: Option<Question>,
}

/// Why an answer could not be written on.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("the client takes no more: {0}")]
    Client(#[from] io::Error),
    #[error("{0}")]
    BadRequest(String),
}

/// Why there is no streamed answer; nothing has been sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("too many streamed answers at the same time; try again later")]
    Busy,
    #[error(transparent)]
    Failed(#[from] WriteError),
    #[error("the answer could not be computed; the log tells more")]
    Lost,
}

impl StreamError {
    /// Whose fault it is.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            StreamError::Failed(WriteError::BadRequest(_)) => StatusCode::BAD_REQUEST,
            // It asks for more than one answer may be.
            StreamError::Failed(WriteError::Query(QueryError::Cancelled(
                Cancelled::Bytes(_) | Cancelled::Samples(_) | Cancelled::Series(_),
            ))) => StatusCode::BAD_REQUEST,
            StreamError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            StreamError::Failed(WriteError::Query(QueryError::NotReady(_) | QueryError::Cancelled(_))) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            StreamError::Failed(_) | StreamError::Lost => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl WriteError {
    /// Whether it only says that the answer is computed once more, on a thread.
    pub(super) fn is_provisional(&self) -> bool {
        matches!(self, WriteError::Client(error) if error.get_ref().is_some_and(|inner| inner.is::<Elsewhere>()))
    }
}

impl Streams {
    pub(super) fn new(threads: usize, timeout: Duration, tasks: Tasks) -> io::Result<Streams> {
        let permits = Arc::new(Semaphore::new(threads.max(1)));
        let pool = CpuPool::new("web-stream", threads)?;
        Ok(Streams { pool, permits, tasks, timeout, buffers: Arc::default(), short: Arc::new(Short::new(SHORT)) })
    }

    /// The fingerprint of a question: its parameters, and whatever else the answer depends on besides the data.
    pub(super) fn question(&self, parts: impl Hash) -> Question {
        self.short.question(parts)
    }

    /// Runs `write` and answers with what it writes. Dropping the future or the answer's body cancels the plan's scope.
    ///
    /// It runs on a thread, unless the same question was answered shortly the last time. If the answer then turns out to be
    /// too long to be sent as a whole, or `write` says that it would have to wait, it runs once more on a thread.
    pub(super) async fn answer(
        &self,
        plan: Plan,
        write: impl Fn(&mut dyn Sink, Place) -> Result<(), WriteError> + Send + Sync + 'static,
    ) -> Result<Response<Body>, StreamError> {
        let Plan { content_type, encoding, scope, metrics, question } = plan;
        let cancel = CancelOnDrop(scope);
        let permit = tokio::time::timeout(WAIT_MAX, self.permits.clone().acquire_owned()).await;
        let permit = permit.ok().and_then(Result::ok).ok_or(StreamError::Busy)?;
        let work = Arc::new(Work { encoding, write, metrics, question, short: self.short.clone(), _permit: permit });
        let mut place = match question {
            Some(question) if self.short.has(question) => Place::Here,
            _ => Place::Thread,
        };
        let (part, parts) = loop {
            let (sender, mut parts) = mpsc::channel(QUEUE);
            let chunks = Chunks::new(sender, place, self.buffers.clone(), Instant::now() + self.timeout);
            let (work, token) = (work.clone(), self.tasks.token());
            // A panic closes the queue without a last part, which the client's side takes for a failure. Nobody waits for the
            // job itself: waking a task only for that would cost a small answer a tenth of its time.
            let job = move || {
                let _token = token;
                work.run(chunks, place);
            };
            match place {
                Place::Here => CpuPool::inline().start(job),
                Place::Thread => self.pool.start(job),
            }
            match parts.recv().await {
                Some(Part::Elsewhere) => place = Place::Thread,
                part => break (part, parts),
            }
        };
        let mut response = match part {
            Some(Part::Failed(error)) => return Err(error.into()),
            Some(Part::Elsewhere) | None => return Err(StreamError::Lost),
            Some(Part::Last(bytes)) => Response::new(Body::from(bytes)),
            Some(Part::Whole(whole)) => Response::new(Body::new(whole)),
            Some(Part::Chunk(first)) => Response::new(Body::new(StreamBody::new(first, parts, cancel))),
        };
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        encoding.announce(response.headers_mut());
        Ok(response)
    }
}

/// An answer to be computed, perhaps twice.
struct Work<W> {
    encoding: ContentEncoding,
    write: W,
    metrics: StreamMetrics,
    question: Option<Question>,
    short: Arc<Short>,
    _permit: OwnedSemaphorePermit,
}

impl<W: Fn(&mut dyn Sink, Place) -> Result<(), WriteError>> Work<W> {
    fn run(&self, chunks: Chunks, place: Place) {
        self.metrics.begin();
        let started = std::time::Instant::now();
        let ending = produce(self.encoding, chunks, |out| (self.write)(out, place));
        match (self.question, ending) {
            (Some(question), Ending::Whole) => self.short.took(question, started.elapsed()),
            (Some(question), _) => self.short.forget(question),
            (None, _) => {}
        }
        self.metrics.end(ending);
    }
}

/// How a stream ended; for the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// Complete, and handed over in one piece.
    Whole,
    Complete,
    /// Given up here, to be computed on a thread.
    Elsewhere,
    Abandoned,
    Refused,
    Failed,
}

fn produce(
    encoding: ContentEncoding,
    chunks: Chunks,
    write: impl FnOnce(&mut dyn Sink) -> Result<(), WriteError>,
) -> Ending {
    let sender = chunks.sender().clone();
    let outcome = match encoding {
        ContentEncoding::Identity => {
            let mut chunks = chunks;
            write(&mut chunks).and_then(|()| Ok(chunks.finish()?))
        }
        ContentEncoding::Gzip => write_gzip(chunks, write),
        ContentEncoding::Zstd => write_zstd(chunks, write),
    };
    let error = match outcome {
        Ok(ending) => return ending,
        Err(error) => error,
    };
    let ending = ending_of(&error);
    if ending == Ending::Failed {
        tracing::warn!(%error, "a streamed answer failed");
    }
    let part = if ending == Ending::Elsewhere { Part::Elsewhere } else { Part::Failed(error) };
    // If even this does not fit, the queue's closing without a last part says the same.
    drop(sender.try_send(part));
    ending
}

/// A client that goes away is nobody's failure, whether a write or the read noticed it first.
fn ending_of(error: &WriteError) -> Ending {
    match error {
        error if error.is_provisional() => Ending::Elsewhere,
        WriteError::Client(_) | WriteError::Query(QueryError::Cancelled(Cancelled::Client)) => Ending::Abandoned,
        WriteError::BadRequest(_) => Ending::Refused,
        WriteError::Query(_) => Ending::Failed,
    }
}

fn write_gzip(
    chunks: Chunks,
    write: impl FnOnce(&mut dyn Sink) -> Result<(), WriteError>,
) -> Result<Ending, WriteError> {
    // The encoder takes any piece but costs some per call; expositions are written line by line.
    let mut gzip = io::BufWriter::with_capacity(CHUNK, GzEncoder::new(chunks, LEVEL));
    let outcome = write(&mut gzip).and_then(|()| Ok(gzip.flush()?));
    let (gzip, _unwritten) = gzip.into_parts();
    outcome?;
    // On failure dropping the encoder writes a trailer into the chunk in hand; that chunk never leaves.
    Ok(gzip.finish()?.finish()?)
}

fn write_zstd(
    chunks: Chunks,
    write: impl FnOnce(&mut dyn Sink) -> Result<(), WriteError>,
) -> Result<Ending, WriteError> {
    let mut zstd = io::BufWriter::with_capacity(CHUNK, ZstdEncoder::new(chunks, ZSTD_LEVEL)?);
    let outcome = write(&mut zstd).and_then(|()| Ok(zstd.flush()?));
    let (zstd, _unwritten) = zstd.into_parts();
    outcome?;
    Ok(zstd.finish()?.finish()?)
}

impl<W: Write> Sink for io::BufWriter<W> {}

/// Cancels a read when nobody waits for it any more; a finished read does not mind.
pub(super) struct CancelOnDrop(pub(super) Scope);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread::{self, ThreadId};

    use http_body_util::BodyExt;
    use parking_lot::Mutex;

    use super::chunks::WHOLE;
    use super::*;
    use crate::telemetry::Registry;

    fn plan(encoding: ContentEncoding, registry: &Registry, question: Option<Question>) -> Plan {
        let metrics = StreamMetrics::new(registry, "test");
        Plan { content_type: "text/plain", encoding, scope: Scope::unbounded(), metrics, question }
    }

    fn plain() -> Plan {
        plan(ContentEncoding::Identity, &Registry::new(), None)
    }

    #[test]
    fn a_client_that_leaves_is_no_failure_whoever_notices() {
        let left = [WriteError::Query(Cancelled::Client.into()), WriteError::Client(io::ErrorKind::BrokenPipe.into())];
        assert!(left.iter().all(|error| ending_of(error) == Ending::Abandoned));
        assert_eq!(ending_of(&WriteError::Query(Cancelled::Deadline.into())), Ending::Failed);
    }

    #[tokio::test]
    async fn an_answer_of_a_few_chunks_comes_whole_with_its_length_and_a_longer_one_in_pieces() {
        let streams = Streams::new(1, Duration::from_secs(60), Tasks::new()).unwrap();
        for (bytes, is_whole) in
            [(0, true), (5, true), (CHUNK, true), (CHUNK * WHOLE - 1, true), (CHUNK * (WHOLE + 1), false)]
        {
            let text: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
            let wanted = text.clone();
            let answer = streams
                .answer(plain(), move |out, _| Ok(text.chunks(1000).try_for_each(|some| out.write_all(some))?));
            let body = answer.await.unwrap().into_body();
            let length = http_body::Body::size_hint(&body).exact();
            assert_eq!(length, is_whole.then_some(bytes as u64), "{bytes}");
            assert!(body.collect().await.unwrap().to_bytes() == wanted, "{bytes}");
        }
    }

    /// Waiting for a slow client once needed a timer where there was none and ended the answer.
    #[tokio::test]
    async fn a_client_that_reads_late_gets_all_of_an_answer_longer_than_the_queue() {
        const PIECES: usize = 3 * QUEUE;
        let streams = Streams::new(1, Duration::from_secs(60), Tasks::new()).unwrap();
        let (filled, mut queue_filled) = mpsc::channel(1);
        let answer = streams.answer(plain(), move |out, _| {
            for piece in 0..PIECES {
                if piece == QUEUE {
                    let _ = filled.blocking_send(());
                }
                out.write_all(&[b'x'; CHUNK])?;
            }
            Ok(())
        });
        let response = answer.await.unwrap();
        queue_filled.recv().await;
        // From here on nothing fits until somebody reads; give the writer the time to notice.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), PIECES * CHUNK);
    }

    /// Answers of bytes that cannot be compressed; notes which threads computed them.
    #[derive(Default)]
    struct Source {
        length: AtomicUsize,
        /// Whether an answer has to wait for something.
        waits: AtomicBool,
        threads: Mutex<Vec<ThreadId>>,
    }

    impl Source {
        fn write(&self, out: &mut dyn Sink, place: Place) -> Result<(), WriteError> {
            self.threads.lock().push(thread::current().id());
            if self.waits.load(Ordering::Relaxed) {
                place.wait()?;
            }
            Ok(self.bytes().chunks(1000).try_for_each(|some| out.write_all(some))?)
        }

        fn bytes(&self) -> Vec<u8> {
            let mut state = 1_u64;
            let mut byte = |_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            };
            (0..self.length.load(Ordering::Relaxed)).map(&mut byte).collect()
        }
    }

    #[tokio::test]
    async fn a_question_that_was_answered_shortly_is_answered_here_until_its_answer_is_long() {
        use ContentEncoding::{Gzip, Identity, Zstd};
        for encoding in [Identity, Gzip, Zstd] {
            let mut streams = Streams::new(1, Duration::from_secs(60), Tasks::new()).unwrap();
            streams.short = Arc::new(Short::new(Duration::MAX));
            let (registry, source, here) = (Registry::new(), Arc::new(Source::default()), thread::current().id());
            // Which runs of an answer were here.
            let ask = async |question: &str, length: usize| {
                source.length.store(length, Ordering::Relaxed);
                source.threads.lock().clear();
                let plan = plan(encoding, &registry, Some(streams.question(question)));
                let of_thread = source.clone();
                let response = streams.answer(plan, move |out, place| of_thread.write(out, place)).await.unwrap();
                let body = response.into_body().collect().await.unwrap().to_bytes();
                let mut unpacked = Vec::new();
                let mut packed = &body[..];
                match encoding {
                    Identity => io::copy(&mut packed, &mut unpacked),
                    Gzip => io::copy(&mut flate2::read::GzDecoder::new(packed), &mut unpacked),
                    Zstd => io::copy(&mut zstd::Decoder::new(packed).unwrap(), &mut unpacked),
                }
                .unwrap();
                assert!(unpacked == source.bytes(), "{length} bytes");
                // A thread says how it went a moment after the answer has come.
                while streams.permits.available_permits() == 0 {
                    tokio::task::yield_now().await;
                }
                source.threads.lock().iter().map(|thread| *thread == here).collect::<Vec<bool>>()
            };
            assert_eq!(ask("a", 10).await, [false]);
            assert_eq!(ask("a", 10).await, [true]);
            assert_eq!(ask("a", CHUNK).await, [true]);
            assert_eq!(ask("b", CHUNK).await, [false], "another question");
            assert_eq!(ask("a", CHUNK * (WHOLE + 2)).await, [true, false], "too long to be computed here");
            assert_eq!(ask("a", CHUNK * (WHOLE + 2)).await, [false], "too long the last time");
            assert_eq!(ask("a", 10).await, [false]);
            assert_eq!(ask("a", 10).await, [true]);
            source.waits.store(true, Ordering::Relaxed);
            assert_eq!(ask("a", 10).await, [true, false], "it would have to wait");
            let complete = "watershed_http_streams_total{handler=\"test\",outcome=\"complete\"} 9\n";
            let mut text = String::new();
            registry.write_text(&mut text);
            assert!(text.contains(complete), "{text}");
        }
    }

    #[tokio::test]
    async fn a_panic_here_is_an_error_as_on_a_thread() {
        let mut streams = Streams::new(1, Duration::from_secs(60), Tasks::new()).unwrap();
        streams.short = Arc::new(Short::new(Duration::MAX));
        let question = streams.question("a");
        streams.short.took(question, Duration::ZERO);
        let plan = plan(ContentEncoding::Identity, &Registry::new(), Some(question));
        let lost = streams.answer(plan, |_, _| panic!("on purpose")).await;
        assert!(matches!(lost, Err(StreamError::Lost)));
        assert_eq!(streams.permits.available_permits(), 1);
    }
}
