//! IDX files as MNIST comes in: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same two with
//! `t10k`, each plain or gzipped, at any depth.
//!
//! A file is a magic number (two zeros, the element type, the number of dimensions), the dimensions as
//! big-endian u32, then the elements. Source: <https://yann.lecun.com/exdb/mnist/>.

use std::collections::BTreeMap;
use std::io::Read;

use crate::source::Entry;
use crate::{Dataset, DatasetError, Source, Split};

const FORMAT: &str = "idx";
const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];
const UNSIGNED_BYTE: u8 = 8;
/// More than any file of this format holds; gzip can blow up a thousandfold.
const MAX_BYTES: u64 = 4 << 30;

/// An IDX file of unsigned bytes.
struct Idx {
    path: String,
    dims: Vec<usize>,
    data: Vec<u8>,
}

/// Reads the four files of MNIST and sets like it as images of one channel. Classes are named by their label;
/// there are as many as the highest training label says. `progress` is told the number of images read so far.
///
/// # Errors
/// As [`Source::open`]; [`DatasetError::Layout`] where a file is missing or there twice, [`DatasetError::Entry`]
/// where one is damaged or is not what its name says.
pub fn idx(source: &Source, progress: &mut dyn FnMut(usize)) -> Result<Dataset, DatasetError> {
    let mut files: BTreeMap<&str, Idx> = BTreeMap::new();
    let mut images = 0;
    source.visit(&mut |entry| {
        let path = entry.path().to_owned();
        let Some(wanted) = standard_name(&path).filter(|_| !entry.is_folder()) else { return Ok(()) };
        if let Some(first) = files.get(wanted) {
            return Err(layout(source, format!("both `{}` and `{path}` are its `{wanted}`", first.path)));
        }
        let file = parse(&path, entry.read()?).map_err(|reason| Entry::error(source, &path, reason))?;
        if let [count, _, _] = *file.dims {
            images += count;
            progress(images);
        }
        files.insert(wanted, file);
        Ok(())
    })?;
    let mut split = |images: &str, labels: &str| -> Result<Split, DatasetError> {
        let mut take = |name: &str| {
            let missing = || layout(source, format!("there is no file `{name}`, plain or gzipped"));
            files.remove(name).ok_or_else(missing)
        };
        let (images, labels) = (take(images)?, take(labels)?);
        let [count, height, width] = *images.dims else {
            return Err(dimensions(source, &images, 3, "images, rows, columns"));
        };
        let [expected] = *labels.dims else {
            return Err(dimensions(source, &labels, 1, "labels"));
        };
        if count != expected {
            let reason = format!("has {expected} labels, but `{}` has {count} images", images.path);
            return Err(Entry::error(source, &labels.path, reason));
        }
        Split::new([1, height, width], images.data, labels.data.into_iter().map(i64::from).collect())
            .map_err(|error| Entry::error(source, &images.path, format!("is not usable: {error}")))
    };
    let [train_images, train_labels, test_images, test_labels] = FILES;
    let train = split(train_images, train_labels)?;
    let test = split(test_images, test_labels)?;
    let classes = train.labels().iter().max().map_or(0, |label| label + 1);
    Dataset::new((0..classes).map(|label| label.to_string()).collect(), train, test, FORMAT, Vec::new())
}

/// The standard name that a path stands for: `.gz` may follow, and some copies write `.idx3` for `-idx3`.
fn standard_name(path: &str) -> Option<&'static str> {
    let name = path.rsplit('/').next()?;
    let name = name.strip_suffix(".gz").unwrap_or(name).replace(".idx", "-idx");
    FILES.into_iter().find(|&wanted| wanted == name)
}

fn parse(path: &str, mut bytes: Vec<u8>) -> Result<Idx, String> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(bytes.as_slice())
            .take(MAX_BYTES + 1)
            .read_to_end(&mut plain)
            .map_err(|error| format!("is a damaged or truncated gzip file: {error}"))?;
        if plain.len() as u64 > MAX_BYTES {
            return Err(format!("unpacks to more than {} GiB", MAX_BYTES >> 30));
        }
        bytes = plain;
    }
    let bad_magic = || {
        let magic: String = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!(
            "is not an IDX file of unsigned bytes: its magic number is 0x{magic}, not 0x000008 and a rank"
        )
    };
    let [0, 0, UNSIGNED_BYTE, rank, rest @ ..] = bytes.as_slice() else { return Err(bad_magic()) };
    let (words, _) = rest.as_chunks::<4>();
    let dims: Vec<_> =
        words.iter().take(usize::from(*rank)).map(|&word| u32::from_be_bytes(word) as usize).collect();
    let expected = dims.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
    let data = rest.get(4 * usize::from(*rank)..).unwrap_or_default();
    if dims.len() != usize::from(*rank) || expected != Some(data.len()) {
        return Err(format!(
            "has {} bytes of data, but its header announces {}",
            data.len(),
            dims.iter().map(ToString::to_string).collect::<Vec<_>>().join("×")
        ));
    }
    Ok(Idx { path: path.into(), dims, data: data.to_vec() })
}

