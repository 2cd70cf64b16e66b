//! The command line and the life of the process: checking a configuration, reloading, draining.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod support;

use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use support::exposition::samples;
use support::process::{Home, Server};
use support::target::{Request, TEXT, Target, reply};
use support::{http, wait_for};

const LIMIT: Duration = Duration::from_secs(30);

const GOOD: &str = "global: {scrape_interval: 7s}\nscrape_configs:\n- job_name: first\n  static_configs: [{targets: ['127.0.0.1:1']}]\n";
const OTHER: &str = "global: {scrape_interval: 9s}\nscrape_configs:\n- job_name: second\n  static_configs: [{targets: ['127.0.0.1:1']}]\n";
const BAD: &str = "global: {scrape_intervall: 9s}\n";

fn watershed(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_watershed")).args(args).output().expect("watershed runs")
}

fn text_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn check(yaml: &str) -> (Option<i32>, String) {
    let home = Home::new();
    home.write_config(yaml);
    let output = watershed(&["check", "config", &home.config_path().to_string_lossy()]);
    (output.status.code(), text_of(&output))
}

/// The names of the jobs that the server runs with.
fn jobs(server: &Server) -> Vec<String> {
    let pools = http::get_api(&format!("{}/api/v1/scrape_pools", server.url)).expect("an answer");
    let names = pools["scrapePools"].as_array().expect("a list of pools").iter();
    names.map(|n| n.as_str().expect("a name").to_owned()).collect()
}

fn wait_for_job(server: &Server, job: &str) {
    wait_for("the new configuration", LIMIT, || match jobs(server) {
        jobs if jobs == [job] => Ok(()),
        jobs => Err(format!("{jobs:?}")),
    });
}

/// The metric that tells whether the last reload succeeded.
fn last_reload_successful(server: &Server) -> f64 {
    let metrics = http::get_text(&format!("{}/metrics", server.url)).expect("an answer");
    let found = samples(&metrics).into_iter().find(|s| s.name().ends_with("config_last_reload_successful"));
    found.expect("a metric config_last_reload_successful").number()
}

