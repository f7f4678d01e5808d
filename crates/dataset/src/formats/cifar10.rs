//! CIFAR-10's binary layout: `data_batch_1.bin` to `data_batch_5.bin` for training, `test_batch.bin`, and class
//! names in `batches.meta.txt`; all in one folder, at any depth.
//!
//! A record is 3,073 bytes: the label, then 1,024 red, green and blue values, row by row. A file may hold any
//! number of records. Source: <https://www.cs.toronto.edu/~kriz/cifar.html>.

use std::collections::{BTreeMap, TryReserveError};
use std::io;

use crate::source::Entry;
use crate::{Dataset, DatasetError, Source, Split};

const FORMAT: &str = "cifar10-binary";
const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;
const CLASSES: usize = 10;
const TRAIN: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const TEST: &str = "test_batch.bin";
const NAMES: &str = "batches.meta.txt";
/// More than ten names take.
const NAMES_BYTES: u64 = 1 << 16;

/// Reads CIFAR-10's binary layout, whose pixels may take `max_bytes`; `progress` is told the number of images read so
/// far. The source is read twice: first for how much there is, so that memory holds the pixels once.
///
/// # Errors
/// As [`Source::open`]; [`DatasetError::Layout`] where one of the seven files is missing or there twice,
/// [`DatasetError::Entry`] where a file is not made of whole records, a label is above 9, or there are not ten
/// class names, [`DatasetError::Budget`] where there are too many.
pub fn cifar10_binary(
    source: &Source,
    max_bytes: u64,
    progress: &mut dyn FnMut(usize),
) -> Result<Dataset, DatasetError> {
    let Found { counts, classes } = Found::of(source)?;
    let classes = classes.ok_or_else(|| layout(source, missing(NAMES)))?;
    let count = |name: &str| counts.get(name).copied().ok_or_else(|| layout(source, missing(name)));
    let mut batches = BTreeMap::new();
    let mut train = 0;
    for name in TRAIN {
        batches.insert(name, Slot { is_test: false, first: train, count: count(name)? });
        train += count(name)?;
    }
    let test = count(TEST)?;
    batches.insert(TEST, Slot { is_test: true, first: 0, count: test });

    let mut splits = [Records::new(train), Records::new(test)];
    let budget = |limit| DatasetError::Budget {
        source_name: source.name().into(),
        images: train + test,
        things: "images",
        image: "32×32 pixels".into(),
        bytes: ((train + test) * PIXELS) as u64,
        limit,
    };
    if ((train + test) * PIXELS) as u64 > max_bytes {
        return Err(budget(Some(max_bytes)));
    }
    for split in &mut splits {
        split.reserve().map_err(|_| budget(None))?;
    }
    let mut images = 0;
    source.visit(&mut |mut entry| {
        let path = entry.path().to_owned();
        let name = path.rsplit('/').next().unwrap_or_default();
        let Some(slot) = batches.get(name).filter(|_| !entry.is_folder()) else { return Ok(()) };
        let [train, test] = &mut splits;
        let records = if slot.is_test { test } else { train };
        for index in slot.first..slot.first + slot.count {
            let mut label = [0];
            let read = match records.image(index) {
                Some(pixels) => {
                    entry.stream().read_exact(&mut label).and_then(|()| entry.stream().read_exact(pixels))
                }
                None => Err(io::Error::other("it has more records than before")),
            };
            read.map_err(|error| entry.damage(error))?;
            records.set_label(source, &path, index, index - slot.first, label[0])?;
        }
        images += slot.count;
        progress(images);
        Ok(())
    })?;
    if images != train + test {
        return Err(layout(source, "its files changed while they were read".into()));
    }
    let [train, test] = splits;
    Dataset::new(classes, train.split()?, test.split()?, FORMAT, Vec::new())
}

/// What a source has of the seven files.
#[derive(Default)]
struct Found {
    /// Number of records by file.
    counts: BTreeMap<&'static str, usize>,
    classes: Option<Vec<String>>,
}

