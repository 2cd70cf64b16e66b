use super::*;
use crate::disk::memory::tests::steps;

const SEEDS: u64 = 300;

fn disk() -> CrashDisk {
    let disk = CrashDisk::new();
    disk.create_dir_all(Path::new("/d/sub")).unwrap();
    disk.sync_all();
    disk
}

fn path(name: &str) -> PathBuf {
    Path::new("/d").join(name)
}

fn policies() -> impl Iterator<Item = CrashPolicy> {
    [CrashPolicy::LoseAll, CrashPolicy::KeepAll].into_iter().chain((0..SEEDS).map(CrashPolicy::Random))
}

/// The different contents that a file may be found with; `None` if it may be gone.
fn outcomes(disk: &CrashDisk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    policies().map(|policy| disk.crash(policy).read(&path(name))).collect()
}

fn some(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(bytes.to_vec())
}

/// A durable file.
fn durable(disk: &CrashDisk, name: &str, content: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.create(&path(name)).unwrap();
    file.append(content).unwrap();
    disk.sync_all();
    file
}

#[test]
fn without_a_crash_it_behaves_as_other_disks_do() {
    let disk = CrashDisk::new();
    let root = Path::new("/data");
    disk.create_dir_all(root).unwrap();
    let expected = (vec!["b".to_owned()], vec!["x".to_owned()], b"ello w!".to_vec());
    assert_eq!(steps(&disk, root), expected);
    assert_eq!(disk.open(Path::new("/data/nothing")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(disk.create(Path::new("/none/x")).unwrap_err().kind(), io::ErrorKind::NotFound);
    let lock = disk.lock(Path::new("/lock")).unwrap();
    assert_eq!(disk.lock(Path::new("/lock")).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(lock);
    disk.lock(Path::new("/lock")).unwrap();
}

#[test]
fn appended_bytes_may_be_lost_kept_or_torn_until_they_are_synced() {
    let disk = disk();
    let file = durable(&disk, "f", b"old");
    let new: Vec<u8> = (0..9000).map(|i| (i % 200) as u8 + 1).collect();
    file.append(&new).unwrap();
    let whole = [b"old", &new[..]].concat();
    assert_eq!(disk.crash(CrashPolicy::LoseAll).read(&path("f")), some(b"old"));
    assert_eq!(disk.crash(CrashPolicy::KeepAll).read(&path("f")), some(&whole));
    assert_eq!(disk.killed().read(&path("f")), some(&whole));
    let found = outcomes(&disk, "f");
    let contents = || found.iter().flatten();
    assert!(contents().all(|c| c.starts_with(b"old") && c.len() <= whole.len()));
    assert!(contents().any(|c| c.len() > 3 && c.len() < whole.len() && whole.starts_with(c)), "a torn end");
    assert!(contents().any(|c| c.len() == whole.len() && c[5000] == 0), "a page of zeros");
    assert!(contents().any(|c| c.len() > 6000 && c[5000] != 0 && c[4096..6000] != whole[4096..6000]), "garbage");
    file.sync().unwrap();
    assert_eq!(outcomes(&disk, "f"), [some(&whole)].into());
}

#[test]
fn a_change_in_the_middle_is_old_or_new_and_what_was_cut_off_may_come_back() {
    let disk = disk();
    let file = durable(&disk, "f", b"abcdef");
    file.write_at(b"XY", 2).unwrap();
    assert_eq!(outcomes(&disk, "f"), [some(b"abcdef"), some(b"abXYef")].into());
    disk.sync_all();
    file.truncate(3).unwrap();
    file.append(b"!").unwrap();
    let found = outcomes(&disk, "f");
    assert!(found.contains(&some(b"abX!")) && found.contains(&some(b"abXYef")), "{found:?}");
    assert!(found.iter().flatten().all(|c| c.starts_with(b"abX") && (4..=6).contains(&c.len())), "{found:?}");
}

#[test]
fn a_new_name_is_there_for_sure_only_after_a_sync_of_its_directory() {
    let disk = disk();
    let file = disk.create(&path("f")).unwrap();
    file.append(b"x").unwrap();
    file.sync().unwrap();
    assert_eq!(outcomes(&disk, "f"), [None, some(b"x")].into());
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(outcomes(&disk, "f"), [None, some(b"x")].into());
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(outcomes(&disk, "f"), [some(b"x")].into());
    disk.remove_file(&path("f")).unwrap();
    assert_eq!(outcomes(&disk, "f"), [None, some(b"x")].into());
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(outcomes(&disk, "f"), [None].into());
}

#[test]
fn a_new_directory_goes_with_all_that_is_in_it() {
    let disk = disk();
    disk.create_dir_all(&path("new")).unwrap();
    let file = disk.create(&path("new/f")).unwrap();
    file.append(b"x").unwrap();
    file.sync().unwrap();
    disk.sync_dir(&path("new")).unwrap();
    assert_eq!(outcomes(&disk, "new/f"), [None, some(b"x")].into());
    disk.sync_dir(Path::new("/d")).unwrap();
    assert_eq!(outcomes(&disk, "new/f"), [some(b"x")].into());
}

#[test]
fn a_rename_replaces_in_one_step_and_brings_along_only_the_content_that_was_synced() {
    let disk = disk();
    durable(&disk, "f", b"old");
    let file = disk.create(&path("new")).unwrap();
    file.append(b"n").unwrap();
    disk.rename(&path("new"), &path("f")).unwrap();
    let found = outcomes(&disk, "f");
    assert!([b"old", &b""[..], b"n"].iter().all(|c| found.contains(&some(c))) && !found.contains(&None), "{found:?}");
    disk.sync_dir(Path::new("/d")).unwrap();
    assert!(!outcomes(&disk, "f").contains(&some(b"old")));
    assert!(outcomes(&disk, "f").contains(&some(b"")), "renamed before its content was there");
    file.sync().unwrap();
    assert_eq!(outcomes(&disk, "f"), [some(b"n")].into());
}

#[test]
fn a_rename_between_directories_never_loses_both_names() {
    for synced in ["", "/d", "/d/sub"] {
        let disk = disk();
        durable(&disk, "f", b"x");
        disk.rename(&path("f"), &path("sub/f")).unwrap();
        if !synced.is_empty() {
            disk.sync_dir(Path::new(synced)).unwrap();
        }
        let there = |disk: &CrashDisk, name| disk.read(&path(name)).is_some();
        let found: BTreeSet<_> =
            policies().map(|p| disk.crash(p)).map(|d| (there(&d, "f"), there(&d, "sub/f"))).collect();
        assert!(!found.contains(&(false, false)), "{synced}");
        assert_eq!(found.contains(&(true, false)), synced.is_empty());
        assert!(found.contains(&(false, true)), "{synced}");
    }
}

#[test]
fn changes_of_names_that_were_not_synced_survive_in_any_combination() {
    let disk = disk();
    ["a", "b"].iter().for_each(|name| drop(durable(&disk, name, b"x")));
    ["a", "b"].iter().for_each(|name| disk.remove_file(&path(name)).unwrap());
    let names: BTreeSet<_> = policies().map(|p| disk.crash(p).list(Path::new("/d")).unwrap()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn every_operation_can_be_the_last() {
    let run = |disk: &CrashDisk| -> io::Result<()> {
        let file = disk.create(&path("t"))?;
        file.append(b"new")?;
        file.sync()?;
        disk.rename(&path("t"), &path("f"))?;
        disk.sync_dir(Path::new("/d"))?;
        file.write_at(b"!", 0)?;
        file.truncate(1)?;
        disk.remove_file(&path("f"))
    };
    let whole = disk();
    let begin = whole.operations();
    run(&whole).unwrap();
    assert_eq!(whole.operations() - begin, 8);
    for number in 0..8 {
        for within in [false, true] {
            let disk = disk();
            let kept = durable(&disk, "kept", b"x");
            let at = disk.operations() + number;
            if within {
                disk.fail_within(at)
            } else {
                disk.fail_after(at)
            }
            run(&disk).unwrap_err();
            // The fourth operation gives it its name and the last one takes it away.
            let done = number + u64::from(within);
            assert_eq!(disk.exists(&path("f")).unwrap(), (4..8).contains(&done), "{number} {within}");
            assert!(kept.append(b"y").is_err() && kept.sync().is_err() && disk.sync_dir(Path::new("/d")).is_err());
            assert!(disk.create(&path("other")).is_err() && disk.remove_file(&path("kept")).is_err());
            assert_eq!(disk.read(&path("kept")), some(b"x"), "reading goes on");
            let again = disk.crash(CrashPolicy::KeepAll);
            again.open(&path("kept")).unwrap().append(b"y").unwrap();
        }
    }
}

/// The usual way of replacing a file survives a crash at each operation; without its sync it does not, which this disk
/// must be able to show.
#[test]
fn replacing_a_file_by_write_sync_rename_is_safe_and_without_the_sync_it_is_not() {
    let replace = |disk: &CrashDisk, sync: bool| -> io::Result<()> {
        let file = disk.create(&path("t"))?;
        file.append(b"new")?;
        if sync {
            file.sync()?;
        }
        disk.rename(&path("t"), &path("f"))?;
        disk.sync_dir(Path::new("/d"))
    };
    for sync in [true, false] {
        let mut found = BTreeSet::new();
        for (number, within) in (0..6).flat_map(|n| [(n, false), (n, true)]) {
            let disk = disk();
            durable(&disk, "f", b"old");
            let at = disk.operations() + number;
            if within {
                disk.fail_within(at)
            } else {
                disk.fail_after(at)
            }
            let done = replace(&disk, sync).is_ok();
            let now = outcomes(&disk, "f");
            assert!(!done || !sync || now == [some(b"new")].into());
            found.extend(now);
        }
        assert_eq!(found == [some(b"old"), some(b"new")].into(), sync, "{found:?}");
    }
}

#[test]
fn removing_a_directory_can_be_interrupted_in_the_middle() {
    let disk = disk();
    ["sub/a", "sub/b"].iter().for_each(|name| drop(durable(&disk, name, b"x")));
    disk.fail_after(disk.operations() + 1);
    assert!(disk.remove_dir_all(&path("sub")).is_err());
    assert_eq!(disk.list(&path("sub")).unwrap(), ["b"]);
}

#[test]
fn a_failed_sync_is_not_made_good_by_a_later_one() {
    let disk = disk();
    let file = durable(&disk, "f", b"old");
    file.append(b"lost").unwrap();
    disk.inject(Operation::Sync, 0, io::ErrorKind::Other);
    file.sync().unwrap_err();
    file.append(b"more").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.read(&path("f")), some(b"oldlostmore"), "the system still shows them");
    assert_eq!(outcomes(&disk, "f"), [some(b"old\0\0\0\0more")].into());
}

#[test]
fn a_single_operation_of_a_kind_can_fail_and_the_disk_can_be_full() {
    let disk = disk();
    let file = durable(&disk, "f", b"");
    disk.inject(Operation::Append, 1, io::ErrorKind::StorageFull);
    file.append(b"one").unwrap();
    file.sync().unwrap();
    assert_eq!(file.append(b"two!").unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.append(b"three").unwrap();
    assert_eq!(disk.read(&path("f")), some(b"onetwthree"), "half of it was written");
    disk.inject(Operation::Rename, 0, io::ErrorKind::PermissionDenied);
    assert!(disk.rename(&path("f"), &path("g")).is_err());
    disk.rename(&path("f"), &path("g")).unwrap();
    disk.set_room(Some(2));
    assert_eq!(file.append(b"abc").unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.create(&path("h")).unwrap_err().kind(), io::ErrorKind::StorageFull);
    disk.set_room(None);
    disk.create(&path("h")).unwrap();
    assert_eq!(disk.read(&path("g")), some(b"onetwthreeab"));
}

#[test]
fn what_a_killed_process_wrote_is_still_not_durable() {
    let disk = disk();
    let file = durable(&disk, "f", b"old");
    file.append(b"!").unwrap();
    disk.fail_after(0);
    let killed = disk.killed();
    assert_eq!(killed.read(&path("f")), some(b"old!"));
    assert_eq!(killed.crash(CrashPolicy::LoseAll).read(&path("f")), some(b"old"));
    killed.open(&path("f")).unwrap().sync().unwrap();
    assert_eq!(killed.crash(CrashPolicy::LoseAll).read(&path("f")), some(b"old!"));
}

#[test]
fn the_same_seed_gives_the_same_crash() {
    let disk = disk();
    let file = durable(&disk, "f", b"old");
    file.append(&[7; 10_000]).unwrap();
    (0..20).for_each(|i| drop(disk.create(&path(&i.to_string())).unwrap()));
    for seed in 0..20 {
        let [a, b] = [(); 2].map(|()| disk.crash(CrashPolicy::Random(seed)));
        assert_eq!(a.read(&path("f")), b.read(&path("f")));
        assert_eq!(a.list(Path::new("/d")).unwrap(), b.list(Path::new("/d")).unwrap());
    }
}