#[test]
fn a_good_configuration_is_accepted_with_exit_code_0() {
    let (code, text) = check(GOOD);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_misspelt_key_is_named_with_its_place_and_the_nearest_valid_key() {
    let (code, text) = check(BAD);
    assert_eq!(code, Some(1), "{text}");
    for part in ["config.yml", "scrape_intervall", "scrape_interval", "1:10"] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let (code, text) = check(
        "global: {scrape_intervall: 9s}\nscrape_configs:\n- job_name: a\n  honour_labels: true\n- job_name: a\n  scrape_timeout: never\n",
    );
    assert_eq!(code, Some(1), "{text}");
    for part in ["scrape_intervall", "honour_labels", "honor_labels", "never"] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn a_file_that_is_not_there_fails_by_name() {
    let output = watershed(&["check", "config", "no/such/file.yml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text_of(&output).contains("no/such/file.yml"), "{}", text_of(&output));
}

#[test]
fn a_server_does_not_start_on_a_bad_configuration() {
    let home = Home::new();
    home.write_config(BAD);
    let mut server = home.watershed_unready(&[]);
    assert!(!server.wait_exit(LIMIT).success());
    assert!(server.log().contains("scrape_intervall"), "{}", server.log());
}

#[test]
fn a_port_in_use_is_told_and_ends_the_process() {
    let home = Home::new();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", home.port)).expect("a free port");
    home.write_config(GOOD);
    let mut server = home.watershed_unready(&[]);
    assert!(!server.wait_exit(LIMIT).success());
    assert!(server.log().contains(&home.port.to_string()), "{}", server.log());
}

#[test]
fn a_reload_by_request_takes_the_new_configuration_and_a_bad_one_changes_nothing() {
    let home = Home::new();
    home.write_config(GOOD);
    let server = home.watershed(&["--web.enable-lifecycle"]);
    let reload = format!("{}/-/reload", server.url);
    wait_for_job(&server, "first");

    home.write_config(OTHER);
    assert_eq!(http::post(&reload).expect("an answer").status, 200);
    wait_for_job(&server, "second");
    assert_eq!(last_reload_successful(&server), 1.0);

    home.write_config(BAD);
    let refused = http::post(&reload).expect("an answer");
    assert_eq!(refused.status, 500);
    assert!(refused.text().contains("scrape_intervall"), "{}", refused.text());
    assert_eq!(jobs(&server), ["second"]);
    assert_eq!(last_reload_successful(&server), 0.0);
    let shown = http::get_api(&format!("{}/api/v1/status/config", server.url)).expect("an answer");
    assert!(shown["yaml"].as_str().expect("a text").contains("second"), "{shown}");

    home.write_config(GOOD);
    assert_eq!(http::post(&reload).expect("an answer").status, 200);
    wait_for_job(&server, "first");
    assert_eq!(last_reload_successful(&server), 1.0);
}

#[test]
fn sighup_reloads_and_a_bad_configuration_changes_nothing() {
    let home = Home::new();
    home.write_config(GOOD);
    let server = home.watershed(&[]);
    home.write_config(OTHER);
    server.signal(Signal::HUP);
    wait_for_job(&server, "second");

    home.write_config(BAD);
    server.signal(Signal::HUP);
    wait_for("the failure to be told", LIMIT, || {
        if last_reload_successful(&server) == 0.0 { Ok(()) } else { Err("still successful") }
    });
    assert_eq!(jobs(&server), ["second"]);
}

#[test]
fn a_changed_file_is_reloaded_when_told_to_watch_it() {
    let home = Home::new();
    home.write_config(GOOD);
    let server = home.watershed(&["--config.auto-reload-interval=1s"]);
    wait_for_job(&server, "first");
    home.write_config(OTHER);
    wait_for_job(&server, "second");
}

#[test]
fn the_lifecycle_endpoints_are_closed_unless_opened() {
    let home = Home::new();
    home.write_config(GOOD);
    let server = home.watershed(&[]);
    for path in ["/-/reload", "/-/quit"] {
        assert_eq!(http::post(&format!("{}{path}", server.url)).expect("an answer").status, 403, "{path}");
    }
}

#[test]
fn quit_by_request_ends_the_process_with_exit_code_0() {
    let home = Home::new();
    home.write_config(GOOD);
    let mut server = home.watershed(&["--web.enable-lifecycle"]);
    assert_eq!(http::post(&format!("{}/-/quit", server.url)).expect("an answer").status, 200);
    assert_eq!(server.wait_exit(LIMIT).code(), Some(0));
}

#[test]
fn sigterm_ends_the_process_with_exit_code_0_even_in_the_middle_of_a_scrape() {
    let scraping = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&scraping);
    let slow = Target::start(move |_: &Request, stream| {
        flag.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_secs(60));
        reply(stream, 200, TEXT, b"a 1\n");
    });
    let home = Home::new();
    home.write_config(&format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs: [{{job_name: slow, static_configs: [{{targets: ['{}']}}]}}]\n",
        slow.address()
    ));
    let mut server = home.watershed(&[]);
    wait_for("a scrape", LIMIT, || if scraping.load(Ordering::SeqCst) { Ok(()) } else { Err("none yet") });
    server.signal(Signal::TERM);
    assert_eq!(server.wait_exit(LIMIT).code(), Some(0));
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let home = Home::new();
    home.write_config(GOOD);
    let server = home.watershed(&[]);
    let second = Home::new();
    second.write_config(GOOD);
    let data = format!("--storage.tsdb.path={}", home.data_path().display());
    let output = Command::new(env!("CARGO_BIN_EXE_watershed"))
        .args([&format!("--config.file={}", second.config_path().display()), &data])
        .arg(format!("--web.listen-address={}", second.address()))
        .output()
        .expect("watershed runs");
    assert!(!output.status.success());
    assert!(text_of(&output).to_lowercase().contains("lock"), "{}", text_of(&output));
    assert_eq!(http::get(&format!("{}/-/healthy", server.url)).expect("an answer").status, 200);
}

#[test]
fn the_health_check_subcommand_tells_by_its_exit_code() {
    let home = Home::new();
    home.write_config(GOOD);
    let server = home.watershed(&[]);
    let url = server.url.clone();
    let up = watershed(&["healthcheck", "--url", &url]);
    assert_eq!(up.status.code(), Some(0), "{}", text_of(&up));
    server.kill();
    let down = watershed(&["healthcheck", "--url", &url]);
    assert_eq!(down.status.code(), Some(1), "{}", text_of(&down));
}
