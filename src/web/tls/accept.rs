//! The handshake, and what is told to those who do not begin one.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::TlsServer;

/// The first byte of every TLS connection: a record of the handshake.
const HANDSHAKE: u8 = 0x16;
/// What Go's server answers to HTTP on a port for HTTPS.
const NOT_ENCRYPTED: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
/// How long a client may go on sending before it reads that.
const LINGER: Duration = Duration::from_millis(500);
/// How much of it.
const LINGER_BYTES: u64 = 64 << 10;

/// How a connection began.
pub(in crate::web) enum Accepted<S> {
    /// Encrypted.
    Encrypted(Box<TlsStream<S>>),
    /// With a request in clear, which has been answered.
    Clear,
    /// With something that came to nothing.
    Failed(io::Error),
}

/// Whether the first byte is that of a handshake; waits for it and leaves it where it is.
async fn begins_handshake(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0] == HANDSHAKE),
    }
}

/// Shakes hands on `stream`, wrapped by `wrap`. Whoever calls this limits its time.
pub(in crate::web) async fn accept<S>(
    mut stream: TcpStream,
    tls: &TlsServer,
    wrap: impl FnOnce(TcpStream) -> S,
) -> Accepted<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match begins_handshake(&stream).await {
        Ok(true) => {}
        Ok(false) => {
            drop(tell_to_encrypt(&mut stream).await);
            return Accepted::Clear;
        }
        Err(error) => return Accepted::Failed(error),
    }
    match TlsAcceptor::from(tls.config.clone()).accept(wrap(stream)).await {
        Ok(stream) => Accepted::Encrypted(Box::new(stream)),
        Err(error) => Accepted::Failed(error),
    }
}

/// Answers, and reads on for a moment: closing with bytes unread would make the system discard the answer.
async fn tell_to_encrypt(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(NOT_ENCRYPTED).await?;
    stream.shutdown().await?;
    let (mut rest, mut nowhere) = (stream.take(LINGER_BYTES), tokio::io::sink());
    let drained = tokio::io::copy(&mut rest, &mut nowhere);
    tokio::time::timeout(LINGER, drained).await.map_err(|_| io::ErrorKind::TimedOut)?.map(drop)
}
