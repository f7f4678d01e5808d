//! Where arrays lie: an `.npz`, one `.npy`, a folder of `.npy`, or safetensors, each read from its beginning as far as it is needed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::header::MAGIC;
use crate::tensors::{self, Tensors};
use crate::{Array, ArraysError, Header};

/// Ending of the names of arrays in folders and archives.
const ENDING: &str = ".npy";

/// What zip archives begin with.
const ZIP: &[u8] = b"PK";

/// Arrays by name, which have equally many samples.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    kind: Kind,
    headers: BTreeMap<String, Header>,
    /// Those beside others that hold no numbers, such as names of files, and what they hold.
    others: BTreeMap<String, String>,
    samples: usize,
}

#[derive(Debug)]
enum Kind {
    Archive,
    Folder,
    /// The only array is in a file.
    Single,
    /// All are in one file, and begin at these places.
    Tensors(BTreeMap<String, u64>),
}

impl Source {
    /// Reads what the arrays at `path` say of themselves. One that is a file of its own has the name of the file.
    ///
    /// # Errors
    /// Where it cannot be read, holds no arrays, or one that cannot be read; or where their numbers of samples differ.
    pub fn open(path: &Path) -> Result<Self, ArraysError> {
        let unreadable = |source| ArraysError::Unreadable { path: path.to_owned(), source };
        let kind = if fs::metadata(path).map_err(unreadable)?.is_dir() {
            Kind::Folder
        } else {
            let mut start = Vec::new();
            let file = regular::open(path).map_err(unreadable)?;
            file.take(tensors::LENGTH as u64 + 1).read_to_end(&mut start).map_err(unreadable)?;
            match start {
                start if start.starts_with(MAGIC) => Kind::Single,
                start if start.starts_with(ZIP) => Kind::Archive,
                start if tensors::begins(&start) => return Self::of_tensors(path),
                _ => {
                    let reason =
                        "it is neither an `.npz`, nor an `.npy`, nor a folder of `.npy`, nor safetensors"
                            .into();
                    return Err(ArraysError::NoArrays { path: path.to_owned(), reason });
                }
            }
        };
        let mut source = Self {
            path: path.to_owned(),
            kind,
            headers: BTreeMap::new(),
            others: BTreeMap::new(),
            samples: 0,
        };
        for name in source.names()? {
            match source.with(&name, |file| Header::read(file))? {
                Ok(header) => drop(source.headers.insert(name, header)),
                Err(reason) => drop(source.others.insert(name, reason)),
            }
        }
        source.counted()
    }

    fn of_tensors(path: &Path) -> Result<Self, ArraysError> {
        let Tensors { headers, others, offsets } = Tensors::read(path)?;
        let kind = Kind::Tensors(offsets);
        let source = Self { path: path.to_owned(), kind, headers, others, samples: 0 };
        if source.headers.is_empty() && source.others.is_empty() {
            return Err(ArraysError::NoArrays { path: path.to_owned(), reason: "it has no tensors".into() });
        }
        source.counted()
    }

    /// It, where some of what it holds can be read and has equally many samples.
    fn counted(mut self) -> Result<Self, ArraysError> {
        if self.headers.is_empty()
            && let Some((name, reason)) = self.others.iter().next()
        {
            return Err(self.wrong(name, reason.clone()));
        }
        self.samples = self.count()?;
        Ok(self)
    }

    /// Where they lie.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the only array is a file of its own, whose name says nothing.
    #[must_use]
    pub fn is_single(&self) -> bool {
        matches!(self.kind, Kind::Single)
    }

    /// What each array says of itself.
    #[must_use]
    pub fn headers(&self) -> &BTreeMap<String, Header> {
        &self.headers
    }

    /// Why the array of that name, which is there, is not read: it holds no numbers.
    #[must_use]
    pub fn why_not(&self, name: &str) -> Option<&str> {
        self.others.get(name).map(String::as_str)
    }

