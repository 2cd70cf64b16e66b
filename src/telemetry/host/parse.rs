//! Texts of `/proc`, parsed. Lines and fields that make no sense are left out: a new kernel may add to any of them.

/// `USER_HZ`, which is 100 on every architecture that matters.
pub(in super::super) const TICKS_PER_S: f64 = 100.0;

/// Modes of a CPU in the order of `/proc/stat`.
pub(super) const CPU_MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

/// One CPU of `/proc/stat`, in seconds.
#[derive(PartialEq, Debug)]
pub(super) struct Cpu<'a> {
    /// Its number.
    pub(super) name: &'a str,
    /// Seconds in each of [`CPU_MODES`].
    pub(super) seconds: [f64; 8],
    pub(super) guest_s: f64,
    pub(super) guest_nice_s: f64,
}

/// `/proc/stat`.
#[derive(PartialEq, Debug, Default)]
pub(in super::super) struct Stat<'a> {
    pub(super) cpus: Vec<Cpu<'a>>,
    pub(in super::super) boot_time_s: Option<f64>,
    pub(super) context_switches: Option<f64>,
    pub(super) forks: Option<f64>,
    pub(super) interrupts: Option<f64>,
    pub(super) procs_running: Option<f64>,
    pub(super) procs_blocked: Option<f64>,
}

pub(in super::super) fn stat(text: &str) -> Stat<'_> {
    let mut stat = Stat::default();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let Some(key) = fields.next() else { continue };
        let first = || fields.clone().next().and_then(number);
        match key {
            "btime" => stat.boot_time_s = first(),
            "ctxt" => stat.context_switches = first(),
            "processes" => stat.forks = first(),
            "intr" => stat.interrupts = first(),
            "procs_running" => stat.procs_running = first(),
            "procs_blocked" => stat.procs_blocked = first(),
            _ => stat.cpus.extend(cpu(key, fields)),
        }
    }
    stat
}

/// The line of one CPU; not that of their sum.
fn cpu<'a>(key: &'a str, fields: impl Iterator<Item = &'a str>) -> Option<Cpu<'a>> {
    let name = key.strip_prefix("cpu").filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))?;
    let ticks: Vec<f64> = fields.map_while(number).collect();
    // Kernels before 2.6.33 tell fewer modes.
    let seconds = |i: usize| ticks.get(i).copied().unwrap_or(0.0) / TICKS_PER_S;
    (ticks.len() >= 4).then(|| Cpu {
        name,
        seconds: std::array::from_fn(seconds),
        guest_s: seconds(8),
        guest_nice_s: seconds(9),
    })
}

/// The three averages of `/proc/loadavg`.
pub(super) fn loadavg(text: &str) -> Option<[f64; 3]> {
    let mut fields = text.split_whitespace().map_while(number);
    Some([fields.next()?, fields.next()?, fields.next()?])
}

/// The fields of `/proc/meminfo` that the node exporter knows. It drops all others, and so do we.
const MEMINFO: [&str; 53] = [
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Buffers",
    "Cached",
    "SwapCached",
    "Active",
    "Inactive",
    "Active(anon)",
    "Inactive(anon)",
    "Active(file)",
    "Inactive(file)",
    "Unevictable",
    "Mlocked",
    "SwapTotal",
    "SwapFree",
    "Zswap",
    "Zswapped",
    "Dirty",
    "Writeback",
    "AnonPages",
    "Mapped",
    "Shmem",
    "Slab",
    "SReclaimable",
    "SUnreclaim",
    "KernelStack",
    "PageTables",
    "NFS_Unstable",
    "Bounce",
    "WritebackTmp",
    "CommitLimit",
    "Committed_AS",
    "VmallocTotal",
    "VmallocUsed",
    "VmallocChunk",
    "Percpu",
    "HardwareCorrupted",
    "AnonHugePages",
    "ShmemHugePages",
    "ShmemPmdMapped",
    "CmaTotal",
    "CmaFree",
    "HugePages_Total",
    "HugePages_Free",
    "HugePages_Rsvd",
    "HugePages_Surp",
    "Hugepagesize",
    "DirectMap4k",
    "DirectMap2M",
    "DirectMap4M",
    "DirectMap1G",
    "Unaccepted",
];

