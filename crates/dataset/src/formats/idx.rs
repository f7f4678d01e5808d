//! IDX files as MNIST comes in: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same two with
//! `t10k` or `test`, each plain or gzipped, at any depth. All may have one prefix, such as `emnist-letters-`.
//!
//! A file is a magic number (two zeros, the element type, the number of dimensions), the dimensions as
//! big-endian u32, then the elements. Source: <https://yann.lecun.com/exdb/mnist/>.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use crate::source::{Entry, Gunzip};
use crate::{Dataset, DatasetError, Source, Split};

const FORMAT: &str = "idx";
const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];
const UNSIGNED_BYTE: u8 = 8;
/// Whole numbers of 32 bits, as QMNIST has its labels in: a row for each image, whose first column is the class.
const INT: u8 = 12;
/// Bytes that a label takes: as it is in the file, and as it is in a dataset.
const LABEL: u64 = 1 + size_of::<i64>() as u64;
/// What gzip files start with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// An IDX file.
struct Idx {
    path: String,
    dims: Vec<usize>,
    /// Bytes of a value.
    width: usize,
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
    let prefix = prefix(source)?;
    let mut files: BTreeMap<&str, Idx> = BTreeMap::new();
    let mut images = 0;
    let mut taken = 0_u64;
    source.visit(&mut |mut entry| {
        let path = entry.path().to_owned();
        let name = standard_name(&path).filter(|(found, _)| !entry.is_folder() && *found == prefix);
        let Some((_, wanted)) = name else { return Ok(()) };
        entry.must_be_there()?;
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
            let missing = || layout(source, format!("there is no file `{prefix}{name}`, plain or gzipped"));
            files.remove(name).ok_or_else(missing)
        };
        let (images, labels) = (take(images)?, take(labels)?.first_column(source)?);
        if images.width != 1 {
            return Err(Entry::error(source, &images.path, "has values of 32 bits, not pixels of 8"));
        }
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

/// The prefix and the standard name that a path stands for: `.gz` may follow, some copies write `.idx3` for `-idx3`, EMNIST
/// and QMNIST `test` for `t10k`, and QMNIST has more than the class among its labels.
fn standard_name(path: &str) -> Option<(String, &'static str)> {
    let name = path.rsplit('/').next().filter(|name| !name.starts_with('.'))?;
    let name = name.strip_suffix(".gz").unwrap_or(name).replace(".idx", "-idx");
    let name = name.replace("-labels-idx2-int", "-labels-idx1-ubyte");
    FILES.into_iter().find_map(|wanted| {
        let prefix =
            name.strip_suffix(wanted).or_else(|| name.strip_suffix(&wanted.replace("t10k", "test")))?;
        (prefix.is_empty() || prefix.ends_with(['-', '_', '.'])).then(|| (prefix.to_owned(), wanted))
    })
}

/// What stands before the standard names in the one set of the source; nothing where they stand alone.
fn prefix(source: &Source) -> Result<String, DatasetError> {
    let mut sets: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    source.visit(&mut |entry| {
        if let Some((prefix, name)) = standard_name(entry.path()).filter(|_| !entry.is_folder()) {
            sets.entry(prefix).or_default().insert(name);
        }
        Ok(())
    })?;
    if sets.is_empty() || sets.contains_key("") {
        return Ok(String::new());
    }
    let whole: Vec<_> = sets.iter().filter(|(_, names)| names.len() == FILES.len()).collect();
    match (&*whole, sets.len()) {
        ([(prefix, _)], _) => Ok((*prefix).clone()),
        ([], 1) => Ok(sets.keys().next().cloned().unwrap_or_default()),
        _ => {
            let names: Vec<_> = sets.keys().map(|prefix| format!("`{prefix}`")).collect();
            Err(layout(
                source,
                format!(
                    "there are files of {} sets, whose names begin with {}; give a folder with the four files of one, \
                     or hide the others by `ignore`",
                    names.len(),
                    names.join(", ")
                ),
            ))
        }
    }
}

/// Whether `packed` is the gzipped form of `plain`, by their names.
fn is_packed(plain: &str, packed: &str) -> bool {
    packed.strip_suffix(".gz") == Some(plain)
}

impl Idx {
    /// Of labels with several columns the first, whose values must be classes.
    fn first_column(mut self, source: &Source) -> Result<Self, DatasetError> {
        let (values, _) = self.data.as_chunks::<4>();
        let (4, &[count, columns]) = (self.width, &*self.dims) else { return Ok(self) };
        let classes =
            values.iter().step_by(columns.max(1)).map(|&value| u8::try_from(i32::from_be_bytes(value)));
        let data = classes.collect::<Result<Vec<u8>, _>>();
        let data = data
            .map_err(|_| Entry::error(source, &self.path, "has labels that are no classes from 0 to 255"))?;
        (self.dims, self.width) = (vec![count], 1);
        self.data = data;
        Ok(self)
    }
}

/// A file of which the header is read.
struct Opened<'a> {
    dims: Vec<usize>,
    /// Bytes of a value.
    width: usize,
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
            data = Box::new(Gunzip::new(io::BufReader::new(data)));
        }
        let mut take = |count: usize| -> Result<Vec<u8>, String> {
            let mut bytes = Vec::new();
            let read = (&mut data).take(count as u64).read_to_end(&mut bytes);
            read.map_err(|error| broken(is_packed, &error))?;
            Ok(bytes)
        };
        let magic = take(4)?;
        let (rank, width): (u8, usize) = match *magic {
            [0, 0, UNSIGNED_BYTE, rank] => (rank, 1),
            [0, 0, INT, 2] => (2, 4),
            _ => {
                let magic: String = magic.iter().map(|byte| format!("{byte:02x}")).collect();
                return Err(format!(
                    "is not an IDX file of unsigned bytes: its magic number is 0x{magic}, not 0x000008 and a rank"
                ));
            }
        };
        let words = take(4 * usize::from(rank))?;
        let (words, _) = words.as_chunks::<4>();
        let dims: Vec<_> = words.iter().map(|&word| u32::from_be_bytes(word) as usize).collect();
        let bytes = dims.iter().try_fold(width, |product, &dim| product.checked_mul(dim));
        match bytes.filter(|_| dims.len() == usize::from(rank)) {
            Some(bytes) => Ok(Self { dims, width, bytes, data, is_packed }),
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
        Ok(Idx { path, dims: self.dims, width: self.width, data })
    }

    /// Whether it holds the same as a file that was read.
    fn holds(mut self, other: &Idx) -> Result<bool, String> {
        if (&self.dims, self.width) != (&other.dims, other.width) {
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
mod tests;
