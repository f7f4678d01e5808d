//! The files of a source, sorted into pictures and others by a look at how each starts. Knows no classes.

use std::collections::{HashMap, HashSet};

use crate::picture::{Content, Format, HEAD};
use crate::source::Real;
use crate::{DatasetError, Source};

use super::left_out::{LeftOut, Reason};

/// Endings of names that promise a picture. What has one and is none was meant to be one.
const PICTURES: [&str; 31] = [
    "jpg", "jpeg", "jpe", "jfif", "jif", "png", "apng", "gif", "webp", "bmp", "dib", "tif", "tiff", "pbm",
    "pgm", "ppm", "pnm", "pam", "avif", "heic", "heif", "jxl", "jp2", "j2k", "svg", "psd", "tga", "ico",
    "exr", "dcm", "qoi",
];

/// What file managers leave behind, in lowercase, beside files with a dot at the start.
const LITTER: [&str; 4] = ["thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"];

/// Hidden folders in which nobody keeps images of a set, in lowercase: what programs keep for themselves.
const OWN_FOLDERS: [&str; 10] = [
    "__macosx",
    ".git",
    ".hg",
    ".svn",
    ".ipynb_checkpoints",
    ".ds_store",
    ".thumbnails",
    ".trash",
    ".trashes",
    ".dvc",
];

/// Endings of texts whose characters need not be UTF-8.
const TEXTS: [&str; 12] =
    ["txt", "csv", "tsv", "json", "jsonl", "xml", "yaml", "yml", "md", "html", "htm", "log"];

/// What lies in a source, in its order.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Paths of pictures of formats that are read.
    pub(super) pictures: Vec<String>,
    /// Which file of a disk each picture is; as many as pictures.
    real: Vec<Option<Real>>,
    /// How many files are passed over as they are read under other names.
    pub(super) same: usize,
    /// Paths of folders.
    pub(super) folders: Vec<String>,
    pub(super) others: Vec<Other>,
    /// Paths of pictures that are hidden or lie in hidden folders, but for those of [`OWN_FOLDERS`] and the like.
    pub(super) hidden_pictures: Vec<String>,
    /// How many other files are hidden, or lie in hidden folders.
    pub(super) hidden: usize,
}

/// A file that is not read.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) path: String,
    /// Why; nothing for what no one takes for an image: a text, a list of labels, what file managers leave behind.
    pub(super) reason: Option<Reason>,
    /// Whether it is a picture, or called one.
    pub(super) is_picture: bool,
    /// What it leads to, as it is told, where it is a link that leads nowhere.
    target: Option<String>,
}

impl Other {
    /// Adds it to what is left out, if it has a reason; whether it has.
    pub(super) fn leave_out(&self, left_out: &mut LeftOut) -> bool {
        match (&self.target, &self.reason) {
            (Some(target), Some(_)) => left_out.add_lost(&self.path, target),
            (None, Some(reason)) => left_out.add(reason.clone(), &self.path),
            (_, None) => return false,
        }
        true
    }
}

impl Listing {
    /// Looks at every file of a source.
    pub(super) fn of(source: &Source) -> Result<Self, DatasetError> {
        let mut listing = Self::default();
        source.visit(&mut |mut entry| {
            let path = entry.path().to_owned();
            if path.split('/').any(|name| name.starts_with('.') || name == "__MACOSX") {
                if entry.is_folder() {
                    return Ok(());
                }
                if entry.lost_target().is_some() {
                    listing.hidden += 1;
                    return Ok(());
                }
                let is_own = path.split('/').any(is_own);
                match if is_own { Content::Empty } else { Content::of(&entry.head(HEAD)?) } {
                    Content::Picture(_) | Content::OtherPicture(_) => listing.hidden_pictures.push(path),
                    _ => listing.hidden += 1,
                }
            } else if entry.is_folder() {
                listing.folders.push(path);
            } else if let Some(target) = entry.lost_target() {
                listing.add_lost(path, target);
            } else {
                let content = Content::of(&entry.head(HEAD)?);
                listing.add(path, content, entry.real());
            }
            Ok(())
        })?;
        listing.pass_over_blobs();
        Ok(listing)
    }