/// Fields of `/proc/meminfo` as the node exporter calls them: `Active(anon)` in kB is `Active_anon_bytes` in bytes, a
/// plain number keeps its name.
pub(super) fn meminfo(text: &str) -> Vec<(String, f64)> {
    let field = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let mut fields = rest.split_whitespace();
        let value = number(fields.next()?)?;
        let plain = name.replace('(', "_").replace(')', "");
        let known = MEMINFO.contains(&name);
        match fields.next() {
            _ if !known => None,
            Some("kB") => Some((format!("{plain}_bytes"), value * 1024.0)),
            None => Some((plain, value)),
            Some(_) => None,
        }
    };
    text.lines().filter_map(field).collect()
}

/// The fields of `/proc/vmstat` that the node exporter shows by default.
pub(super) fn vmstat(text: &str) -> Vec<(&str, f64)> {
    let shown = |name: &str| {
        let rest = ["pgpg", "pswp"].iter().find_map(|prefix| name.strip_prefix(prefix));
        name == "oom_kill" || matches!(rest, Some("in" | "out")) || matches!(name, "pgfault" | "pgmajfault")
    };
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| shown(name))
        .filter_map(|(name, value)| Some((name, number(value)?)))
        .collect()
}

/// The columns of `/proc/net/dev` in their order.
pub(super) const NET_FIELDS: [&str; 16] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];

/// One line of `/proc/net/dev`.
#[derive(PartialEq, Debug)]
pub(super) struct NetDevice<'a> {
    pub(super) name: &'a str,
    /// By [`NET_FIELDS`].
    pub(super) values: [f64; 16],
}

pub(super) fn net_dev(text: &str) -> Vec<NetDevice<'_>> {
    text.lines().filter_map(net_device).collect()
}

/// The name may be followed by its first number without a space, and may itself hold colons (aliases).
fn net_device(line: &str) -> Option<NetDevice<'_>> {
    let (name, numbers) = line.rsplit_once(':')?;
    let values: Vec<f64> = numbers.split_whitespace().map_while(number).collect();
    Some(NetDevice { name: name.trim(), values: values.try_into().ok()? })
}

const SECTOR: f64 = 512.0;
const MS: f64 = 0.001;

/// The columns of `/proc/diskstats` after the name: name of the metric, type, help, and factor to its unit.
pub(super) const DISK_FIELDS: [(&str, &str, &str, f64); 17] = [
    ("node_disk_reads_completed_total", "counter", "The total number of reads completed successfully.", 1.0),
    ("node_disk_reads_merged_total", "counter", "The total number of reads merged.", 1.0),
    ("node_disk_read_bytes_total", "counter", "The total number of bytes read successfully.", SECTOR),
    ("node_disk_read_time_seconds_total", "counter", "The total number of seconds spent by all reads.", MS),
    ("node_disk_writes_completed_total", "counter", "The total number of writes completed successfully.", 1.0),
    ("node_disk_writes_merged_total", "counter", "The number of writes merged.", 1.0),
    ("node_disk_written_bytes_total", "counter", "The total number of bytes written successfully.", SECTOR),
    ("node_disk_write_time_seconds_total", "counter", "This is the total number of seconds spent by all writes.", MS),
    ("node_disk_io_now", "gauge", "The number of I/Os currently in progress.", 1.0),
    ("node_disk_io_time_seconds_total", "counter", "Total seconds spent doing I/Os.", MS),
    ("node_disk_io_time_weighted_seconds_total", "counter", "The weighted # of seconds spent doing I/Os.", MS),
    ("node_disk_discards_completed_total", "counter", "The total number of discards completed successfully.", 1.0),
    ("node_disk_discards_merged_total", "counter", "The total number of discards merged.", 1.0),
    ("node_disk_discarded_sectors_total", "counter", "The total number of sectors discarded successfully.", 1.0),
    (
        "node_disk_discard_time_seconds_total",
        "counter",
        "This is the total number of seconds spent by all discards.",
        MS,
    ),
    ("node_disk_flush_requests_total", "counter", "The total number of flush requests completed successfully", 1.0),
    (
        "node_disk_flush_requests_time_seconds_total",
        "counter",
        "This is the total number of seconds spent by all flush requests.",
        MS,
    ),
];

