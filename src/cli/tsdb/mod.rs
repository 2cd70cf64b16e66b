//! `watershed tsdb`: what `promtool tsdb` does, with its arguments and its output.
//!
//! Directories are only read (see [`ReadOnly`]), except by `create-blocks-from`, which adds blocks to one. A block that
//! cannot be read is told on standard error; the others are shown all the same, and the exit code is 1.

mod analyze;
mod dump;
mod growing;
mod import;
mod input;
mod list;
mod rules;
mod spread;
mod table;
mod text;

use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use crate::disk::RealDisk;
use crate::model::{DurationMs, TimestampMs};
use crate::promql::parse_match;
use crate::storage::{QueryError, Selector, TimeRange};
use crate::tsdb::OpenError;
use crate::tsdb::block::{BlockError, Ulid};
use crate::tsdb::read_only::ReadOnly;

const DEFAULT_DIR: &str = "data/";

/// Look into a data directory, or fill one.
#[derive(Subcommand, Debug)]
pub(super) enum Tsdb {
    /// List the blocks.
    List {
        /// Print times and sizes for people.
        #[arg(short = 'r', long)]
        human_readable: bool,
        /// The data directory.
        #[arg(default_value = DEFAULT_DIR)]
        dir: PathBuf,
    },
    /// Analyze churn, cardinality of labels, and how well chunks are filled.
    Analyze {
        /// How many items each list shows.
        #[arg(long, default_value_t = 20)]
        limit: usize,
        /// Look into the chunks, too.
        #[arg(long)]
        extended: bool,
        /// Only these series.
        #[arg(long = "match", value_name = "SELECTOR", value_parser = selector)]
        selector: Option<Matching>,
        /// The data directory.
        #[arg(default_value = DEFAULT_DIR)]
        dir: PathBuf,
        /// The block; the newest by default.
        block: Option<String>,
    },
    /// Print samples: labels, value, time in milliseconds.
    Dump(Dump),
    /// Print float samples as OpenMetrics text. Native histograms cannot be represented in it and are left out.
    DumpOpenmetrics(Dump),
    /// Make blocks out of samples.
    #[command(subcommand)]
    CreateBlocksFrom(CreateBlocksFrom),
}

/// What to print.
#[derive(Args, Debug)]
pub(super) struct Dump {
    /// Accepted for scripts that were made for promtool; nothing is written anywhere.
    #[arg(long, value_name = "DIR")]
    sandbox_dir_root: Option<PathBuf>,
    /// No samples before, in milliseconds since 1970.
    #[arg(long, value_name = "MS", default_value_t = i64::MIN, allow_hyphen_values = true)]
    min_time: i64,
    /// No samples after, in milliseconds since 1970.
    #[arg(long, value_name = "MS", default_value_t = i64::MAX, allow_hyphen_values = true)]
    max_time: i64,
    /// Only series that this selects; may be given several times.
    #[arg(long = "match", value_name = "SELECTOR", value_parser = selector)]
    selectors: Vec<Matching>,
    /// The data directory.
    #[arg(default_value = DEFAULT_DIR)]
    dir: PathBuf,
}

/// Where the samples of new blocks come from.
#[derive(Subcommand, Debug)]
pub(super) enum CreateBlocksFrom {
    /// Samples with timestamps in OpenMetrics text.
    Openmetrics {
        /// Print times and sizes for people.
        #[arg(short = 'r', long)]
        human_readable: bool,
        /// Do not print the blocks that were made.
        #[arg(short, long)]
        quiet: bool,
        /// A label that every series gets; may be given several times.
        #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
        /// Longest time a block may span; less than 2h is ignored.
        #[arg(long, value_name = "DURATION", default_value = "2h", hide = true)]
        max_block_duration: DurationMs,
        /// The text.
        input: PathBuf,
        /// Where the blocks go.
        #[arg(default_value = DEFAULT_DIR)]
        output: PathBuf,
    },
    /// What recording rules would have recorded: a server evaluates them at times in the past.
    Rules(rules::FromRules),
}

