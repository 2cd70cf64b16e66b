//! A blocking HTTP/1.1 client over one connection per request.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer, with its transfer encoding removed.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header fields as sent, one per line.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// `GET url`.
pub fn get(url: &str) -> io::Result<Response> {
    request("GET", url, "")
}

/// `POST url` with an empty body.
pub fn post(url: &str) -> io::Result<Response> {
    request("POST", url, "Content-Length: 0\r\n")
}

/// The body of a `GET` that must succeed.
pub fn get_text(url: &str) -> io::Result<String> {
    let reply = get(url)?;
    if reply.status != 200 {
        return Err(io::Error::other(format!("{url} answered {}: {}", reply.status, reply.text())));
    }
    Ok(reply.text())
}

/// The `data` of a `GET` on Prometheus's API.
pub fn get_api(url: &str) -> io::Result<serde_json::Value> {
    let text = get_text(url)?;
    let mut reply: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| io::Error::other(format!("{url}: {e} in {text:.200}")))?;
    if reply["status"] != "success" {
        return Err(io::Error::other(format!("{url} answered {text:.500}")));
    }
    Ok(reply["data"].take())
}

/// `base + path?key=value&...`, encoded.
pub fn url(base: &str, path: &str, query: &[(&str, &str)]) -> String {
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    encoded.extend_pairs(query);
    format!("{base}{path}?{}", encoded.finish())
}

/// `POST url` with a form.
pub fn post_form(url: &str, form: &str) -> io::Result<Response> {
    let length = form.len();
    let extra = format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n");
    send("POST", url, &extra, form.as_bytes())
}

/// `POST url` with a body of any kind; `extra` are header lines, each ended by CRLF.
pub fn post_bytes(url: &str, extra: &str, body: &[u8]) -> io::Result<Response> {
    send("POST", url, &format!("{extra}Content-Length: {}\r\n", body.len()), body)
}

/// `POST url` with a plain text.
pub fn post_text(url: &str, text: &str) -> io::Result<Response> {
    send("POST", url, &format!("Content-Type: text/plain\r\nContent-Length: {}\r\n", text.len()), text.as_bytes())
}

/// One request with extra header lines, each ended by CRLF.
pub fn request(method: &str, url: &str, extra: &str) -> io::Result<Response> {
    send(method, url, extra, b"")
}

fn send(method: &str, url: &str, extra: &str, body: &[u8]) -> io::Result<Response> {
    let rest = url.strip_prefix("http://").ok_or_else(|| io::Error::other("only http:// here"))?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.is_empty() { "/" } else { path };
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{extra}Connection: close\r\n\r\n")?;
    stream.write_all(body)?;
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw)?;
    parse(&raw).ok_or_else(|| io::Error::other(format!("no HTTP answer from {url}: {} bytes", raw.len())))
}

fn parse(raw: &[u8]) -> Option<Response> {
    let end = raw.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&raw[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut response = Response { status, head, body: raw[end + 4..].to_vec() };
    if response.header("Transfer-Encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        response.body = unchunk(&response.body)?;
    }
    Some(response)
}

fn unchunk(mut raw: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = raw.windows(2).position(|w| w == b"\r\n")?;
        let size_text = std::str::from_utf8(&raw[..line_end]).ok()?;
        let size = usize::from_str_radix(size_text.split(';').next()?.trim(), 16).ok()?;
        raw = &raw[line_end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(raw.get(..size)?);
        raw = raw.get(size + 2..)?;
    }
}
