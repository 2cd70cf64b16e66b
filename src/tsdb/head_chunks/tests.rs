use super::*;
use crate::disk::{CrashDisk, CrashPolicy, Disk, MemDisk, Operation, RealDisk, UnmappedDisk};

const DIR: &str = "/data/chunks_head";

fn open_with(disk: &MemDisk, file_size: u64) -> (HeadChunks, Vec<FoundChunk>, Vec<Damage>) {
    HeadChunks::open(Arc::new(disk.clone()), Path::new(DIR), Options { file_size }).unwrap()
}

fn open(disk: &MemDisk) -> (HeadChunks, Vec<FoundChunk>, Vec<Damage>) {
    open_with(disk, FILE_SIZE)
}

/// The bytes of the chunk that belongs to a number; lengths go over one and two bytes, and over the guess of a read.
fn data(i: u64) -> Vec<u8> {
    let len = [11, 126, 127, 128, 200, 477, 478, 479, 3000][i as usize % 9];
    let mut data: Vec<u8> = (0..len).map(|j| (i * 31 + j) as u8).collect();
    data[..2].copy_from_slice(&(i as u16 + 1).to_be_bytes());
    data
}

fn append(chunks: &HeadChunks, i: u64) -> ChunkPlace {
    let encoding = if i.is_multiple_of(3) { Encoding::Histogram } else { Encoding::Xor };
    chunks.append(i + 1, i as i64 * 10 - 50, i as i64 * 10, encoding, i.is_multiple_of(4), &data(i)).unwrap()
}

/// Whether chunk `i` can be read as it was appended.
fn check(chunks: &HeadChunks, i: u64, place: ChunkPlace) {
    let (encoding, read) = chunks.read(place).unwrap();
    assert_eq!(encoding, if i.is_multiple_of(3) { Encoding::Histogram } else { Encoding::Xor }, "{i}");
    assert_eq!(read, data(i), "{i}");
}

fn file(n: u32) -> std::path::PathBuf {
    Path::new(DIR).join(format!("{n:06}"))
}

/// Three files of some chunks each, and what was found in them.
fn three_files() -> (MemDisk, Vec<FoundChunk>) {
    let disk = MemDisk::new();
    let (chunks, _, _) = open(&disk);
    for i in 0..30 {
        append(&chunks, i);
        if i % 10 == 9 {
            chunks.cut_file();
        }
    }
    chunks.flush().unwrap();
    drop(chunks);
    let (_, found, damage) = open(&disk);
    assert_eq!((found.len(), damage), (30, vec![]));
    (disk, found)
}

#[test]
fn chunks_can_be_read_at_once_and_are_found_in_their_order_after_a_restart() {
    let disk = MemDisk::new();
    let (chunks, found, _) = open_with(&disk, 8000);
    assert!(found.is_empty());
    let mut places = Vec::new();
    for i in 0..100 {
        places.push(append(&chunks, i));
        if i % 7 == 0 {
            chunks.flush().unwrap();
        }
        (0..=i).for_each(|j| check(&chunks, j, places[j as usize]));
    }
    let size = chunks.size();
    chunks.sync().unwrap();
    assert_eq!(chunks.size(), size);
    drop(chunks);
    assert!(places.is_sorted());
    for name in disk.list(Path::new(DIR)).unwrap() {
        assert!(disk.read(&Path::new(DIR).join(name)).unwrap().len() <= 8000);
    }

    let (chunks, found, damage) = open(&disk);
    assert_eq!((damage, chunks.size()), (vec![], size));
    for (i, (chunk, place)) in found.iter().zip(&places).enumerate() {
        let i = i as u64;
        let FoundChunk { series, min, max, samples, out_of_order, .. } = *chunk;
        assert_eq!((series, min, max), (i + 1, i as i64 * 10 - 50, i as i64 * 10));
        assert_eq!((chunk.place, samples, out_of_order), (*place, i as u16 + 1, i.is_multiple_of(4)));
        check(&chunks, i, *place);
    }
    assert_eq!(found.len(), 100);
    let last = places.last().unwrap().file();
    assert_eq!(append(&chunks, 100), ChunkPlace::new(last + 1, HEADER as u64), "a new file is begun");
}

