//! GIF, WebP, BMP, TIFF and PNM, by the crate `image`. JPEG and PNG have decoders of their own, older than this
//! module: the bytes that they give are in datasets that people have.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::codecs::gif::GifDecoder;
use image::codecs::pnm::PnmDecoder;
use image::codecs::tiff::TiffDecoder;
use image::codecs::webp::WebPDecoder;
use image::{ColorType, ImageDecoder, ImageError, ImageResult, Limits};

use super::{DecodeError, Format, MAX_ALLOC, Picture, check_sides, grey_on_white, planes, tiff};

pub(super) fn dimensions(bytes: &[u8], format: Format) -> Option<[usize; 2]> {
    if format == Format::Tiff {
        return tiff::dimensions(bytes);
    }
    let (width, height) = open(bytes, format).ok()?.dimensions();
    Some([height as usize, width as usize])
}

pub(super) fn decode(bytes: &[u8], format: Format) -> Result<Picture, DecodeError> {
    if format == Format::Tiff
        && let Some(decoded) = tiff::decode(bytes)
    {
        return decoded;
    }
    let explain = |error| match error {
        ImageError::Unsupported(_) => unread(bytes, format),
        error => DecodeError::Damaged(error.to_string()),
    };
    let decoder = open(bytes, format).map_err(explain)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    check_sides(width, height).map_err(DecodeError::Damaged)?;
    let color = decoder.color_type();
    let size =
        usize::try_from(decoder.total_bytes()).map_err(|_| DecodeError::Damaged("it is too large".into()))?;
    let mut samples = vec![0; size];
    decoder.read_image(&mut samples).map_err(explain)?;
    // Samples of 16 bits lie in the machine's order of bytes.
    let high = |pair: [u8; 2]| u8::try_from(u16::from_ne_bytes(pair) >> 8).unwrap_or(u8::MAX);
    let is_multiplied =
        format == Format::Tiff && color.has_alpha() && color.has_color() && tiff::is_multiplied(bytes);
    let rgb_on_white = |[red, green, blue, alpha]: [u8; 4]| match is_multiplied {
        true => [red, green, blue].map(|value| value.saturating_add(255 - alpha)),
        false => super::rgb_on_white([red, green, blue, alpha]),
    };
    let picture = match color {
        ColorType::L8 => planes(height, width, &samples, |[grey]: [u8; 1]| [grey; 3]),
        ColorType::La8 => planes(height, width, &samples, grey_on_white),
        ColorType::Rgb8 => planes(height, width, &samples, |pixel: [u8; 3]| pixel),
        ColorType::Rgba8 => planes(height, width, &samples, rgb_on_white),
        ColorType::L16 => planes(height, width, &samples, |pair: [u8; 2]| [high(pair); 3]),
        ColorType::La16 => planes(height, width, &samples, |[a, b, c, d]: [u8; 4]| {
            grey_on_white([high([a, b]), high([c, d])])
        }),
        ColorType::Rgb16 => planes(height, width, &samples, |[a, b, c, d, e, f]: [u8; 6]| {
            [high([a, b]), high([c, d]), high([e, f])]
        }),
        ColorType::Rgba16 => planes(height, width, &samples, |[a, b, c, d, e, f, g, h]: [u8; 8]| {
            rgb_on_white([high([a, b]), high([c, d]), high([e, f]), high([g, h])])
        }),
        // Values that are no whole numbers.
        _ => return Err(unread(bytes, format)),
    };
    picture.map_err(DecodeError::Damaged)
}

fn open(bytes: &[u8], format: Format) -> ImageResult<Box<dyn ImageDecoder + '_>> {
    let stream = Cursor::new(bytes);
    let mut decoder: Box<dyn ImageDecoder + '_> = match format {
        Format::Gif => Box::new(GifDecoder::new(stream)?),
        Format::WebP => Box::new(WebPDecoder::new(stream)?),
        Format::Bmp => Box::new(BmpDecoder::new(stream)?),
        Format::Tiff => Box::new(TiffDecoder::new(stream)?),
        Format::Pnm | Format::Jpeg | Format::Png => Box::new(PnmDecoder::new(stream)?),
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOC);
    decoder.set_limits(limits)?;
    Ok(decoder)
}

fn unread(bytes: &[u8], format: Format) -> DecodeError {
    match format {
        Format::Tiff => tiff::unread(bytes),
        other => DecodeError::Unread(format!("{} of a kind that is not read", other.name())),
    }
}
