//! Connections without requests: for those that speak HTTP over them themselves.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::tls::{TlsSettings, Versions};
use super::{ClientError, TlsConfig};

/// A connection to a peer, encrypted or not.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Opens connections to the addresses of one peer. Certificates in files are used as they are now.
pub struct Dialer {
    tls: Option<Tls>,
    timeout: Duration,
}

struct Tls {
    settings: TlsSettings,
    name: ServerName<'static>,
    alpn: &'static [u8],
    built: Mutex<Option<(Versions, Arc<ClientConfig>)>>,
}

impl Dialer {
    /// For connections in clear.
    pub fn plain(timeout: Duration) -> Dialer {
        Dialer { tls: None, timeout }
    }

    /// For encrypted connections to `host`, which speak `alpn` (`h2`, `http/1.1`). No file is read yet.
    pub fn encrypted(
        config: &TlsConfig,
        host: &str,
        alpn: &'static str,
        timeout: Duration,
    ) -> Result<Dialer, ClientError> {
        let settings = TlsSettings::new(config, alpn == "h2")?;
        let name = config.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name)
            .map_err(|_| ClientError::Config(format!("{host:?} cannot be the name of a certificate")))?;
        let tls = Tls { settings, name, alpn: alpn.as_bytes(), built: Mutex::default() };
        Ok(Dialer { tls: Some(tls), timeout })
    }

    /// Connects, and shakes hands where connections are encrypted; at most for the dialer's timeout. Dropping the future
    /// closes what was opened.
    pub async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn Duplex>> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it takes too long");
        tokio::time::timeout(self.timeout, self.connect(address)).await.map_err(late)?
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Box<dyn Duplex>> {
        let stream = TcpStream::connect(address).await?;
        // Requests are written in large pieces; waiting to fill packets only delays their ends.
        drop(stream.set_nodelay(true));
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let config = tls.config().map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(config).connect(tls.name.clone(), stream).await?))
    }
}

impl Tls {
    fn config(&self) -> Result<Arc<ClientConfig>, ClientError> {
        let material = self.settings.material()?;
        // Held while files are read, at most once per change; never across a wait.
        let mut built = self.built.lock();
        if let Some((versions, config)) = &*built
            && *versions == material.versions
        {
            return Ok(config.clone());
        }
        let mut config = self.settings.build(&material)?;
        config.alpn_protocols = vec![self.alpn.to_vec()];
        let config = Arc::new(config);
        *built = Some((material.versions, config.clone()));
        Ok(config)
    }
}