impl Found {
    fn of(source: &Source) -> Result<Self, DatasetError> {
        let mut found = Self::default();
        let mut folder: Option<String> = None;
        source.visit(&mut |entry| {
            let path = entry.path().to_owned();
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
            let wanted = TRAIN.into_iter().chain([TEST, NAMES]).find(|&wanted| wanted == name);
            let Some(wanted) = wanted.filter(|_| !entry.is_folder()) else { return Ok(()) };
            if let Some(first) = folder.as_ref().filter(|first| *first != parent) {
                return Err(layout(
                    source,
                    format!("there are batches both in `{first}/` and in `{parent}/`"),
                ));
            }
            entry.must_be_there()?;
            folder = Some(parent.to_owned());
            if wanted == NAMES {
                if entry.size() > NAMES_BYTES {
                    let reason = format!("has {} bytes, which are not ten names", entry.size());
                    return Err(Entry::error(source, &path, reason));
                }
                let names = class_names(&entry.read()?);
                found.classes = Some(names.map_err(|reason| Entry::error(source, NAMES, reason))?);
            } else {
                found.counts.insert(wanted, whole_records(source, &path, entry.size())?);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// Where the images of a file belong.
struct Slot {
    is_test: bool,
    first: usize,
    count: usize,
}

/// A split while it is read.
struct Records {
    count: usize,
    pixels: Vec<u8>,
    labels: Vec<i64>,
}

impl Records {
    fn new(count: usize) -> Self {
        Self { count, pixels: Vec::new(), labels: Vec::new() }
    }

    fn reserve(&mut self) -> Result<(), TryReserveError> {
        self.pixels.try_reserve_exact(self.count * PIXELS)?;
        self.labels.try_reserve_exact(self.count)?;
        self.pixels.resize(self.count * PIXELS, 0);
        self.labels.resize(self.count, 0);
        Ok(())
    }

    fn image(&mut self, index: usize) -> Option<&mut [u8]> {
        self.pixels.get_mut(index * PIXELS..(index + 1) * PIXELS)
    }

    /// `record` counts from the start of the file.
    fn set_label(
        &mut self,
        source: &Source,
        path: &str,
        index: usize,
        record: usize,
        label: u8,
    ) -> Result<(), DatasetError> {
        if usize::from(label) >= CLASSES {
            let reason = format!("has label {label} in record {record}, but labels go from 0 to 9");
            return Err(Entry::error(source, path, reason));
        }
        if let Some(place) = self.labels.get_mut(index) {
            *place = i64::from(label);
        }
        Ok(())
    }

    fn split(self) -> Result<Split, DatasetError> {
        Split::new(SHAPE, self.pixels, self.labels)
    }
}

fn whole_records(source: &Source, path: &str, bytes: u64) -> Result<usize, DatasetError> {
    let record = (PIXELS + 1) as u64;
    match usize::try_from(bytes / record) {
        Ok(count @ 1..) if bytes.is_multiple_of(record) => Ok(count),
        _ => {
            let reason = format!(
                "has {bytes} bytes, which are not whole records of 3,073 bytes (label, then 32×32 red, green, blue)"
            );
            Err(Entry::error(source, path, reason))
        }
    }
}

fn missing(name: &str) -> String {
    format!("there is no file `{name}`")
}

fn class_names(bytes: &[u8]) -> Result<Vec<String>, String> {
    let text = str::from_utf8(bytes).map_err(|_| "is not text".to_owned())?;
    let names: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Into::into).collect();
    if names.len() == CLASSES {
        Ok(names)
    } else {
        Err(format!("names {} classes, not {CLASSES}, one a line", names.len()))
    }
}

fn layout(source: &Source, reason: String) -> DatasetError {
    DatasetError::Layout { source_name: source.name().into(), format: FORMAT, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_BYTES;
    use crate::testing::{Files, shared, tar_gz, write_folder};

    const META: &[u8] = b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";

    fn records(labels: &[u8]) -> Vec<u8> {
        let record = |&label: &u8| {
            let pixels = (0..PIXELS).map(move |index| (index / 1024 * 50) as u8 + label);
            std::iter::once(label).chain(pixels)
        };
        labels.iter().flat_map(record).collect()
    }

    fn sample() -> Files {
        let mut files = Files::new();
        for (index, name) in TRAIN.into_iter().enumerate() {
            files.insert(format!("top/{name}"), records(&[index as u8, 9]));
        }
        files.insert(format!("top/{TEST}"), records(&[7]));
        files.insert(format!("top/{NAMES}"), META.to_vec());
        files.insert("top/readme.html".into(), b"<html>".to_vec());
        files
    }

    fn read(files: &Files) -> Result<Dataset, DatasetError> {
        let folder = tempfile::tempdir().unwrap();
        write_folder(folder.path(), files);
        cifar10_binary(&Source::open(folder.path()).unwrap(), MAX_BYTES, &mut |_| ())
    }

    fn message(change: impl FnOnce(&mut Files)) -> String {
        let mut files = sample();
        change(&mut files);
        read(&files).unwrap_err().to_string()
    }

    #[test]
    fn batches_are_read_in_order_from_a_nested_folder() {
        let dataset = read(&sample()).unwrap();
        assert_eq!(dataset.train.labels(), [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]);
        assert_eq!(dataset.test.labels(), [7]);
        assert_eq!(dataset.classes[9], "truck");
        let image = dataset.train.image(2);
        assert_eq!((image[0], image[1024], image[3071]), (1, 51, 101));
    }

    #[test]
    fn an_archive_gives_the_same_and_progress_counts_images() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        std::fs::write(&path, tar_gz(&sample())).unwrap();
        let mut seen = 0;
        let source = Source::open(&path).unwrap();
        let dataset = cifar10_binary(&source, MAX_BYTES, &mut |images| seen = images).unwrap();
        assert_eq!(dataset, read(&sample()).unwrap());
        assert_eq!(seen, 11);
    }

    #[test]
    fn a_label_above_nine_is_an_error() {
        let text = message(|files| _ = files.insert("top/test_batch.bin".into(), records(&[1, 12])));
        snapshots::assert_message!(text);
    }

    #[test]
    fn more_pixels_than_are_allowed_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        write_folder(folder.path(), &sample());
        let source = Source::open(folder.path()).unwrap();
        let bytes = 11 * PIXELS as u64;
        assert!(cifar10_binary(&source, bytes, &mut |_| ()).is_ok());
        let error = cifar10_binary(&source, bytes - 1, &mut |_| ()).unwrap_err();
        assert!(matches!(error, DatasetError::Budget { images: 11, .. }), "{error}");
    }

    #[test]
    fn half_a_record_is_an_error() {
        let text = message(|files| _ = files.get_mut("top/data_batch_3.bin").unwrap().pop());
        snapshots::assert_message!(text);
        let text = message(|files| files.get_mut("top/data_batch_3.bin").unwrap().clear());
        snapshots::assert_message!(text);
    }

    #[test]
    fn missing_and_doubled_files_are_named() {
        let text = message(|files| _ = files.remove("top/data_batch_2.bin"));
        snapshots::assert_message!(text);
        let text = message(|files| _ = files.insert("other/data_batch_2.bin".into(), records(&[1])));
        snapshots::assert_message!(text);
        let text = message(|files| _ = files.insert("top/batches.meta.txt".into(), b"cat\ndog".to_vec()));
        snapshots::assert_message!(text);
    }

    #[test]
    fn the_real_sample_is_read() {
        let Some(path) = shared("data/cifar10-binary-sample.tar.gz") else { return };
        let dataset = cifar10_binary(&Source::open(&path).unwrap(), MAX_BYTES, &mut |_| ()).unwrap();
        assert_eq!((dataset.train.len(), dataset.test.len()), (5085, 1017));
        assert_eq!(dataset.classes[0], "airplane");
        // The first image of the real training set is a frog.
        assert_eq!(dataset.train.label(0), 6);
        assert_eq!(dataset.train.image(0)[..3], [59, 43, 50]);
    }
}
