//! How full the mounted file systems are.

use std::collections::BTreeSet;

use super::{Page, parse, read};

/// File systems that hold no files of their own; the node exporter's default exclusions.
const VIRTUAL: [&str; 23] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];
/// Read-only images, always full; excluded by the node exporter too.
const IMAGES: [&str; 2] = ["squashfs", "erofs"];
/// File systems behind which another machine may hang, and a question with it. FUSE ones are told by their prefix.
const REMOTE: [&str; 14] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "beegfs",
    "gpfs",
    "ncpfs",
    "coda",
];
/// A FUSE file system that joins local disks, as homes and small servers do.
const LOCAL_FUSE: &str = "fuse.mergerfs";

struct Usage {
    mount: parse::Mount,
    /// Why there are no values; empty if there are.
    error: String,
    size: f64,
    free: f64,
    avail: f64,
    files: f64,
    files_free: f64,
}

pub(super) fn write(page: &mut Page<'_>) {
    // The first process sees the host's mounts even if we live in a namespace of our own.
    let Some(text) = read("/proc/1/mounts").or_else(|| read("/proc/self/mounts")) else { return };
    let mut seen = BTreeSet::new();
    let used: Vec<Usage> = parse::mounts(&text)
        .into_iter()
        .filter(is_shown)
        .filter(|m| seen.insert((m.device.clone(), m.mountpoint.clone())))
        .map(ask)
        .collect();
    type Value = fn(&Usage) -> f64;
    let families: [(&str, &str, Value); 5] = [
        ("node_filesystem_size_bytes", "Filesystem size in bytes.", |u| u.size),
        ("node_filesystem_free_bytes", "Filesystem free space in bytes.", |u| u.free),
        ("node_filesystem_avail_bytes", "Filesystem space available to non-root users in bytes.", |u| u.avail),
        ("node_filesystem_files", "Filesystem total file nodes.", |u| u.files),
        ("node_filesystem_files_free", "Filesystem total free file nodes.", |u| u.files_free),
    ];
    for (name, help, value) in families {
        family(page, name, help, used.iter().filter(|u| u.error.is_empty()), value);
    }
    let number = |yes: bool| f64::from(u8::from(yes));
    let name = "node_filesystem_readonly";
    family(page, name, "Filesystem read-only status.", used.iter(), |u| number(u.mount.readonly));
    let (name, help) =
        ("node_filesystem_device_error", "Whether an error occurred while getting statistics for the given device.");
    family(page, name, help, used.iter(), |u| number(!u.error.is_empty()));
}

fn family<'a>(
    page: &mut Page<'_>,
    name: &str,
    help: &str,
    of: impl Iterator<Item = &'a Usage>,
    value: impl Fn(&Usage) -> f64,
) {
    page.family(name, "gauge", help);
    for usage in of {
        let labels = [
            ("device", usage.mount.device.as_str()),
            ("device_error", usage.error.as_str()),
            ("fstype", usage.mount.fstype.as_str()),
            ("mountpoint", usage.mount.mountpoint.as_str()),
        ];
        page.sample(name, &labels, value(usage));
    }
}

fn ask(mount: parse::Mount) -> Usage {
    match rustix::fs::statvfs(&mount.mountpoint) {
        Ok(stat) => {
            let bytes = |blocks: u64| blocks as f64 * stat.f_frsize as f64;
            Usage {
                error: String::new(),
                size: bytes(stat.f_blocks),
                free: bytes(stat.f_bfree),
                avail: bytes(stat.f_bavail),
                files: stat.f_files as f64,
                files_free: stat.f_ffree as f64,
                mount,
            }
        }
        Err(errno) => {
            let text = errno.to_string().to_lowercase();
            let error = text.split(" (os error").next().unwrap_or(&text).to_owned();
            Usage { error, size: 0.0, free: 0.0, avail: 0.0, files: 0.0, files_free: 0.0, mount }
        }
    }
}

fn is_shown(mount: &parse::Mount) -> bool {
    let kind = mount.fstype.as_str();
    let remote = REMOTE.contains(&kind) || (kind.starts_with("fuse.") && kind != LOCAL_FUSE);
    !VIRTUAL.contains(&kind) && !IMAGES.contains(&kind) && !remote && !is_hidden(&mount.mountpoint)
}

/// The node exporter's default:
/// `^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)`
fn is_hidden(mountpoint: &str) -> bool {
    let below = |root: &str| mountpoint.strip_prefix(root).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'));
    let at_or_below =
        |root: &str| mountpoint == root || mountpoint.strip_prefix(root).is_some_and(|r| r.starts_with('/'));
    ["/dev", "/proc", "/sys"].iter().any(|root| at_or_below(root))
        || ["/run/credentials", "/var/lib/docker", "/var/lib/containers/storage"].iter().any(|root| below(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(mountpoint: &str, fstype: &str) -> bool {
        is_shown(&parse::Mount {
            device: "d".into(),
            mountpoint: mountpoint.into(),
            fstype: fstype.into(),
            readonly: false,
        })
    }

    #[test]
    fn file_systems_that_may_hang_or_hold_nothing_are_left_out() {
        for (mountpoint, fstype) in
            [("/", "ext4"), ("/mnt/pool", "fuse.mergerfs"), ("/device", "xfs"), ("/usb", "fuseblk")]
        {
            assert!(shown(mountpoint, fstype), "{mountpoint} {fstype}");
        }
        for (mountpoint, fstype) in [
            ("/nas", "nfs4"),
            ("/share", "cifs"),
            ("/far", "fuse.sshfs"),
            ("/proc", "proc"),
            ("/snap/x", "squashfs"),
            ("/dev/shm", "tmpfs"),
            ("/var/lib/docker/overlay2/x", "ext4"),
            ("/run/credentials/x.service", "tmpfs"),
        ] {
            assert!(!shown(mountpoint, fstype), "{mountpoint} {fstype}");
        }
        assert!(shown("/var/lib/docker", "ext4"));
    }

    #[test]
    fn a_mount_point_that_is_gone_is_an_error_and_not_a_size() {
        let mount = parse::Mount {
            device: "d".into(),
            mountpoint: "/nonexistent/mount".into(),
            fstype: "ext4".into(),
            readonly: false,
        };
        assert_eq!(ask(mount).error, "no such file or directory");
    }
}