    /// Takes in a link that leads nowhere: it may have been a picture, or a folder of them, unless its name is of what
    /// accompanies them.
    fn add_lost(&mut self, path: String, target: &str) {
        let name = path.rsplit('/').next().unwrap_or_default().to_lowercase();
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        let is_beside = LITTER.contains(&&*name) || TEXTS.contains(&ending);
        self.others.push(Other {
            path,
            reason: (!is_beside).then_some(Reason::Lost),
            is_picture: !is_beside,
            target: Some(target.to_owned()),
        });
    }

    fn add(&mut self, path: String, content: Content, real: Option<Real>) {
        let name = path.rsplit('/').next().unwrap_or_default().to_lowercase();
        let ending = name.rsplit_once('.').map(|(_, ending)| ending);
        let has = |endings: &[&str]| ending.is_some_and(|ending| endings.contains(&ending));
        match content {
            // A table may start as PNM does, and nobody calls PNM a table.
            Content::Picture(Format::Pnm) if has(&TEXTS) => {}
            Content::Picture(_) => {
                self.pictures.push(path);
                self.real.push(real);
                return;
            }
            _ => {}
        }
        let called_picture = has(&PICTURES);
        let (reason, is_picture) = match content {
            Content::OtherPicture(format) => (Some(Reason::Format(format.into())), true),
            _ if LITTER.contains(&&*name) || has(&TEXTS) => (None, false),
            Content::Empty => (called_picture.then_some(Reason::Empty), called_picture),
            Content::Text | Content::Unknown if called_picture => (Some(Reason::Misnamed), true),
            Content::Text => (None, false),
            Content::Unknown | Content::Picture(_) => {
                let what = match ending {
                    Some(ending) => format!("`.{ending}`"),
                    None => "without an ending".into(),
                };
                (Some(Reason::Other(what)), false)
            }
        };
        self.others.push(Other { path, reason, is_picture, target: None });
    }

    /// Passes over folders `blobs` whose files a folder `snapshots` beside them leads to, as Hugging Face lays a
    /// repository out: there they have their names and classes.
    fn pass_over_blobs(&mut self) {
        let stores: Vec<String> = (self.folders.iter())
            .filter_map(|folder| folder.strip_suffix("blobs"))
            .filter(|parent| parent.is_empty() || parent.ends_with('/'))
            .filter(|parent| {
                let files = |folder: &str, is_linked: bool| -> HashSet<(u64, u64)> {
                    let below = format!("{parent}{folder}/");
                    let pairs = self.pictures.iter().zip(&self.real);
                    let reals =
                        pairs.filter(|(path, _)| path.starts_with(&below)).filter_map(|(_, real)| *real);
                    reals.filter(|real| real.is_linked == is_linked).map(|real| real.file).collect()
                };
                !files("snapshots", true).is_disjoint(&files("blobs", false))
            })
            .map(|parent| format!("{parent}blobs/"))
            .collect();
        self.retain(|path, _| !stores.iter().any(|store| path.starts_with(store)));
        self.others.retain(|other| !stores.iter().any(|store| other.path.starts_with(store)));
    }

    /// Keeps of each file that links lead to one way to it, of the pictures that are `wanted`: that without a link, or else the first.
    pub(super) fn pass_over_links(&mut self, wanted: impl Fn(&str) -> bool) {
        let mut ways: HashMap<(u64, u64), (&str, bool)> = HashMap::new();
        let wanted_ways = self.pictures.iter().zip(&self.real).filter(|(path, _)| wanted(path));
        for (path, Real { file, is_linked }) in
            wanted_ways.filter_map(|(path, real)| real.map(|real| (path, real)))
        {
            let way = ways.entry(file).or_insert((path, is_linked));
            if way.1 && !is_linked {
                *way = (path, false);
            }
        }
        let kept: HashSet<String> = ways.into_values().map(|(path, _)| path.to_owned()).collect();
        self.retain(|path, real| {
            real.is_none_or(|real| !real.is_linked) || !wanted(path) || kept.contains(path)
        });
    }

