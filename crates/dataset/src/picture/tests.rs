use super::*;
use crate::testing::{jpeg, png, shared};
use ::png::ColorType;

fn decode(bytes: &[u8]) -> Vec<u8> {
    decode_rgb(bytes).unwrap().pixels
}

fn damage(bytes: &[u8]) -> String {
    match decode_rgb(bytes) {
        Err(DecodeError::Damaged(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rgb_pixels_become_planes() {
    let file = png(2, 1, ColorType::Rgb, &[1, 2, 3, 4, 5, 6]);
    assert_eq!(decode_rgb(&file).unwrap(), Picture { height: 1, width: 2, pixels: vec![1, 4, 2, 5, 3, 6] });
}

#[test]
fn grey_becomes_equal_red_green_and_blue() {
    assert_eq!(decode(&png(2, 1, ColorType::Grayscale, &[7, 200])), [7, 200, 7, 200, 7, 200]);
    assert_eq!(decode(&png(2, 1, ColorType::GrayscaleAlpha, &[7, 255, 7, 0])), [7, 255, 7, 255, 7, 255]);
}

#[test]
fn transparency_is_laid_on_white() {
    let file = png(3, 1, ColorType::Rgba, &[10, 20, 30, 255, 10, 20, 30, 0, 0, 100, 200, 128]);
    assert_eq!(decode(&file), [10, 255, 127, 20, 255, 177, 30, 255, 227]);
}

#[test]
fn a_palette_is_looked_up() {
    let mut file = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut file, 3, 1);
    encoder.set_color(ColorType::Indexed);
    encoder.set_depth(::png::BitDepth::Two);
    encoder.set_palette(vec![1, 2, 3, 40, 50, 60, 7, 8, 9]);
    encoder.write_header().unwrap().write_image_data(&[0b10_01_00_00]).unwrap();
    assert_eq!(decode(&file), [7, 40, 1, 8, 50, 2, 9, 60, 3]);
}

#[test]
fn sixteen_and_one_bit_grey_become_bytes() {
    for (depth, data, expected) in [
        (::png::BitDepth::Sixteen, &[0x12, 0x34, 0xff, 0xff][..], [0x12, 0xff]),
        (::png::BitDepth::One, &[0b0100_0000], [0, 255]),
    ] {
        let mut file = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut file, 2, 1);
        encoder.set_color(ColorType::Grayscale);
        encoder.set_depth(depth);
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        assert_eq!(decode(&file)[..2], expected);
    }
}

#[test]
fn a_jpeg_keeps_its_colour() {
    let picture = decode_rgb(&jpeg(9, 17, [200, 100, 50])).unwrap();
    assert_eq!((picture.height, picture.width, picture.pixels.len()), (17, 9, 3 * 17 * 9));
    for (plane, want) in picture.pixels.chunks(17 * 9).zip([200_i32, 100, 50]) {
        assert!(plane.iter().all(|&got| (i32::from(got) - want).abs() <= 2), "{plane:?}");
    }
}

#[test]
fn a_grey_jpeg_becomes_rgb() {
    let mut file = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut file, 100);
    encoder.encode(&[90; 64], 8, 8, jpeg_encoder::ColorType::Luma).unwrap();
    let pixels = decode(&file);
    assert_eq!(pixels.len(), 3 * 64);
    assert!(pixels.iter().all(|&value| value.abs_diff(90) <= 1), "{pixels:?}");
}

/// Made with Pillow 11, as are the values that are expected of them.
macro_rules! fixture {
    ($name:literal) => {
        (include_bytes!(concat!("fixtures/", $name)) as &[u8])
    };
}

#[test]
fn every_format_gives_the_pixels_that_others_read() {
    // Three by two pixels of rising values; planes of red, green and blue.
    let rising: Vec<u8> =
        [10, 20, 30].into_iter().flat_map(|first| (0..6).map(move |step| first + 30 * step)).collect();
    for (name, file) in [
        ("BMP", fixture!("bmp.bmp")),
        ("BMP with a palette", fixture!("palette.bmp")),
        ("WebP without loss", fixture!("lossless.webp")),
        ("WebP in motion", fixture!("anim.webp")),
        ("TIFF, LZW", fixture!("lzw.tiff")),
        ("TIFF, deflate", fixture!("deflate.tiff")),
        ("TIFF, CMYK", fixture!("cmyk.tiff")),
        ("TIFF with a palette", fixture!("palette.tiff")),
        ("PPM", b"P6\n3 2\n255\n\x0a\x14\x1e\x28\x32\x3c\x46\x50\x5a\x64\x6e\x78\x82\x8c\x96\xa0\xaa\xb4"),
        ("PPM in text", b"P3 # a\n3 2 255 10 20 30 40 50 60 70 80 90 100 110 120 130 140 150 160 170 180\n"),
    ] {
        let picture = decode_rgb(file).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!((picture.height, picture.width, &picture.pixels), (2, 3, &rising), "{name}");
        assert_eq!(dimensions(file), Some([2, 3]), "{name}");
    }
    // A palette of its own colours: those of the first of two frames.
    assert_eq!(
        decode(fixture!("anim.gif")),
        [0, 51, 51, 102, 153, 153, 0, 51, 102, 102, 153, 153, 51, 51, 102, 102, 153, 153]
    );
    for (name, file) in [
        ("WebP", fixture!("lossy.webp")),
        ("JPEG, CMYK", fixture!("cmyk.jpg")),
        ("TIFF, JPEG", fixture!("jpeg.tiff")),
    ] {
        for (plane, want) in decode(file).chunks(256).zip([200_u8, 100, 50]) {
            assert!(plane.iter().all(|got| got.abs_diff(want) <= 1), "{name}: {plane:?}");
        }
    }
}

#[test]
fn samples_of_other_depths_become_bytes() {
    assert_eq!(decode(fixture!("g16.tiff"))[..2], [0x12, 0xff]);
    assert_eq!(decode(b"P5 2 1 65535\n\x12\x34\xff\xff")[..2], [0x12, 0xff]);
    for file in [&b"P2\n3 1\n15\n0 7 15\n"[..], b"P5 3 1 15\n\x00\x07\x0f"] {
        assert_eq!(decode(file)[..3], [0, 119, 255]);
    }
    for file in [&b"P1\n3 1\n1 0 1\n"[..], b"P4\n3 1\n\xa0"] {
        assert_eq!(decode(file)[..3], [0, 255, 0]);
    }
}

/// A TIFF file of one row and one sample a pixel, 8 bits of grey unless `tags` say another thing; `map` is its palette.
fn tiff_of(width: u16, tags: &[(u16, u16)], map: &[u16], data: &[u8]) -> Vec<u8> {
    let length = data.len() as u16;
    let mut all = std::collections::BTreeMap::from([
        (256, [1, width]),
        (257, [1, 1]),
        (258, [1, 8]),
        (259, [1, 1]),
        (262, [1, 1]),
        (273, [1, 0]),
        (277, [1, 1]),
        (278, [1, 1]),
        (279, [1, length]),
    ]);
    all.extend(tags.iter().map(|&(tag, value)| (tag, [1, value])));
    if !map.is_empty() {
        all.insert(320, [map.len() as u16, 0]);
    }
    let start = 8 + 2 + 12 * all.len() as u16 + 4;
    all.insert(273, [1, start]);
    all.entry(320).and_modify(|entry| entry[1] = start + length);
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    file.extend((all.len() as u16).to_le_bytes());
    for (tag, [count, value]) in all {
        file.extend([tag, 3, count, 0, value, 0].iter().flat_map(|word: &u16| word.to_le_bytes()));
    }
    file.extend([0; 4]);
    file.extend(data);
    file.extend(map.iter().flat_map(|value| value.to_le_bytes()));
    file
}

/// The pixels of a row, as red, green and blue each.
fn row(file: &[u8]) -> Vec<[u8; 3]> {
    let picture = decode_rgb(file).unwrap();
    assert_eq!(dimensions(file), Some([1, picture.width]));
    (0..picture.width).map(|x| [0, 1, 2].map(|plane| picture.pixels[plane * picture.width + x])).collect()
}

#[test]
fn tiff_files_of_few_bits_are_looked_up_as_others_do() {
    // Values as Pillow reads them.
    let map = [0, 20_000, 40_000, 65_535, 65_535, 0, 0, 0, 1, 2, 3, 257];
    let file = tiff_of(5, &[(258, 2), (262, 3)], &map, &[0b0001_1011, 0b0100_0000]);
    assert_eq!(row(&file), [[0, 255, 0], [78, 0, 0], [156, 0, 0], [255, 0, 1], [78, 0, 0]]);
    let file = tiff_of(9, &[(258, 1), (262, 3)], &[0, 65_535, 0, 0, 0x8000, 0xff], &[0b1001_1011, 0x80]);
    assert_eq!(row(&file)[..3], [[255, 0, 0], [0, 0, 128], [0, 0, 128]]);
    // Some programs write palettes of 8 bits.
    let file = tiff_of(2, &[(258, 1), (262, 3)], &[1, 2, 3, 4, 5, 255], &[0b0100_0000]);
    assert_eq!(row(&file), [[1, 3, 5], [2, 4, 255]]);
    let file = tiff_of(3, &[(258, 4)], &[], &[0x1f, 0x50]);
    assert_eq!(row(&file), [[17; 3], [255; 3], [85; 3]]);
    let file = tiff_of(3, &[(258, 2), (262, 0)], &[], &[0b0001_1000]);
    assert_eq!(row(&file), [[255; 3], [170; 3], [85; 3]]);
    let short = tiff_of(1, &[(258, 2), (262, 3)], &map[..3], &[0b1000_0000]);
    snapshots::assert_message!(damage(&short));
    snapshots::assert_message!(damage(&tiff_of(1, &[(262, 3)], &[], &[0])));
}

#[test]
fn kinds_that_are_not_read_are_told_from_damage() {
    for (tags, reason) in [
        (&[(258, 32), (339, 3)][..], "TIFF with floating-point values, which is not read"),
        (&[(258, 12)], "TIFF with values of 12 bits, which is not read"),
        (&[(262, 8)], "TIFF with Lab colours, which is not read"),
        (&[(259, 34925)], "TIFF compressed by LZMA, which is not read"),
        (&[(258, 1), (259, 3)], "TIFF compressed by CCITT Group 3, which is not read"),
        (&[(258, 1), (266, 2)], "TIFF with the bits of each byte in reverse, which is not read"),
        (&[(258, 16), (262, 3)], "TIFF with a palette and values of 16 bits, which is not read"),
    ] {
        let file = tiff_of(2, tags, &[], &[0; 8]);
        assert_eq!(decode_rgb(&file), Err(DecodeError::Unread(reason.into())));
    }
    let cut = fixture!("lossless.webp");
    snapshots::assert_message!(damage(&cut[..cut.len() - 8]));
}

#[test]
fn an_orientation_beside_the_pixels_turns_nothing() {
    let picture = decode_rgb(fixture!("exif.jpg")).unwrap();
    assert_eq!((picture.width, picture.height), (16, 8));
}

#[test]
fn what_is_no_image_says_so() {
    assert_eq!(damage(b""), "is no picture of a format that is read");
    snapshots::assert_message!(damage(b"GIF89a"));
}

#[test]
fn truncated_images_are_errors() {
    for (name, file) in [("JPEG", jpeg(32, 32, [9, 99, 199])), ("PNG", png(8, 8, ColorType::Rgb, &[77; 192]))]
    {
        for length in 3..file.len() - 12 {
            let reason = damage(&file[..length]);
            assert!(reason.contains(name) || length < 4, "{reason}");
        }
    }
}

#[test]
fn damaged_images_never_stop_the_others() {
    let others = [
        fixture!("anim.webp"),
        fixture!("lossy.webp"),
        fixture!("anim.gif"),
        fixture!("lzw.tiff"),
        fixture!("bmp.bmp"),
    ];
    let files = [jpeg(16, 16, [9, 99, 199]), png(8, 8, ColorType::Rgba, &[77; 256])];
    for file in files.into_iter().chain(others.map(<[u8]>::to_vec)) {
        for index in 2..file.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = file.clone();
                damaged[index] ^= flip;
                drop(decode_rgb(&damaged));
                dimensions(&damaged);
            }
        }
    }
}

