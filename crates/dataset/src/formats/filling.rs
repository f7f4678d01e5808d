//! From pictures in a source to pixels in memory: each is decoded, scaled and put where it belongs, whatever the
//! source's order.
//!
//! Memory: the pixels of the set once, and beside them what is being decoded: [`BATCH_BYTES`] of files or the longest one,
//! and [`DECODED_BYTES`] for each thread or what the largest picture takes, whichever is more. A file is no longer than a
//! picture can be of the height and width in its header, or of those that fit into the bytes of the set, and [`SURPLUS`]; that is
//! asked before it is read.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use super::left_out::{LeftOut, Reason};
use crate::picture::{self, Content, DecodeError, Fit, Format, HEAD, MAX_SIDE, Picture, PictureSize};
use crate::source::Entry;
use crate::{Dataset, DatasetError, Source, Split};

/// Encoded images that are decoded together: enough to keep all threads busy, few enough to hold in memory.
pub(super) const BATCH_FILES: usize = 1024;
const BATCH_BYTES: usize = 32 << 20;
/// What decoding may take together, for each thread.
const DECODED_BYTES: usize = 96 << 20;
/// Bytes from the start of a file in which its height and width are looked for before it is read whole.
const HEADER: usize = 1 << 16;
/// Most bytes of a file for each pixel: four values of 16 bits, as they are.
const FILE_BYTES_PER_PIXEL: u64 = 8;
/// Most bytes of a file beside its pixels: what cameras and programs note, further frames and pages.
const SURPLUS: u64 = 64 << 20;

/// Most bytes that the decoded pixels of a set take, where nothing else is asked for: 8 GiB.
pub const MAX_BYTES: u64 = 8 << 30;
/// Largest share of files that are left out, where nothing else is asked for: a tenth.
pub const MAX_LEFT_OUT: f64 = 0.1;

/// How pictures are read.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureOptions {
    /// The size that all get; all must have one already where it is absent.
    pub size: Option<PictureSize>,
    /// How they get it.
    pub fit: Fit,
    /// Largest share of the files that may be left out, from 0 to 1.
    pub max_left_out: f64,
    /// Most bytes that all pixels together may take, decoded and scaled.
    pub max_bytes: u64,
    /// What is kept of the colors.
    pub colors: Colors,
}

/// A folder that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct FolderRead {
    /// What was read.
    pub dataset: Dataset,
    /// What was not, and could have been.
    pub left_out: LeftOut,
    /// Whether the folder has a test split, so that [`FolderOptions::test`](crate::FolderOptions::test) was not needed.
    pub has_test: bool,
    /// How many pictures were passed over because they are set apart from those to train on, such as in a folder `val`.
    pub set_apart: usize,
}

/// What is kept of a picture's colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colors {
    /// Red, green and blue.
    #[default]
    Rgb,
    /// Their luminance: one channel.
    Grey,
}

impl Colors {
    /// Values that a pixel has.
    fn channels(self) -> usize {
        match self {
            Self::Rgb => 3,
            Self::Grey => 1,
        }
    }
}

impl Default for PictureOptions {
    fn default() -> Self {
        Self {
            size: None,
            fit: Fit::default(),
            max_left_out: MAX_LEFT_OUT,
            max_bytes: MAX_BYTES,
            colors: Colors::default(),
        }
    }
}

impl PictureOptions {
    /// Refuses a set of which too much is left out.
    pub(super) fn check(&self, source: &Source, left_out: &LeftOut) -> Result<(), DatasetError> {
        // At the limit itself, rounding must not decide.
        if left_out.share() <= self.max_left_out + 1e-9 {
            return Ok(());
        }
        Err(DatasetError::LeftOut {
            source_name: source.name().into(),
            left_out: left_out.to_string(),
            has_lost: left_out.has_lost(),
            allowed: format!("{:.4}", self.max_left_out).trim_end_matches('0').trim_end_matches('.').into(),
        })
    }
}

