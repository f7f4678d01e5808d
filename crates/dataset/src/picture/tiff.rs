//! TIFF files whose pixels are numbers of colours, grey of two or four bits, or grey with transparency, which the crate `image`
//! does not read; and what is said of those that are not read at all.
//!
//! The crate below it, `tiff`, unpacks them if they are said to be grey: so that is what they are said to be, in a copy, and
//! the colours are looked up here.

use std::io::Cursor;

use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;
use tiff::{TiffError, TiffResult};

use super::{DecodeError, MAX_ALLOC, Picture, check_sides, grey_on_white, planes};

/// Values of the tag for how colours are meant.
const WHITE_IS_ZERO: u16 = 0;
const BLACK_IS_ZERO: u16 = 1;
const PALETTE: u16 = 3;

/// What a pixel of few bits stands for.
enum Meaning {
    Palette(Vec<[u8; 3]>),
    Grey {
        is_inverted: bool,
    },
    /// With how opaque it is behind it.
    Veiled {
        is_multiplied: bool,
    },
}

/// What the tags of a file say of its first picture.
struct Kind {
    colours: u16,
    compression: u16,
    /// 1 for whole numbers, 2 for signed ones, 3 for floating-point ones.
    numbers: u16,
    bits: Vec<u16>,
    /// Whether the bits of a byte stand in reverse, which the decoders do not heed.
    is_reversed: bool,
    /// Whether each sample has a plane of its own.
    is_planar: bool,
    /// What the first sample behind the colours is: 1 where colours are multiplied by it, 2 where they are not.
    extra: Option<u16>,
}

pub(super) fn dimensions(bytes: &[u8]) -> Option<[usize; 2]> {
    let (width, height) = open(bytes).ok()?.dimensions().ok()?;
    Some([height as usize, width as usize])
}

/// Decodes a picture of one of these kinds; nothing where it is of another.
pub(super) fn decode(bytes: &[u8]) -> Option<Result<Picture, DecodeError>> {
    let mut decoder = open(bytes).ok()?;
    let kind = Kind::of(&mut decoder).ok()?;
    if kind.is_reversed {
        return Some(Err(DecodeError::Unread(kind.unread())));
    }
    let (bits, meaning) = match (kind.colours, kind.bits.as_slice(), kind.numbers) {
        (PALETTE, &[bits @ (1 | 2 | 4 | 8)], 1) => match palette(&mut decoder, bits) {
            Ok(colours) => (bits, Meaning::Palette(colours)),
            Err(error) => return Some(Err(explain(&error, &kind))),
        },
        (WHITE_IS_ZERO | BLACK_IS_ZERO, &[bits @ (2 | 4)], 1) => {
            (bits, Meaning::Grey { is_inverted: kind.colours == WHITE_IS_ZERO })
        }
        (BLACK_IS_ZERO, [8, 8], 1) if !kind.is_planar && kind.extra.is_some() => {
            (8, Meaning::Veiled { is_multiplied: kind.is_multiplied() })
        }
        _ => return None,
    };
    let grey = as_grey(bytes)?;
    Some(match unpack(&grey, u8::try_from(bits).ok()?) {
        Ok((width, height, values)) => {
            look_up(width, height, &values, &meaning, bits).map_err(DecodeError::Damaged)
        }
        Err(error) => Err(explain(&error, &kind)),
    })
}

/// Why a file is not read whose decoder knows no better than that it does not support it.
pub(super) fn unread(bytes: &[u8]) -> DecodeError {
    let kind = open(bytes).and_then(|mut decoder| Kind::of(&mut decoder));
    DecodeError::Unread(match kind {
        Ok(kind) => kind.unread(),
        Err(_) => "TIFF of a kind that is not read".into(),
    })
}

/// Whether the colours of a picture with transparency are multiplied by it already.
pub(super) fn is_multiplied(bytes: &[u8]) -> bool {
    open(bytes).and_then(|mut decoder| Kind::of(&mut decoder)).is_ok_and(|kind| kind.is_multiplied())
}

