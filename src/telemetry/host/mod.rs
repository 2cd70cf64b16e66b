//! A small host exporter: the most used metrics of the node exporter under its own names, labels and units, read from
//! `/proc` and `/sys` of Linux. Whatever it writes, the node exporter writes too; it is no replacement for the rest.
//!
//! A scrape of it never hangs: file systems that live on another machine are not asked how full they are.

mod filesystem;
pub(super) mod parse;

use std::fmt::Write as _;
use std::path::Path;

use crate::runtime::Clock;

/// Appends everything in text format 0.0.4. What cannot be read is left out. Takes about a millisecond, in which files
/// of the kernel are read. Outside Linux a comment says why there is nothing.
pub fn write_metrics(out: &mut String) {
    if !cfg!(target_os = "linux") {
        out.push_str("# The host exporter reads /proc and /sys, which only Linux has.\n");
        return;
    }
    let mut page = Page(out);
    time(&mut page);
    uname(&mut page);
    if let Some(text) = read("/proc/stat") {
        cpu(&mut page, &parse::stat(&text));
    }
    if let Some(load) = read("/proc/loadavg").and_then(|text| parse::loadavg(&text)) {
        for (name, help, value) in [
            ("node_load1", "1m load average.", load[0]),
            ("node_load5", "5m load average.", load[1]),
            ("node_load15", "15m load average.", load[2]),
        ] {
            page.single(name, "gauge", help, value);
        }
    }
    memory(&mut page);
    network(&mut page);
    disk(&mut page);
    filesystem::write(&mut page);
    pressure(&mut page);
    file_descriptors(&mut page);
}

/// Reads a text as every file of the kernel; gives back how many things it tells. A door for fuzzing.
#[doc(hidden)]
pub fn read_kernel_text(text: &str) -> usize {
    let stat = parse::stat(text).cpus.len() + parse::loadavg(text).map_or(0, |load| load.len());
    let memory = parse::meminfo(text).len() + parse::vmstat(text).len();
    let devices = parse::net_dev(text).len() + parse::diskstats(text).len() + parse::mounts(text).len();
    stat + memory + devices + usize::from(parse::pressure_s(text, "some").is_some())
}

/// Writes families with their heads.
struct Page<'a>(&'a mut String);