#[test]
fn opening_without_appending_writes_nothing() {
    let (disk, _) = three_files();
    open(&disk);
    open(&disk);
    assert_eq!(disk.list(Path::new(DIR)).unwrap(), ["000001", "000002", "000003"]);
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let disk = MemDisk::new();
    let (chunks, _, _) = open(&disk);
    let place = chunks.append(0x0102, -2, 3, Encoding::Xor, true, &[0, 1, 9]).unwrap();
    chunks.flush().unwrap();
    assert_eq!(place, ChunkPlace(1 << 32 | 8));
    let mut expected = vec![0x01, 0x30, 0xBC, 0x91, 1, 0, 0, 0];
    expected.extend([0, 0, 0, 0, 0, 0, 1, 2]);
    expected.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]);
    expected.extend([0, 0, 0, 0, 0, 0, 0, 3]);
    expected.extend([0x81, 3, 0, 1, 9]);
    expected.extend(crc32c::crc32c(&expected[8..]).to_be_bytes());
    assert_eq!(disk.read(&file(1)).unwrap(), expected);
}

#[test]
fn truncation_removes_whole_files_from_the_front_and_pinned_ones_stay_readable() {
    let (disk, found) = three_files();
    let (chunks, _, _) = open(&disk);
    let place = append(&chunks, 30);
    let pinned = chunks.pin();
    chunks.truncate(3).unwrap();
    assert_eq!(disk.list(Path::new(DIR)).unwrap(), ["000003", "000004"]);
    assert_eq!(pinned.read(found[0].place).unwrap().1, data(0));
    assert!(chunks.read(found[0].place).is_err());
    check(&chunks, 25, found[25].place);
    chunks.truncate(u32::MAX).unwrap();
    check(&chunks, 30, place);
    chunks.cut_file();
    let later = append(&chunks, 31);
    assert_eq!(later.file(), 5);
    assert_eq!(pinned.read(later).unwrap().1, data(31));
    chunks.truncate(u32::MAX).unwrap();
    assert_eq!(disk.list(Path::new(DIR)).unwrap(), ["000005"]);
}

#[test]
fn zeros_up_to_the_length_that_prometheus_gives_to_new_files_are_the_end() {
    let (disk, found) = three_files();
    for n in [2, 3] {
        let mut bytes = disk.read(&file(n)).unwrap();
        bytes.resize(128 << 10, 0);
        disk.write(&file(n), &bytes);
    }
    let (chunks, again, damage) = open(&disk);
    assert_eq!((&again, damage), (&found, vec![]));
    check(&chunks, 29, found[29].place);
    let last = disk.open(&file(3)).unwrap();
    last.write_at(&[1], (128 << 10) - 1).unwrap();
    assert_eq!(open(&disk).2.len(), 1, "something stands behind the zeros");
}

/// A page of zeros in an earlier file looked like its end, and the records behind it were missed in silence.
#[test]
fn other_zeros_are_pages_that_never_reached_the_disk() {
    for zeros in [1, 23, 24, 33, 34, 1000, 2 << 20] {
        for n in [2, 3] {
            let (disk, found) = three_files();
            let mut bytes = disk.read(&file(n)).unwrap();
            bytes.resize(bytes.len() + zeros, 0);
            disk.write(&file(n), &bytes);
            let (_, again, damage) = open(&disk);
            let kept = if n == 3 { 30 } else { 10 };
            assert_eq!((&again[..], damage.len()), (&found[..kept], 1), "{zeros} in {n}");
        }
    }
}