/// One line of `/proc/diskstats`.
#[derive(PartialEq, Debug)]
pub(super) struct Disk<'a> {
    pub(super) name: &'a str,
    /// By [`DISK_FIELDS`], as they are; there may be fewer.
    pub(super) values: Vec<f64>,
}

/// All disks but those that the node exporter leaves out too: memory and loop devices, and partitions.
pub(super) fn diskstats(text: &str) -> Vec<Disk<'_>> {
    text.lines().filter_map(disk).filter(|disk| !is_part_of_disk(disk.name)).collect()
}

fn disk(line: &str) -> Option<Disk<'_>> {
    let mut fields = line.split_whitespace();
    let name = fields.nth(2)?;
    let values: Vec<f64> = fields.map_while(number).collect();
    (values.len() >= 11).then_some(Disk { name, values })
}

/// `(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+`
fn is_part_of_disk(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if stem.len() == name.len() {
        return false;
    }
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let is_nvme_partition = || {
        let inner = stem.strip_prefix("nvme").and_then(|s| s.strip_suffix('p')).and_then(|s| s.split_once('n'));
        inner.is_some_and(|(controller, namespace)| digits(controller) && digits(namespace))
    };
    let is_disk = || {
        let letter = ["hd", "sd", "vd", "xvd"].iter().find_map(|prefix| stem.strip_prefix(prefix));
        letter.is_some_and(|l| l.len() == 1 && l.bytes().all(|b| b.is_ascii_lowercase()))
    };
    matches!(stem, "ram" | "zram" | "loop" | "fd") || is_disk() || is_nvme_partition()
}

/// One mounted file system.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Mount {
    pub(super) device: String,
    pub(super) mountpoint: String,
    pub(super) fstype: String,
    pub(super) readonly: bool,
}

/// `/proc/mounts`.
pub(super) fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let mut fields = line.split(' ');
        let (device, mountpoint) = (unescape(fields.next()?), unescape(fields.next()?));
        let (fstype, options) = (fields.next()?.to_owned(), fields.next()?);
        Some(Mount { device, mountpoint, fstype, readonly: options.split(',').any(|o| o == "ro") })
    };
    text.lines().filter_map(mount).collect()
}

