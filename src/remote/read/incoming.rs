//! The answer on its way: HTTP on the async runtime, its bytes through a short queue to the thread that reads.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::framing::FrameError;
use super::wire::AnswerError;
use super::{SAMPLES_TYPE, STREAMED_TYPE};
use crate::net::header::CONTENT_TYPE;
use crate::net::{Body, Client, ClientError, Request, Resting, StatusCode};
use crate::remote::read::ResponseKind;
use crate::remote::snappy::SnappyError;
use crate::storage::{Cancelled, Scope};

/// Pieces of a body that wait for the reader; each is what one read of a socket gives.
const QUEUE: usize = 32;
/// How often a waiting reader looks whether its read has been cancelled.
const LOOK: Duration = Duration::from_millis(20);
/// Of an error's text this much is read and told.
const TEXT_MAX: usize = 300;

/// Why an endpoint has not answered as it should.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub(super) enum EndpointError {
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("it answered {status}: {text}")]
    Status { status: StatusCode, text: String },
    #[error("unsupported content type {0:?}")]
    ContentType(String),
    #[error("unsupported content encoding {0:?}")]
    ContentEncoding(String),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Snappy(#[from] SnappyError),
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error("its answer has more than the {0} bytes that are held of one")]
    TooLarge(u64),
    #[error("the transfer was lost")]
    Lost,
    #[error("not asked, because it failed {} times in a row: {}", .0.failures, .0.last)]
    Resting(Resting),
}

impl EndpointError {
    /// Whether the endpoint is to blame, and not the question.
    pub(super) fn is_endpoints(&self) -> bool {
        match self {
            EndpointError::Status { status, .. } => !status.is_client_error() || status.as_u16() == 429,
            EndpointError::TooLarge(_) | EndpointError::Resting(_) => false,
            _ => true,
        }
    }

    /// For the metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            EndpointError::Client(ClientError::Timeout { .. }) => "timeout",
            EndpointError::Client(_) | EndpointError::Lost => "transfer",
            EndpointError::Status { .. } => "status",
            EndpointError::TooLarge(_) => "too_large",
            EndpointError::Resting(_) => "not_asked",
            _ => "malformed",
        }
    }
}

/// Why reading must stop.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stopped {
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    #[error(transparent)]
    Endpoint(EndpointError),
}

impl<E: Into<EndpointError>> From<E> for Stopped {
    fn from(error: E) -> Stopped {
        Stopped::Endpoint(error.into())
    }
}

/// A part of an answer.
enum Part {
    Head(ResponseKind),
    Data(Bytes),
    End,
    Failed(EndpointError),
}

/// The reading end of an answer. Dropping it gives the transfer up.
pub(super) struct Incoming {
    parts: mpsc::Receiver<Part>,
    scope: Scope,
}

/// The writing end.
pub(super) struct Transfer(mpsc::Sender<Part>);

pub(super) fn channel(scope: &Scope) -> (Transfer, Incoming) {
    let (sender, parts) = mpsc::channel(QUEUE);
    (Transfer(sender), Incoming { parts, scope: scope.clone() })
}

impl Transfer {
    /// Sends the request and passes the answer on. Ends as soon as nobody reads it any more.
    pub(super) async fn run(self, client: Client, request: Request) {
        let answer = tokio::select! {
            answer = self.pass_on(client, request) => answer,
            () = self.0.closed() => return,
        };
        let last = answer.map_or_else(Part::Failed, |()| Part::End);
        // Nobody needs to know the end of what nobody reads.
        drop(self.0.send(last).await);
    }

    async fn pass_on(&self, client: Client, request: Request) -> Result<(), EndpointError> {
        let mut response = match client.send(request.clone()).await {
            // Mostly a connection that was kept and that the peer has closed meanwhile; reading twice does no harm.
            Err(ClientError::Protocol { .. }) => client.send(request).await?,
            outcome => outcome?,
        };
        if !response.status.is_success() {
            let text = text_of(&mut response.body).await;
            return Err(EndpointError::Status { status: response.status, text });
        }
        let content_type = response.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let kind = kind_of(content_type)?;
        check_encoding(response.content_encoding(), kind)?;
        let gone = |_| EndpointError::Lost;
        self.0.send(Part::Head(kind)).await.map_err(gone)?;
        while let Some(bytes) = response.body.chunk().await? {
            self.0.send(Part::Data(bytes)).await.map_err(gone)?;
        }
        Ok(())
    }
}

fn kind_of(content_type: &str) -> Result<ResponseKind, EndpointError> {
    if content_type.starts_with(STREAMED_TYPE) {
        Ok(ResponseKind::StreamedChunks)
    } else if content_type.starts_with(SAMPLES_TYPE) {
        Ok(ResponseKind::Samples)
    } else {
        Err(EndpointError::ContentType(content_type.chars().take(100).collect()))
    }
}

/// Some servers do not say that samples are packed; they always are.
fn check_encoding(encoding: &str, kind: ResponseKind) -> Result<(), EndpointError> {
    let fits = match kind {
        ResponseKind::Samples => matches!(encoding, "" | "identity" | "snappy"),
        ResponseKind::StreamedChunks => matches!(encoding, "" | "identity"),
    };
    if fits { Ok(()) } else { Err(EndpointError::ContentEncoding(encoding.chars().take(40).collect())) }
}

/// The beginning of an error's text, as one line.
async fn text_of(body: &mut Body) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < TEXT_MAX
        && let Ok(Some(more)) = body.chunk().await
    {
        bytes.extend_from_slice(&more[..more.len().min(TEXT_MAX)]);
    }
    let text = String::from_utf8_lossy(&bytes);
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(TEXT_MAX).collect::<String>().trim().to_owned()
}

impl Incoming {
    /// Waits for the answer's head.
    pub(super) fn head(&mut self) -> Result<ResponseKind, Stopped> {
        match self.wait()? {
            Part::Head(kind) => Ok(kind),
            Part::Failed(error) => Err(Stopped::Endpoint(error)),
            Part::Data(_) | Part::End => Err(EndpointError::Lost.into()),
        }
    }

    /// Waits for the next bytes of the body; `None` at its end.
    pub(super) fn data(&mut self) -> Result<Option<Bytes>, Stopped> {
        match self.wait()? {
            Part::Data(bytes) => Ok(Some(bytes)),
            Part::End => Ok(None),
            Part::Failed(error) => Err(Stopped::Endpoint(error)),
            Part::Head(_) => Err(EndpointError::Lost.into()),
        }
    }

    fn wait(&mut self) -> Result<Part, Stopped> {
        self.scope.check()?;
        if let Ok(part) = self.parts.try_recv() {
            return Ok(part);
        }
        let waker = Waker::from(Arc::new(ThreadWaker(std::thread::current())));
        let mut cx = Context::from_waker(&waker);
        loop {
            match self.parts.poll_recv(&mut cx) {
                Poll::Ready(Some(part)) => return Ok(part),
                Poll::Ready(None) => return Err(EndpointError::Lost.into()),
                Poll::Pending => std::thread::park_timeout(LOOK),
            }
            self.scope.check()?;
        }
    }
}

/// Wakes a thread that is parked: reads are pulled by ordinary threads, whatever runtime they may be inside of.
struct ThreadWaker(Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
