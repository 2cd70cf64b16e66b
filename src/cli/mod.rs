//! Flags and subcommands. Running without a subcommand serves, as `prometheus` does, under the same flag names.
//!
//! Nothing here knows how a component works: a subcommand parses its arguments, calls one module and turns the outcome
//! into text and an exit code.

mod check;
mod debug;
mod demo;
mod families;
mod flags;
mod http;
mod lint;
mod push;
mod query;
mod serve;
mod tsdb;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::model::DurationMs;
pub use flags::ServeFlags;
#[doc(hidden)]
pub use push::messages as pushed_messages;
#[doc(hidden)]
pub use query::print_answer;

/// A Prometheus-compatible agent that federates many sites as one.
#[derive(Parser, Debug)]
#[command(name = "watershed", version, args_conflicts_with_subcommands = true, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    serve: ServeFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Check files before they are used.
    #[command(subcommand)]
    Check(Check),
    /// Fetch what a server says of itself into debug.tar.gz; as promtool does.
    #[command(subcommand)]
    Debug(debug::Debug),
    /// Show the main job on this machine: two edge sites and a centre that federates from both.
    Demo {
        /// Stop after so long, print a summary, and exit 0 only if both sites delivered.
        #[arg(long = "for", value_name = "DURATION")]
        run_for: Option<DurationMs>,
    },
    /// The same as `check healthy`, under the name that container health checks have.
    Healthcheck(Which),
    /// Send samples to a server; as promtool does.
    #[command(subcommand)]
    Push(Push),
    /// Ask any server that speaks Prometheus's query API; as promtool does, or as a chart.
    Query(query::Query),
    /// Look into a data directory, or fill one; as promtool does.
    #[command(subcommand)]
    Tsdb(tsdb::Tsdb),
}

#[derive(Subcommand, Debug)]
enum Push {
    /// Send metrics of files or of standard input to a receiver of remote write, for trying things out.
    Metrics(push::Push),
}

/// Which server to ask.
#[derive(Args, Debug)]
struct Which {
    /// The server's URL.
    #[arg(long, value_name = "URL", default_value = "http://localhost:9090")]
    url: String,
    /// Credentials and TLS of the connection, as a YAML file.
    #[arg(long = "http.config.file", value_name = "FILE")]
    http_config: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum Check {
    /// Check that a server is healthy.
    Healthy(Which),
    /// Check that a server is ready.
    Ready(Which),
    /// Say what is unusual about metrics on standard input. Exit code 0: nothing; 1: they cannot be read; 3: something.
    Metrics {
        /// Also print how many series each metric has.
        #[arg(long)]
        extended: bool,
        /// Which remarks are made.
        #[arg(long, value_enum, default_value = "all")]
        lint: check::MetricLint,
    },
    /// Check config files. Exit code 0: good; 1: refused; 3: good, but with warnings and --lint-fatal.
    Config {
        /// Treat warnings (settings that this version accepts without acting on them) as fatal.
        #[arg(long)]
        lint_fatal: bool,
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Check web config files and the certificates that they name. Exit code 0: good; 1: refused.
    WebConfig {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

impl Which {
    fn is(&self, path: &str) -> ExitCode {
        check::server(&self.url, path, self.http_config.as_deref())
    }
}

/// Parses the command line, runs it and says how the process shall end. Usage mistakes end with 2.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match Cli::command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version also come this way; there is nobody to tell if even this cannot be printed.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => {
            drop(error.print());
            return ExitCode::from(2);
        }
    };
    match cli.command {
        None => serve::run(cli.serve, flags::values(&Cli::command(), &matches)),
        Some(Command::Check(Check::Config { lint_fatal, files })) => check::config(&files, lint_fatal),
        Some(Command::Healthcheck(which) | Command::Check(Check::Healthy(which))) => which.is("/-/healthy"),
        Some(Command::Check(Check::Ready(which))) => which.is("/-/ready"),
        Some(Command::Check(Check::Metrics { extended, lint })) => check::metrics(extended, lint),
        Some(Command::Debug(debug)) => debug::run(&debug),
        Some(Command::Push(Push::Metrics(push))) => push::run(push),
        Some(Command::Check(Check::WebConfig { files })) => check::web_config(&files),
        Some(Command::Demo { run_for }) => demo::run(run_for),
        Some(Command::Query(query)) => query::run(query),
        Some(Command::Tsdb(command)) => tsdb::run(command),
    }
}

/// Prints a line for people. A reader that has gone, such as `head`, is no reason to fail.
fn say(line: impl std::fmt::Display) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_have_prometheus_names_and_durations() {
        let cli = Cli::try_parse_from([
            "watershed",
            "--config.file=a.yml",
            "--storage.tsdb.retention.time=1d12h",
            "--web.listen-address=127.0.0.1:1",
            "--web.listen-address=127.0.0.1:2",
            "--enable-feature=st-storage,xor2-encoding",
            "--enable-feature",
            "exemplar-storage",
        ])
        .unwrap();
        assert_eq!(cli.serve.retention_time, DurationMs::from_secs(36 * 3600));
        assert_eq!(cli.serve.listen.len(), 2);
        assert_eq!(cli.serve.enable_feature, ["st-storage,xor2-encoding", "exemplar-storage"]);
        assert!(Cli::try_parse_from(["watershed", "--web.listen-adress=x"]).is_err());
    }
}
