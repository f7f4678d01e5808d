//! Decoding of one picture to RGB bytes. Knows no folders and no classes.
//!
//! The same file gives the same bytes on every machine: JPEG is decoded without vector instructions, whose
//! rounding could differ. Pixels are taken as they are stored: an orientation that a camera wrote beside them
//! (EXIF) turns nothing, as in torchvision.

mod encode;
mod format;
mod others;
mod scale;
mod tiff;

use std::io::Cursor;
use std::panic::catch_unwind;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

pub use encode::encode_png;
pub(crate) use format::{Content, Format, HEAD};
pub use scale::{Fit, PictureSize};

/// Most pixels on a side: larger images are no training images, and could fill the memory.
pub(crate) const MAX_SIDE: usize = 8192;
/// Most bytes that a decoder may take: eight for each pixel of the largest picture, and some for the way there.
const MAX_ALLOC: u64 = 9 * (MAX_SIDE * MAX_SIDE) as u64;

/// Most bytes that a decoder takes for each pixel, what it returns and what that becomes included.
const BYTES_PER_PIXEL: usize = 12;

/// An RGB image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// `[3, height, width]`.
    pub(crate) pixels: Vec<u8>,
}

impl Picture {
    /// Three equal planes of its luminance by ITU-R BT.601, as Pillow's `convert("L")` computes it: 0.299 of red, 0.587 of green and
    /// 0.114 of blue, in 65,536ths, rounded. What is grey stays as it is.
    pub(crate) fn luminance(mut self) -> Self {
        let (red, rest) = self.pixels.split_at_mut(self.height * self.width);
        let (green, blue) = rest.split_at_mut(red.len());
        for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
            let [r, g, b] = [*red, *green, *blue].map(u32::from);
            let grey = (19_595 * r + 38_470 * g + 7_471 * b + 0x8000) >> 16;
            [*red, *green, *blue] = [u8::try_from(grey).unwrap_or(u8::MAX); 3];
        }
        self
    }
}

/// Why a file is not decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// It is a picture of a kind that is not read, whole or not; what it is, as `TIFF with Lab colours, which is not read`.
    Unread(String),
    /// It breaks its format's rules, is cut, or is too large; the rest of a sentence on the file.
    Damaged(String),
}

/// Decodes a picture, whose format is told from its content. Grey becomes equal red, green and blue; transparent
/// pixels are laid on white; 16-bit values lose their lower half; of an animation the first frame counts.
pub(crate) fn decode_rgb(bytes: &[u8]) -> Result<Picture, DecodeError> {
    let Content::Picture(format) = Content::of(bytes.get(..HEAD).unwrap_or(bytes)) else {
        return Err(DecodeError::Damaged("is no picture of a format that is read".into()));
    };
    let name = format.name();
    // A decoder that panics on a damaged file must not take the other images with it.
    let decoded = catch_unwind(|| match format {
        Format::Jpeg => decode_jpeg(bytes).map_err(DecodeError::Damaged),
        Format::Png => decode_png(bytes).map_err(DecodeError::Damaged),
        other => others::decode(bytes, other),
    });
    match decoded {
        Ok(Err(DecodeError::Damaged(reason))) => {
            Err(DecodeError::Damaged(format!("cannot be decoded as {name}: {reason}")))
        }
        Ok(decoded) => decoded,
        Err(_) => Err(DecodeError::Damaged(format!("cannot be decoded as {name}: the decoder gave up"))),
    }
}

/// Height and width by a picture's header; nothing where that cannot be read, which decoding will tell.
pub(crate) fn dimensions(bytes: &[u8]) -> Option<[usize; 2]> {
    let Content::Picture(format) = Content::of(bytes.get(..HEAD).unwrap_or(bytes)) else { return None };
    catch_unwind(|| match format {
        Format::Jpeg => {
            let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), jpeg_options());
            decoder.decode_headers().ok()?;
            let info = decoder.info()?;
            Some([usize::from(info.height), usize::from(info.width)])
        }
        Format::Png => {
            let reader = png::Decoder::new(Cursor::new(bytes)).read_info().ok()?;
            Some([reader.info().height as usize, reader.info().width as usize])
        }
        other => others::dimensions(bytes, other),
    })
    .ok()
    .flatten()
}

