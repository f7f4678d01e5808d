//! Decoding of one JPEG or PNG file to RGB bytes. Knows no folders and no classes.
//!
//! The same file gives the same bytes on every machine: JPEG is decoded without vector instructions, whose
//! rounding could differ.

use std::io::Cursor;
use std::panic::catch_unwind;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Most pixels on a side: larger images are no training images, and could fill the memory.
const MAX_SIDE: usize = 8192;

/// An RGB image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// `[3, height, width]`.
    pub(crate) pixels: Vec<u8>,
}

/// Decodes a JPEG or PNG file, told apart by content. Grey becomes equal red, green and blue; transparent pixels
/// are laid on white; 16-bit values lose their lower half. The error is the rest of a sentence on the file.
pub(crate) fn decode_rgb(bytes: &[u8]) -> Result<Picture, String> {
    let is_jpeg = bytes.starts_with(&[0xff, 0xd8]);
    let format = match bytes {
        _ if is_jpeg => "JPEG",
        [0x89, b'P', b'N', b'G', ..] => "PNG",
        [] => return Err("is empty".into()),
        _ => return Err("is neither a JPEG nor a PNG file".into()),
    };
    // A decoder that panics on a damaged file must not take the other images with it.
    catch_unwind(|| if is_jpeg { decode_jpeg(bytes) } else { decode_png(bytes) })
        .unwrap_or_else(|_| Err("the decoder gave up".into()))
        .map_err(|reason| format!("cannot be decoded as {format}: {reason}"))
}

fn decode_jpeg(bytes: &[u8]) -> Result<Picture, String> {
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .set_strict_mode(true)
        .set_use_unsafe(false);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let interleaved = decoder.decode().map_err(|error| error.to_string())?;
    let info = decoder.info().ok_or("it has no header")?;
    planes(usize::from(info.height), usize::from(info.width), &interleaved, |pixel: [u8; 3]| pixel)
}

fn decode_png(bytes: &[u8]) -> Result<Picture, String> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(format!("it is {width}×{height} pixels, more than {MAX_SIDE} on a side"));
    }
    let mut samples = vec![0; reader.output_buffer_size().ok_or("it is too large")?];
    let frame = reader.next_frame(&mut samples).map_err(|error| error.to_string())?;
    samples.truncate(frame.buffer_size());
    match frame.color_type {
        png::ColorType::Grayscale => planes(height, width, &samples, |[grey]: [u8; 1]| [grey; 3]),
        png::ColorType::GrayscaleAlpha => {
            planes(height, width, &samples, |[grey, alpha]: [u8; 2]| [on_white(grey, alpha); 3])
        }
        png::ColorType::Rgb => planes(height, width, &samples, |pixel: [u8; 3]| pixel),
        png::ColorType::Rgba => planes(height, width, &samples, |[red, green, blue, alpha]: [u8; 4]| {
            [red, green, blue].map(|value| on_white(value, alpha))
        }),
        png::ColorType::Indexed => Err("its palette was not expanded".into()),
    }
}

fn on_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    u8::try_from((value * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
}

/// Interleaved samples to planes.
fn planes<const N: usize>(
    height: usize,
    width: usize,
    interleaved: &[u8],
    rgb: impl Fn([u8; N]) -> [u8; 3],
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
