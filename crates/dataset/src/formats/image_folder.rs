//! Image folders: `train/CLASS/*` and `test/CLASS/*` with JPEG and PNG files, at any depth.
//!
//! Classes are the folders' names, sorted; images are sorted by class and file name, whatever the order in an
//! archive. Hidden files and files that are no images are ignored, and counted in the dataset's notes.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::picture::{self, Picture};
use crate::source::Entry;
use crate::{Dataset, DatasetError, Source, Split};

const FORMAT: &str = "image-folder";
const SPLITS: [&str; 2] = ["train", "test"];
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// Encoded images that are decoded together: enough to keep all threads busy, few enough to hold in memory.
const BATCH_FILES: usize = 1024;
const BATCH_BYTES: usize = 32 << 20;

/// Reads an image folder as RGB images; `progress` is told the number of images read so far.
///
/// # Errors
/// As [`Source::open`]; [`DatasetError::Entry`] where a file cannot be decoded or has another size than the first,
/// [`DatasetError::Layout`] where a split or class is missing or empty.
pub fn image_folder(source: &Source, progress: &mut dyn FnMut(usize)) -> Result<Dataset, DatasetError> {
    let mut collected = Collected { source, root: None, size: None, classes: BTreeMap::new(), images: 0 };
    let (mut batch, mut batch_bytes) = (Vec::new(), 0);
    let mut ignored = Ignored::default();
    source.visit(&mut |entry| {
        let path = entry.path().to_owned();
        let components: Vec<_> = path.split('/').collect();
        if components.iter().any(|name| name.starts_with('.') || *name == "__MACOSX") {
            ignored.hidden += usize::from(!entry.is_folder());
            return Ok(());
        }
        if entry.is_folder() {
            if let Some(place) = place(&components) {
                collected.classes.entry(place).or_default();
            }
            return Ok(());
        }
        let [folder @ .., name] = components.as_slice() else { return Ok(()) };
        let class = place(folder);
        if let Some(class) = &class {
            collected.classes.entry(class.clone()).or_default();
        }
        if !is_image(name) {
            ignored.others += 1;
            return Ok(());
        }
        let Some(class) = class else {
            ignored.elsewhere += 1;
            return Ok(());
        };
        collected.check_root(&class)?;
        let bytes = entry.read()?;
        batch_bytes += bytes.len();
        batch.push(Encoded { class, name: (*name).to_owned(), path, bytes });
        if batch.len() >= BATCH_FILES || batch_bytes >= BATCH_BYTES {
            collected.decode(std::mem::take(&mut batch))?;
            batch_bytes = 0;
            progress(collected.images);
        }
        Ok(())
    })?;
    collected.decode(batch)?;
    progress(collected.images);
    collected.finish(&ignored)
}

/// A class folder: what lies above its split, the split (`true` for test), and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    root: String,
    is_test: bool,
    name: String,
}

struct Encoded {
    class: Class,
    name: String,
    path: String,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Ignored {
    hidden: usize,
    others: usize,
    elsewhere: usize,
}

impl Ignored {
    fn notes(&self) -> Vec<String> {
        [
            (self.hidden, "hidden files"),
            (self.others, "files that are neither .jpg, .jpeg nor .png"),
            (self.elsewhere, "images outside train/CLASS/ and test/CLASS/"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("ignored {what}: {count}"))
        .collect()
    }
}

/// `…/train/CLASS` is a class folder.
fn place(folder: &[&str]) -> Option<Class> {
    let [root @ .., split, name] = folder else { return None };
    let split = SPLITS.iter().position(|known| known == split)?;
    Some(Class { root: root.join("/"), is_test: split == 1, name: (*name).to_owned() })
}

fn is_image(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

/// Decoded images by class.
struct Collected<'a> {
    source: &'a Source,
    root: Option<String>,
    /// Height and width of the first image, and its path.
    size: Option<([usize; 2], String)>,
    classes: BTreeMap<Class, Vec<(String, Vec<u8>)>>,
    images: usize,
}

impl Collected<'_> {
    fn check_root(&mut self, class: &Class) -> Result<(), DatasetError> {
        let root = self.root.get_or_insert_with(|| class.root.clone());
        if *root == class.root {
            return Ok(());
        }
        let reason = format!("there are images both below `{root}/` and below `{}/`", class.root);
        Err(self.layout(reason))
    }

    fn decode(&mut self, batch: Vec<Encoded>) -> Result<(), DatasetError> {
        let decoded: Vec<_> =
            batch.into_par_iter().map(|file| (picture::decode_rgb(&file.bytes), file)).collect();
        for (picture, Encoded { class, name, path, .. }) in decoded {
            let Picture { height, width, pixels } =
                picture.map_err(|reason| Entry::error(self.source, &path, reason))?;
            let ([first_height, first_width], first) =
                self.size.get_or_insert_with(|| ([height, width], path.clone()));
            if (height, width) != (*first_height, *first_width) {
                let reason = format!(
                    "is {width}×{height} pixels, but `{first}` is {first_width}×{first_height}; \
                     all images must have one size"
                );
                return Err(Entry::error(self.source, &path, reason));
            }
            self.classes.entry(class).or_default().push((name, pixels));
            self.images += 1;
        }
        Ok(())
    }

    fn finish(mut self, ignored: &Ignored) -> Result<Dataset, DatasetError> {
        let notes = ignored.notes();
        let (Some(root), Some(([height, width], _))) = (&self.root, &self.size) else {
            let mut reason =
                "there is no .jpg, .jpeg or .png file in `train/CLASS/` or `test/CLASS/`".to_owned();
            if !notes.is_empty() {
                reason = format!("{reason} ({})", notes.join(", "));
            }
            return Err(self.layout(reason));
        };
        let shape = [3, *height, *width];
        self.classes.retain(|class, _| class.root == *root);
        let names = self.class_names()?;
        let (mut train, mut test) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
        for (class, mut images) in std::mem::take(&mut self.classes) {
            let Ok(label) = names.binary_search(&class.name) else { continue };
            images.sort();
            let (pixels, labels) = if class.is_test { &mut test } else { &mut train };
            for (_, image) in images {
                pixels.extend(image);
                labels.push(label as i64);
            }
        }
        let train = Split::new(shape, train.0, train.1)?;
        let test = Split::new(shape, test.0, test.1)?;
        Dataset::new(names, train, test, FORMAT, notes)
    }

    /// Class names, sorted; the same in both splits, and none without an image.
    fn class_names(&self) -> Result<Vec<String>, DatasetError> {
        if let Some((class, _)) = self.classes.iter().find(|(_, images)| images.is_empty()) {
            let split = SPLITS[usize::from(class.is_test)];
            return Err(self.layout(format!("the class folder `{split}/{}` holds no image", class.name)));
        }
        let of_split = |test: bool| -> Vec<String> {
            let classes = self.classes.keys().filter(|class| class.is_test == test);
            classes.map(|class| class.name.clone()).collect()
        };
        let (train, test) = (of_split(false), of_split(true));
        for (mine, others, here, there) in
            [(&train, &test, "train", "test"), (&test, &train, "test", "train")]
        {
            if others.is_empty() {
                return Err(self.layout(format!("there is no folder `{there}` with images in class folders")));
            }
            if let Some(name) = mine.iter().find(|name| others.binary_search(name).is_err()) {
                return Err(self.layout(format!("class `{name}` is in `{here}` but not in `{there}`")));
            }
        }
        Ok(train)
    }

    fn layout(&self, reason: String) -> DatasetError {
        DatasetError::Layout { source_name: self.source.name().into(), format: FORMAT, reason }
    }
}

#[cfg(test)]
mod tests;