#[test]
fn a_torn_end_of_the_last_file_is_cut_off_at_any_byte() {
    let (disk, found) = three_files();
    let bytes = disk.read(&file(3)).unwrap();
    for cut in 0..bytes.len() {
        let disk = disk.fork();
        disk.write(&file(3), &bytes[..cut]);
        let (chunks, again, damage) = open(&disk);
        let whole = found.iter().take_while(|c| c.place.file() < 3 || end_of(c) <= cut as u64).count();
        assert_eq!(again, found[..whole], "{cut}");
        // A cut between records is none that anyone could see.
        let rest = again.last().filter(|c| c.place.file() == 3).map_or(HEADER, |c| end_of(c) as usize);
        let clean = cut == rest;
        assert_eq!(damage.len(), usize::from(!clean), "{cut}: {damage:?}");
        assert!(damage.iter().all(|d| d.path == file(3)));
        again.iter().enumerate().for_each(|(i, c)| check(&chunks, i as u64, c.place));
        append(&chunks, 7);
        chunks.flush().unwrap();
        let (_, after, damage) = open(&disk);
        assert_eq!((after.len(), damage), (whole + 1, vec![]), "{cut}: sound again");
    }
}

fn end_of(chunk: &FoundChunk) -> u64 {
    let mut record = Vec::new();
    push_found(&mut record, chunk);
    chunk.place.offset() + record.len() as u64
}

fn push_found(out: &mut Vec<u8>, chunk: &FoundChunk) {
    record::push(out, chunk, &data(chunk.series - 1));
}

#[test]
fn damage_in_an_earlier_file_sets_it_aside_with_all_behind_it() {
    let (disk, found) = three_files();
    let bytes = disk.read(&file(2)).unwrap();
    for at in (0..bytes.len()).filter(|at| !(5..8).contains(at)) {
        let disk = disk.fork();
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        disk.write(&file(2), &flipped);
        let (chunks, again, damage) = open(&disk);
        assert_eq!(again, found[..10], "{at}");
        assert_eq!((damage.len(), &damage[0].path), (1, &file(2)), "{at}");
        assert!(damage[0].offset <= at as u64, "{at}: {damage:?}");
        assert_eq!(disk.list(Path::new("/data/quarantine")).unwrap(), ["chunks_head-000002", "chunks_head-000003"]);
        assert_eq!(disk.read(Path::new("/data/quarantine/chunks_head-000002")).unwrap(), flipped);
        assert_eq!(append(&chunks, 7).file(), 2);
    }
}

#[test]
fn a_record_that_rots_while_it_is_open_is_refused_at_the_read() {
    let (disk, found) = three_files();
    let bytes = disk.read(&file(1)).unwrap();
    let target = disk.open(&file(1)).unwrap();
    for at in HEADER..bytes.len() {
        // Opened anew each time, because what was read once may be kept.
        let (chunks, _, _) = open(&disk);
        target.write_at(&[bytes[at] ^ 0x40], at as u64).unwrap();
        for (i, chunk) in found[..10].iter().enumerate() {
            let hit = (chunk.place.offset()..end_of(chunk)).contains(&(at as u64));
            match chunks.read(chunk.place) {
                Ok((_, read)) => assert!(!hit && read == data(i as u64), "{at}: chunk {i}"),
                Err(error) => assert!(hit && error.to_string().contains("000001"), "{at}: chunk {i}: {error}"),
            }
        }
        target.write_at(&bytes[at..=at], at as u64).unwrap();
    }
}

#[test]
fn a_gap_between_files_ends_what_is_used() {
    let (disk, found) = three_files();
    disk.remove_file(&file(2)).unwrap();
    let (_, again, damage) = open(&disk);
    assert_eq!(again, found[..10]);
    assert_eq!((&damage[0].path, &*damage[0].reason), (&file(3), "the file 000002 before it is missing"));
    assert_eq!(disk.list(Path::new("/data/quarantine")).unwrap(), ["chunks_head-000003"]);
}

#[test]
fn files_of_another_version_or_with_unknown_encodings_are_set_aside_unchanged() {
    let (disk, _) = three_files();
    let bytes = disk.read(&file(3)).unwrap();
    let mut version = bytes.clone();
    version[4] = 2;
    let mut encoding = bytes[..8].to_vec();
    record::push(&mut encoding, &FoundChunk { encoding: Encoding::Xor, ..three_files().1[0] }, &data(0));
    encoding[32] = 99;
    let end = encoding.len() - 4;
    let sum = crc32c::crc32c(&encoding[8..end]);
    encoding[end..].copy_from_slice(&sum.to_be_bytes());
    for (content, told) in [(version, "version 2 "), (encoding, "encoding 99 ")] {
        let disk = disk.fork();
        disk.write(&file(3), &content);
        let (_, found, damage) = open(&disk);
        assert_eq!(found.len(), 20);
        assert!(damage[0].reason.contains(told), "{damage:?}");
        assert_eq!(disk.read(Path::new("/data/quarantine/chunks_head-000003")).unwrap(), content);
    }
}

