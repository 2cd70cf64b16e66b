//! Targets that no honest exporter would be. Each must end as `up` 0 with an error that says why, in bounded memory, while
//! the other targets are scraped as if nothing were wrong.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests fail by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::exposition::value_of;
use support::process::{Home, Server};
use support::target::{Request, TEXT, Target, reply};
use support::{http, wait_for};

const MIB: u64 = 1 << 20;

/// A job with one hostile target; the path it scrapes is its name.
struct Hostile {
    job: &'static str,
    settings: &'static str,
    /// Its error must contain one of these words, compared without regard to case.
    error: &'static [&'static str],
}

const LIMITED: &str = "body_size_limit: 1MB";

const HOSTILE: &[Hostile] = &[
    Hostile { job: "trickle", settings: "", error: &["deadline", "timeout", "timed out"] },
    Hostile { job: "silent", settings: "", error: &["deadline", "timeout", "timed out"] },
    Hostile { job: "head-only", settings: "", error: &["deadline", "timeout", "timed out"] },
    Hostile { job: "garbage", settings: "", error: &["expected", "invalid", "parse", "unexpected", "utf-8"] },
    Hostile { job: "not-http", settings: "", error: &["http", "malformed", "invalid"] },
    Hostile { job: "huge", settings: LIMITED, error: &["body size limit", "body_size_limit"] },
    Hostile { job: "huge-announced", settings: LIMITED, error: &["body size limit", "body_size_limit"] },
    Hostile { job: "huge-line", settings: LIMITED, error: &["body size limit", "body_size_limit"] },
    Hostile { job: "gzip-bomb", settings: LIMITED, error: &["body size limit", "body_size_limit"] },
    Hostile { job: "gzip-broken", settings: "", error: &["gzip", "deflate", "corrupt", "decod", "decompress"] },
    Hostile { job: "cut-body", settings: "", error: &["eof", "closed", "end", "incomplete", "body"] },
    Hostile { job: "cut-line", settings: "", error: &["expected", "parse", "invalid", "eof", "end", "value"] },
    Hostile { job: "redirect-loop", settings: "", error: &["redirect"] },
    Hostile { job: "not-found", settings: "", error: &["404"] },
    Hostile {
        job: "plain-for-tls",
        settings: "scheme: https",
        error: &["tls", "certificate", "handshake", "record", "corrupt", "http response to https"],
    },
    Hostile { job: "reset", settings: "", error: &["reset", "closed", "eof", "connection"] },
    Hostile { job: "refused", settings: "", error: &["refused"] },
    Hostile { job: "never-accepts", settings: "", error: &["deadline", "timeout", "timed out"] },
];

/// What the hostile HTTP targets do; those below HTTP have listeners of their own.
fn misbehave(request: &Request, stream: &mut TcpStream) {
    let path = request.target.clone();
    // Every write may fail because the scraper gave up, which is what it should do.
    let _ = match path.as_str() {
        "/trickle" => trickle(stream),
        "/head-only" => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n").map(|()| sleep(60)),
        "/silent" => {
            sleep(60);
            Ok(())
        }
        "/garbage" => stream.write_all(&garbage()),
        "/not-http" => stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n"),
        "/huge" => write_huge(stream, "", b"a_metric_with_a_name{label=\"value\"} 1\n"),
        "/huge-announced" => {
            write_huge(stream, "Content-Length: 2147483648\r\n", b"a_metric_with_a_name{label=\"value\"} 1\n")
        }
        "/huge-line" => write_huge(stream, "", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        "/gzip-bomb" => write_gzip(stream, &bomb()),
        "/gzip-broken" => write_gzip(stream, b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03this is no deflate stream"),
        "/cut-body" => stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nwhole_line 1\n"),
        "/cut-line" => {
            reply(stream, 200, TEXT, b"whole_line 1\nhalf_line{label=\"val");
            Ok(())
        }
        "/redirect-loop" => stream.write_all(
            b"HTTP/1.1 302 Found\r\nLocation: /redirect-loop\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ),
        _ => {
            reply(stream, 404, TEXT, b"nothing here\n");
            Ok(())
        }
    };
}

fn sleep(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

fn trickle(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")?;
    for byte in b"a_metric 1\n".iter().cycle().take(60) {
        stream.write_all(&[*byte])?;
        sleep(1);
    }
    Ok(())
}

/// Bytes without any order, the same in each run.
fn garbage() -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    let mut bytes =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 65536\r\nConnection: close\r\n\r\n".to_vec();
    bytes.extend(std::iter::repeat_with(&mut next).take(65_536));
    bytes
}

/// 2 GiB made on the fly.
fn write_huge(stream: &mut TcpStream, header: &str, line: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{header}Connection: close\r\n\r\n")?;
    let block: Vec<u8> = line.iter().copied().cycle().take(line.len() * 2000).collect();
    let mut left: u64 = 2048 * MIB;
    while left > 0 {
        stream.write_all(&block)?;
        left = left.saturating_sub(block.len() as u64);
    }
    Ok(())
}

fn write_gzip(stream: &mut TcpStream, body: &[u8]) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)
}

/// A gigabyte of samples in about a megabyte, made once.
fn bomb() -> Vec<u8> {
    static BOMB: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let make = || {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let block = b"a 1\n".repeat(256 * 1024);
        (0..1024).for_each(|_| encoder.write_all(&block).expect("memory takes it"));
        encoder.finish().expect("memory takes it")
    };
    BOMB.get_or_init(make).clone()
}

/// A listener that closes each connection while its request is still unread, which resets it.
fn resetting() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 8]);
        }
    });
    address
}

