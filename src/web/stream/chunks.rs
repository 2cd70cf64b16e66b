//! What is written, cut into chunks, and the bodies that bring them to the connection.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::short::Elsewhere;
use super::{CancelOnDrop, Ending, Sink, WriteError};

/// Bytes of a chunk on the wire: large, because each costs waking the connection's task, yet within a core's own cache.
pub(super) const CHUNK: usize = 128 << 10;
/// Chunks that wait for a slow client: with compression one MiB is the whole of most answers, so that their threads
/// are free again at once.
pub(super) const QUEUE: usize = 8;
/// Buffers kept for the next chunks; fresh memory would have to be cleared by the system page by page.
const IDLE_BUFFERS: usize = 8;
/// An answer of no more chunks than these goes to the connection in one piece, with its length: each piece that is handed over
/// wakes the connection's task, which for an answer of a thousand series is a good part of its time.
pub(super) const WHOLE: usize = 4;

/// What goes from where an answer is computed to the connection.
pub(super) enum Part {
    /// The whole answer.
    Whole(Whole),
    /// Nothing: the answer was computed here and given up.
    Elsewhere,
    /// More of it, and not the last.
    Chunk(Bytes),
    Last(Bytes),
    /// Nothing more.
    Failed(WriteError),
}

/// Where an answer is computed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::web) enum Place {
    /// Where it was asked for, on a thread of the async runtime: nothing is waited for there, neither for a slow client nor for
    /// what others hold for long.
    Here,
    /// On a thread of its own.
    Thread,
}

impl Place {
    /// To be asked before anything is waited for. An error is to be handed on: the answer is then computed on a thread.
    pub(in crate::web) fn wait(self) -> io::Result<()> {
        match self {
            Place::Here => Err(io::Error::other(Elsewhere)),
            Place::Thread => Ok(()),
        }
    }
}

/// Empty buffers for chunks; cleared and given back when the connection has sent them.
#[derive(Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<u8>>>);

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
pub(super) struct Chunks {
    waiting: VecDeque<Vec<u8>>,
    is_streamed: bool,
    buffer: Vec<u8>,
    buffers: Arc<Buffers>,
    sender: mpsc::Sender<Part>,
    place: Place,
    handle: Handle,
    deadline: Instant,
}

impl Chunks {
    /// To be made within the async runtime. Nothing is waited for beyond `deadline`.
    pub(super) fn new(sender: mpsc::Sender<Part>, place: Place, buffers: Arc<Buffers>, deadline: Instant) -> Chunks {
        let (waiting, buffer, handle) = (VecDeque::new(), Vec::new(), Handle::current());
        Chunks { waiting, is_streamed: false, buffer, buffers, sender, place, handle, deadline }
    }

    /// Where parts are sent.
    pub(super) fn sender(&self) -> &mpsc::Sender<Part> {
        &self.sender
    }

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
        if self.is_streamed {
            self.place.wait()?;
        }
        while self.is_streamed
            && self.waiting.len() > 1
            && let Some(first) = self.waiting.pop_front()
        {
            self.send(Part::Chunk(self.wrap(first)))?;
        }
        Ok(())
    }

    /// Sends what is left.
    pub(super) fn finish(mut self) -> io::Result<Ending> {
        let rest = std::mem::take(&mut self.buffer);
        if !rest.is_empty() {
            self.waiting.push_back(rest);
        }
        let mut pieces: VecDeque<Bytes> = std::mem::take(&mut self.waiting).into_iter().map(|b| self.wrap(b)).collect();
        if !self.is_streamed {
            let left = pieces.iter().map(|piece| piece.len() as u64).sum();
            self.send(Part::Whole(Whole { pieces, left }))?;
            return Ok(Ending::Whole);
        }
        let last = pieces.pop_back().unwrap_or_default();
        for piece in pieces {
            self.send(Part::Chunk(piece))?;
        }
        self.send(Part::Last(last))?;
        Ok(Ending::Complete)
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

/// An answer that is there as a whole.
pub(super) struct Whole {
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

/// An answer that comes in pieces.
pub(super) struct StreamBody {
    first: Option<Bytes>,
    parts: mpsc::Receiver<Part>,
    done: bool,
    _cancel: CancelOnDrop,
}

impl StreamBody {
    pub(super) fn new(first: Bytes, parts: mpsc::Receiver<Part>, cancel: CancelOnDrop) -> StreamBody {
        StreamBody { first: Some(first), parts, done: false, _cancel: cancel }
    }
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
            Some(Part::Whole(_) | Part::Elsewhere) | None => Some(Err(io::Error::other("the answer was lost"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.done && self.first.is_none()
    }
}
