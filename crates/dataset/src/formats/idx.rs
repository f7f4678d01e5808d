//! IDX files as MNIST comes in: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same two with
//! `t10k`, each plain or gzipped, at any depth.
//!
//! A file is a magic number (two zeros, the element type, the number of dimensions), the dimensions as
//! big-endian u32, then the elements. Source: <https://yann.lecun.com/exdb/mnist/>.

use std::collections::BTreeMap;
use std::io::{self, Read};

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
/// Bytes that a label takes: as it is in the file, and as it is in a dataset.
const LABEL: u64 = 1 + size_of::<i64>() as u64;
/// What gzip files start with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// An IDX file of unsigned bytes.
struct Idx {
    path: String,
    dims: Vec<usize>,
    data: Vec<u8>,
}

/// Reads the four files of MNIST and sets like it as images of one channel, whose pixels and labels together may take `max_bytes`. Classes
/// are named by their label; there are as many as the highest training label says. A file may lie beside its gzipped
/// form, as torchvision leaves it, if both hold the same. `progress` is told the number of images read so far.
///
/// # Errors
/// As [`Source::open`]; [`DatasetError::Layout`] where a file is missing or there twice, [`DatasetError::Entry`]
/// where one is damaged or is not what its name says, [`DatasetError::Budget`] where images take too many bytes.
pub fn idx(
    source: &Source,
    max_bytes: u64,
    progress: &mut dyn FnMut(usize),
) -> Result<Dataset, DatasetError> {
    let mut files: BTreeMap<&str, Idx> = BTreeMap::new();
    let mut images = 0;
    let mut taken = 0_u64;
    source.visit(&mut |mut entry| {
        let path = entry.path().to_owned();
        let Some(wanted) = standard_name(&path).filter(|_| !entry.is_folder()) else { return Ok(()) };
        let wrong = |reason: String| Entry::error(source, &path, reason);
        let file = Opened::new(entry.stream()).map_err(wrong)?;
        if let Some(first) = files.get(wanted) {
            let differs = || layout(source, format!("both `{}` and `{path}` are its `{wanted}`", first.path));
            if !is_packed(&first.path, &path) && !is_packed(&path, &first.path) {
                return Err(differs());
            }
            if !file.holds(first).map_err(wrong)? {
                let reason = format!("`{}` and `{path}` differ: delete the one that is wrong", first.path);
                return Err(layout(source, reason));
            }
            return Ok(());
        }
        let each = if wanted.contains("labels") { LABEL } else { 1 };
        let bytes = (file.bytes as u64).saturating_mul(each);
        if taken.saturating_add(bytes) > max_bytes {
            return Err(too_large(source, &file, each, taken, max_bytes));
        }
        taken += bytes;
        let file = file.read(path.clone()).map_err(wrong)?;
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

/// Whether `packed` is the gzipped form of `plain`, by their names.
fn is_packed(plain: &str, packed: &str) -> bool {
    packed.strip_suffix(".gz") == Some(plain)
}

/// A file of which the header is read.
struct Opened<'a> {
    dims: Vec<usize>,
    /// Bytes of data that the header announces.
    bytes: usize,
    data: Box<dyn Read + 'a>,
    is_packed: bool,
}

impl<'a> Opened<'a> {
    /// Reads the header, through gzip where the file starts so.
    fn new(stream: &'a mut dyn Read) -> Result<Self, String> {
        let mut head = Vec::new();
        let unreadable = |error: io::Error| format!("cannot be read: {error}");
        stream.take(4).read_to_end(&mut head).map_err(unreadable)?;
        let is_packed = head.starts_with(&GZIP);
        let mut data: Box<dyn Read + 'a> = Box::new(io::Cursor::new(head.clone()).chain(stream));
        if is_packed {
            data = Box::new(flate2::read::MultiGzDecoder::new(data));
        }
        let mut take = |count: usize| -> Result<Vec<u8>, String> {
            let mut bytes = Vec::new();
            let read = (&mut data).take(count as u64).read_to_end(&mut bytes);
            read.map_err(|error| broken(is_packed, &error))?;
            Ok(bytes)
        };
        let magic = take(4)?;
        let [0, 0, UNSIGNED_BYTE, rank] = *magic else {
            let magic: String = magic.iter().map(|byte| format!("{byte:02x}")).collect();
            return Err(format!(
                "is not an IDX file of unsigned bytes: its magic number is 0x{magic}, not 0x000008 and a rank"
            ));
        };
        let words = take(4 * usize::from(rank))?;
        let (words, _) = words.as_chunks::<4>();
        let dims: Vec<_> = words.iter().map(|&word| u32::from_be_bytes(word) as usize).collect();
        let bytes = dims.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
        match bytes.filter(|_| dims.len() == usize::from(rank)) {
            Some(bytes) => Ok(Self { dims, bytes, data, is_packed }),
            None => Err(format!("has 0 bytes of data, but its header announces {}", product(&dims))),
        }
    }

    /// Reads the data: never more than the header announces, whatever it unpacks to.
    fn read(mut self, path: String) -> Result<Idx, String> {
        let mut data = Vec::new();
        data.try_reserve_exact(self.bytes).map_err(|_| {
            format!("announces {} bytes of data, which this machine does not have", self.bytes)
        })?;
        let read = (&mut self.data).take(self.bytes as u64).read_to_end(&mut data);
        read.map_err(|error| broken(self.is_packed, &error))?;
        let wrong = |found: String| {
            format!("has {found} bytes of data, but its header announces {}", product(&self.dims))
        };
        if data.len() < self.bytes {
            return Err(wrong(data.len().to_string()));
        }
        if self.data.read(&mut [0]).map_err(|error| broken(self.is_packed, &error))? > 0 {
            return Err(wrong(format!("more than {}", self.bytes)));
        }
        Ok(Idx { path, dims: self.dims, data })
    }

    /// Whether it holds the same as a file that was read.
    fn holds(mut self, other: &Idx) -> Result<bool, String> {
        if self.dims != other.dims {
            return Ok(false);
        }
        let mut buffer = vec![0; 1 << 16];
        let mut rest = other.data.as_slice();
        loop {
            let count = self.data.read(&mut buffer).map_err(|error| broken(self.is_packed, &error))?;
            if count == 0 {
                return Ok(rest.is_empty());
            }
            match rest.split_at_checked(count) {
                Some((same, after)) if same == &buffer[..count] => rest = after,
                _ => return Ok(false),
            }
        }
    }
}

fn broken(is_packed: bool, error: &io::Error) -> String {
    if is_packed {
        format!("is a damaged or truncated gzip file: {error}")
    } else {
        format!("cannot be read: {error}")
    }
}

fn product(dims: &[usize]) -> String {
    dims.iter().map(ToString::to_string).collect::<Vec<_>>().join("×")
}

/// `each`: bytes that a byte of the file takes; `taken`: bytes of the files before it.
fn too_large(source: &Source, file: &Opened<'_>, each: u64, taken: u64, limit: u64) -> DatasetError {
    let (images, things, mut image) = match *file.dims {
        [count, height, width] if each == 1 => (count, "images", format!("{width}×{height} pixels")),
        _ if each == 1 => (file.bytes, "images", "a pixel".into()),
        _ => (file.bytes, "labels", format!("{each} bytes")),
    };
    let mut bytes = (file.bytes as u64).saturating_mul(each);
    // That much would be allowed by itself.
    if bytes <= limit {
        image.push_str(", with what was read before them,");
        bytes = bytes.saturating_add(taken);
    }
    DatasetError::Budget {
        source_name: source.name().into(),
        images,
        things,
        image,
        bytes,
        limit: Some(limit),
    }
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
    use crate::MAX_BYTES;
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
        idx(&Source::open(folder.path()).unwrap(), MAX_BYTES, &mut |_| ())
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
    fn a_file_may_lie_beside_its_gzipped_form() {
        let mut files = sample();
        let plain = files["raw/train-images-idx3-ubyte"].clone();
        files.insert("raw/train-images-idx3-ubyte.gz".into(), gz(&plain));
        files.insert("t10k-labels-idx1-ubyte".into(), file(&[1], &[3]));
        assert_eq!(read(&files).unwrap(), read(&sample()).unwrap());
        for other in [file(&[2, 2, 3], &[0; 12]), file(&[2, 3, 2], &plain[16..])] {
            let text = message("raw/train-images-idx3-ubyte.gz", gz(&other));
            assert!(
                text.contains("`raw/train-images-idx3-ubyte` and `raw/train-images-idx3-ubyte.gz` differ"),
                "{text}"
            );
        }
    }

    #[test]
    fn no_more_is_unpacked_than_the_header_announces() {
        // It would unpack to 64 MB.
        let mut bomb = file(&[1, 2, 3], &[]);
        bomb.resize(64 << 20, 0);
        let text = message("t10k-images-idx3-ubyte.gz", gz(&bomb));
        assert!(text.contains("has more than 6 bytes of data, but its header announces 1×2×3"), "{text}");
    }

    #[test]
    fn more_pixels_than_are_allowed_are_refused_by_the_header() {
        let text = message("t10k-images-idx3-ubyte.gz", gz(&file(&[3_000_000, 100, 100], &[])));
        assert!(
            text.contains("3000000 images of 100×100 pixels take 30.0 GB, more than the 8.6 GB"),
            "{text}"
        );
    }

    #[test]
    fn labels_count_as_well_before_they_are_read() {
        let text = message("t10k-labels-idx1-ubyte.gz", gz(&file(&[2_000_000_000], &[])));
        assert!(text.contains("2000000000 labels of 9 bytes take 18.0 GB, more than the 8.6 GB"), "{text}");
        // 12 and 6 pixels, two labels and one.
        let folder = tempfile::tempdir().unwrap();
        write_folder(folder.path(), &sample());
        let source = Source::open(folder.path()).unwrap();
        assert!(idx(&source, 12 + 6 + 3 * LABEL, &mut |_| ()).is_ok());
        let text = idx(&source, 12 + 6 + 3 * LABEL - 1, &mut |_| ()).unwrap_err().to_string();
        assert!(
            text.contains("with what was read before them, take 45 bytes, more than the 44 bytes"),
            "{text}"
        );
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