/// One configuration with all hostile jobs and a healthy one.
fn config(hostile: &str, resetting: &str, refused: &str, never_accepts: &str, healthy: &str) -> String {
    let mut yaml = format!(
        "global: {{scrape_interval: 2s, scrape_timeout: 2s}}\nscrape_configs:\n\
         - {{job_name: healthy, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{{targets: ['{healthy}']}}]}}\n"
    );
    for Hostile { job, settings, .. } in HOSTILE {
        let address = match *job {
            "reset" => resetting,
            "refused" => refused,
            "never-accepts" => never_accepts,
            _ => hostile,
        };
        let comma = if settings.is_empty() { "" } else { ", " };
        yaml += &format!(
            "- {{job_name: {job}, metrics_path: /{job}, static_configs: [{{targets: ['{address}']}}]{comma}{settings}}}\n"
        );
    }
    yaml
}

/// The targets API's entry of one job.
fn target_of(targets: &Value, job: &str) -> Value {
    let active = targets["activeTargets"].as_array().expect("a list");
    active.iter().find(|t| t["scrapePool"] == job).cloned().unwrap_or_default()
}

/// The target must be down for the right reason, and no sample of it may have been kept.
fn check(server: &Server, hostile: &Hostile) -> Result<(), String> {
    let targets = http::get_api(&format!("{}/api/v1/targets", server.url)).map_err(|e| e.to_string())?;
    let target = target_of(&targets, hostile.job);
    let error = target["lastError"].as_str().unwrap_or_default().to_lowercase();
    if target["health"] != "down" || !hostile.error.iter().any(|word| error.contains(word)) {
        return Err(format!("{}: down for one of {:?} expected, but {target}", hostile.job, hostile.error));
    }
    let url = http::url(&server.url, "/federate", &[("match[]", &format!("{{job=\"{}\"}}", hostile.job))]);
    let text = http::get_text(&url).map_err(|e| e.to_string())?;
    if value_of(&text, "up", &[]) != Some(0.0) {
        return Err(format!("{}: up 0 expected, but\n{text}", hostile.job));
    }
    match text.lines().find(|l| !l.starts_with(['#']) && !l.starts_with("up{") && !l.starts_with("scrape_")) {
        Some(kept) => Err(format!("{}: kept {kept}", hostile.job)),
        None => Ok(()),
    }
}

#[test]
fn hostile_targets_harm_nobody_but_themselves() {
    bomb();
    let scrapes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&scrapes);
    let healthy = Target::start(move |_: &Request, stream| {
        let number = counter.fetch_add(1, Ordering::SeqCst);
        reply(stream, 200, TEXT, format!("healthy_scrapes {number}\n").as_bytes());
    });
    let hostile = Target::start(misbehave);
    // Bound and never accepted from: the kernel completes the connection, nobody ever answers.
    let never_accepts = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let home = Home::new();
    home.write_config(&config(
        &hostile.address(),
        &resetting(),
        &format!("127.0.0.1:{}", support::process::free_port()),
        &never_accepts.local_addr().expect("an address").to_string(),
        &healthy.address(),
    ));
    let server = home.watershed(&[]);

    for case in HOSTILE {
        wait_for("a hostile target to be down", Duration::from_secs(30), || check(&server, case));
    }

    // All of it goes on; meanwhile the healthy target must be scraped at its own interval. Half of the scrapes that are
    // due leaves room for a busy machine; a scraper that waits for the hostile targets would reach a tenth.
    let (before, start) = (scrapes.load(Ordering::SeqCst), Instant::now());
    sleep(10);
    let due = start.elapsed().as_secs() as usize;
    let done = scrapes.load(Ordering::SeqCst) - before;
    assert!(done * 2 >= due, "{done} scrapes of the healthy target where {due} were due");
    let query = http::url(&server.url, "/federate", &[("match[]", "{job=\"healthy\"}")]);
    let text = http::get_text(&query).expect("an answer");
    assert_eq!(value_of(&text, "up", &[]), Some(1.0));

    let peak = server.status_bytes("VmHWM:");
    println!("peak resident memory {} MiB, {done} of {due} healthy scrapes", peak / MIB);
    assert!(peak < 192 * MIB, "{} MiB resident at the peak", peak / MIB);
    assert_eq!(http::get(&format!("{}/-/healthy", server.url)).expect("an answer").status, 200);
}
