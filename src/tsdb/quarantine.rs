//! Putting aside what cannot be read, so that the rest starts and a person can look at it later.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::Disk;

/// The directory's name in a data directory. The reference passes over it.
pub(super) const QUARANTINE_DIR: &str = "quarantine";

/// Moves a file or directory of the data directory `data` into its quarantine and says where it is now. The name tells
/// where it stood: `chunks_head/000003` becomes `quarantine/chunks_head-000003`, with a number behind it if that is
/// taken. Durable when it returns.
pub(super) fn set_aside(disk: &dyn Disk, data: &Path, path: &Path) -> io::Result<PathBuf> {
    let quarantine = data.join(QUARANTINE_DIR);
    if !disk.exists(&quarantine)? {
        disk.create_dir_all(&quarantine)?;
        disk.sync_dir(data)?;
    }
    let inside = path.strip_prefix(data).unwrap_or(path);
    let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
    let name = parts.join("-");
    let mut target = quarantine.join(&name);
    let mut number = 1;
    while disk.exists(&target)? {
        target = quarantine.join(format!("{name}.{number}"));
        number += 1;
    }
    disk.rename(path, &target)?;
    disk.sync_dir(&quarantine)?;
    disk.sync_dir(path.parent().unwrap_or(data))?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemDisk;

    #[test]
    fn what_is_set_aside_keeps_its_bytes_and_never_replaces_an_earlier_find() {
        let disk = MemDisk::new();
        let data = Path::new("/data");
        disk.create_dir_all(&data.join("chunks_head")).unwrap();
        let path = data.join("chunks_head/000001");
        for (content, name) in [(b"first", "chunks_head-000001"), (b"other", "chunks_head-000001.1")] {
            disk.write(&path, content);
            assert_eq!(set_aside(&disk, data, &path).unwrap(), data.join("quarantine").join(name));
            assert_eq!(disk.read(&path), None);
        }
        assert_eq!(disk.read(&data.join("quarantine/chunks_head-000001")).unwrap(), b"first");
    }
}
