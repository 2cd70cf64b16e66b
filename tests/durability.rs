//! What has been scraped outlives the process: after `kill -9`, and after a torn end of the write-ahead log.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests fail by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use support::exposition::{Sample, samples};
use support::process::{Home, Server};
use support::target::{Request, TEXT, Target, reply};
use support::{http, now_ms, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

/// What may be lost: samples scraped at most this long before the kill.
const GRACE_MS: i64 = 5_000;

/// A target that remembers what it has served: per scrape one new series `served{n="..."}` with the time of the scrape as
/// explicit timestamp, so that no staleness marker ends it; beside it a few hundred ordinary series.
struct Journal {
    target: Target,
    served: Arc<Mutex<Vec<i64>>>,
}

impl Journal {
    fn start() -> Journal {
        let served = Arc::new(Mutex::new(Vec::new()));
        let journal = Arc::clone(&served);
        let target = Target::start(move |_: &Request, stream| {
            let (number, now) = {
                let mut served = journal.lock().expect("no handler panicked");
                served.push(now_ms());
                (served.len() - 1, *served.last().expect("just pushed"))
            };
            let mut body = format!("served{{n=\"{number}\"}} {number} {now}\nscrapes_so_far {number}\n");
            (0..500).for_each(|i| body += &format!("filler{{i=\"{i}\",kind=\"gauge\"}} {}\n", number * i));
            reply(stream, 200, TEXT, body.as_bytes());
        });
        Journal { target, served }
    }

    fn served(&self) -> Vec<i64> {
        self.served.lock().expect("no handler panicked").clone()
    }

    fn wait_for_scrapes(&self, count: usize) {
        wait_for("the target to be scraped", LIMIT, || match self.served().len() {
            n if n >= count => Ok(()),
            n => Err(format!("{n} scrapes of {count}")),
        });
    }

    fn config(&self) -> String {
        format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\nscrape_configs:\n\
             - {{job_name: journal, static_configs: [{{targets: ['{}'], labels: {{instance: here}}}}]}}\n",
            self.target.address()
        )
    }
}

fn federate(server: &Server, matcher: &str) -> Vec<Sample> {
    samples(&http::get_text(&http::url(&server.url, "/federate", &[("match[]", matcher)])).expect("an answer"))
}

/// Every scrape whose time is due must be there with its value and its time.
fn check_kept(server: &Server, served: &[i64], is_due: impl Fn(i64) -> bool) {
    let found: BTreeMap<usize, Sample> =
        federate(server, "served").into_iter().map(|s| (s.label("n").parse().expect("a scrape's number"), s)).collect();
    let due: Vec<(usize, i64)> = served.iter().copied().enumerate().filter(|(_, at)| is_due(*at)).collect();
    assert!(due.len() > 5, "the test must have something to lose: {} scrapes", due.len());
    for (number, at) in &due {
        let sample = found.get(number).unwrap_or_else(|| panic!("scrape {number} of {} is lost", due.len()));
        assert_eq!((sample.number(), sample.timestamp), (*number as f64, Some(*at)), "scrape {number}");
    }
    println!("{} scrapes due, {} there", due.len(), found.len());
}

/// Scrapes for some time, kills the server, and gives the time of the kill.
fn scrape_and_kill(home: &Home, journal: &Journal, scrapes: usize) -> i64 {
    let before = journal.served().len();
    let server = home.watershed(&[]);
    journal.wait_for_scrapes(before + scrapes);
    let killed_at = now_ms();
    server.kill();
    killed_at
}

/// The last segment of the write-ahead log.
fn last_segment(home: &Home) -> PathBuf {
    let entries = std::fs::read_dir(home.data_path().join("wal")).expect("a WAL folder");
    let names = entries.map(|e| e.expect("an entry").path());
    let is_segment =
        |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().bytes().all(|b| b.is_ascii_digit()));
    names.filter(is_segment).max().expect("a segment")
}