fn open(bytes: &[u8]) -> TiffResult<Decoder<Cursor<&[u8]>>> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = usize::try_from(MAX_ALLOC).unwrap_or(usize::MAX);
    Ok(Decoder::new(Cursor::new(bytes))?.with_limits(limits))
}

impl Kind {
    fn of(decoder: &mut Decoder<Cursor<&[u8]>>) -> TiffResult<Self> {
        let mut one = |tag, default| Ok::<u16, TiffError>(decoder.find_tag_unsigned(tag)?.unwrap_or(default));
        let (colours, compression) =
            (one(Tag::PhotometricInterpretation, BLACK_IS_ZERO)?, one(Tag::Compression, 1)?);
        let is_reversed = one(Tag::FillOrder, 1)? == 2;
        let is_planar = one(Tag::PlanarConfiguration, 1)? == 2;
        let extra = decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples)?;
        let extra = extra.and_then(|extra| extra.first().copied());
        let numbers = decoder.find_tag_unsigned_vec::<u16>(Tag::SampleFormat)?;
        let bits = decoder.find_tag_unsigned_vec(Tag::BitsPerSample)?.unwrap_or_else(|| vec![1]);
        let samples = decoder.find_tag_unsigned::<u16>(Tag::SamplesPerPixel)?.unwrap_or(1);
        // One number may stand for all samples.
        let bits = if bits.len() == 1 { bits.repeat(usize::from(samples)) } else { bits };
        let numbers = numbers.and_then(|numbers| numbers.first().copied()).unwrap_or(1);
        Ok(Self { colours, compression, numbers, bits, is_reversed, is_planar, extra })
    }

    fn is_multiplied(&self) -> bool {
        self.extra == Some(1)
    }

    /// What it is, in the words of who has to convert it.
    fn unread(&self) -> String {
        let compression = match self.compression {
            1 | 4 | 5 | 7 | 8 | 32773 | 32946 => None,
            2 => Some("CCITT's run lengths".to_owned()),
            3 => Some("CCITT Group 3".into()),
            6 => Some("JPEG of the old kind".into()),
            34712 | 33003 | 33005 => Some("JPEG 2000".into()),
            34925 => Some("LZMA".into()),
            50000 => Some("Zstandard".into()),
            50001 => Some("WebP".into()),
            other => Some(format!("method {other}")),
        };
        if let Some(method) = compression {
            return format!("TIFF compressed by {method}, which is not read");
        }
        let bits = self.bits.first().copied().unwrap_or(1);
        let what = match (self.colours, self.numbers) {
            _ if self.is_reversed => "the bits of each byte in reverse".to_owned(),
            (_, 3) => "floating-point values".into(),
            (_, 2) => "signed values".into(),
            (PALETTE, _) if self.bits.len() > 1 => "a palette and transparency".into(),
            (PALETTE, _) => format!("a palette and values of {bits} bits"),
            (4, _) => "a mask of transparency".into(),
            (6, _) => "YCbCr colours".into(),
            (8..=10, _) => "Lab colours".into(),
            (32803 | 34892, _) => "a camera's raw values".into(),
            _ if self.bits.len() > 1 => format!("{} values of {bits} bits a pixel", self.bits.len()),
            _ => format!("values of {bits} bits"),
        };
        format!("TIFF with {what}, which is not read")
    }
}

fn explain(error: &TiffError, kind: &Kind) -> DecodeError {
    match error {
        TiffError::UnsupportedError(_) => DecodeError::Unread(kind.unread()),
        error => DecodeError::Damaged(error.to_string()),
    }
}

