//! `watershed demo`: the main job on one machine, with nothing else installed.
//!
//! Two edge sites and a centre run as processes of their own, on free loopback ports, with data and logs in a
//! temporary directory that is removed at the end. The edges scrape themselves and this host; the centre federates
//! from both. All figures shown are asked of the centre over HTTP, as a person would.

mod process;
mod site;
mod table;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use super::{http, say};
use crate::model::DurationMs;
use crate::net::{Request, StatusCode};
use process::{Agent, TempDir};
use site::SiteReport;

/// Names of the edge sites.
const SITES: [&str; 2] = ["garage", "cabin"];
/// How often the edges scrape.
const EDGE_INTERVAL: DurationMs = DurationMs::from_secs(2);
/// How often the centre federates.
const CENTRE_INTERVAL: DurationMs = DurationMs::from_secs(5);
/// A site has delivered if it has more series than this.
const SERIES_MIN: usize = 100;
const REFRESH: Duration = Duration::from_secs(1);
/// Without a terminal, a table is printed only so often.
const REFRESH_PLAIN: Duration = Duration::from_secs(10);
const START_MAX: Duration = Duration::from_secs(20);

pub(super) fn run(run_for: Option<DurationMs>) -> ExitCode {
    let outcome = http::runtime().map_err(|e| e.to_string()).and_then(|runtime| runtime.block_on(demo(run_for)));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until the time is over or a signal comes. True if both sites delivered, or if a person ended it.
async fn demo(run_for: Option<DurationMs>) -> Result<bool, String> {
    let io_error = |e: io::Error| e.to_string();
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io_error)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(io_error)?;
    let dir = TempDir::create().map_err(io_error)?;
    let mut agents = start(&dir).await?;
    let centre = agents[0].url.clone();
    say(format_args!("centre: {centre}   (try {centre}/federate?match[]=up)"));
    say(format_args!("data and logs: {}   Ctrl-C stops everything.", dir.path().display()));

    let end = run_for.map(|d| Instant::now() + d.to_std());
    let live = io::stdout().is_terminal() && end.is_none_or(|e| e > Instant::now());
    let mut drawn = table::Drawn::new(live);
    let mut next_draw = Instant::now();
    let interrupted = loop {
        let now = Instant::now();
        if end.is_some_and(|end| now >= end) {
            break false;
        }
        for agent in &mut agents {
            agent.check_alive()?;
        }
        if now >= next_draw {
            drawn.draw(&reports(&centre).await);
            next_draw = now + if live { REFRESH } else { REFRESH_PLAIN };
        }
        let until_end = end.map_or(REFRESH, |end| end.saturating_duration_since(now));
        tokio::select! {
            _ = interrupt.recv() => break true,
            _ = terminate.recv() => break true,
            () = tokio::time::sleep(REFRESH.min(until_end)) => {}
        }
    };

    let reports = reports(&centre).await;
    let delivered = reports.iter().all(delivered);
    say("\nsummary");
    table::Drawn::new(false).draw(&reports);
    for agent in &mut agents {
        agent.stop().await?;
    }
    match (interrupted, delivered) {
        (_, true) => say("Both sites delivered. All processes have stopped."),
        (true, false) => say("Stopped before both sites had delivered."),
        (false, false) => say(format_args!(
            "Not every site delivered more than {SERIES_MIN} series, the newest younger than {}.",
            DurationMs(2 * CENTRE_INTERVAL.0)
        )),
    }
    Ok(delivered || (interrupted && run_for.is_none()))
}

/// The centre first, then the edges; all answer.
async fn start(dir: &TempDir) -> Result<Vec<Agent>, String> {
    let mut edges = Vec::new();
    for site in SITES {
        edges.push(Agent::start(dir, site, |port| site::edge_config(site, port))?);
    }
    let addresses: Vec<_> = SITES.iter().copied().zip(edges.iter().map(|e| e.address.clone())).collect();
    let mut agents = vec![Agent::start(dir, "centre", |_| site::centre_config(&addresses))?];
    agents.append(&mut edges);
    let deadline = Instant::now() + START_MAX;
    for agent in &mut agents {
        let ready = format!("{}/-/ready", agent.url);
        while get(&ready).await.is_err() {
            agent.check_alive()?;
            if Instant::now() > deadline {
                return Err(format!("{} was not ready within {}", agent.name, humantime::format_duration(START_MAX)));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(agents)
}

/// The body of a successful answer.
async fn get(url: &str) -> Result<String, String> {
    let (status, body) = http::ask(&http::client(None)?, Request::get(http::below(url, "")?)).await?;
    match status {
        StatusCode::OK => String::from_utf8(body).map_err(|e| e.to_string()),
        status => Err(format!("{url}: {status}")),
    }
}

async fn reports(centre: &str) -> Vec<SiteReport> {
    let mut reports = Vec::new();
    for site in SITES {
        reports.push(SiteReport::ask(centre, site).await);
    }
    reports
}

fn delivered(report: &SiteReport) -> bool {
    report.series > SERIES_MIN && report.newest_age_ms.is_some_and(|age| age < 2 * CENTRE_INTERVAL.0)
}