/// The images of a split before they are read: path and label, in their order.
pub(super) type Members<'a> = Vec<(&'a str, i64)>;

/// Reads the images of some splits. What turns out to be of a kind that is not read goes to `left_out`; a split may
/// become empty so. `progress` is told the number of images read so far.
///
/// # Errors
/// As [`Source::open`]; [`DatasetError::Entry`] where a file cannot be decoded, [`DatasetError::OtherSize`] where one has
/// another size than the first, [`DatasetError::Budget`] where all would take too many bytes.
pub(super) fn fill<const N: usize>(
    source: &Source,
    options: &PictureOptions,
    members: [Members<'_>; N],
    left_out: &mut LeftOut,
    progress: &mut dyn FnMut(usize),
) -> Result<[Split; N], DatasetError> {
    let slots: HashMap<&str, Slot> = (members.iter().enumerate())
        .flat_map(|(split, members)| {
            members.iter().enumerate().map(move |(index, (path, _))| (*path, Slot { split, index }))
        })
        .collect();
    let counts = members.each_ref().map(Vec::len);
    let mut canvas = Canvas {
        source,
        options,
        size: None,
        pixels: [const { Vec::new() }; N],
        filled: counts.map(|count| vec![false; count]),
        images: 0,
    };
    if let Some(size) = options.size {
        canvas.allocate([size.height(), size.width()], None)?;
    }
    let mut batch = Batch::default();
    let most = DECODED_BYTES.saturating_mul(rayon::current_num_threads());
    source.visit(&mut |mut entry| {
        let Some((&path, &slot)) = slots.get_key_value(entry.path()) else { return Ok(()) };
        let head = entry.head(HEADER)?;
        let mut dimensions = picture::dimensions(&head);
        canvas.admit(path, entry.size(), dimensions, Content::of(head.get(..HEAD).unwrap_or(&head)))?;
        let length = usize::try_from(entry.size()).unwrap_or(usize::MAX);
        let work =
            |size: Option<[usize; 2]>| size.map_or(0, |size| picture::bytes_in_work(size, options.size));
        if batch.is_full(length, work(dimensions), most) {
            canvas.draw(std::mem::take(&mut batch), left_out)?;
            progress(canvas.images);
        }
        let bytes = entry.read_after(head)?;
        if dimensions.is_none() {
            dimensions = picture::dimensions(&bytes);
            canvas.admit_size(path, dimensions)?;
            if batch.is_full(length, work(dimensions), most) {
                canvas.draw(std::mem::take(&mut batch), left_out)?;
                progress(canvas.images);
            }
        }
        let decoded = work(dimensions);
        batch.bytes += bytes.len();
        batch.decoded = batch.decoded.saturating_add(decoded);
        batch.files.push(Encoded { path, slot, bytes });
        Ok(())
    })?;
    canvas.draw(batch, left_out)?;
    progress(canvas.images);
    canvas.finish(members, left_out)
}

/// Where an image belongs: in which split, and at which place.
#[derive(Debug, Clone, Copy)]
struct Slot {
    split: usize,
    index: usize,
}

struct Encoded<'a> {
    path: &'a str,
    slot: Slot,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Batch<'a> {
    files: Vec<Encoded<'a>>,
    /// Bytes of the files.
    bytes: usize,
    /// Bytes that decoding them takes.
    decoded: usize,
}

impl Batch<'_> {
    /// Whether a file of so many bytes, whose decoding takes so many, belongs to the next one. `most`: what decoding may take.
    fn is_full(&self, bytes: usize, decoded: usize, most: usize) -> bool {
        let is_full = self.files.len() >= BATCH_FILES
            || self.bytes.saturating_add(bytes) > BATCH_BYTES
            || self.decoded.saturating_add(decoded) > most;
        is_full && !self.files.is_empty()
    }
}