/// Most bytes that it takes to decode a picture of this height and width, and to scale it.
pub(crate) fn bytes_in_work([height, width]: [usize; 2], scaled: Option<PictureSize>) -> usize {
    let area = |height: usize, width: usize| height.saturating_mul(width);
    let decoding = area(height, width).saturating_mul(BYTES_PER_PIXEL);
    let scaling = scaled.map_or(0, |to| {
        // Rows are scaled first, to four floats a pixel; then the columns of that, to bytes that are put into planes.
        let between = area(to.height(), width).saturating_mul(16);
        between.saturating_add(area(to.height(), to.width()).saturating_mul(6))
    });
    decoding.saturating_add(scaling)
}

fn jpeg_options() -> DecoderOptions {
    DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .set_strict_mode(true)
        .set_use_unsafe(false)
}

fn decode_jpeg(bytes: &[u8]) -> Result<Picture, String> {
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), jpeg_options());
    let interleaved = decoder.decode().map_err(|error| error.to_string())?;
    let info = decoder.info().ok_or("it has no header")?;
    planes(usize::from(info.height), usize::from(info.width), &interleaved, |pixel: [u8; 3]| pixel)
}

fn decode_png(bytes: &[u8]) -> Result<Picture, String> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    check_sides(width, height)?;
    let mut samples = vec![0; reader.output_buffer_size().ok_or("it is too large")?];
    let frame = reader.next_frame(&mut samples).map_err(|error| error.to_string())?;
    samples.truncate(frame.buffer_size());
    match frame.color_type {
        png::ColorType::Grayscale => planes(height, width, &samples, |[grey]: [u8; 1]| [grey; 3]),
        png::ColorType::GrayscaleAlpha => planes(height, width, &samples, grey_on_white),
        png::ColorType::Rgb => planes(height, width, &samples, |pixel: [u8; 3]| pixel),
        png::ColorType::Rgba => planes(height, width, &samples, rgb_on_white),
        png::ColorType::Indexed => Err("its palette was not expanded".into()),
    }
}

fn check_sides(width: usize, height: usize) -> Result<(), String> {
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(format!("it is {width}×{height} pixels, more than {MAX_SIDE} on a side"));
    }
    Ok(())
}

fn grey_on_white([grey, alpha]: [u8; 2]) -> [u8; 3] {
    [on_white(grey, alpha); 3]
}

fn rgb_on_white([red, green, blue, alpha]: [u8; 4]) -> [u8; 3] {
    [red, green, blue].map(|value| on_white(value, alpha))
}

fn on_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    u8::try_from((value * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
}

/// Interleaved samples to planes.
fn planes<T: Copy, const N: usize>(
    height: usize,
    width: usize,
    interleaved: &[T],
    rgb: impl Fn([T; N]) -> [u8; 3],
) -> Result<Picture, String> {
    let (samples, rest) = interleaved.as_chunks::<N>();
    if samples.len() != height * width || !rest.is_empty() || samples.is_empty() {
        return Err(format!("it does not hold {width}×{height} pixels of {N} values"));
    }
    let mut pixels = vec![0; 3 * samples.len()];
    let (red, rest) = pixels.split_at_mut(samples.len());
    let (green, blue) = rest.split_at_mut(samples.len());
    for (((&sample, red), green), blue) in samples.iter().zip(red).zip(green).zip(blue) {
        [*red, *green, *blue] = rgb(sample);
    }
    Ok(Picture { height, width, pixels })
}

#[cfg(test)]
mod tests;