/// Whether the server tells of a repair: in its log, and in its metrics.
fn tells_of_repair(server: &Server) -> Result<(), String> {
    let log = server.log().to_lowercase();
    if !(log.contains("wal") && ["repair", "torn", "corrupt"].iter().any(|word| log.contains(word))) {
        return Err("the log does not tell".into());
    }
    let metrics = http::get_text(&format!("{}/metrics", server.url)).map_err(|e| e.to_string())?;
    let counted = samples(&metrics).into_iter().any(|s| {
        s.name().contains("wal") && (s.name().contains("corrupt") || s.name().contains("repair")) && s.number() >= 1.0
    });
    if counted { Ok(()) } else { Err("no metric of the WAL's corruptions or repairs is above 0".into()) }
}

/// The repaired log must take new scrapes and be whole at the next start.
fn check_lives_on(home: &Home, journal: &Journal, mut server: Server) {
    let restarted_at = now_ms();
    journal.wait_for_scrapes(journal.served().len() + 10);
    wait_for("new samples to be visible", LIMIT, || {
        let newest = federate(&server, "scrapes_so_far").first().map_or(0.0, Sample::number);
        if newest as usize + 2 >= journal.served().len() { Ok(()) } else { Err(format!("newest is scrape {newest}")) }
    });
    server.signal(rustix::process::Signal::TERM);
    assert!(server.wait_exit(LIMIT).success());
    let stopped_at = now_ms();
    let log_before = server.log().len();
    let server = home.watershed(&[]);
    let log = server.log()[log_before..].to_lowercase();
    assert!(!log.contains("repair") && !log.contains("corrupt"), "a clean stop left something to repair:\n{log}");
    // After a clean stop nothing at all may be missing.
    check_kept(&server, &journal.served(), |at| at > restarted_at && at < stopped_at - 1_000);
}

#[test]
fn nothing_older_than_five_seconds_is_lost_by_kill_9() {
    let (home, journal) = (Home::new(), Journal::start());
    home.write_config(&journal.config());
    let first_kill = scrape_and_kill(&home, &journal, 30);
    let of_first_run = |at: i64| at < first_kill - GRACE_MS;
    let server = home.watershed(&[]);
    check_kept(&server, &journal.served(), of_first_run);

    // Once more, onto a log that has been replayed and has grown.
    journal.wait_for_scrapes(journal.served().len() + 25);
    let second_kill = now_ms();
    server.kill();
    let server = home.watershed(&[]);
    let of_second_run = |at: i64| at > first_kill && at < second_kill - GRACE_MS;
    check_kept(&server, &journal.served(), |at| of_first_run(at) || of_second_run(at));
    let fillers = http::url(&server.url, "/api/v1/series", &[("match[]", "filler")]);
    assert_eq!(http::get_api(&fillers).expect("an answer").as_array().map(Vec::len), Some(500));
}

#[test]
fn garbage_at_the_end_of_the_log_is_cut_off_and_told() {
    let (home, journal) = (Home::new(), Journal::start());
    home.write_config(&journal.config());
    let killed_at = scrape_and_kill(&home, &journal, 30);
    let served = journal.served();
    let mut segment = OpenOptions::new().append(true).open(last_segment(&home)).expect("a segment");
    // No record type is 0xA5, and no checksum fits.
    segment.write_all(&[0xA5; 3000]).expect("the segment can be written");
    drop(segment);

    let server = home.watershed(&[]);
    check_kept(&server, &served, |at| at < killed_at - GRACE_MS);
    wait_for("the repair to be told", Duration::from_secs(5), || tells_of_repair(&server));
    check_lives_on(&home, &journal, server);
}

#[test]
fn a_record_torn_in_its_middle_costs_only_itself() {
    let (home, journal) = (Home::new(), Journal::start());
    home.write_config(&journal.config());
    let killed_at = scrape_and_kill(&home, &journal, 30);
    let served = journal.served();
    let segment = last_segment(&home);
    let bytes = std::fs::read(&segment).expect("a segment");
    // The written part ends at the last byte that is not padding; the cut goes through the last record.
    let written = bytes.iter().rposition(|b| *b != 0).expect("something was written") + 1;
    let file: File = OpenOptions::new().write(true).open(&segment).expect("a segment");
    file.set_len(written as u64 - 11).expect("the segment can be cut");
    drop(file);

    let server = home.watershed(&[]);
    check_kept(&server, &served, |at| at < killed_at - GRACE_MS);
    wait_for("the repair to be told", Duration::from_secs(5), || tells_of_repair(&server));
    check_lives_on(&home, &journal, server);
}
