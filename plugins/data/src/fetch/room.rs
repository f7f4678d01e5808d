//! How much of a file there may be: what the user allows, and what the disk has room for. Knows no network.

use std::path::Path;

use protocol::Failure;

use super::way::Way;

/// Most bytes of a file whose size neither its server nor its user tells, where nothing else is allowed.
const MAX_UNTOLD: u64 = 16 << 30;
/// What is left free on the disk for everything else, while it is not known how much comes.
const KEPT_FREE: u64 = 1 << 30;
/// After how many bytes the disk is looked at again.
const LOOK_AGAIN: u64 = 64 << 20;

const ALLOW: &str =
    "if it is the right file, give the bytes that it may have as `max_download`, or its `size`";
const FREE: &str = "free some space, or let the cache lie where there is more (`--cache`)";

/// Bytes that are free in a folder; nothing where that cannot be told.
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// What bounds a download.
pub(super) struct Room<'a> {
    pub(super) free: &'a dyn Fn(&Path) -> Option<u64>,
    pub(super) folder: &'a Path,
    /// Bytes that the user allows.
    pub(super) most: Option<u64>,
}

impl Room<'_> {
    /// Whether a file of so many bytes, `have` of which are there, may come that `way`.
    ///
    /// # Errors
    /// Where it may not.
    pub(super) fn admit(&self, way: &Way<'_>, total: u64, have: u64) -> Result<(), Failure> {
        if let Some(most) = self.most.filter(|&most| total > most) {
            let reason = format!("{way} has {total} bytes, more than the {most} of `max_download`");
            return Err(Failure::new(reason).hint(ALLOW));
        }
        let coming = total.saturating_sub(have);
        match (self.free)(self.folder) {
            Some(free) if coming > free => Err(Failure::new(format!(
                "{way} has {coming} bytes to come, but only {free} are free in `{}`",
                self.folder.display()
            ))
            .hint(FREE)),
            _ => Ok(()),
        }
    }

    /// How many bytes may be there before it is asked again whether more may come, of a file that comes that `way`
    /// without its size. `have` are there.
    ///
    /// # Errors
    /// Where there are too many already.
    pub(super) fn next_look(&self, way: &Way<'_>, have: u64) -> Result<u64, Failure> {
        let most = self.most.unwrap_or(MAX_UNTOLD);
        if have > most {
            let whose = if self.most.is_some() { "of `max_download`" } else { "that it may then have" };
            let reason = format!(
                "{way} does not say how large the file is, and sent more than the {most} bytes {whose}"
            );
            return Err(Failure::new(reason).hint(ALLOW));
        }
        let step = match (self.free)(self.folder) {
            None => LOOK_AGAIN,
            Some(free) if free > KEPT_FREE => LOOK_AGAIN.min(free - KEPT_FREE),
            Some(free) => {
                return Err(Failure::new(format!(
                    "{way} does not say how large the file is, and only {free} bytes are free in `{}`, of which \
                     {KEPT_FREE} are left to others",
                    self.folder.display()
                ))
                .hint(FREE));
            }
        };
        Ok(have.saturating_add(step).min(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::Url;

    #[test]
    fn the_disk_is_looked_at_before_it_is_full() {
        let url = Url::parse("http://h/x").unwrap();
        let way = Way::from(&url);
        let next = |free: Option<u64>, most, have| {
            let free = move |_: &Path| free;
            let room = Room { free: &free, folder: Path::new("f"), most };
            room.next_look(&way, have).map_err(|failure| format!("{failure:?}"))
        };
        assert_eq!(next(None, None, 5), Ok(5 + LOOK_AGAIN));
        assert_eq!(next(Some(1 << 40), None, 0), Ok(LOOK_AGAIN));
        assert_eq!(next(Some(KEPT_FREE + 100), None, 5), Ok(105));
        assert_eq!(next(Some(1 << 40), None, MAX_UNTOLD - 1), Ok(MAX_UNTOLD));
        assert_eq!(next(None, Some(10), 10), Ok(10), "which may be all of it");
        snapshots::assert_message!(next(None, Some(10), 11).unwrap_err());
        snapshots::assert_message!(next(None, None, MAX_UNTOLD + 1).unwrap_err());
        snapshots::assert_message!(next(Some(KEPT_FREE), None, 0).unwrap_err());
    }

    #[test]
    fn what_is_there_needs_no_room() {
        let url = Url::parse("http://h/x").unwrap();
        let room = Room { free: &|_| Some(10), folder: Path::new("f"), most: None };
        room.admit(&Way::from(&url), 100, 90).unwrap();
        let failure = format!("{:?}", room.admit(&Way::from(&url), 100, 89).unwrap_err());
        snapshots::assert_message!(failure);
    }

    #[test]
    fn the_free_space_of_a_folder_is_known() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(folder.path()).is_some());
        assert_eq!(free_bytes(&folder.path().join("missing")), None);
    }
}
