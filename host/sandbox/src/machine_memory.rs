//! How much memory this process may have: what the machine has, or what its control group allows, if that is less.

use std::fs;
use std::path::{Path, PathBuf};

use crate::engine_options::MIB;

/// Used if the system does not say how much there is.
const UNKNOWN: usize = 2048 * MIB;
/// The host itself needs this much, however small the machine is.
const HOST_MIN: usize = 64 * MIB;
/// Guests get this much, however small the machine is.
const GUESTS_MIN: usize = 16 * MIB;

/// The memory for guests: all but a quarter, which is for the host's own code, its connections, the data of the jobs
/// that it holds, and the compiler.
pub(crate) fn for_guests() -> usize {
    share_of_guests(limit(Path::new("/")).unwrap_or(UNKNOWN))
}

fn share_of_guests(all: usize) -> usize {
    let host = (all / 4).max(HOST_MIN);
    all.saturating_sub(host).max(GUESTS_MIN)
}

/// The least of what the machine has and of what each control group above this process allows.
fn limit(root: &Path) -> Option<usize> {
    let groups = limit_files(root).into_iter();
    let limits = groups.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    limits.chain(machine(root)).min()
}

fn machine(root: &Path) -> Option<usize> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The files in which the process's control groups name their limits, of both versions of the interface. Those that
/// name none hold `max`, or a number beyond all machines.
fn limit_files(root: &Path) -> Vec<PathBuf> {
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    let (mounts, groups) = (read("proc/self/mountinfo"), read("proc/self/cgroup"));
    let mut files = Vec::new();
    for mount in mounts.lines().filter_map(Mount::parse) {
        for group in groups.lines() {
            let mut parts = group.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            if mount.has_memory_of(controllers) {
                files.extend(mount.files(root, path));
            }
        }
    }
    files
}

/// A mounted hierarchy of control groups.
struct Mount<'a> {
    /// The group that is seen at the mount point.
    top: &'a str,
    point: &'a str,
    /// The older interface has one hierarchy for each controller, the newer one for all.
    old: bool,
}

impl<'a> Mount<'a> {
    /// Reads a line of `mountinfo` (`man 5 proc_pid_mountinfo`).
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (top, point) = (mount.next()?, mount.next()?);
        let mut system = system.split(' ');
        let old = match system.next()? {
            "cgroup2" => false,
            "cgroup" if system.nth(1)?.split(',').any(|option| option == "memory") => true,
            _ => return None,
        };
        Some(Mount { top, point, old })
    }

    fn has_memory_of(&self, controllers: &str) -> bool {
        match self.old {
            true => controllers
                .split(',')
                .any(|controller| controller == "memory"),
            false => controllers.is_empty(),
        }
    }

    /// The limit of a group and of all groups above it that can be seen.
    fn files(&self, root: &Path, group: &str) -> Vec<PathBuf> {
        let name = match self.old {
            true => "memory.limit_in_bytes",
            false => "memory.max",
        };
        let point = root.join(self.point.trim_start_matches('/'));
        // A group outside of what is mounted is another container's view: the mount point is then our own.
        let below = Path::new(group)
            .strip_prefix(self.top)
            .unwrap_or(Path::new(""));
        let groups = below.ancestors();
        groups.map(|group| point.join(group).join(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "36 25 0:31 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        37 25 0:32 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
    const NEW: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";

    fn limit_with(files: &[(&str, &str)]) -> Option<usize> {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        limit(root.path())
    }

    #[test]
    fn least_of_all_limits_counts() {
        let meminfo = ("proc/meminfo", "MemFree: 1 kB\nMemTotal:        1000 kB\n");
        assert_eq!(limit_with(&[]), None);
        assert_eq!(limit_with(&[meminfo]), Some(1_024_000));
        let new = [
            meminfo,
            ("proc/self/mountinfo", NEW),
            ("proc/self/cgroup", "0::/pod/box\n"),
            ("sys/fs/cgroup/pod/box/memory.max", "max\n"),
            ("sys/fs/cgroup/pod/memory.max", "700000\n"),
            ("sys/fs/cgroup/other/memory.max", "1\n"),
        ];
        assert_eq!(limit_with(&new), Some(700_000));
        let old = [
            meminfo,
            ("proc/self/mountinfo", OLD),
            (
                "proc/self/cgroup",
                "4:memory:/docker/abc/in\n3:cpu:/\n0::/\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "600000\n"),
            (
                "sys/fs/cgroup/memory/in/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ];
        assert_eq!(limit_with(&old), Some(600_000));
    }

    #[test]
    fn group_outside_of_the_mount_is_the_mount_itself() {
        let files = [
            ("proc/self/mountinfo", OLD),
            ("proc/self/cgroup", "4:memory:/elsewhere\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "500000\n"),
        ];
        assert_eq!(limit_with(&files), Some(500_000));
    }

    #[test]
    fn host_keeps_its_share() {
        for (all, guests) in [(4096, 3072), (300, 225), (128, 64), (32, 16)] {
            assert_eq!(share_of_guests(all * MIB), guests * MIB);
        }
    }
}
