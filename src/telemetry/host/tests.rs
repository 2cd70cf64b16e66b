//! The exporter on this machine, and side by side with the real one.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::write_metrics;

/// Series (name and labels in order) with their values.
type Series = BTreeMap<(String, BTreeMap<String, String>), f64>;

fn series(text: &str) -> Series {
    let mut found = Series::new();
    for line in text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let mut rest = labels.strip_suffix('}').expect("closed labels");
        let mut pairs = BTreeMap::new();
        while let Some((label, tail)) = rest.split_once("=\"") {
            let end = (0..tail.len()).find(|i| tail[*i..].starts_with('"') && !tail[..*i].ends_with('\\'));
            let end = end.expect("a closed value");
            pairs.insert(label.trim_start_matches(',').to_owned(), tail[..end].to_owned());
            rest = &tail[end + 1..];
        }
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(found.insert((name.to_owned(), pairs), value).is_none(), "twice: {line}");
    }
    found
}

fn ours() -> String {
    let mut text = String::new();
    write_metrics(&mut text);
    text
}

#[test]
fn every_family_has_its_head_once_and_before_its_samples() {
    let text = ours();
    let mut current = "";
    let mut seen = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            current = rest.split(' ').next().expect("a name");
            assert!(!seen.contains(&current), "{current} has two heads");
            seen.push(current);
        } else if !line.starts_with('#') {
            assert_eq!(line.split(['{', ' ']).next(), Some(current));
        }
    }
    let count = series(&text).len();
    assert!(count > 100, "only {count} series");
    for name in
        ["node_cpu_seconds_total", "node_memory_MemTotal_bytes", "node_load1", "node_network_receive_bytes_total"]
    {
        assert!(seen.contains(&name), "{name} is missing");
    }
}

struct NodeExporter {
    child: Child,
    port: u16,
}

impl Drop for NodeExporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl NodeExporter {
    fn start() -> Option<NodeExporter> {
        // The place where `tests/peers.sh` puts what it fetches.
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let cache = std::env::var_os("WATERSHED_PEERS").map_or_else(|| top.join("target/peers"), |dir| top.join(dir));
        let exporter = cache.join("root/usr/bin/prometheus-node-exporter");
        if !exporter.is_file() {
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address").port();
        let child = Command::new(exporter)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            // The project's own default; Debian's hides more.
            .arg("--collector.filesystem.mount-points-exclude=^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the node exporter that was fetched starts");
        Some(NodeExporter { child, port })
    }

    fn scrape(&mut self) -> String {
        loop {
            assert_eq!(self.child.try_wait().expect("a state"), None, "the node exporter has ended");
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
                std::thread::sleep(std::time::Duration::from_millis(20));
                continue;
            };
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("a request");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            return answer.split_once("\r\n\r\n").expect("a body").1.to_owned();
        }
    }
}

/// Without `node_filesystem_readonly`, which the other side shows as 0 for a mount with more options than just `ro`.
const CONSTANT: [&str; 11] = [
    "node_boot_time_seconds",
    "node_filefd_maximum",
    "node_filesystem_device_error",
    "node_filesystem_files",
    "node_filesystem_size_bytes",
    "node_memory_MemTotal_bytes",
    "node_memory_VmallocTotal_bytes",
    "node_network_mtu_bytes",
    "node_network_speed_bytes",
    "node_network_up",
    "node_uname_info",
];

#[test]
fn the_real_node_exporter_has_every_series_that_we_have_with_the_same_type_and_scale() {
    let Some(mut exporter) = NodeExporter::start() else {
        assert!(std::env::var_os("CI").is_none(), "no node exporter; tests/peers.sh fetches it");
        eprintln!("skipped: no node exporter; tests/peers.sh fetches it");
        return;
    };
    let before = exporter.scrape();
    let (mine, after) = (ours(), exporter.scrape());
    let heads = |text: &str| -> Vec<String> {
        text.lines().filter(|l| l.starts_with("# TYPE node_")).map(str::to_owned).collect()
    };
    let theirs = heads(&before);
    for head in heads(&mine) {
        assert!(theirs.contains(&head), "the node exporter does not say: {head}");
    }
    let (before, after) = (series(&before), series(&after));
    for (series, value) in series(&mine) {
        let Some((a, b)) = before.get(&series).zip(after.get(&series)) else {
            panic!("the node exporter does not have {series:?}");
        };
        // Counters must lie between the two readings (a second's slack for the few that the kernel sets back), what
        // never changes must be equal; other gauges move too fast to compare.
        let (low, high) = (a.min(*b), a.max(*b));
        let slack = match series.0.as_str() {
            name if name.ends_with("_total") => 1.0 + 1e-9 * high,
            name if CONSTANT.contains(&name) => 0.0,
            _ => continue,
        };
        assert!(low - slack <= value && value <= high + slack, "{series:?}: {value}, not between {low} and {high}");
    }
}
