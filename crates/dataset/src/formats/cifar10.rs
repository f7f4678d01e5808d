//! CIFAR-10's binary layout: `data_batch_1.bin` to `data_batch_5.bin` for training, `test_batch.bin`, and class
//! names in `batches.meta.txt`; all in one folder, at any depth.
//!
//! A record is 3,073 bytes: the label, then 1,024 red, green and blue values, row by row. A file may hold any
//! number of records. Source: <https://www.cs.toronto.edu/~kriz/cifar.html>.

use std::collections::BTreeMap;

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

/// Reads CIFAR-10's binary layout; `progress` is told the number of images read so far.
///
/// # Errors
/// As [`Source::open`]; [`DatasetError::Layout`] where one of the seven files is missing or there twice,
/// [`DatasetError::Entry`] where a file is not made of whole records, a label is above 9, or there are not ten
/// class names.
pub fn cifar10_binary(source: &Source, progress: &mut dyn FnMut(usize)) -> Result<Dataset, DatasetError> {
    let mut files: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    let mut folder: Option<String> = None;
    let mut images = 0;
    source.visit(&mut |entry| {
        let path = entry.path().to_owned();
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let wanted = TRAIN.into_iter().chain([TEST, NAMES]).find(|&wanted| wanted == name);
        let Some(wanted) = wanted.filter(|_| !entry.is_folder()) else { return Ok(()) };
        if let Some(first) = folder.as_ref().filter(|first| *first != parent) {
            return Err(layout(source, format!("there are batches both in `{first}/` and in `{parent}/`")));
        }
        folder = Some(parent.to_owned());
        let bytes = entry.read()?;
        if wanted != NAMES {
            check_records(source, &path, &bytes)?;
            images += bytes.len() / (PIXELS + 1);
            progress(images);
        }
        files.insert(wanted, bytes);
        Ok(())
    })?;
    let mut take =
        |name: &str| files.remove(name).ok_or_else(|| layout(source, format!("there is no file `{name}`")));
    let names = take(NAMES)?;
    let classes = class_names(&names).map_err(|reason| Entry::error(source, NAMES, reason))?;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for name in TRAIN {
        add_records(&take(name)?, &mut pixels, &mut labels);
    }
    let train = Split::new(SHAPE, pixels, labels)?;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    add_records(&take(TEST)?, &mut pixels, &mut labels);
    let test = Split::new(SHAPE, pixels, labels)?;
    Dataset::new(classes, train, test, FORMAT, Vec::new())
}

fn check_records(source: &Source, path: &str, bytes: &[u8]) -> Result<(), DatasetError> {
    let (records, rest) = bytes.as_chunks::<{ PIXELS + 1 }>();
    if !rest.is_empty() || records.is_empty() {
        let reason = format!(
            "has {} bytes, which are not whole records of 3,073 bytes (label, then 32×32 red, green, blue)",
            bytes.len()
        );
        return Err(Entry::error(source, path, reason));
    }
    match records.iter().enumerate().find(|(_, [label, ..])| usize::from(*label) >= CLASSES) {
        Some((index, [label, ..])) => {
            let reason = format!("has label {label} in record {index}, but labels go from 0 to 9");
            Err(Entry::error(source, path, reason))
        }
        None => Ok(()),
    }
}

fn add_records(bytes: &[u8], pixels: &mut Vec<u8>, labels: &mut Vec<i64>) {
    let (records, _) = bytes.as_chunks::<{ PIXELS + 1 }>();
    for [label, image @ ..] in records {
        labels.push(i64::from(*label));
        pixels.extend(image);
    }
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
        cifar10_binary(&Source::open(folder.path()).unwrap(), &mut |_| ())
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
        let dataset = cifar10_binary(&Source::open(&path).unwrap(), &mut |images| seen = images).unwrap();
        assert_eq!(dataset, read(&sample()).unwrap());
        assert_eq!(seen, 11);
    }

    #[test]
    fn a_label_above_nine_is_an_error() {
        let text = message(|files| _ = files.insert("top/test_batch.bin".into(), records(&[1, 12])));
        assert!(text.contains("`top/test_batch.bin`") && text.contains("label 12 in record 1"), "{text}");
    }

    #[test]
    fn half_a_record_is_an_error() {
        let text = message(|files| _ = files.get_mut("top/data_batch_3.bin").unwrap().pop());
        assert!(text.contains("data_batch_3.bin` in") && text.contains("6145 bytes"), "{text}");
        let text = message(|files| files.get_mut("top/data_batch_3.bin").unwrap().clear());
        assert!(text.contains("has 0 bytes"), "{text}");
    }

    #[test]
    fn missing_and_doubled_files_are_named() {
        let text = message(|files| _ = files.remove("top/data_batch_2.bin"));
        assert!(text.ends_with("there is no file `data_batch_2.bin`"), "{text}");
        let text = message(|files| _ = files.insert("other/data_batch_2.bin".into(), records(&[1])));
        assert!(text.contains("both in `other/` and in `top/`"), "{text}");
        let text = message(|files| _ = files.insert("top/batches.meta.txt".into(), b"cat\ndog".to_vec()));
        assert!(text.contains("names 2 classes, not 10"), "{text}");
    }

    #[test]
    fn the_real_sample_is_read() {
        let Some(path) = shared("data/cifar10-binary-sample.tar.gz") else { return };
        let dataset = cifar10_binary(&Source::open(&path).unwrap(), &mut |_| ()).unwrap();
        assert_eq!((dataset.train.len(), dataset.test.len()), (5085, 1017));
        assert_eq!(dataset.classes[0], "airplane");
        // The first image of the real training set is a frog.
        assert_eq!(dataset.train.label(0), 6);
        assert_eq!(dataset.train.image(0)[..3], [59, 43, 50]);
    }
}
