//! Answers that grow with the data: written by a straight loop on a thread of their own, in constant memory.
//!
//! The loop writes into an [`io::Write`] that cuts chunks, compressed if the client asked for it, and passes them on
//! through a short queue; a full queue holds the loop back. Threads are our own and not those of the CPU pool because a
//! slow link may hold one back for minutes, which must not keep others from computing; their number bounds the memory.
//!
//! * What fails before the first chunk left is an ordinary error with its status.
//! * What fails later ends the connection without the body's proper end, so that the client knows.
//! * A client that goes away drops the body, which cancels the read's [`Scope`].

use std::collections::VecDeque;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use bytes::Bytes;
use flate2::write::GzEncoder;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use zstd::stream::write::Encoder as ZstdEncoder;

use super::encoding::{ContentEncoding, LEVEL, ZSTD_LEVEL};
use super::telemetry::StreamMetrics;
use crate::runtime::{CpuPool, Tasks};
use crate::storage::{Cancelled, QueryError, Scope};

/// Bytes of a chunk on the wire: large, because each costs waking the connection's task, yet within a core's own cache.
const CHUNK: usize = 128 << 10;
/// Chunks that wait for a slow client: with compression one MiB is the whole of most answers, so that their threads
/// are free again at once.
const QUEUE: usize = 8;
/// Buffers kept for the next chunks; fresh memory would have to be cleared by the system page by page.
const IDLE_BUFFERS: usize = 8;
/// An answer of no more chunks than these goes to the connection in one piece, with its length: each piece that is handed over
/// wakes the connection's task, which for an answer of a thousand series is a good part of its time.
const WHOLE: usize = 4;
/// How long a request waits for a free thread.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The threads for streamed answers.
pub(super) struct Streams {
    pool: CpuPool,
    permits: Arc<Semaphore>,
    tasks: Tasks,
    timeout: Duration,
    buffers: Arc<Buffers>,
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

enum Part {
    /// The whole answer.
    Whole(Whole),
    Chunk(Bytes),
    Last(Bytes),
    Failed(WriteError),
}

impl Streams {
    pub(super) fn new(threads: usize, timeout: Duration, tasks: Tasks) -> io::Result<Streams> {
        let permits = Arc::new(Semaphore::new(threads.max(1)));
        let buffers = Arc::default();
        Ok(Streams { pool: CpuPool::new("web-stream", threads)?, permits, tasks, timeout, buffers })
    }

    /// Runs `write` on a thread and answers with what it writes. Dropping the future or the answer's body cancels the
    /// plan's scope.
    pub(super) async fn answer(
        &self,
        plan: Plan,
        write: impl FnOnce(&mut dyn Sink) -> Result<(), WriteError> + Send + 'static,
    ) -> Result<Response<Body>, StreamError> {
        let Plan { content_type, encoding, scope, metrics } = plan;
        let cancel = CancelOnDrop(scope);
        let permit = tokio::time::timeout(WAIT_MAX, self.permits.clone().acquire_owned()).await;
        let permit = permit.ok().and_then(Result::ok).ok_or(StreamError::Busy)?;
        let (sender, mut parts) = mpsc::channel(QUEUE);
        let chunks = Chunks {
            waiting: VecDeque::new(),
            is_streamed: false,
            buffer: Vec::new(),
            buffers: self.buffers.clone(),
            sender,
            handle: Handle::current(),
            deadline: Instant::now() + self.timeout,
        };
        let token = self.tasks.token();
        let job = move || {
            let (_permit, _token) = (permit, token);
            metrics.begin();
            metrics.end(produce(encoding, chunks, write));
        };
        // A panic closes the queue without a last part, which the client's side takes for a failure. Nobody waits for the job
        // itself: waking a task only for that would cost a small answer a tenth of its time.
        self.pool.start(job);
        let mut response = match parts.recv().await {
            Some(Part::Failed(error)) => return Err(error.into()),
            None => return Err(StreamError::Lost),
            Some(Part::Last(bytes)) => Response::new(Body::from(bytes)),
            Some(Part::Whole(whole)) => Response::new(Body::new(whole)),
            Some(Part::Chunk(first)) => {
                Response::new(Body::new(StreamBody { first: Some(first), parts, _cancel: cancel, done: false }))
            }
        };
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        encoding.announce(response.headers_mut());
        Ok(response)
    }
}

/// How a stream ended; for the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    Complete,
    Abandoned,
    Refused,
    Failed,
}

