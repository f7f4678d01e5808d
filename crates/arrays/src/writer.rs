//! Arrays that become known a sample at a time, written as an `.npz`. Each lies in a file of its own beside it until all
//! are there, so that memory does not grow with their number.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::header::MAGIC;
use crate::{ArraysError, Element};

/// Headers are filled up to a multiple of this, as NumPy does.
const ALIGNED: usize = 64;

/// An `.npz` of arrays whose first axis counts the samples.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    parts: BTreeMap<String, Part>,
}

/// An array as far as it is known.
#[derive(Debug)]
struct Part {
    file: BufWriter<File>,
    path: PathBuf,
    element: Element,
    /// Sizes of a sample's axes; `None` once two samples had different ones.
    shape: Option<Vec<usize>>,
    samples: usize,
}

impl Writer {
    /// One to be written at `path`, where nothing is put before [`Writer::finish`].
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), parts: BTreeMap::new() }
    }

    /// Adds a sample of this shape to the array `name`: its elements, row-major and little-endian.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn push(
        &mut self,
        name: &str,
        element: Element,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<(), ArraysError> {
        if !self.parts.contains_key(name) {
            let path = self.path.with_extension(format!("{}.part", self.parts.len()));
            let file = regular::create(&path).map_err(|error| unwritable(&path, error))?;
            let file = BufWriter::new(file);
            let part = Part { file, path, element, shape: Some(shape.to_vec()), samples: 0 };
            self.parts.insert(name.to_owned(), part);
        }
        let Some(part) = self.parts.get_mut(name) else { return Ok(()) };
        if part.element != element || part.shape.as_deref() != Some(shape) {
            part.shape = None;
            return Ok(());
        }
        part.samples += 1;
        part.file.write_all(bytes).map_err(|error| unwritable(&part.path, error))
    }

    /// Writes the file, and gives the names of those that are not in it, because their samples have different shapes.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn finish(self) -> Result<Vec<String>, ArraysError> {
        let cannot = |error: io::Error| unwritable(&self.path, error);
        let file = regular::create(&self.path).map_err(cannot)?;
        let mut archive = ZipWriter::new(BufWriter::new(file));
        let mut left_out = Vec::new();
        for (name, part) in self.parts {
            let Part { file, path, element, shape, samples } = part;
            file.into_inner().map_err(|error| unwritable(&path, error.into_error()))?;
            match shape {
                None => left_out.push(name),
                Some(shape) => {
                    let stored = SimpleFileOptions::default()
                        .compression_method(CompressionMethod::Stored)
                        .large_file(true);
                    archive
                        .start_file(format!("{name}.npy"), stored)
                        .map_err(|error| cannot(error.into()))?;
                    let header = header(element, samples, &shape).map_err(cannot)?;
                    archive.write_all(&header).map_err(cannot)?;
                    let mut elements = regular::open(&path).map_err(|error| unwritable(&path, error))?;
                    io::copy(&mut elements, &mut archive).map_err(cannot)?;
                }
            }
            fs::remove_file(&path).map_err(|error| unwritable(&path, error))?;
        }
        let file = archive.finish().map_err(|error| cannot(error.into()))?;
        file.into_inner().map_err(|error| cannot(error.into_error()))?;
        Ok(left_out)
    }
}

/// What stands before the elements, in version 1.0 of the format.
fn header(element: Element, samples: usize, shape: &[usize]) -> io::Result<Vec<u8>> {
    let axes: String = [&[samples], shape].concat().iter().map(|axis| format!("{axis}, ")).collect();
    let mut text =
        format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({axes}), }}", element.description());
    // Behind the magic number and the version comes the length, of two bytes.
    let begun = MAGIC.len() + 4 + text.len() + 1;
    text.extend(std::iter::repeat_n(' ', begun.next_multiple_of(ALIGNED) - begun));
    text.push('\n');
    let length = u16::try_from(text.len()).map_err(|_| io::Error::other("an array has too many axes"))?;
    Ok([MAGIC, &[1, 0], &length.to_le_bytes(), text.as_bytes()].concat())
}

fn unwritable(path: &Path, source: io::Error) -> ArraysError {
    ArraysError::Unwritable { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    #[test]
    fn what_is_written_is_read_back_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.npz");
        let mut writer = Writer::new(&path);
        for sample in 0..3_u8 {
            let floats = [f32::from(sample), -0.5].map(f32::to_le_bytes).concat();
            writer.push("scope/y:0", Element::F32, &[2], &floats).unwrap();
            writer.push("class", Element::I64, &[], &i64::from(sample).to_le_bytes()).unwrap();
            let boxes = vec![0; 4 * usize::from(sample)];
            writer.push("boxes", Element::U8, &[usize::from(sample), 4], &boxes).unwrap();
        }
        assert_eq!(writer.finish().unwrap(), ["boxes"]);
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["p.npz"]);
        let source = Source::open(&path).unwrap();
        assert_eq!(source.headers().keys().collect::<Vec<_>>(), ["class", "scope/y:0"]);
        let y = source.take("scope/y:0", &[1, 2]).unwrap();
        assert_eq!((y.element, y.shape), (Element::F32, vec![2, 2]));
        assert_eq!(y.bytes, [1.0, -0.5, 2.0, -0.5_f32].map(f32::to_le_bytes).concat());
        assert_eq!(source.take("class", &[0, 1, 2]).unwrap().shape, [3]);
        assert!(header(Element::F64, 5, &[1, 2]).unwrap().len().is_multiple_of(ALIGNED));
    }
}