/// Undoes the kernel's `\040` for a space and its like.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                out.extend_from_slice(&part.as_bytes()[3..]);
            }
            None => {
                out.push(b'\\');
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The total of one line (`some` or `full`) of a file in `/proc/pressure`, in seconds.
pub(super) fn pressure_s(text: &str, line: &str) -> Option<f64> {
    let found = text.lines().find(|l| l.split(' ').next() == Some(line))?;
    let total = found.split(' ').find_map(|field| field.strip_prefix("total="))?;
    number(total).map(|microseconds| microseconds / 1e6)
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_has_cpus_without_their_sum_and_the_counters() {
        let text = "cpu  9 9 9 9\ncpu0 100 200 300 400 500 600 700 800 900 1000\ncpu12 1 2 3 4\ncpux 1 2 3 4\n\
                    intr 77 1 2 3\nctxt 5\nbtime 1700000000\nprocesses 6\nprocs_running 2\nprocs_blocked x\n";
        let stat = stat(text);
        let names: Vec<_> = stat.cpus.iter().map(|c| c.name).collect();
        assert_eq!(names, ["0", "12"]);
        assert_eq!(stat.cpus[0].seconds, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!((stat.cpus[0].guest_s, stat.cpus[0].guest_nice_s), (9.0, 10.0));
        assert_eq!(stat.cpus[1].seconds[7], 0.0, "an old kernel tells no steal");
        assert_eq!((stat.boot_time_s, stat.interrupts), (Some(1.7e9), Some(77.0)));
        assert_eq!((stat.context_switches, stat.forks), (Some(5.0), Some(6.0)));
        assert_eq!((stat.procs_running, stat.procs_blocked), (Some(2.0), None));
    }

    #[test]
    fn meminfo_gets_the_node_exporters_names_and_bytes() {
        let text = "MemTotal:       24684092 kB\nActive(anon):       12 kB\nHugePages_Total:       3\n\
                    SomethingNew: 1 kB\nbroken\nDirty: x kB\n";
        let expected = [
            ("MemTotal_bytes".to_owned(), 24_684_092.0 * 1024.0),
            ("Active_anon_bytes".to_owned(), 12_288.0),
            ("HugePages_Total".to_owned(), 3.0),
        ];
        assert_eq!(meminfo(text), expected);
    }

    #[test]
    fn net_dev_survives_missing_spaces_and_aliases() {
        let numbers: Vec<String> = (1..=16).map(|i| i.to_string()).collect();
        let text = format!(
            "Inter-|   Receive   |  Transmit\n face |bytes packets|bytes packets\n    lo:{0}\neth0:1: {0}\nbad: 1 2\n",
            numbers.join(" ")
        );
        let devices = net_dev(&text);
        assert_eq!(devices.iter().map(|d| d.name).collect::<Vec<_>>(), ["lo", "eth0:1"]);
        assert_eq!((devices[0].values[0], devices[0].values[15]), (1.0, 16.0));
    }

    #[test]
    fn diskstats_leaves_out_partitions_and_memory() {
        let text = "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n   8       1 sda1 1 2 3 4 5 6 7 8 9 10 11\n\
                    259 0 nvme0n1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n 259 1 nvme0n1p2 1 2 3 4 5 6 7 8 9 10 11\n\
                    7 0 loop0 0 0 0 0 0 0 0 0 0 0 0\n 253 0 dm-0 1 2 3 4 5 6 7 8 9 10 11\n 9 9 short 1 2\n";
        let disks = diskstats(text);
        assert_eq!(disks.iter().map(|d| d.name).collect::<Vec<_>>(), ["sda", "nvme0n1", "dm-0"]);
        assert_eq!((disks[0].values.len(), disks[1].values.len()), (11, 17));
        for (name, expected) in [
            ("zram0", true),
            ("mmcblk0", false),
            ("mmcblk0p1", false),
            ("xvda1", true),
            ("sdaa1", false),
            ("md127", false),
        ] {
            assert_eq!(is_part_of_disk(name), expected, "{name}");
        }
    }

    #[test]
    fn mounts_are_unescaped() {
        let text = "/dev/sda1 /mnt/my\\040disk ext4 rw,relatime 0 0\nhost:/x /nfs nfs4 ro,vers=4 0 0\nbroken\n";
        let mounts = mounts(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[0].mountpoint.as_str(), mounts[0].readonly), ("/mnt/my disk", false));
        assert_eq!((mounts[1].fstype.as_str(), mounts[1].readonly), ("nfs4", true));
        assert_eq!(unescape("a\\134b\\"), "a\\b\\");
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "[a-z0-9 :\\n\\\\./=_-]{0,200}|.{0,100}") {
            stat(&text);
            loadavg(&text);
            meminfo(&text);
            vmstat(&text);
            net_dev(&text);
            diskstats(&text);
            mounts(&text);
            pressure_s(&text, "some");
        }
    }

    #[test]
    fn the_small_ones() {
        assert_eq!(loadavg("0.14 0.22 1.50 2/100 77\n"), Some([0.14, 0.22, 1.5]));
        assert_eq!(loadavg("0.14"), None);
        let pressure = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0.00 total=20\n";
        assert_eq!(pressure_s(pressure, "some"), Some(1.5));
        assert_eq!(pressure_s(pressure, "none"), None);
        let text = "nr_free 1\npgfault 2\npgpgin 3\npgpgoutside 9\npswpout 4\noom_kill 5\npgmajfault 6\n";
        let expected = [("pgfault", 2.0), ("pgpgin", 3.0), ("pswpout", 4.0), ("oom_kill", 5.0), ("pgmajfault", 6.0)];
        assert_eq!(vmstat(text), expected);
    }
}