impl Page<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (i, (label, value)) in labels.iter().enumerate() {
            let open = if i == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{open}{label}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// A family with one sample per item that has a value.
    fn by_device<T>(
        &mut self,
        head: (&str, &str, &str),
        items: &[T],
        device: impl Fn(&T) -> &str,
        value: impl Fn(&T) -> Option<f64>,
    ) {
        let (name, kind, help) = head;
        let samples: Vec<_> = items.iter().filter_map(|item| Some((device(item), value(item)?))).collect();
        if samples.is_empty() {
            return;
        }
        self.family(name, kind, help);
        for (device, value) in samples {
            self.sample(name, &[("device", device)], value);
        }
    }
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The number in a file that holds nothing else.
fn read_number(path: impl AsRef<Path>) -> Option<f64> {
    read(path)?.trim().parse().ok()
}

fn time(page: &mut Page<'_>) {
    let now = Clock::system().now().0 as f64 / 1000.0;
    page.single("node_time_seconds", "gauge", "System time in seconds since epoch (1970).", now);
}

fn uname(page: &mut Page<'_>) {
    let uname = rustix::system::uname();
    let name = "node_uname_info";
    page.family(name, "gauge", "Labeled system information as provided by the uname system call.");
    #[cfg(target_os = "linux")]
    let domain = uname.domainname().to_string_lossy();
    #[cfg(not(target_os = "linux"))]
    let domain = "";
    let labels = [
        ("domainname", &*domain),
        ("machine", &*uname.machine().to_string_lossy()),
        ("nodename", &*uname.nodename().to_string_lossy()),
        ("release", &*uname.release().to_string_lossy()),
        ("sysname", &*uname.sysname().to_string_lossy()),
        ("version", &*uname.version().to_string_lossy()),
    ];
    page.sample(name, &labels, 1.0);
}

fn cpu(page: &mut Page<'_>, stat: &parse::Stat<'_>) {
    let name = "node_cpu_seconds_total";
    page.family(name, "counter", "Seconds the CPUs spent in each mode.");
    for cpu in &stat.cpus {
        for (mode, seconds) in parse::CPU_MODES.iter().zip(cpu.seconds) {
            page.sample(name, &[("cpu", cpu.name), ("mode", mode)], seconds);
        }
    }
    let name = "node_cpu_guest_seconds_total";
    page.family(name, "counter", "Seconds the CPUs spent in guests (VMs) for each mode.");
    for cpu in &stat.cpus {
        page.sample(name, &[("cpu", cpu.name), ("mode", "user")], cpu.guest_s);
        page.sample(name, &[("cpu", cpu.name), ("mode", "nice")], cpu.guest_nice_s);
    }
    for (name, kind, help, value) in [
        ("node_boot_time_seconds", "gauge", "Node boot time, in unixtime.", stat.boot_time_s),
        ("node_context_switches_total", "counter", "Total number of context switches.", stat.context_switches),
        ("node_forks_total", "counter", "Total number of forks.", stat.forks),
        ("node_intr_total", "counter", "Total number of interrupts serviced.", stat.interrupts),
        ("node_procs_running", "gauge", "Number of processes in runnable state.", stat.procs_running),
        ("node_procs_blocked", "gauge", "Number of processes blocked waiting for I/O to complete.", stat.procs_blocked),
    ] {
        if let Some(value) = value {
            page.single(name, kind, help, value);
        }
    }
}

fn memory(page: &mut Page<'_>) {
    for (field, value) in parse::meminfo(&read("/proc/meminfo").unwrap_or_default()) {
        let (name, help) = (format!("node_memory_{field}"), format!("Memory information field {field}."));
        page.single(&name, "gauge", &help, value);
    }
    for (field, value) in parse::vmstat(&read("/proc/vmstat").unwrap_or_default()) {
        let (name, help) = (format!("node_vmstat_{field}"), format!("/proc/vmstat information field {field}."));
        page.single(&name, "untyped", &help, value);
    }
}

fn network(page: &mut Page<'_>) {
    let text = read("/proc/net/dev").unwrap_or_default();
    let devices = parse::net_dev(&text);
    for (i, field) in parse::NET_FIELDS.iter().enumerate() {
        let (name, help) = (format!("node_network_{field}_total"), format!("Network device statistic {field}."));
        page.by_device((&name, "counter", &help), &devices, |d| d.name, |d| Some(d.values[i]));
    }
    let sys = |device: &parse::NetDevice<'_>, file: &str| format!("/sys/class/net/{}/{file}", device.name);
    page.by_device(
        ("node_network_up", "gauge", "Value is 1 if operstate is 'up', 0 otherwise."),
        &devices,
        |d| d.name,
        |d| Some(f64::from(u8::from(read(sys(d, "operstate"))?.trim() == "up"))),
    );
    page.by_device(
        ("node_network_mtu_bytes", "gauge", "Network device property: mtu_bytes"),
        &devices,
        |d| d.name,
        |d| read_number(sys(d, "mtu")),
    );
    page.by_device(
        ("node_network_speed_bytes", "gauge", "Network device property: speed_bytes"),
        &devices,
        |d| d.name,
        // Megabits; devices without a speed give an error or -1.
        |d| read_number(sys(d, "speed")).map(|megabits| megabits * 1e6 / 8.0),
    );
}

fn disk(page: &mut Page<'_>) {
    let text = read("/proc/diskstats").unwrap_or_default();
    let disks = parse::diskstats(&text);
    for (i, (name, kind, help, factor)) in parse::DISK_FIELDS.iter().enumerate() {
        // Older kernels tell fewer fields.
        let value = |d: &parse::Disk<'_>| d.values.get(i).map(|v| v * factor);
        page.by_device((name, kind, help), &disks, |d| d.name, value);
    }
}

fn pressure(page: &mut Page<'_>) {
    for (resource, line, name, help) in [
        (
            "cpu",
            "some",
            "node_pressure_cpu_waiting_seconds_total",
            "Total time in seconds that processes have waited for CPU time",
        ),
        (
            "io",
            "some",
            "node_pressure_io_waiting_seconds_total",
            "Total time in seconds that processes have waited due to IO congestion",
        ),
        (
            "io",
            "full",
            "node_pressure_io_stalled_seconds_total",
            "Total time in seconds no process could make progress due to IO congestion",
        ),
        (
            "memory",
            "some",
            "node_pressure_memory_waiting_seconds_total",
            "Total time in seconds that processes have waited for memory",
        ),
        (
            "memory",
            "full",
            "node_pressure_memory_stalled_seconds_total",
            "Total time in seconds no process could make progress due to memory congestion",
        ),
    ] {
        let text = read(format!("/proc/pressure/{resource}"));
        if let Some(seconds) = text.and_then(|text| parse::pressure_s(&text, line)) {
            page.single(name, "counter", help, seconds);
        }
    }
}

fn file_descriptors(page: &mut Page<'_>) {
    let Some(text) = read("/proc/sys/fs/file-nr") else { return };
    let mut fields = text.split_whitespace().map(str::parse);
    if let (Some(Ok(allocated)), Some(Ok(maximum))) = (fields.next(), fields.nth(1)) {
        page.single("node_filefd_allocated", "gauge", "File descriptor statistics: allocated.", allocated);
        page.single("node_filefd_maximum", "gauge", "File descriptor statistics: maximum.", maximum);
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
