//! Encoding of one picture as PNG, for those who show images. Knows samples; knows no datasets.

use png::{BitDepth, ColorType, Compression, Encoder, EncodingError};

/// A PNG file of a picture of `width`×`height` pixels, as small as it gets: `samples` are bytes row by row, those of a pixel side by
/// side, and `channels` says how many: 1 for grey, 2 with transparency, 3 for red, green and blue, 4 with transparency.
///
/// # Errors
/// Where a side is 0, there are not as many samples, or no such number of channels.
pub fn encode_png(
    [width, height]: [u32; 2],
    channels: usize,
    samples: &[u8],
) -> Result<Vec<u8>, EncodingError> {
    let color = match channels {
        1 => ColorType::Grayscale,
        2 => ColorType::GrayscaleAlpha,
        3 => ColorType::Rgb,
        4 => ColorType::Rgba,
        other => return Err(std::io::Error::other(format!("no pixels have {other} channels")).into()),
    };
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, width, height);
    encoder.set_color(color);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::High);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(samples)?;
    writer.finish()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fill_the_picture_is_an_error() {
        assert!(encode_png([2, 1], 3, &[0; 6]).is_ok());
        for (size, channels, samples) in [([2, 1], 3, 5), ([2, 1], 5, 10), ([0, 1], 1, 0)] {
            encode_png(size, channels, &vec![0; samples]).unwrap_err();
        }
    }
}
