//! Targets in JSON or YAML files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::super::merge::Context;
use super::super::{FileSdConfig, TargetGroup, groups};

/// A larger file is taken for a mistake.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// A change is mostly several events (written, renamed, closed); so long they are collected.
const SETTLE: Duration = Duration::from_millis(50);

/// Reads the files until the job stops: at every change that the system tells, and at every refresh interval because
/// not every file system tells.
pub(in super::super) async fn run(config: FileSdConfig, context: Context) {
    let mut files = Files { config, context, known: BTreeMap::new(), failing: BTreeSet::new() };
    // One place is enough: a waiting event already means that everything is read again.
    let (sender, mut events) = mpsc::channel(1);
    let mut watcher = files.watcher(sender);
    let stop = files.context.stop.clone();
    let mut ticks = tokio::time::interval(super::interval_of(files.config.refresh_interval));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(()) = events.recv() => {
                tokio::select! { () = tokio::time::sleep(SETTLE) => {}, () = stop.cancelled() => return }
                while events.try_recv().is_ok() {}
            }
            () = stop.cancelled() => return,
        }
        // First the watch, then the reading: what changes in between is read twice and never missed.
        files.watch(&mut watcher);
        files.refresh();
    }
}

struct Files {
    config: FileSdConfig,
    context: Context,
    /// The groups of every file that matched last time.
    known: BTreeMap<PathBuf, Vec<TargetGroup>>,
    /// Directories that cannot be watched, so that this is logged once.
    failing: BTreeSet<PathBuf>,
}

impl Files {
    fn watcher(&self, sender: mpsc::Sender<()>) -> Option<RecommendedWatcher> {
        let on_event = move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |e| is_change(&e.kind)) {
                // Full means that a refresh is due anyway, closed that nobody wants it.
                let _ = sender.try_send(());
            }
        };
        notify::recommended_watcher(on_event)
            .inspect_err(|error| {
                tracing::warn!(job = %self.context.job, %error, "cannot watch target files, reading them at every refresh interval only");
            })
            .ok()
    }

    /// Watches the directories, not the files: files are replaced by renaming. Repeated because a directory may come
    /// later or be replaced too.
    fn watch(&mut self, watcher: &mut Option<RecommendedWatcher>) {
        let Some(watcher) = watcher else { return };
        let directories: BTreeSet<_> = self.config.files.iter().map(|p| directory(p)).collect();
        for directory in directories {
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.failing.remove(&directory);
                }
                Err(error) => {
                    if self.failing.insert(directory.clone()) {
                        tracing::warn!(job = %self.context.job, directory = %directory.display(), %error, "cannot watch the directory of target files");
                    }
                }
            }
        }
    }

    /// Reads everything; a file that cannot be read keeps its last groups, one that is gone loses them. Reads
    /// synchronously: the files are local and small.
    fn refresh(&mut self) {
        self.context.refreshes.inc();
        let mut found = BTreeMap::new();
        for path in self.config.files.iter().flat_map(|pattern| expand(pattern)) {
            let groups = read(&path).unwrap_or_else(|error| {
                self.context.failures.inc();
                tracing::error!(job = %self.context.job, path = %path.display(), %error, "cannot use the target file, keeping its last targets");
                self.known.get(&path).cloned().unwrap_or_default()
            });
            found.insert(path, groups);
        }
        self.known = found;
        self.context.sink.publish(self.known.values().flatten().cloned().collect());
    }
}

/// Our own reading is an event too; only what may have changed a file's content counts.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(access) => matches!(access, AccessKind::Close(AccessMode::Write)),
        EventKind::Modify(ModifyKind::Metadata(_)) => false,
        _ => true,
    }
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// The existing files that a pattern names, in order.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let Some(name) = pattern.file_name().map(|n| n.to_string_lossy().into_owned()) else { return Vec::new() };
    if !name.contains('*') {
        return if pattern.symlink_metadata().is_ok() { vec![pattern.to_owned()] } else { Vec::new() };
    }
    let Ok(entries) = std::fs::read_dir(directory(pattern)) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter(|entry| matches(&name, &entry.file_name().to_string_lossy()))
        // With the pattern's own spelling of the directory, because the path becomes a label.
        .map(|entry| pattern.with_file_name(entry.file_name()))
        .collect();
    found.sort();
    found
}