#[test]
fn a_full_disk_loses_no_chunk_and_appending_goes_on_when_space_returns() {
    for room in 0..400 {
        let disk = MemDisk::new();
        let (chunks, _, _) = open_with(&disk, 1000);
        let mut places = vec![(0, append(&chunks, 0))];
        chunks.flush().unwrap();
        disk.set_room(Some(room));
        let mut failed = false;
        for i in 1..20 {
            let chunk = FoundChunk { series: i + 1, ..three_files_chunk() };
            match chunks.append(chunk.series, 0, 0, Encoding::Xor, false, &data(i)) {
                Ok(place) => places.push((i, place)),
                Err(_) => failed = true,
            }
            failed |= chunks.flush().is_err();
            places.iter().for_each(|(i, place)| assert_eq!(chunks.read(*place).unwrap().1, data(*i), "{room}"));
        }
        assert!(failed, "{room}");
        disk.set_room(None);
        places.push((20, append(&chunks, 20)));
        chunks.sync().unwrap();
        drop(chunks);
        let (chunks, found, damage) = open(&disk);
        assert_eq!((found.len(), damage), (places.len(), vec![]), "{room}");
        places.iter().for_each(|(i, place)| assert_eq!(chunks.read(*place).unwrap().1, data(*i), "{room}"));
    }
}

fn three_files_chunk() -> FoundChunk {
    FoundChunk {
        series: 1,
        place: ChunkPlace(0),
        min: 0,
        max: 0,
        samples: 0,
        encoding: Encoding::Xor,
        out_of_order: false,
    }
}

#[test]
fn chunks_of_real_files_are_read_alike_with_and_without_mapping() {
    for disk in [Arc::new(RealDisk) as Arc<dyn Disk>, Arc::new(UnmappedDisk)] {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let options = Options { file_size: 3 << 20 };
            HeadChunks::open(disk.clone(), &dir.path().join(HEAD_CHUNKS_DIR), options).unwrap().0
        };
        let chunks = open();
        // Over two files, and over several steps of mapping in each.
        let places: Vec<_> = (0..8_000).map(|i| (i, append(&chunks, i))).collect();
        let kept: Vec<_> = places.iter().step_by(97).map(|(i, place)| (*i, chunks.read(*place).unwrap().1)).collect();
        places.iter().rev().for_each(|(i, place)| check(&chunks, *i, *place));
        chunks.sync().unwrap();
        places.iter().for_each(|(i, place)| check(&chunks, *i, *place));
        assert_eq!(places.last().unwrap().1.file(), 2);
        chunks.cut_file();
        append(&chunks, 1);
        chunks.truncate(3).unwrap();
        kept.iter().for_each(|(i, bytes)| assert_eq!(*bytes, data(*i)));
        drop(chunks);
        assert_eq!(open().pin().files.len(), 1);
    }
}

#[test]
fn places_that_lead_nowhere_are_told() {
    let (disk, found) = three_files();
    let (chunks, _, _) = open(&disk);
    append(&chunks, 1);
    let last = found[29];
    let wrong =
        [0, 1 << 32, 1 << 32 | 7, last.place.0 + 1, 3 << 32 | end_of(&last), 4 << 32 | 9, 9 << 32 | 8, u64::MAX];
    for place in wrong {
        assert!(chunks.read(ChunkPlace(place)).is_err(), "{place:x}");
    }
}

