//! Image folders: `train/CLASS/…` and `test/CLASS/…` with pictures, at any depth, or `CLASS/…` alone where a share of
//! the images becomes the test split.
//!
//! Classes are the folders' names, sorted; images are sorted by class, folder and name, whatever the order in an
//! archive. The source is read twice: first what there is, so that each image has its place in memory before it is
//! decoded.

use std::collections::BTreeSet;

use super::filling::{FolderRead, Members, PictureOptions, fill};
use super::layout::{Layout, Place};
use super::left_out::{LeftOut, Reason};
use super::listing::Listing;
use super::pictures::{SAME, folders_of, held_out};
use crate::validation::test_split;
use crate::{Dataset, DatasetError, Source};

const FORMAT: &str = "image-folder";
/// What to do instead of giving `test`, where there is no such param.
const QUANTIZE: &str = "for `pipe quantize`: leave out `--format`, as no test images are needed";

/// How an image folder is read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FolderOptions {
    /// How pictures are read.
    pub pictures: PictureOptions,
    /// The images to test on, where no folder has them.
    pub test: Option<TestShare>,
}

/// Images of the training split that become the test split: of each class the same share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TestShare {
    share: f64,
    seed: u64,
}

impl TestShare {
    /// A share, unless it is not between 0 and 1. The seed decides which images they are.
    #[must_use]
    pub fn new(share: f64, seed: u64) -> Option<Self> {
        (share > 0.0 && share < 1.0).then_some(Self { share, seed })
    }
}

/// Reads an image folder as RGB images; `progress` is told the number of images read so far. What is no picture by its
/// content is left out, and counted.
///
/// # Errors
/// As [`Source::open`]; [`DatasetError::Entry`] where a file cannot be decoded, [`DatasetError::OtherSize`] where one has
/// another size than the first,
/// [`DatasetError::Layout`] where a split or class is missing or empty, [`DatasetError::LeftOut`] where more is left
/// out than may be, [`DatasetError::Budget`] where the pixels would take more bytes than they may.
pub fn image_folder(
    source: &Source,
    options: &FolderOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<FolderRead, DatasetError> {
    let folder = Folder { source, options, listing: Listing::of(source)? };
    folder.read(progress)
}

struct Folder<'a> {
    source: &'a Source,
    options: &'a FolderOptions,
    listing: Listing,
}

