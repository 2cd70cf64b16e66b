use std::path::Path;
use std::sync::Arc;

use watershed::disk::MemDisk;
use watershed::model::TimestampMs;
use watershed::promql::{Engine, EngineOptions};
use watershed::runtime::Clock;
use watershed::storage::Scope;
use watershed::telemetry::Registry;
use watershed::tsdb::{Deps, Options, Tsdb};

pub fn wal(data: &[u8]) {
    open(&[("wal/00000000", &segment(data))]);
}

pub fn wbl(data: &[u8]) {
    let series = segment(&record(&SERIES));
    open(&[("wal/00000000", &series), ("wbl/00000000", &segment(data))]);
}

pub fn checkpoint(data: &[u8]) {
    open(&[("wal/checkpoint.00000003/00000000", &segment(data)), ("wal/00000004", &[])]);
}

/// The series `a="b"` with number 1, as a record of the log.
const SERIES: [u8; 14] = [1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, b'a', 1, b'b'];

fn record(bytes: &[u8]) -> Vec<u8> {
    [&[0, bytes.len() as u8], bytes].concat()
}

/// The input is a segment as it stands, or, if it begins with 0, records: each one's length and bytes. Without right checksums
/// nothing would be read beyond the first.
fn segment(data: &[u8]) -> Vec<u8> {
    let Some((0, mut rest)) = data.split_first().map(|(first, rest)| (*first, rest)) else { return data.to_vec() };
    let mut out = Vec::new();
    while let Some((length, more)) = rest.split_first() {
        let (record, more) = more.split_at(more.len().min(usize::from(*length)));
        rest = more;
        // Type 1 is a whole record; pages are longer than all of these together.
        out.push(1);
        out.extend((record.len() as u16).to_be_bytes());
        out.extend(crc32c::crc32c(record).to_be_bytes());
        out.extend(record);
    }
    out.truncate(32 << 10);
    out
}

/// Records of a file of head chunks: what stands before the data (series, times, encoding), a length, the data.
pub fn head_chunks(data: &[u8]) {
    const HEAD: usize = 25;
    let mut file = vec![0x01, 0x30, 0xbc, 0x91, 1, 0, 0, 0];
    let mut rest = data;
    while let Some((head, more)) = rest.split_first_chunk::<HEAD>() {
        let Some((length, more)) = more.split_first() else { break };
        let (chunk, more) = more.split_at(more.len().min(usize::from(*length & 0x7f)));
        rest = more;
        let start = file.len();
        file.extend(head);
        file.push(chunk.len() as u8);
        file.extend(chunk);
        file.extend(crc32c::crc32c(&file[start..]).to_be_bytes());
    }
    file.extend(rest);
    open(&[("wal/00000000", &segment(&[&[0], &record(&SERIES)[1..]].concat())), ("chunks_head/000001", &file)]);
}

/// A store opens over any files, answers, and opens again.
fn open(files: &[(&str, &[u8])]) {
    let disk = MemDisk::new();
    let dir = Path::new("/data");
    for (name, content) in files {
        disk.write(&dir.join(name), content);
    }
    for _ in 0..2 {
        let clock = Clock::manual(TimestampMs(1_000_000));
        let deps = Deps { disk: Arc::new(disk.clone()), clock, registry: Registry::new() };
        let Ok((store, _)) = Tsdb::open(dir, Options::default(), deps) else { return };
        let engine = Engine::new(EngineOptions::default());
        for query in ["{__name__=~\".*\",a=~\".+\"}", "count_over_time({a=~\".+\"}[1h])"] {
            if let Ok(query) = engine.instant(query, TimestampMs(1_000_000), None) {
                let scope = Scope::unbounded();
                drop(query.run(&store, &scope));
            }
        }
        let _ = store.close();
    }
}