fn produce(
    encoding: ContentEncoding,
    chunks: Chunks,
    write: impl FnOnce(&mut dyn Sink) -> Result<(), WriteError>,
) -> Ending {
    let sender = chunks.sender.clone();
    let outcome = match encoding {
        ContentEncoding::Identity => {
            let mut chunks = chunks;
            write(&mut chunks).and_then(|()| Ok(chunks.finish()?))
        }
        ContentEncoding::Gzip => write_gzip(chunks, write),
        ContentEncoding::Zstd => write_zstd(chunks, write),
    };
    let Err(error) = outcome else { return Ending::Complete };
    let ending = ending_of(&error);
    if ending == Ending::Failed {
        tracing::warn!(%error, "a streamed answer failed");
    }
    // If even this does not fit, the queue's closing without a last part says the same.
    drop(sender.try_send(Part::Failed(error)));
    ending
}

/// A client that goes away is nobody's failure, whether a write or the read noticed it first.
fn ending_of(error: &WriteError) -> Ending {
    match error {
        WriteError::Client(_) | WriteError::Query(QueryError::Cancelled(Cancelled::Client)) => Ending::Abandoned,
        WriteError::BadRequest(_) => Ending::Refused,
        WriteError::Query(_) => Ending::Failed,
    }
}

fn write_gzip(chunks: Chunks, write: impl FnOnce(&mut dyn Sink) -> Result<(), WriteError>) -> Result<(), WriteError> {
    // The encoder takes any piece but costs some per call; expositions are written line by line.
    let mut gzip = io::BufWriter::with_capacity(CHUNK, GzEncoder::new(chunks, LEVEL));
    let outcome = write(&mut gzip).and_then(|()| Ok(gzip.flush()?));
    let (gzip, _unwritten) = gzip.into_parts();
    outcome?;
    // On failure dropping the encoder writes a trailer into the chunk in hand; that chunk never leaves.
    Ok(gzip.finish()?.finish()?)
}

fn write_zstd(chunks: Chunks, write: impl FnOnce(&mut dyn Sink) -> Result<(), WriteError>) -> Result<(), WriteError> {
    let mut zstd = io::BufWriter::with_capacity(CHUNK, ZstdEncoder::new(chunks, ZSTD_LEVEL)?);
    let outcome = write(&mut zstd).and_then(|()| Ok(zstd.flush()?));
    let (zstd, _unwritten) = zstd.into_parts();
    outcome?;
    Ok(zstd.finish()?.finish()?)
}

impl<W: Write> Sink for io::BufWriter<W> {}

/// Empty buffers for chunks; cleared and given back when the connection has sent them.
#[derive(Default)]
struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    fn get(&self) -> Vec<u8> {
        self.0.lock().pop().unwrap_or_else(|| Vec::with_capacity(CHUNK + (CHUNK >> 2)))
    }
}

