//! `watershed debug`: what a server says of itself, in one archive to attach to a report.

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{http, say};
use crate::net::{Client, Request, printable};

/// What is fetched.
#[derive(Subcommand, Debug)]
pub(super) enum Debug {
    /// Fetch the server's own metrics.
    Metrics {
        /// The server's URL.
        server: String,
    },
    /// Fetch the server's own metrics and what its API tells of its state; secrets are masked by the server.
    All {
        /// The server's URL.
        server: String,
    },
}

/// The archive, in the working directory, as promtool names it.
const ARCHIVE: &str = "debug.tar.gz";
/// Time allowed for one answer.
const TIMEOUT: Duration = Duration::from_secs(60);

const METRICS: [(&str, &str); 1] = [("/metrics", "metrics.txt")];

/// Promtool's archive has profiles instead, by which the reference's authors find their way; ours are helped by these.
const STATE: [(&str, &str); 9] = [
    ("/api/v1/status/buildinfo", "buildinfo.json"),
    ("/api/v1/status/config", "config.json"),
    ("/api/v1/status/flags", "flags.json"),
    ("/api/v1/status/runtimeinfo", "runtimeinfo.json"),
    ("/api/v1/status/tsdb", "tsdb.json"),
    ("/api/v1/status/tsdb/blocks", "blocks.json"),
    ("/api/v1/status/walreplay", "walreplay.json"),
    ("/api/v1/notifications", "notifications.json"),
    ("/api/v1/targets?state=active", "targets.json"),
];

/// Collects, and says where.
pub(super) fn run(debug: &Debug) -> ExitCode {
    let outcome = match debug {
        Debug::Metrics { server } => collect(server, &METRICS),
        Debug::All { server } => collect(server, &[&METRICS[..], &STATE[..]].concat()),
    };
    match outcome {
        Ok(()) => {
            say(format_args!("Compiling debug information complete, all files written in {ARCHIVE:?}."));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error completing debug command: {why}");
            ExitCode::FAILURE
        }
    }
}

fn collect(server: &str, wanted: &[(&str, &str)]) -> Result<(), String> {
    let client = http::client(None)?;
    let runtime = http::runtime().map_err(|e| e.to_string())?;
    let file = File::create(ARCHIVE).map_err(|e| format!("error creating archive {ARCHIVE:?}: {e}"))?;
    let mut archive = Tar(GzEncoder::new(file, Compression::default()));
    for (path, name) in wanted {
        let body = runtime.block_on(fetch(&client, server, path))?;
        archive.add(name, &body).map_err(|e| format!("error writing into the archive: {e}"))?;
    }
    archive.finish().map_err(|e| format!("error closing archive writer: {e}"))
}

/// What another server does not have is in the archive as the refusal that it sent.
async fn fetch(client: &Client, server: &str, path: &str) -> Result<Vec<u8>, String> {
    let url = http::below(server, path)?;
    say(format_args!("collecting: {}", printable(&url)));
    let (_, body) = http::ask(client, Request::get(url).timeout(TIMEOUT)).await?;
    Ok(body)
}

/// A tar archive in the making: plain files, each with the header of POSIX.1-1988 (ustar).
struct Tar<W: Write>(GzEncoder<W>);

/// Headers and contents fill whole blocks of this size.
const BLOCK: usize = 512;

impl<W: Write> Tar<W> {
    fn add(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.0.write_all(&header(name, content.len()))?;
        self.0.write_all(content)?;
        self.0.write_all(&vec![0; content.len().next_multiple_of(BLOCK) - content.len()])
    }

    /// Two empty blocks are the end.
    fn finish(mut self) -> io::Result<()> {
        self.0.write_all(&[0; 2 * BLOCK])?;
        self.0.finish().and_then(|mut file| file.flush())
    }
}

fn header(name: &str, size: usize) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    // Names are ours and short. Numbers are octal; owner and time do not matter.
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    // The sum is taken with spaces in its own place.
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}