/// A selector and the text that it was written as.
#[derive(Clone, Debug)]
pub(super) struct Matching {
    text: String,
    selector: Selector,
}

fn selector(text: &str) -> Result<Matching, String> {
    let selector = parse_match(text).map_err(|error| error.to_string())?;
    Ok(Matching { text: text.to_owned(), selector })
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Why a subcommand ends early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Block(#[from] BlockError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Import(#[from] import::ImportError),
    #[error("printing: {0}")]
    Print(#[from] io::Error),
    #[error("{0}")]
    Other(String),
}

impl Failure {
    fn other(reason: impl Display) -> Failure {
        Failure::Other(reason.to_string())
    }
}

/// Runs a subcommand.
pub(super) fn run(command: Tsdb) -> ExitCode {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let done = execute(command, &mut out).and_then(|()| Ok(out.flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has gone, such as `head`, has seen enough.
        Err(Failure::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            drop(out.flush());
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Tsdb, out: &mut impl Write) -> Result<(), Failure> {
    match command {
        Tsdb::List { human_readable, dir } => list::run(out, &open(&dir)?, human_readable),
        Tsdb::Analyze { limit, extended, selector, dir, block } => {
            let dir = open(&dir)?;
            let block = analyzed_block(&dir, block.as_deref())?;
            analyze::run(out, &block, selector.as_ref(), limit, extended)
        }
        Tsdb::Dump(dump) => print(out, dump, dump::samples),
        Tsdb::DumpOpenmetrics(dump) => print(out, dump, dump::openmetrics),
        Tsdb::CreateBlocksFrom(CreateBlocksFrom::Openmetrics {
            human_readable,
            quiet,
            labels,
            max_block_duration,
            input,
            output,
        }) => {
            let plan = import::Plan { labels, max_block_duration, output: output.clone() };
            import::run(Arc::new(RealDisk), &input, &plan, &mut printer(out, &output, human_readable, quiet))
        }
        Tsdb::CreateBlocksFrom(CreateBlocksFrom::Rules(from)) => rules::run(out, Arc::new(RealDisk), &from),
    }
}

/// Tells each block that was made, unless nobody wants to know.
fn printer<'a, W: Write>(
    out: &'a mut W,
    output: &'a Path,
    human_readable: bool,
    quiet: bool,
) -> impl FnMut(&crate::tsdb::block::BlockMeta) -> Result<(), Failure> + 'a {
    let mut printer = (!quiet).then(|| list::Printer::new(human_readable));
    move |meta| match &mut printer {
        Some(printer) => printer.print(out, &open(output)?, meta),
        None => Ok(()),
    }
}

fn open(dir: &Path) -> Result<ReadOnly, Failure> {
    Ok(ReadOnly::open(Arc::new(RealDisk), dir)?)
}

fn analyzed_block(dir: &ReadOnly, name: Option<&str>) -> Result<crate::tsdb::block::Block, Failure> {
    let names = dir.block_names()?;
    let ulid = match name {
        Some(name) => {
            let ulid = name.parse::<Ulid>().map_err(Failure::other)?;
            Some(ulid)
                .filter(|ulid| names.contains(ulid))
                .ok_or_else(|| Failure::other(format!("there is no block {ulid}")))?
        }
        None => names.into_iter().max_by_key(|ulid| ulid.time()).ok_or_else(|| Failure::other("no blocks found"))?,
    };
    Ok(dir.block(ulid)?)
}

fn print<W: Write>(
    out: &mut W,
    dump: Dump,
    format: impl FnOnce(&mut W, &ReadOnly, &[Selector], TimeRange) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let dir = open(&dump.dir)?;
    let range = TimeRange { min: TimestampMs(dump.min_time), max: TimestampMs(dump.max_time) };
    let mut selectors: Vec<Selector> = dump.selectors.into_iter().map(|m| m.selector).collect();
    if selectors.is_empty() {
        selectors.push(Selector::new());
    }
    format(out, &dir, &selectors, range)
}