#[test]
fn many_threads_append_and_read_at_once() {
    let disk = MemDisk::new();
    let (chunks, _, _) = open_with(&disk, 50_000);
    std::thread::scope(|scope| {
        for t in 0..4u64 {
            let chunks = &chunks;
            scope.spawn(move || {
                for i in (t * 1000..).take(200) {
                    let place = append(chunks, i);
                    if i % 5 == 0 {
                        chunks.sync().unwrap();
                    }
                    check(chunks, i, place);
                }
            });
        }
    });
    chunks.flush().unwrap();
    assert_eq!(open(&disk).1.len(), 800);
}

/// Appends, syncs and truncates; says which series' chunks are synced.
fn run(disk: &CrashDisk, synced: &mut Vec<u64>) -> Result<(), Box<dyn std::error::Error>> {
    let options = Options { file_size: 3000 };
    let (chunks, found, _) = HeadChunks::open(Arc::new(disk.clone()), Path::new(DIR), options)?;
    *synced = found.iter().map(|chunk| chunk.series).collect();
    for i in 0..24 {
        let place = chunks.append(i + 1, 0, 0, Encoding::Xor, false, &data(i))?;
        if i % 5 == 4 {
            chunks.sync()?;
            *synced = (1..=i + 1).collect();
        }
        if i % 11 == 10 {
            chunks.truncate(place.file() - 1)?;
        }
    }
    Ok(())
}

#[test]
fn a_crash_at_any_operation_keeps_what_was_synced_and_leaves_no_gap() {
    let fresh = || {
        let disk = CrashDisk::new();
        disk.create_dir_all(Path::new("/data")).unwrap();
        disk.sync_all();
        disk
    };
    let whole = fresh();
    run(&whole, &mut Vec::new()).unwrap();
    assert!(whole.operations() > 30);
    for at in 0..=whole.operations() {
        let disk = fresh();
        disk.fail_within(at);
        let mut synced = Vec::new();
        let _ = run(&disk, &mut synced);
        let policies = [CrashPolicy::LoseAll, CrashPolicy::KeepAll].into_iter();
        for policy in policies.chain((0..20).map(CrashPolicy::Random)) {
            let what = format!("operation {at}, {policy:?}");
            let disk = disk.crash(policy);
            let (chunks, found, _) =
                HeadChunks::open(Arc::new(disk.clone()), Path::new(DIR), Options::default()).unwrap();
            for chunk in &found {
                assert_eq!(chunks.read(chunk.place).unwrap().1, data(chunk.series - 1), "{what}");
            }
            let first = found.first().map_or(0, |chunk| chunk.series);
            let kept = |series: u64| series < first || found.iter().any(|chunk| chunk.series == series);
            assert!(synced.iter().all(|s| kept(*s)), "{what}: {synced:?} {found:?}");
            assert!(found.iter().zip(found.iter().skip(1)).all(|(a, b)| a.series + 1 == b.series), "{what}");
            let numbers: Vec<u32> =
                disk.list(Path::new(DIR)).unwrap().iter().map(|name| name.parse().unwrap()).collect();
            assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{what}: {numbers:?}");
            chunks.append(1, 0, 0, Encoding::Xor, false, &data(0)).unwrap();
            chunks.sync().unwrap();
            let again = HeadChunks::open(Arc::new(disk), Path::new(DIR), Options::default()).unwrap();
            assert_eq!((again.1.len(), again.2), (found.len() + 1, vec![]), "{what}");
        }
    }
}

#[test]
fn after_a_failed_sync_nothing_is_written_and_everything_is_read() {
    let disk = CrashDisk::new();
    let open = || HeadChunks::open(Arc::new(disk.clone()), Path::new(DIR), Options::default()).unwrap();
    let (chunks, _, _) = open();
    let place = append(&chunks, 0);
    disk.inject(Operation::Sync, 0, std::io::ErrorKind::Other);
    chunks.sync().unwrap_err();
    let refused = chunks.append(2, 0, 0, Encoding::Xor, false, &data(1)).unwrap_err();
    assert!(refused.to_string().contains("nothing is written since a sync has failed"), "{refused}");
    chunks.sync().unwrap_err();
    check(&chunks, 0, place);
    drop(chunks);
    let (chunks, found, _) = open();
    assert_eq!(found.len(), 1);
    append(&chunks, 1);
    chunks.sync().unwrap();
}
