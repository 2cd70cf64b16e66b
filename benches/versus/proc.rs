//! What the kernel knows about a process.

use std::fs;
use std::ops::Sub;
use std::time::Duration;

/// Linux reports in hundredths of a second to user space, whatever its own timer does.
const TICK: Duration = Duration::from_millis(10);

/// Processor time used so far, by the two counts that the kernel keeps.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// Of the whole process, ended threads included, in ticks.
    ticks: Duration,
    /// Of the living threads, in nanoseconds.
    living: Duration,
}

impl Cpu {
    /// Of a living process.
    pub fn of(pid: u32) -> Cpu {
        Cpu { ticks: ticks(pid), living: living(pid) }
    }

    /// All of it.
    pub fn total(self) -> Duration {
        self.ticks.max(self.living)
    }

    /// Of all children of this process that have ended and were waited for.
    pub fn of_ended_children() -> Duration {
        let stat = fs::read_to_string("/proc/self/stat").expect("a living process");
        let fields: Vec<&str> = stat[stat.rfind(')').expect("a name") + 2..].split(' ').collect();
        let ticks: u64 = [13, 14].iter().map(|i| fields[*i].parse::<u64>().expect("ticks")).sum();
        TICK * u32::try_from(ticks).expect("fewer ticks than of a year")
    }
}

impl Sub for Cpu {
    type Output = Duration;

    /// The time used in between. Nanoseconds miss threads that have ended and so can only be too small. Ticks miss nobody,
    /// but a tick may have been almost full before: between two looks they can be one too many.
    fn sub(self, earlier: Cpu) -> Duration {
        let ticks = self.ticks.saturating_sub(earlier.ticks).saturating_sub(TICK);
        ticks.max(self.living.saturating_sub(earlier.living))
    }
}

fn ticks(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a living process");
    // The name in parentheses may contain spaces; utime and stime are the 14th and 15th field of all.
    let fields: Vec<&str> = stat[stat.rfind(')').expect("a name") + 2..].split(' ').collect();
    let ticks: u64 = [11, 12].iter().map(|i| fields[*i].parse::<u64>().expect("ticks")).sum();
    TICK * u32::try_from(ticks).expect("fewer ticks than of a year")
}

fn living(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a living process").flatten();
    let on_cpu = |path: std::path::PathBuf| -> Option<u64> {
        fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(threads.filter_map(|t| on_cpu(t.path())).sum())
}