    /// How many samples there are.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// The samples at `indices`, ascending, of the array `name`.
    ///
    /// # Errors
    /// Where it cannot be read to its end, or there is none of that name.
    pub fn take(&self, name: &str, indices: &[usize]) -> Result<Array, ArraysError> {
        let header = self.headers.get(name).ok_or_else(|| self.wrong(name, "is not there".into()))?;
        let size = header.element.bytes();
        let values: usize = header.shape.iter().skip(1).product();
        let rest = header.shape.iter().skip(1).copied();
        let shape = std::iter::once(indices.len()).chain(rest).collect();
        if indices.is_empty() {
            return Ok(Array { element: header.element, shape, bytes: Vec::new() });
        }
        let mut bytes = self.values(name, |file| {
            let read = match header.is_column_major {
                true => columns(file, size, self.samples, values, indices),
                false => rows(file, size * values, indices),
            };
            read.map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => format!("ends before its shape {:?} says", header.shape),
                _ => error.to_string(),
            })
        })?;
        if header.is_column_major {
            to_row_major(&mut bytes, size, header.shape.get(1..).unwrap_or_default());
        }
        if header.is_big_endian && size > 1 {
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        Ok(Array { element: header.element, shape, bytes })
    }

    /// Reads an array from its first element.
    fn values<T>(
        &self,
        name: &str,
        read: impl FnOnce(&mut dyn Read) -> Result<T, String>,
    ) -> Result<T, ArraysError> {
        let Kind::Tensors(offsets) = &self.kind else {
            return self.with(name, |file| {
                Header::read(file)??;
                read(file)
            });
        };
        let unreadable = |source| ArraysError::Unreadable { path: self.path.clone(), source };
        let offset = offsets.get(name).ok_or_else(|| self.wrong(name, "is not there".into()))?;
        let mut file = regular::open(&self.path).map_err(unreadable)?;
        file.seek(SeekFrom::Start(*offset)).map_err(unreadable)?;
        read(&mut BufReader::new(file)).map_err(|reason| self.wrong(name, reason))
    }

    fn names(&self) -> Result<Vec<String>, ArraysError> {
        let (names, what) = match &self.kind {
            Kind::Tensors(offsets) => return Ok(offsets.keys().cloned().collect()),
            Kind::Single => {
                let stem = self.path.file_stem().unwrap_or_default();
                return Ok(vec![stem.to_string_lossy().into_owned()]);
            }
            Kind::Archive => {
                let archive = self.archive()?;
                let names: Result<Vec<String>, _> =
                    archive.file_names().map(|name| Ok(name?.into_owned())).collect();
                (names.map_err(|error: ZipError| self.packed(&error))?, "the archive")
            }
            Kind::Folder => {
                let unreadable = |source| ArraysError::Unreadable { path: self.path.clone(), source };
                let entries = fs::read_dir(&self.path).map_err(unreadable)?;
                let names: Result<Vec<String>, _> =
                    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect();
                (names.map_err(unreadable)?, "the folder")
            }
        };
        let mut names: Vec<String> =
            names.iter().filter_map(|name: &String| Some(name.strip_suffix(ENDING)?.to_owned())).collect();
        names.sort();
        if names.is_empty() {
            let reason = format!("no file in {what} ends in `{ENDING}`");
            return Err(ArraysError::NoArrays { path: self.path.clone(), reason });
        }
        Ok(names)
    }

    fn count(&self) -> Result<usize, ArraysError> {
        let mut first: Option<(&String, usize)> = None;
        for (name, header) in &self.headers {
            let Some(samples) = header.shape.first().copied() else {
                return Err(self.wrong(name, "has no axes, so that no first one counts its samples".into()));
            };
            match first {
                Some((first, one)) if one != samples => {
                    return Err(ArraysError::Samples {
                        path: self.path.clone(),
                        name: first.clone(),
                        one,
                        other_name: name.clone(),
                        other: samples,
                    });
                }
                Some(_) => {}
                None => first = Some((name, samples)),
            }
        }
        Ok(first.map_or(0, |(_, samples)| samples))
    }

    fn archive(&self) -> Result<ZipArchive<BufReader<File>>, ArraysError> {
        let file = regular::open(&self.path);
        let file = file.map_err(|source| ArraysError::Unreadable { path: self.path.clone(), source })?;
        ZipArchive::new(BufReader::new(file)).map_err(|error| self.packed(&error))
    }

    /// Reads an array from its beginning.
    fn with<T>(
        &self,
        name: &str,
        read: impl FnOnce(&mut dyn Read) -> Result<T, String>,
    ) -> Result<T, ArraysError> {
        let file = match self.kind {
            Kind::Single | Kind::Tensors(_) => self.path.clone(),
            Kind::Folder => self.path.join(format!("{name}{ENDING}")),
            Kind::Archive => {
                let mut archive = self.archive()?;
                let entry = archive.by_name(&format!("{name}{ENDING}"));
                let mut entry = entry.map_err(|error| self.packed(&error))?;
                return read(&mut entry).map_err(|reason| self.wrong(name, reason));
            }
        };
        let opened = regular::open(&file).map_err(|source| ArraysError::Unreadable { path: file, source })?;
        read(&mut BufReader::new(opened)).map_err(|reason| self.wrong(name, reason))
    }

    fn packed(&self, error: &ZipError) -> ArraysError {
        ArraysError::Archive { path: self.path.clone(), reason: error.to_string() }
    }

    fn wrong(&self, name: &str, reason: String) -> ArraysError {
        ArraysError::Array { path: self.path.clone(), name: name.to_owned(), reason }
    }
}