/// The pixels of all splits, while they are drawn.
struct Canvas<'a, const N: usize> {
    source: &'a Source,
    options: &'a PictureOptions,
    /// Height and width of all images, and the path of the one that has decided.
    size: Option<([usize; 2], Option<String>)>,
    pixels: [Vec<u8>; N],
    filled: [Vec<bool>; N],
    images: usize,
}

impl<const N: usize> Canvas<'_, N> {
    /// Refuses a file before it is read that is longer than a picture can be, by its header and by the bytes of the set.
    fn admit(
        &self,
        path: &str,
        length: u64,
        size: Option<[usize; 2]>,
        content: Content,
    ) -> Result<(), DatasetError> {
        self.admit_size(path, size)?;
        let images: usize = self.filled.iter().map(Vec::len).sum();
        let largest = (MAX_SIDE * MAX_SIDE) as u64;
        let allowed = match self.options.size {
            Some(_) => largest,
            None => (self.options.max_bytes / 3 / (images as u64).max(1)).min(largest),
        };
        let pixels = match size {
            Some([height, width]) => allowed.min((height as u64).saturating_mul(width as u64)),
            // What it is like may stand at its end.
            None if content == Content::Picture(Format::Tiff) => allowed,
            None => 0,
        };
        if length <= pixels * FILE_BYTES_PER_PIXEL + SURPLUS {
            return Ok(());
        }
        let what = match size {
            Some([height, width]) => format!("a picture of {width}×{height} pixels"),
            None => "a picture whose height and width do not stand at its start".into(),
        };
        let reason = format!("has {length} bytes, more than {what} is read of");
        Err(Entry::error(self.source, path, reason))
    }

    /// Refuses the first image by its height and width, where all would take too much together.
    fn admit_size(&self, path: &str, size: Option<[usize; 2]>) -> Result<(), DatasetError> {
        let is_first = self.size.is_none() && self.options.size.is_none();
        // One that is too large by itself is told when it is decoded.
        let possible = |size: &[usize; 2]| size.iter().all(|&side| side <= MAX_SIDE);
        match size.filter(|size| is_first && possible(size)) {
            Some(size) => self.check_budget(size, Some(path)),
            None => Ok(()),
        }
    }

    /// Refuses images of a height and width, those of the image at `path`, whose pixels would take too much together.
    fn check_budget(&self, size: [usize; 2], path: Option<&str>) -> Result<(), DatasetError> {
        let limit = self.options.max_bytes;
        if self.bytes(size) > limit { Err(self.too_large(size, path, Some(limit))) } else { Ok(()) }
    }

    /// Bytes of all images, if they have this height and width.
    fn bytes(&self, [height, width]: [usize; 2]) -> u64 {
        let images: usize = self.filled.iter().map(Vec::len).sum();
        let values = images.saturating_mul(self.options.colors.channels()) as u64;
        values.saturating_mul(height as u64).saturating_mul(width as u64)
    }

    fn too_large(&self, size: [usize; 2], path: Option<&str>, limit: Option<u64>) -> DatasetError {
        let [height, width] = size;
        let image = match path {
            Some(path) => format!("{width}×{height} pixels, as `{path}`,"),
            None => format!("{width}×{height} pixels"),
        };
        DatasetError::Budget {
            source_name: self.source.name().into(),
            images: self.filled.iter().map(Vec::len).sum(),
            things: "images",
            image,
            bytes: self.bytes(size),
            limit,
        }
    }

    /// Makes room for all images, once their size is known.
    fn allocate(&mut self, size: [usize; 2], path: Option<&str>) -> Result<(), DatasetError> {
        self.check_budget(size, path)?;
        let image = self.options.colors.channels() * size[0] * size[1];
        let mut reserved = Ok(());
        for (pixels, filled) in self.pixels.iter_mut().zip(&self.filled) {
            let bytes = filled.len() * image;
            reserved = reserved.and_then(|()| pixels.try_reserve_exact(bytes));
            if reserved.is_ok() {
                pixels.resize(bytes, 0);
            }
        }
        reserved.map_err(|_| self.too_large(size, path, None))
    }

    fn draw(&mut self, batch: Batch<'_>, left_out: &mut LeftOut) -> Result<(), DatasetError> {
        let PictureOptions { size, fit, colors, .. } = *self.options;
        let decode = |file: Encoded<'_>| {
            let picture = picture::decode_rgb(&file.bytes);
            let picture = picture.map(|picture| {
                // Before it is scaled, as grey files are scaled.
                let picture = if colors == Colors::Grey { picture.luminance() } else { picture };
                let mut picture = match size {
                    Some(size) => picture.scaled(size, fit),
                    None => picture,
                };
                picture.pixels.truncate(colors.channels() * picture.height * picture.width);
                picture
            });
            (picture, file.path.to_owned(), file.slot)
        };
        let decoded: Vec<_> = batch.files.into_par_iter().map(decode).collect();
        for (picture, path, slot) in decoded {
            match picture {
                Ok(picture) => self.put(&picture, &path, slot)?,
                Err(DecodeError::Unread(format)) => left_out.add(Reason::Kind(format), &path),
                Err(DecodeError::Damaged(reason)) => return Err(Entry::error(self.source, &path, reason)),
            }
        }
        Ok(())
    }

    fn put(&mut self, picture: &Picture, path: &str, slot: Slot) -> Result<(), DatasetError> {
        let size = [picture.height, picture.width];
        match &self.size {
            Some((known, _)) if *known == size => {}
            Some(([height, width], first)) => {
                let first = first.as_deref().unwrap_or_default();
                let reason = format!(
                    "is {}×{} pixels, but `{first}` is {width}×{height}; all images must have one size",
                    picture.width, picture.height
                );
                let source_name = self.source.name().into();
                return Err(DatasetError::OtherSize { source_name, entry: path.into(), reason });
            }
            None => {
                if self.options.size.is_none() {
                    self.allocate(size, Some(path))?;
                }
                self.size = Some((size, Some(path.to_owned())));
            }
        }
        let bytes = picture.pixels.len();
        let place = self
            .pixels
            .get_mut(slot.split)
            .and_then(|pixels| pixels.get_mut(slot.index * bytes..(slot.index + 1) * bytes));
        let filled = self.filled.get_mut(slot.split).and_then(|filled| filled.get_mut(slot.index));
        if let (Some(place), Some(filled)) = (place, filled) {
            place.copy_from_slice(&picture.pixels);
            *filled = true;
            self.images += 1;
        }
        Ok(())
    }

    fn finish(self, members: [Members<'_>; N], left_out: &mut LeftOut) -> Result<[Split; N], DatasetError> {
        let Some(([height, width], _)) = self.size else {
            return Err(DatasetError::Layout {
                source_name: self.source.name().into(),
                format: "image-folder",
                reason: format!("no image of it can be read: left out are {left_out}"),
            });
        };
        let shape = [self.options.colors.channels(), height, width];
        let image = shape.iter().product::<usize>();
        let known: HashSet<&str> = left_out.paths().collect();
        let mut splits = Vec::with_capacity(N);
        for ((mut pixels, filled), members) in self.pixels.into_iter().zip(self.filled).zip(members) {
            let mut labels = Vec::with_capacity(members.len());
            for (index, ((path, label), filled)) in members.into_iter().zip(filled).enumerate() {
                if filled {
                    // Images close up to where others are left out.
                    if labels.len() < index {
                        pixels.copy_within(index * image..(index + 1) * image, labels.len() * image);
                    }
                    labels.push(label);
                } else if !known.contains(path) {
                    let reason = "is no longer there: the source changed while it was read";
                    return Err(Entry::error(self.source, path, reason));
                }
            }
            pixels.truncate(labels.len() * image);
            splits.push(Split::new(shape, pixels, labels)?);
        }
        left_out.set_read(self.images);
        <[Split; N]>::try_from(splits).map_err(|_| DatasetError::inconsistent("a split went missing"))
    }
}