#[test]
fn an_image_as_large_as_a_bomb_is_refused() {
    let mut file = png(1, 1, ColorType::Grayscale, &[0]);
    file[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
    let mut hasher = flate2::Crc::new();
    hasher.update(&file[12..29]);
    file[29..33].copy_from_slice(&hasher.sum().to_be_bytes());
    snapshots::assert_message!(damage(&file));
    let wide = b"P5 60000 1 255\n\0";
    snapshots::assert_message!(damage(wide));
}

/// Expected values from Pillow (libjpeg-turbo).
#[test]
fn a_real_jpeg_is_read_as_others_read_it() {
    let Some(path) = shared("data/cifar10-images.tar.gz") else { return };
    let source = crate::Source::open(&path).unwrap();
    let mut first = None;
    // Stops at the first image by an error of its own.
    let stopped = source.visit(&mut |entry| {
        if entry.is_folder() || entry.path() != "train/airplane/0000.jpg" {
            return Ok(());
        }
        first = Some(decode_rgb(&entry.read()?).unwrap());
        Err(crate::DatasetError::Inconsistent("found".into()))
    });
    assert!(stopped.is_err());
    let picture = first.unwrap();
    assert_eq!((picture.height, picture.width), (32, 32));
    let got = [0, 1, 31, 1023, 1024, 2047, 2048, 3071].map(|index| picture.pixels[index]);
    assert_eq!(got, [200, 202, 201, 236, 202, 236, 197, 238]);
}

#[test]
fn scaling_counts_as_work_and_a_small_picture_that_becomes_large_is_not_small() {
    assert_eq!(bytes_in_work([2, 3], None), 6 * 12);
    let to = PictureSize::new(10, 20);
    assert_eq!(bytes_in_work([2, 3], to), 6 * 12 + 20 * 3 * 16 + 200 * 6);
    assert!(bytes_in_work([1, 1], PictureSize::new(8192, 8192)) > 6 * 8192 * 8192);
    assert_eq!(bytes_in_work([usize::MAX, 2], to), usize::MAX);
}