impl Folder<'_> {
    fn read(&self, progress: &mut dyn FnMut(usize)) -> Result<FolderRead, DatasetError> {
        let layout = Layout::of(&self.listing.pictures, self.options.test.is_some())
            .map_err(|reason| self.layout(reason))?;
        let Some(layout) = layout else { return Err(self.without_layout()) };
        let apart = self.set_apart(&layout);
        let (mut left_out, ignored) = self.left_out(&layout, &apart);
        let mut places: Vec<(Place<'_>, &str)> = (self.listing.pictures.iter())
            .filter_map(|path| layout.place(path).map(|place| (place, path.as_str())))
            .collect();
        places.sort();
        left_out.set_read(places.len());
        let has_test = places.iter().any(|(place, _)| place.is_test);
        if self.options.test.is_none() && !has_test && !self.has_test_folder(&layout) {
            return Err(self.without_test(&apart));
        }
        self.options.pictures.check(self.source, &left_out)?;

        let names = self.class_names(&layout, &places, has_test, &left_out)?;
        let [train, test] = self.members(&names, &places, has_test)?;
        let [train, test] =
            fill(self.source, &self.options.pictures, [train, test], &mut left_out, progress)?;
        self.options.pictures.check(self.source, &left_out)?;
        for (split, name) in [(&train, "train"), (&test, "test")] {
            if let Some(class) = split.class_counts(names.len()).iter().position(|&count| count == 0) {
                let class = names.get(class).map(String::as_str).unwrap_or_default();
                return Err(self.empty_class(&format!("{name}/{class}"), &left_out));
            }
        }
        let unread = self.listing.others.iter().filter(|other| other.is_picture && other.reason.is_some());
        let all = self.listing.pictures.iter().chain(unread.map(|other| &other.path));
        let set_apart = all.filter(|path| is_below(path, &apart)).count();
        let notes = self.notes(&left_out, ignored, set_apart);
        let dataset = Dataset::new(names, train, test, FORMAT, notes)?;
        Ok(FolderRead { dataset, left_out, has_test, set_apart })
    }

    /// Folders beside `train` and `test` whose images are set apart by their names, such as `val`.
    fn set_apart(&self, layout: &Layout) -> BTreeSet<&str> {
        let Layout::Splits { root } = layout else { return BTreeSet::new() };
        let mut folders = held_out(&self.listing.pictures);
        folders.retain(|folder| {
            let (parent, name) = folder.rsplit_once('/').unwrap_or(("", folder));
            parent == root && name != split_name(true)
        });
        folders
    }

    /// Whether there is a class in the test split, or what could be one, without an image in it.
    fn has_test_folder(&self, layout: &Layout) -> bool {
        let folders = self.listing.folders.iter().filter_map(|folder| layout.class(folder));
        let files = self.listing.others.iter().filter_map(|other| layout.place(&other.path));
        folders.chain(files.map(|place| (place.class, place.is_test))).any(|(_, is_test)| is_test)
    }

    /// What is left out, before anything is read, and how many files beside it are none that anyone would miss.
    fn left_out(&self, layout: &Layout, apart: &BTreeSet<&str>) -> (LeftOut, usize) {
        let mut left_out = LeftOut::default();
        let elsewhere = || Reason::Elsewhere(layout.pattern());
        let strays = self.listing.pictures.iter().filter(|path| layout.place(path).is_none());
        for path in strays.filter(|path| !is_below(path, apart)) {
            left_out.add(elsewhere(), path);
        }
        for path in self.listing.hidden_pictures.iter().filter(|path| !is_below(path, apart)) {
            left_out.add(Reason::Hidden, path);
        }
        let mut ignored = 0;
        for other in &self.listing.others {
            match &other.reason {
                Some(_) if layout.place(&other.path).is_some() => {
                    other.leave_out(&mut left_out);
                }
                Some(_) if other.is_picture && is_below(&other.path, apart) => {}
                // May be a class.
                Some(Reason::Lost) => {
                    other.leave_out(&mut left_out);
                }
                Some(_) if other.is_picture => left_out.add(elsewhere(), &other.path),
                _ => ignored += 1,
            }
        }
        (left_out, ignored)
    }

    /// Class names, sorted; the same in both splits, and none without an image.
    fn class_names(
        &self,
        layout: &Layout,
        places: &[(Place<'_>, &str)],
        has_test: bool,
        left_out: &LeftOut,
    ) -> Result<Vec<String>, DatasetError> {
        let read: BTreeSet<(&str, bool)> =
            places.iter().map(|(place, _)| (place.class, place.is_test)).collect();
        let folders = self.listing.folders.iter().filter_map(|folder| layout.class(folder));
        let files = self.listing.others.iter().filter_map(|other| layout.place(&other.path));
        let there = folders.chain(files.map(|place| (place.class, place.is_test)));
        if let Some((class, is_test)) = there.into_iter().find(|class| !read.contains(class)) {
            let class = match layout {
                Layout::Splits { .. } => format!("{}/{class}", split_name(is_test)),
                Layout::Classes { .. } => class.to_owned(),
            };
            return Err(self.empty_class(&class, left_out));
        }
        let of_split = |test: bool| -> BTreeSet<&str> {
            read.iter().filter(|(_, is_test)| *is_test == test).map(|(class, _)| *class).collect()
        };
        let (train, test) = (of_split(false), of_split(true));
        if train.is_empty() {
            return Err(self.layout("there is no folder `train` with images in class folders".into()));
        }
        if !has_test && self.options.test.is_none() {
            return Err(self.without_test(&BTreeSet::new()));
        }
        if has_test && let Some(class) = train.symmetric_difference(&test).next() {
            let is_test = test.contains(class);
            let (here, there) = (split_name(is_test), split_name(!is_test));
            return Err(self.layout(format!("class `{class}` is in `{here}` but not in `{there}`")));
        }
        Ok(train.into_iter().map(str::to_owned).collect())
    }

    /// The images of both splits, in their order.
    fn members<'p>(
        &self,
        names: &[String],
        places: &[(Place<'_>, &'p str)],
        has_test: bool,
    ) -> Result<[Members<'p>; 2], DatasetError> {
        let (mut train, mut test) = (Members::new(), Members::new());
        for (place, path) in places {
            let label = names.binary_search_by(|name| name.as_str().cmp(place.class));
            let label = label.map_err(|_| {
                self.layout(format!("`{path}` is of class `{}`, which is not among those found", place.class))
            })?;
            let members = if place.is_test { &mut test } else { &mut train };
            members.push((path, label as i64));
        }
        let Some(TestShare { share, seed }) = self.options.test.filter(|_| !has_test) else {
            return Ok([train, test]);
        };
        let images: Vec<_> =
            places.iter().zip(&train).map(|((place, _), (_, label))| (*label, place.inner)).collect();
        let (rest, held_out) = test_split(&images, share, seed).map_err(|label| {
            let class = usize::try_from(label).ok().and_then(|label| names.get(label));
            let class = class.map(String::as_str).unwrap_or_default();
            self.layout(format!("class `{class}` has one image, which cannot be both trained and tested on"))
        })?;
        let take =
            |indices: Vec<usize>| indices.into_iter().filter_map(|index| train.get(index).copied()).collect();
        Ok([take(rest), take(held_out)])
    }

    /// What is kept with the dataset. Words of the first version where nothing else is to be said: they are in its file,
    /// whose bytes stay the same for the same images.
    fn notes(&self, left_out: &LeftOut, ignored: usize, set_apart: usize) -> Vec<String> {
        let counts = [
            (self.listing.hidden, "hidden files"),
            (self.listing.same, SAME),
            (ignored, "files that are neither .jpg, .jpeg nor .png"),
            (left_out.elsewhere() + set_apart, "images outside train/CLASS/ and test/CLASS/"),
        ];
        let mut notes: Vec<_> = (counts.into_iter())
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("ignored {what}: {count}"))
            .collect();
        if left_out.count() > left_out.elsewhere() {
            notes.push(format!("left out {left_out}"));
        }
        notes
    }

    fn empty_class(&self, class: &str, left_out: &LeftOut) -> DatasetError {
        let mut reason = format!("the class folder `{class}` holds no image");
        if left_out.count() > 0 {
            reason = format!("{reason}; left out are {left_out}");
        }
        self.layout(reason)
    }

    /// `apart`: folders with images that could have been meant.
    fn without_test(&self, apart: &BTreeSet<&str>) -> DatasetError {
        let mut reason = format!(
            "there is no folder `test` with images in class folders; `test: 0.2` takes a fifth of each class of `train` \
             ({QUANTIZE})"
        );
        if let Some(folder) = apart.first() {
            let name = folder.rsplit('/').next().unwrap_or_default();
            reason.push_str(&format!(
                ". The images in `{name}` are read under no other name than `test`: rename that folder if they are to test on"
            ));
        }
        self.layout(reason)
    }

    fn without_layout(&self) -> DatasetError {
        let pictures = self.listing.pictures.len();
        let mut reason = "there is no image in `train/CLASS/` or `test/CLASS/`".to_owned();
        let mut left_out = LeftOut::default();
        for other in &self.listing.others {
            other.leave_out(&mut left_out);
        }
        for path in &self.listing.hidden_pictures {
            left_out.add(Reason::Hidden, path);
        }
        match (pictures, left_out.count()) {
            (0, 0) => {}
            (0, _) => reason = format!("{reason}; left out are {left_out}"),
            _ if self.options.test.is_some() => {
                reason = format!("{reason}, nor in two folders of classes ({pictures} elsewhere)");
            }
            _ => {
                reason = format!(
                    "{reason} ({pictures} elsewhere); with `test: 0.2` folders of classes alone are enough ({QUANTIZE})"
                );
            }
        }
        self.layout(reason)
    }

    fn layout(&self, reason: String) -> DatasetError {
        DatasetError::Layout { source_name: self.source.name().into(), format: FORMAT, reason }
    }
}

/// Whether a path leads through one of these folders.
fn is_below(path: &str, folders: &BTreeSet<&str>) -> bool {
    !folders.is_empty() && folders_of(path).any(|folder| folders.contains(folder))
}

fn split_name(is_test: bool) -> &'static str {
    if is_test { "test" } else { "train" }
}

#[cfg(test)]
mod tests;