/// A chunk on its way.
struct Sent {
    bytes: Vec<u8>,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let mut idle = self.home.0.lock();
        if idle.len() < IDLE_BUFFERS && (CHUNK..=2 * CHUNK).contains(&self.bytes.capacity()) {
            self.bytes.clear();
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// Cuts what is written into chunks and passes them on. The first few wait for the answer's end, since a short one goes as a
/// whole. After that a full chunk waits for the next one, so that the last one is known to be the last and needs no empty part
/// behind it, which would wake the connection's task once more.
struct Chunks {
    waiting: VecDeque<Vec<u8>>,
    is_streamed: bool,
    buffer: Vec<u8>,
    buffers: Arc<Buffers>,
    sender: mpsc::Sender<Part>,
    handle: Handle,
    deadline: Instant,
}

impl Chunks {
    fn send(&mut self, part: Part) -> io::Result<()> {
        let part = match self.sender.try_send(part) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Full(part)) => part,
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        let (deadline, sender) = (self.deadline, &self.sender);
        // The timer must be made within the runtime's context, which this thread only has inside of `block_on`.
        let sent = async move { tokio::time::timeout_at(deadline, sender.send(part)).await };
        match self.handle.block_on(sent) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn send_chunk(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        self.waiting.push_back(bytes);
        self.is_streamed |= self.waiting.len() >= WHOLE;
        while self.is_streamed
            && self.waiting.len() > 1
            && let Some(first) = self.waiting.pop_front()
        {
            self.send(Part::Chunk(self.wrap(first)))?;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.buffer);
        if !rest.is_empty() {
            self.waiting.push_back(rest);
        }
        let mut pieces: VecDeque<Bytes> = std::mem::take(&mut self.waiting).into_iter().map(|b| self.wrap(b)).collect();
        if !self.is_streamed {
            let left = pieces.iter().map(|piece| piece.len() as u64).sum();
            return self.send(Part::Whole(Whole { pieces, left }));
        }
        let last = pieces.pop_back().unwrap_or_default();
        for piece in pieces {
            self.send(Part::Chunk(piece))?;
        }
        self.send(Part::Last(last))
    }

    fn wrap(&self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Sent { bytes, home: self.buffers.clone() })
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            let full = std::mem::replace(&mut self.buffer, self.buffers.get());
            self.send_chunk(full)?;
        }
        Ok(bytes.len())
    }

    /// Chunks leave when they are full; there is nothing to push.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Chunks {
    fn take(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        // Only large pieces are worth a chunk of their own, and order must be kept.
        if !self.buffer.is_empty() || buffer.len() < CHUNK / 2 {
            self.write_all(buffer)?;
            buffer.clear();
            return Ok(());
        }
        let full = std::mem::replace(buffer, self.buffers.get());
        self.send_chunk(full)
    }
}

/// Cancels a read when nobody waits for it any more; a finished read does not mind.
pub(super) struct CancelOnDrop(pub(super) Scope);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// An answer that is there as a whole.
struct Whole {
    pieces: VecDeque<Bytes>,
    /// Bytes.
    left: u64,
}

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = self.pieces.pop_front();
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

struct StreamBody {
    first: Option<Bytes>,
    parts: mpsc::Receiver<Part>,
    done: bool,
    _cancel: CancelOnDrop,
}

impl http_body::Body for StreamBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.done {
            return Poll::Ready(None);
        }
        let part = ready!(self.parts.poll_recv(cx));
        self.done = !matches!(part, Some(Part::Chunk(_)));
        Poll::Ready(match part {
            Some(Part::Chunk(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Part::Last(bytes)) if bytes.is_empty() => None,
            Some(Part::Last(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Part::Failed(error)) => Some(Err(io::Error::other(error.to_string()))),
            // An answer that has begun in pieces goes on in pieces.
            Some(Part::Whole(_)) | None => Some(Err(io::Error::other("the answer was lost"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.done && self.first.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Registry;
    use http_body_util::BodyExt;

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
            let plan = Plan {
                content_type: "text/plain",
                encoding: ContentEncoding::Identity,
                scope: Scope::unbounded(),
                metrics: StreamMetrics::new(&Registry::new(), "test"),
            };
            let text: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
            let wanted = text.clone();
            let answer =
                streams.answer(plan, move |out| Ok(text.chunks(1000).try_for_each(|some| out.write_all(some))?));
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
        let plan = Plan {
            content_type: "text/plain",
            encoding: ContentEncoding::Identity,
            scope: Scope::unbounded(),
            metrics: StreamMetrics::new(&Registry::new(), "test"),
        };
        let (filled, mut queue_filled) = mpsc::channel(1);
        let answer = streams.answer(plan, move |out| {
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
}
