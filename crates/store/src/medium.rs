//! What a file system promises of its files: whether their times tell every change, and whose clock sets them. Knows no
//! digests.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, StatFs, StatxFlags, fstatfs, major, statfs, statx};

/// Beyond this age a file on another machine is taken to be as old as it looks: clocks of machines that work together
/// differ by less, and no client believes for longer what it has heard of a file's times.
const FAR_AGE: Duration = Duration::from_secs(600);

/// Where the kernel does not say how long it keeps what was written to memory: its own default.
const WRITE_BACK: Duration = Duration::from_secs(35);

/// Kinds of file systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    /// On a disk of this machine. Each first write to a page of a mapping that was written back sets the time of change, and
    /// leases tell of writers.
    Disk,
    /// In an image or on a medium that may be exchanged for another one at the same place: file and device numbers and times come
    /// with it, and those of two may be the same. What is known of a file holds within one mount.
    Image,
    /// Above another one, as in containers. As on a disk, but leases tell nothing.
    Stacked,
    /// In memory: nothing is ever written back, so that a mapping, once made, may be written to without a trace.
    Memory,
    /// On another machine, or behind a program: its times are those of another clock, heard of after a while.
    Remote,
    /// Made by the kernel when it is read.
    Kernel,
}

/// Numbers that file systems on disks are known by (`linux/magic.h`, `statfs(2)`).
const DISK: &[u64] = &[
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
    0xca45_1a4e, // bcachefs
    0x5265_4973, // ReiserFS
    0x3153_464a, // JFS
    0x3434,      // NILFS
    0x4d44,      // FAT
    0x2011_bab0, // exFAT
    0x5346_544e, // NTFS
    0x7366_746e, // NTFS3
    0x482b,      // HFS+
    0x2405_1905, // UBIFS
];

const IMAGE: &[u64] = &[
    0xe0f5_e1e2, // EROFS
    0x7371_7368, // SquashFS
    0x28cd_3d45, // cramfs
    0x7275,      // romfs
    0x9660,      // ISO 9660
    0x1501_3346, // UDF
];

/// Major numbers of devices whose medium may be exchanged while the machine runs.
const EXCHANGED: &[u32] = &[
    2,  // floppy disks
    7,  // files as devices, `losetup`
    11, // CD-ROM
    43, // disks behind a network
];

/// `STATX_MNT_ID_UNIQUE` of `linux/stat.h`, since Linux 6.8.
const UNIQUE_MOUNT: StatxFlags = StatxFlags::from_bits_retain(0x4000);

const STACKED: &[u64] = &[
    0x794c_7630, // overlayfs
    0xf15f,      // eCryptfs
    0x6175_6673, // aufs
];

const MEMORY: &[u64] = &[
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x9584_58f6, // hugetlbfs
];

const KERNEL: &[u64] = &[
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x6265_6570, // configfs
    0x7363_6673, // securityfs
    0xf97c_ff8c, // selinuxfs
    0x4341_5d53, // smackfs
    0x27_e0eb,   // cgroup
    0x6367_7270, // cgroup2
    0xcafe_4a11, // bpf
    0xde5e_81e4, // efivarfs
    0x6165_676c, // pstore
    0x6573_5543, // fusectl
    0x4249_4e4d, // binfmt_misc
    0x6e73_6673, // nsfs
];

impl Medium {
    /// The medium of an open file.
    pub(super) fn of(file: &File) -> Self {
        fstatfs(file).map_or(Self::Remote, |told| Self::told(&told))
    }

    /// The medium of what lies at `path`.
    pub(super) fn at(path: &Path) -> Self {
        statfs(path).map_or(Self::Remote, |told| Self::told(&told))
    }

    /// The same of what lies on device `dev`.
    pub(super) fn on(dev: u64, path: &Path) -> Self {
        Self::at(path).on_device(dev)
    }

    fn on_device(self, dev: u64) -> Self {
        match self {
            Self::Disk if EXCHANGED.contains(&major(dev)) => Self::Image,
            medium => medium,
        }
    }

    /// What is not known is taken to promise as little as another machine does.
    fn told(told: &StatFs) -> Self {
        // The field has as many bits as a word, and a sign.
        let magic = told.f_type as u64 & 0xffff_ffff;
        let kinds = [
            (DISK, Self::Disk),
            (IMAGE, Self::Image),
            (STACKED, Self::Stacked),
            (MEMORY, Self::Memory),
            (KERNEL, Self::Kernel),
        ];
        kinds.iter().find(|(known, _)| known.contains(&magic)).map_or(Self::Remote, |(_, medium)| *medium)
    }

    /// How old a file must be, beyond a tick of the clock, for its time of change to tell what comes later; `None` where it
    /// never does.
    pub(super) fn settles_after(self) -> Option<Duration> {
        match self {
            Self::Disk | Self::Image => Some(Duration::ZERO),
            Self::Stacked => Some(write_back()),
            Self::Remote => Some(FAR_AGE.max(write_back())),
            Self::Memory | Self::Kernel => None,
        }
    }
}

/// The mount that something lies in, by a number that no other gets until the machine starts anew. `None` where the kernel has no
/// such numbers.
pub(super) fn mount(path: &Path, flags: AtFlags) -> Option<u64> {
    let told = statx(CWD, path, flags, UNIQUE_MOUNT).ok()?;
    (told.stx_mask & UNIQUE_MOUNT.bits() != 0).then_some(told.stx_mnt_id)
}

/// How long what is written to memory may stay there before the kernel writes it back, and notices the next write.
pub(super) fn write_back() -> Duration {
    let read = |name: &str| -> Option<u64> {
        std::fs::read_to_string(format!("/proc/sys/vm/{name}")).ok()?.trim().parse().ok()
    };
    match (read("dirty_expire_centisecs"), read("dirty_writeback_centisecs")) {
        // Never by itself.
        (Some(_), Some(0)) => Duration::MAX,
        (Some(expire), Some(pause)) => Duration::from_millis(expire.saturating_add(pause).saturating_mul(10)),
        _ => WRITE_BACK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_an_image_where_its_device_may_be_exchanged() {
        use rustix::fs::makedev;
        for (device, medium) in [
            (makedev(7, 3), Medium::Image),
            (makedev(11, 0), Medium::Image),
            (makedev(43, 1), Medium::Image),
            (makedev(8, 7), Medium::Disk),
            (makedev(259, 7), Medium::Disk),
            // As that of Btrfs on whatever it lies, and of LUKS and LVM.
            (makedev(0, 43), Medium::Disk),
            (makedev(253, 7), Medium::Disk),
        ] {
            assert_eq!(Medium::Disk.on_device(device), medium, "{device:#x}");
        }
        for medium in [Medium::Memory, Medium::Stacked, Medium::Remote, Medium::Kernel, Medium::Image] {
            assert_eq!(medium.on_device(makedev(7, 0)), medium);
        }
    }

    #[test]
    fn what_lies_in_memory_and_what_the_kernel_makes_never_settles() {
        assert_eq!(Medium::at(Path::new("/proc/version")), Medium::Kernel);
        assert_eq!(Medium::of(&File::open("/proc/self/stat").unwrap()), Medium::Kernel);
        assert_eq!(Medium::at(Path::new("/no/such/place")), Medium::Remote);
        if Path::new("/dev/shm").exists() {
            assert_eq!(Medium::at(Path::new("/dev/shm")), Medium::Memory);
        }
        assert_eq!(Medium::Memory.settles_after(), None);
        assert_eq!(Medium::Kernel.settles_after(), None);
        assert!(Medium::Remote.settles_after() >= Some(FAR_AGE));
    }
}
