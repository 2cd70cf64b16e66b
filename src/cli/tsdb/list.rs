//! `watershed tsdb list`.

use std::io::Write;

use super::Failure;
use super::table;
use super::text::{binary_size, go_duration, utc};
use crate::tsdb::block::{Block, BlockMeta};
use crate::tsdb::read_only::ReadOnly;

const HEADER: [&str; 8] =
    ["BLOCK ULID", "MIN TIME", "MAX TIME", "DURATION", "NUM SAMPLES", "NUM CHUNKS", "NUM SERIES", "SIZE"];

pub(super) fn run(out: &mut impl Write, dir: &ReadOnly, human_readable: bool) -> Result<(), Failure> {
    let (blocks, broken) = dir.blocks()?;
    let rows: Vec<_> = [header()].into_iter().chain(blocks.iter().map(|b| row(b, human_readable))).collect();
    table::print(out, &rows)?;
    if broken.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = broken.iter().map(|b| format!("block {} cannot be read: {}", b.ulid, b.error)).collect();
    Err(Failure::Other(told.join("\n")))
}

/// Prints blocks one by one as they are made; the header comes with the first.
pub(super) struct Printer {
    human_readable: bool,
    begun: bool,
}

impl Printer {
    pub(super) fn new(human_readable: bool) -> Printer {
        Printer { human_readable, begun: false }
    }

    pub(super) fn print(&mut self, out: &mut impl Write, dir: &ReadOnly, meta: &BlockMeta) -> Result<(), Failure> {
        let row = row(&dir.block(meta.ulid)?, self.human_readable);
        let rows = if self.begun { vec![row] } else { vec![header(), row] };
        self.begun = true;
        table::print(out, &rows)?;
        // Making the next one can take long.
        Ok(out.flush()?)
    }
}

fn header() -> Vec<String> {
    HEADER.iter().map(|&cell| cell.to_owned()).collect()
}

fn row(block: &Block, human_readable: bool) -> Vec<String> {
    let (meta, size) = (block.meta(), block.size());
    let time = |ms: i64| if human_readable { utc(ms) } else { ms.to_string() };
    vec![
        meta.ulid.to_string(),
        time(meta.min_time),
        time(meta.max_time),
        go_duration(meta.max_time.wrapping_sub(meta.min_time)),
        meta.stats.num_samples.to_string(),
        meta.stats.num_chunks.to_string(),
        meta.stats.num_series.to_string(),
        if human_readable { binary_size(size) } else { size.to_string() },
    ]
}
