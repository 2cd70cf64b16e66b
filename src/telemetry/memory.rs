//! How much memory this process may use.

use std::path::Path;

const CGROUPS: &str = "/sys/fs/cgroup";

/// Bytes: the machine's memory, or less where a container or service manager allows less. `None` if nobody knows.
pub fn limit() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total_of(&text));
    let own = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let groups = limit_files(&own).into_iter().filter_map(|path| read(Path::new(&path))?.trim().parse().ok());
    groups.chain(machine).filter(|bytes| *bytes > 0).min()
}

fn total_of(meminfo: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    rest.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Where the limits of the control group of `/proc/self/cgroup` and of those around it are told.
fn limit_files(own: &str) -> Vec<String> {
    let path_of = |line: &str, start: &str| line.strip_prefix(start).map(|path| path.trim_matches('/').to_owned());
    let unified = own.lines().find_map(|line| path_of(line, "0::")).unwrap_or_default();
    let mut files = vec![format!("{CGROUPS}/memory.max"), format!("{CGROUPS}/memory/memory.limit_in_bytes")];
    let ends = unified.match_indices('/').map(|(at, _)| at).chain([unified.len()]).filter(|at| *at > 0);
    files.extend(ends.map(|at| format!("{CGROUPS}/{}/memory.max", &unified[..at])));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_tells_its_memory_in_kib() {
        assert_eq!(total_of("MemFree: 1 kB\nMemTotal:       3994868 kB\n"), Some(3_994_868 * 1024));
        assert_eq!(total_of("MemTotal: much"), None);
    }

    #[test]
    fn every_group_around_the_process_may_limit_it() {
        let files = limit_files("1:name=systemd:/x\n0::/system.slice/watershed.service\n");
        let expected = ["memory.max", "memory/memory.limit_in_bytes", "system.slice/memory.max"];
        assert_eq!(files[..3], expected.map(|file| format!("/sys/fs/cgroup/{file}")));
        assert_eq!(files[3], "/sys/fs/cgroup/system.slice/watershed.service/memory.max");
        assert_eq!((files.len(), limit_files("0::/\n").len()), (4, 2));
    }
}
