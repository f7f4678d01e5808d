//! What the report shows of a dataset: images per class, and a few examples of each. Knows no files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dataset::{Dataset, Split};
use protocol::{Cell, Column, Content, Failure, Figure, Image};

/// Most examples of a class side by side.
const EXAMPLES: usize = 8;
/// Most classes that get a row of examples.
const ROWS: usize = 20;
/// Examples are shrunk to at most this many pixels a side.
const THUMBNAIL: usize = 64;
/// Most bytes of all examples together, in base64: a report should stay small.
const MAX_BYTES: usize = 100_000;

/// How many images each class has in each split.
pub(crate) fn class_counts(dataset: &Dataset) -> Figure {
    let classes = dataset.classes.len();
    let (train, test) = (dataset.train.class_counts(classes), dataset.test.class_counts(classes));
    let column = |label: &str| Column::new(label, "", 0);
    let row = |(name, (train, test)): (&String, (u64, u64))| {
        vec![Cell::Text(name.clone()), Cell::Number(train as f64), Cell::Number(test as f64)]
    };
    let rows = dataset.classes.iter().zip(train.into_iter().zip(test)).map(row).collect();
    let [channels, height, width] = dataset.shape();
    Figure {
        id: "classes".into(),
        title: "Images per class".into(),
        caption: format!(
            "{width}×{height} pixels, {channels} channels, format {}",
            dataset.provenance.format
        ),
        content: Content::Table { columns: vec![column("class"), column("train"), column("test")], rows },
    }
}

/// The first few training images of each class, a picture for each class; fewer where they would be too many
/// bytes.
///
/// # Errors
/// Where a picture cannot be encoded.
pub(crate) fn examples(dataset: &Dataset) -> Result<Figure, Failure> {
    let classes = dataset.classes.iter().take(ROWS).enumerate();
    let mut count = EXAMPLES;
    let images = loop {
        let images = classes
            .clone()
            .filter_map(|(label, name)| {
                let png = contact_sheet(&dataset.train, label as i64, count).transpose()?;
                Some(png.map(|png| Image { caption: name.clone(), png: STANDARD.encode(png) }))
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        if count == 1 || images.iter().map(|image| image.png.len()).sum::<usize>() < MAX_BYTES {
            break images;
        }
        count -= 1;
    };
    let caption = match dataset.classes.len() {
        all if all > ROWS => format!("The first training images of {ROWS} of {all} classes."),
        _ => "The first training images of each class.".to_owned(),
    };
    let (id, title) = ("examples".into(), "Examples".into());
    Ok(Figure { id, title, caption, content: Content::Images { images } })
}

/// The first `count` images of a class in a row, as a PNG file; nothing where it has none.
fn contact_sheet(split: &Split, label: i64, count: usize) -> Result<Option<Vec<u8>>, Failure> {
    let [channels, height, width] = split.shape();
    let step = height.max(width).div_ceil(THUMBNAIL);
    let (rows, columns) = (height / step, width / step);
    let images: Vec<_> = (0..split.len())
        .filter(|&index| split.label(index) == label)
        .take(count)
        .map(|index| split.image(index))
        .collect();
    if images.is_empty() {
        return Ok(None);
    }
    // Red, green and blue where there are three channels, else the first as grey.
    let shown = if channels == 3 { 3 } else { 1 };
    let mut samples = Vec::with_capacity(rows * columns * images.len() * shown);
    for row in 0..rows {
        for image in &images {
            for column in 0..columns {
                samples.extend((0..shown).map(|channel| {
                    block_mean(&image[channel * height * width..], width, [row * step, column * step], step)
                }));
            }
        }
    }
    let size = [(columns * images.len()) as u32, rows as u32];
    Ok(Some(dataset::encode_png(size, shown, &samples)?))
}

/// Mean of the `step`×`step` pixels of a plane from row and column `at` on.
fn block_mean(plane: &[u8], width: usize, at: [usize; 2], step: usize) -> u8 {
    let [row, column] = at;
    let sum: usize = (0..step)
        .flat_map(|y| &plane[(row + y) * width + column..][..step])
        .map(|&value| usize::from(value))
        .sum();
    u8::try_from(sum / (step * step)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataset::Synthetic;

    fn decode(image: &Image) -> (u32, u32, Vec<u8>) {
        let bytes = STANDARD.decode(&image.png).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut samples = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut samples).unwrap();
        (info.width, info.height, samples)
    }

    fn images(dataset: &Dataset) -> Vec<Image> {
        let Content::Images { images } = examples(dataset).unwrap().content else { panic!("no images") };
        images
    }

    #[test]
    fn each_class_has_a_row_of_its_own_images_and_all_stay_small() {
        let dataset = Synthetic { train: 100, test: 20, seed: 42 }.dataset().unwrap();
        let images = images(&dataset);
        assert_eq!(images.len(), 10);
        assert!(images.iter().map(|image| image.png.len()).sum::<usize>() < MAX_BYTES);
        let (width, height, samples) = decode(&images[3]);
        assert_eq!(height, 32);
        assert!(width >= 64 && width.is_multiple_of(32), "{width}");
        // Image 13 is the second of class 3; its first pixel, red, green, blue.
        let image = dataset.train.image(13);
        assert_eq!(samples[32 * 3..32 * 3 + 3], [image[0], image[1024], image[2048]]);
    }

    #[test]
    fn large_and_grey_images_are_shrunk() {
        let split = |label| Split::new([1, 130, 65], vec![90; 130 * 65], vec![label]).unwrap();
        let classes = vec!["a".into()];
        let dataset = Dataset::new(classes, split(0), split(0), "test", vec![]).unwrap();
        assert_eq!(decode(&images(&dataset)[0]), (21, 43, vec![90; 21 * 43]));
    }

    #[test]
    fn a_class_without_training_images_has_no_row() {
        let split = |label| Split::new([1, 2, 2], vec![90; 4], vec![label]).unwrap();
        let dataset = Dataset::new(vec!["a".into(), "b".into()], split(1), split(0), "test", vec![]).unwrap();
        let captions: Vec<_> = images(&dataset).into_iter().map(|image| image.caption).collect();
        assert_eq!(captions, ["b"]);
    }

    #[test]
    fn counts_are_by_class_and_split() {
        let dataset = Synthetic { train: 25, test: 10, seed: 1 }.dataset().unwrap();
        let Content::Table { rows, .. } = class_counts(&dataset).content else { panic!("no table") };
        assert_eq!(rows[0], [Cell::Text("disc".into()), Cell::Number(3.0), Cell::Number(1.0)]);
        assert_eq!(rows[9], [Cell::Text("dots".into()), Cell::Number(2.0), Cell::Number(1.0)]);
    }
}