/// Whether `name` is `pattern` with every `*` standing for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    // The last part must be at the end; the ones between are taken as early as possible.
    let Some(last) = parts.pop() else { return true };
    for part in parts {
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    name.ends_with(last)
}

fn read(path: &Path) -> Result<Vec<TargetGroup>, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|e| e.to_string())?;
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    let origin = path.to_string_lossy();
    let meta = ("__meta_filepath", &*origin);
    match path.extension().map(|e| e.to_ascii_lowercase()) {
        Some(extension) if extension == "json" => groups::from_json(text.as_bytes(), &origin, meta),
        Some(extension) if extension == "yml" || extension == "yaml" => groups::from_yaml(&text, &origin, meta),
        _ => Err("its name ends neither in .json nor in .yml or .yaml".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DurationMs;
    use crate::runtime::Tasks;
    use crate::telemetry::{Counter, Registry};

    struct Running {
        dir: tempfile::TempDir,
        tasks: Tasks,
        failures: Counter,
        refreshes: Counter,
    }

    /// Starts file discovery on `patterns` in a new directory with an interval that never passes in a test, so that
    /// only the system's events can cause a refresh.
    fn start(patterns: &[&str]) -> (Running, impl Fn() -> Vec<String>) {
        let dir = tempfile::tempdir().expect("a directory");
        let (tasks, registry) = (Tasks::new(), Registry::new());
        let (context, published) = Context::test(&tasks, &registry);
        let (failures, refreshes) = (context.failures.clone(), context.refreshes.clone());
        let files = patterns.iter().map(|p| dir.path().join(p)).collect();
        let config = FileSdConfig { files, refresh_interval: DurationMs(3_600_000) };
        tasks.spawn("file", run(config, context));
        let addresses = move || {
            let groups = published();
            groups.iter().flat_map(|g| &g.targets).map(|t| t.get("__address__").unwrap_or("").to_owned()).collect()
        };
        (Running { dir, tasks, failures, refreshes }, addresses)
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn files_come_change_break_heal_and_go_without_waiting_for_the_interval() {
        let (running, addresses) = start(&["*.json", "fixed.yml"]);
        until(|| running.refreshes.get() == 1).await;
        let path = |name: &str| running.dir.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("write");
        write("a.json", r#"[{"targets":["a:1"]}]"#);
        until(|| addresses() == ["a:1"]).await;
        write("fixed.yml", "- targets: ['y:1']\n");
        write("other.yml", "- targets: ['no:1']\n");
        until(|| addresses() == ["a:1", "y:1"]).await;
        write("a.json", r#"[{"targets":["a:2"]}"#);
        until(|| running.failures.get() > 0).await;
        assert_eq!(addresses(), ["a:1", "y:1"], "a broken file keeps its last targets");
        write("new", r#"[{"targets":["a:3","a:4"]}]"#);
        std::fs::rename(path("new"), path("a.json")).expect("rename");
        until(|| addresses() == ["a:3", "a:4", "y:1"]).await;
        std::fs::remove_file(path("a.json")).expect("remove");
        until(|| addresses() == ["y:1"]).await;
        assert!(running.tasks.shutdown(Duration::from_secs(10)).await);
    }

    #[tokio::test]
    async fn reading_a_file_does_not_cause_another_reading() {
        let (running, addresses) = start(&["a.json"]);
        std::fs::write(running.dir.path().join("a.json"), r#"[{"targets":["a:1"]}]"#).expect("write");
        until(|| addresses() == ["a:1"]).await;
        let before = running.refreshes.get();
        for _ in 0..20 {
            std::fs::read(running.dir.path().join("a.json")).expect("read");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The write above may still have been worth one more.
        assert!(running.refreshes.get() <= before + 1, "{} after {before}", running.refreshes.get());
    }

    #[test]
    fn the_path_becomes_label_and_source() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.YAML");
        std::fs::write(&path, "- targets: [a]\n").expect("write");
        let groups = read(&path).expect("good");
        let text = path.to_string_lossy();
        assert_eq!(groups[0].labels.get("__meta_filepath"), Some(&*text));
        assert_eq!(groups[0].source, format!("{text}:0"));
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("*.json", "a.json", true),
            ("*.json", ".json", true),
            ("*.json", "a.jsonx", false),
            ("a*b*c.yml", "axxbyyc.yml", true),
            ("a*b*c.yml", "ac.yml", false),
            ("ab*ba.yml", "aba.yml", false),
            ("plain.yml", "plain.yml", true),
            ("**.yml", "x.yml", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
