//! The URL of a backend: which protocol, which name, and who knows its addresses.

use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

/// Where Mimir and Cortex serve gRPC unless they are told otherwise.
const GRPC_PORT: u16 = 9095;
const DNS_PORT: u16 = 53;

/// Who turns a name into addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Authority {
    /// The system: its hosts file and its name servers.
    System,
    /// This name server.
    Server(SocketAddr),
}

/// Which protocol a backend is spoken to in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// `httpgrpc.HTTP/Handle` over HTTP/2.
    Grpc,
}

/// Where a backend is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendUrl {
    /// As it was written, without a password.
    pub text: String,
    /// `http` and `https`, or `dns`.
    pub protocol: Protocol,
    /// True for `https`.
    pub is_https: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What goes before the path of every request; empty, or `/` and a text that does not end in `/`.
    pub base_path: String,
    /// Who is asked for the addresses.
    pub authority: Authority,
}

impl BackendUrl {
    /// Host and port as a `Host` header and `:authority` have them.
    pub fn authority_text(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.protocol, self.is_https, self.port) {
            (Protocol::Http, false, 80) | (Protocol::Http, true, 443) => host,
            (_, _, port) => format!("{host}:{port}"),
        }
    }

    /// Reads `http://`, `https://`, `dns:///name:port` and `dns://server/name:port`.
    pub fn parse(text: &str) -> Result<BackendUrl, String> {
        match text.split_once("://") {
            Some(("dns", rest)) => parse_dns(text, rest),
            Some(("http" | "https", _)) => parse_http(text),
            // The text is not repeated: it may hold a password.
            Some((scheme, _)) => Err(format!("its scheme is {scheme}, neither http, https nor dns")),
            None => Err("not a URL: it does not begin with http://, https:// or dns:///".to_owned()),
        }
    }
}

fn parse_http(text: &str) -> Result<BackendUrl, String> {
    let url = Url::parse(text).map_err(|e| format!("not a URL: {e}"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has more than a host and a path".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has credentials, which are the client's to send".to_owned());
    }
    let host = match url.host() {
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(host) => host.to_string(),
        None => return Err("has no host".to_owned()),
    };
    Ok(BackendUrl {
        text: text.to_owned(),
        protocol: Protocol::Http,
        is_https: url.scheme() == "https",
        host,
        port: url.port_or_known_default().unwrap_or(80),
        base_path: url.path().trim_end_matches('/').to_owned(),
        authority: Authority::System,
    })
}

fn parse_dns(text: &str, rest: &str) -> Result<BackendUrl, String> {
    let Some((server, name)) = rest.split_once('/') else {
        return Err("a dns URL has three slashes, dns:///name:port, or a server: dns://server/name:port".to_owned());
    };
    let authority = match server {
        "" => Authority::System,
        server => Authority::Server(parse_server(server)?),
    };
    let (host, port) = host_and_port(name, GRPC_PORT)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if host.is_empty() || !(host.parse::<IpAddr>().is_ok() || host.chars().all(is_name)) {
        return Err(format!("{host:?} is not the name of a host"));
    }
    Ok(BackendUrl {
        text: text.to_owned(),
        protocol: Protocol::Grpc,
        is_https: false,
        host,
        port,
        base_path: String::new(),
        authority,
    })
}

fn parse_server(server: &str) -> Result<SocketAddr, String> {
    let (host, port) = host_and_port(server, DNS_PORT)?;
    let address: IpAddr = host.parse().map_err(|_| format!("the name server {host:?} is not an IP address"))?;
    Ok(SocketAddr::new(address, port))
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
fn host_and_port(text: &str, default: u16) -> Result<(String, u16), String> {
    let bad_port = |port: &str| format!("{port:?} is not a port");
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("a bracket is not closed")?,
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default,
        None => return Err(bad_port(port)),
        Some(digits) => digits.parse().ok().filter(|p| *p > 0).ok_or_else(|| bad_port(digits))?,
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_protocol_name_port_and_who_is_asked() {
        let dns = BackendUrl::parse("dns:///distributor.mimir.svc.cluster.local:9095").expect("good");
        assert_eq!((dns.protocol, dns.port, dns.authority), (Protocol::Grpc, 9095, Authority::System));
        assert_eq!(dns.host, "distributor.mimir.svc.cluster.local");
        assert_eq!(BackendUrl::parse("dns:///distributor").expect("good").port, GRPC_PORT);
        let served = BackendUrl::parse("dns://10.0.0.10/distributor:1").expect("good");
        assert_eq!(served.authority, Authority::Server("10.0.0.10:53".parse().expect("an address")));
        let served = BackendUrl::parse("dns://[::1]:5353/[fd00::2]:1").expect("good");
        assert_eq!(served.authority, Authority::Server("[::1]:5353".parse().expect("an address")));
        assert_eq!((served.host.as_str(), served.authority_text().as_str()), ("fd00::2", "[fd00::2]:1"));
        let http = BackendUrl::parse("https://[::1]/a/b/").expect("good");
        assert_eq!((http.port, http.is_https, http.base_path.as_str()), (443, true, "/a/b"));
        assert_eq!(http.authority_text(), "[::1]");
        for (bad, why) in [
            ("dns://distributor:9095", "three slashes"),
            ("dns://resolver/distributor", "not an IP address"),
            ("dns:///", "not the name"),
            ("dns:///a b", "not the name"),
            ("dns:///a:0", "not a port"),
            ("dns:///a:x", "not a port"),
            ("ftp://a", "neither http"),
            ("a:80", "not a URL"),
            ("http://", "not a URL"),
            ("http://user:secret@host", "credentials"),
            ("http://host?x", "more than a host"),
        ] {
            let error = BackendUrl::parse(bad).expect_err(bad);
            assert!(error.contains(why) && !error.contains("secret"), "{bad}: {error}");
        }
    }
}