    /// Keeps some pictures; counts the others as read under other names.
    fn retain(&mut self, keeps: impl Fn(&str, Option<Real>) -> bool) {
        let before = self.pictures.len();
        let pairs = std::mem::take(&mut self.pictures).into_iter().zip(std::mem::take(&mut self.real));
        (self.pictures, self.real) = pairs.filter(|(path, real)| keeps(path, *real)).unzip();
        self.same += before - self.pictures.len();
    }
}

/// Whether a program keeps this for itself: one of [`OWN_FOLDERS`], or what macOS writes beside a file (AppleDouble).
fn is_own(name: &str) -> bool {
    name.starts_with("._") || OWN_FOLDERS.contains(&&*name.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Files, jpeg, write_folder};

    fn listing(files: &[(&str, &[u8])]) -> Listing {
        let folder = tempfile::tempdir().unwrap();
        let files: Files = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
        write_folder(folder.path(), &files);
        Listing::of(&Source::open(folder.path()).unwrap()).unwrap()
    }

    fn reason(name: &str, bytes: &[u8]) -> Option<String> {
        let listing = listing(&[(name, bytes)]);
        let [other] = &*listing.others else { panic!("{listing:?}") };
        other.reason.as_ref().map(ToString::to_string)
    }

    #[test]
    fn pictures_count_whatever_their_names() {
        let bytes = jpeg(2, 2, [1, 2, 3]);
        let names = ["a.JPG", "b.jfif", "c", "d.png", "e.jpg!large", "f.txt"];
        let files: Vec<_> = names.iter().map(|&name| (name, bytes.as_slice())).collect();
        assert_eq!(listing(&files).pictures, names);
    }

    #[test]
    fn what_could_have_been_an_image_has_a_reason() {
        let of = |name, bytes| reason(name, bytes).unwrap();
        assert_eq!(of("a.jpg", b"<html>no</html>"), "no image in spite of the name");
        assert_eq!(of("a.JPEG", b"\x01\x02\x03"), "no image in spite of the name");
        assert_eq!(of("a.jpg", b""), "empty");
        assert_eq!(of("a.jpg", b"\0\0\0\x20ftypavif"), "AVIF, which is not read");
        assert_eq!(of("a.NPY", b"\x93NUMPY\x01\0"), "`.npy`, no image");
        assert_eq!(of("a", &[0xfe; 9]), "without an ending, no image");
    }

    #[test]
    fn what_accompanies_images_has_none() {
        for (name, bytes) in [
            ("README.md", &b"# set"[..]),
            ("labels.csv", b"a.jpg,1\n"),
            ("latin.txt", b"gr\xfcn"),
            ("1.annotation", b"0.5 0.5 1 1"),
            ("Thumbs.db", b"\xd0\xcf\x11\xe0"),
            ("__init__.py", b""),
            ("participants.tsv", b"P1\t34\tF\nP2\t28\tM\n"),
            ("participants", b"P5\t34\t170\tF\n"),
            ("table.csv", b"P4 8 1 \xff"),
        ] {
            assert_eq!(reason(name, bytes), None, "{name}");
        }
        let listing = listing(&[(".DS_Store", b"\0"), (".cache/a.txt", b"a"), ("__MACOSX/._a.jpg", b"")]);
        assert_eq!((listing.hidden, listing.others.len(), listing.pictures.len()), (3, 0, 0));
    }

    #[test]
    fn hidden_pictures_are_told_from_what_programs_keep() {
        let bytes: &[u8] = &jpeg(2, 2, [1, 2, 3]);
        let hidden = [".net/a.jpg", ".x.jpg", "a/.b/c"];
        let own = ["._x.jpg", "a/.git/x.png", ".ipynb_checkpoints/a-checkpoint.png", "a/.DS_Store"];
        let files: Vec<_> = hidden.iter().chain(&own).map(|&path| (path, bytes)).collect();
        let listing = listing(&files);
        assert_eq!((listing.hidden, listing.pictures.len()), (4, 0));
        assert_eq!(listing.hidden_pictures, hidden);
    }
}