fn dimensions(source: &Source, file: &Idx, expected: usize, names: &str) -> DatasetError {
    let reason = format!("has {} dimensions, not {expected} ({names})", file.dims.len());
    Entry::error(source, &file.path, reason)
}

fn layout(source: &Source, reason: String) -> DatasetError {
    DatasetError::Layout { source_name: source.name().into(), format: FORMAT, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Files, gz, write_folder};

    fn file(dims: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, dims.len() as u8];
        bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    fn sample() -> Files {
        Files::from([
            (
                "raw/train-images-idx3-ubyte".into(),
                file(&[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
            ),
            ("raw/train-labels.idx1-ubyte".into(), file(&[2], &[0, 4])),
            ("t10k-images-idx3-ubyte.gz".into(), gz(&file(&[1, 2, 3], &[9; 6]))),
            ("t10k-labels-idx1-ubyte.gz".into(), gz(&file(&[1], &[3]))),
        ])
    }

    fn read(files: &Files) -> Result<Dataset, DatasetError> {
        let folder = tempfile::tempdir().unwrap();
        write_folder(folder.path(), files);
        idx(&Source::open(folder.path()).unwrap(), &mut |_| ())
    }

    fn message(name: &str, bytes: Vec<u8>) -> String {
        let mut files = sample();
        files.insert(name.into(), bytes);
        read(&files).unwrap_err().to_string()
    }

    #[test]
    fn plain_and_gzipped_files_are_read() {
        let dataset = read(&sample()).unwrap();
        assert_eq!(dataset.shape(), [1, 2, 3]);
        assert_eq!(dataset.train.image(1), [7, 8, 9, 10, 11, 12]);
        assert_eq!((dataset.train.labels(), dataset.test.labels()), (&[0, 4][..], &[3][..]));
        assert_eq!(dataset.classes, ["0", "1", "2", "3", "4"]);
    }

    #[test]
    fn a_bad_magic_number_is_shown() {
        let text = message("raw/train-images-idx3-ubyte", vec![0, 0, 13, 3, 0, 0]);
        assert!(text.contains("`raw/train-images-idx3-ubyte`") && text.contains("0x00000d03"), "{text}");
        let text = message("raw/train-images-idx3-ubyte", vec![]);
        assert!(text.contains("magic number is 0x,"), "{text}");
    }

    #[test]
    fn wrong_lengths_and_counts_are_errors() {
        let text = message("raw/train-images-idx3-ubyte", file(&[2, 2, 3], &[0; 11]));
        assert!(text.contains("11 bytes of data, but its header announces 2×2×3"), "{text}");
        let text = message("raw/train-images-idx3-ubyte", file(&[u32::MAX, u32::MAX, u32::MAX], &[]));
        assert!(text.contains("0 bytes of data"), "{text}");
        let text = message("raw/train-labels.idx1-ubyte", file(&[3], &[0, 1, 2]));
        assert!(text.contains("has 3 labels, but `raw/train-images-idx3-ubyte` has 2 images"), "{text}");
        let text = message("raw/train-labels.idx1-ubyte", file(&[2, 1], &[0, 1]));
        assert!(text.contains("has 2 dimensions, not 1 (labels)"), "{text}");
        let mut cut = gz(&file(&[1], &[3]));
        cut.truncate(cut.len() - 9);
        let text = message("t10k-labels-idx1-ubyte.gz", cut);
        assert!(text.contains("damaged or truncated gzip"), "{text}");
    }

    #[test]
    fn missing_and_doubled_files_are_named() {
        let mut files = sample();
        files.remove("t10k-images-idx3-ubyte.gz");
        let text = read(&files).unwrap_err().to_string();
        assert!(text.contains("there is no file `t10k-images-idx3-ubyte`"), "{text}");
        let text = message("train-images-idx3-ubyte.gz", gz(&file(&[1, 1, 1], &[0])));
        assert!(
            text.contains("both `raw/train-images-idx3-ubyte` and `train-images-idx3-ubyte.gz`"),
            "{text}"
        );
    }
}