/// The colours by their numbers.
fn palette(decoder: &mut Decoder<Cursor<&[u8]>>, bits: u16) -> TiffResult<Vec<[u8; 3]>> {
    let map = decoder.get_tag_u16_vec(Tag::ColorMap)?;
    // Values have 16 bits, but some programs write 8.
    let shift = if map.iter().all(|&value| value < 256) { 0 } else { 8 };
    let value = |value: &u16| u8::try_from(value >> shift).unwrap_or(u8::MAX);
    let colours = 1 << bits;
    let (red, rest) = map.split_at(map.len().min(colours));
    let (green, blue) = rest.split_at(rest.len().min(colours));
    Ok(red
        .iter()
        .zip(green)
        .zip(blue)
        .map(|((red, green), blue)| [value(red), value(green), value(blue)])
        .collect())
}

/// The file with its first picture said to be grey: nothing where its tags cannot be found.
fn as_grey(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_big_endian = bytes.starts_with(b"MM");
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = bytes.get(at..at.checked_add(length)?)?;
        let next = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        let number =
            if is_big_endian { bytes.iter().fold(0, next) } else { bytes.iter().rev().fold(0, next) };
        usize::try_from(number).ok()
    };
    // BigTIFF has wider numbers.
    let is_wide = number(2, 2)? == 43;
    let (first, count, entry, value) = if is_wide { ((8, 8), 8, 20, 12) } else { ((4, 4), 2, 12, 8) };
    let start = number(first.0, first.1)?;
    let entries = number(start, count)?.min(bytes.len() / entry);
    let place = (0..entries).map(|index| start.checked_add(count + index * entry)).find(|place| {
        place.is_some_and(|place| {
            number(place, 2) == Some(usize::from(Tag::PhotometricInterpretation.to_u16()))
        })
    })??;
    let mut grey = bytes.to_vec();
    let said = if is_big_endian { BLACK_IS_ZERO.to_be_bytes() } else { BLACK_IS_ZERO.to_le_bytes() };
    grey.get_mut(place + value..place + value + 2)?.copy_from_slice(&said);
    Some(grey)
}

/// Width, height and the values of all pixels, one a byte.
fn unpack(grey: &[u8], bits: u8) -> TiffResult<(usize, usize, Vec<u8>)> {
    let mut decoder = open(grey)?;
    let (width, height) = decoder.dimensions()?;
    let (width, height) = (width as usize, height as usize);
    check_sides(width, height).map_err(|reason| TiffError::IoError(std::io::Error::other(reason)))?;
    let DecodingResult::U8(packed) = decoder.read_image()? else { return Ok((width, height, Vec::new())) };
    if bits == 8 {
        return Ok((width, height, packed));
    }
    let in_a_byte = usize::from(8 / bits);
    let mask = (1_u8 << bits) - 1;
    let mut values = Vec::with_capacity(width * height);
    for row in packed.chunks(width.div_ceil(in_a_byte)) {
        let of_byte = |byte: &u8| {
            let byte = *byte;
            (0..8 / bits).rev().map(move |place| (byte >> (place * bits)) & mask)
        };
        values.extend(row.iter().flat_map(of_byte).take(width));
    }
    Ok((width, height, values))
}

fn look_up(
    width: usize,
    height: usize,
    values: &[u8],
    meaning: &Meaning,
    bits: u16,
) -> Result<Picture, String> {
    match meaning {
        Meaning::Palette(colours) => {
            if values.iter().any(|&value| usize::from(value) >= colours.len()) {
                return Err(format!("it has colours behind the {} of its palette", colours.len()));
            }
            planes(height, width, values, |[value]: [u8; 1]| {
                colours.get(usize::from(value)).copied().unwrap_or_default()
            })
        }
        Meaning::Veiled { is_multiplied: false } => planes(height, width, values, grey_on_white),
        Meaning::Veiled { is_multiplied: true } => {
            planes(height, width, values, |[grey, alpha]: [u8; 2]| [grey.saturating_add(255 - alpha); 3])
        }
        Meaning::Grey { is_inverted } => {
            let most = (1_u16 << bits) - 1;
            planes(height, width, values, |[value]: [u8; 1]| {
                let grey = u8::try_from(u16::from(value) * 255 / most).unwrap_or(u8::MAX);
                [if *is_inverted { 255 - grey } else { grey }; 3]
            })
        }
    }
}