/// The rows at `indices`, ascending, of `size` bytes each.
fn rows(file: &mut dyn Read, size: usize, indices: &[usize]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut next = 0;
    for index in indices {
        skip(file, index.saturating_sub(next) as u64 * size as u64)?;
        read(file, size, &mut bytes)?;
        next = index + 1;
    }
    Ok(bytes)
}

/// The same of an array of `samples` samples of `values` elements each, of which all samples' first elements come first, then all
/// second ones: what is read of each is put beside each other by sample.
fn columns(
    file: &mut dyn Read,
    size: usize,
    samples: usize,
    values: usize,
    indices: &[usize],
) -> io::Result<Vec<u8>> {
    let mut by_value = Vec::new();
    for _ in 0..values {
        let column = rows(file, size, indices)?;
        let last = indices.last().map_or(0, |last| last + 1);
        skip(file, (samples.saturating_sub(last) * size) as u64)?;
        by_value.extend(column);
    }
    let place = |sample: usize, value: usize| (value * indices.len() + sample) * size;
    let each = (0..indices.len()).flat_map(|sample| (0..values).map(move |value| (sample, value)));
    let each = each.filter_map(|(sample, value)| {
        let at = place(sample, value);
        by_value.get(at..at + size)
    });
    Ok(each.flatten().copied().collect())
}

/// Transposes each sample of an array from column-major order, in which the first axis runs fastest.
fn to_row_major(bytes: &mut [u8], size: usize, shape: &[usize]) {
    let values: usize = shape.iter().product();
    if shape.len() < 2 || values == 0 || size == 0 {
        return;
    }
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for axis in shape {
        strides.push(stride);
        stride *= axis;
    }
    for sample in bytes.chunks_exact_mut(values * size) {
        let before = sample.to_vec();
        let mut place = vec![0; shape.len()];
        for into in sample.chunks_exact_mut(size) {
            let from: usize = place.iter().zip(&strides).map(|(index, stride)| index * stride).sum();
            into.copy_from_slice(&before[from * size..][..size]);
            for (index, axis) in place.iter_mut().zip(shape).rev() {
                *index += 1;
                if *index < *axis {
                    break;
                }
                *index = 0;
            }
        }
    }
}

fn skip(file: &mut dyn Read, bytes: u64) -> io::Result<()> {
    match io::copy(&mut file.take(bytes), &mut io::sink())? {
        read if read == bytes => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Adds as many bytes of the file. No more memory is taken than the file has bytes, whatever its header says.
fn read(file: &mut dyn Read, size: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    match file.take(size as u64).read_to_end(bytes)? {
        read if read == size => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests;
