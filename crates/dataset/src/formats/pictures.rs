//! Pictures in any folders, without classes and without splits: enough to calibrate on.

use super::filling::{PictureOptions, fill};
use super::image_folder::FolderRead;
use super::left_out::LeftOut;
use super::listing::Listing;
use crate::{Dataset, DatasetError, Source};

/// Reads all pictures of a source, at any depth and under any names, as RGB images without labels; `progress` is told
/// the number of images read so far. They become the training split of a [`Dataset::unlabelled`], sorted by folder and
/// name, which [`crate::Sample`] takes images out of and [`Dataset::read`] refuses: nothing can be trained or tested
/// on it. Pictures of different sizes need [`PictureOptions::size`]. What is no picture by its content is left out, and
/// counted.
///
/// # Errors
/// As [`crate::image_folder`].
pub fn pictures(
    source: &Source,
    options: &PictureOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<FolderRead, DatasetError> {
    let listing = Listing::of(source)?;
    let mut left_out = LeftOut::default();
    let mut ignored = 0;
    for other in &listing.others {
        match &other.reason {
            Some(reason) => left_out.add(reason.clone(), &other.path),
            None => ignored += 1,
        }
    }
    let mut paths: Vec<&str> = listing.pictures.iter().map(String::as_str).collect();
    paths.sort_by_key(|path| path.rsplit_once('/').unwrap_or(("", path)));
    if paths.is_empty() {
        let mut reason = "there is no picture in it".to_owned();
        if left_out.count() > 0 {
            reason = format!("{reason}; left out are {left_out}");
        }
        let source_name = source.name().into();
        return Err(DatasetError::Layout { source_name, format: Dataset::UNLABELLED, reason });
    }
    left_out.set_read(paths.len());
    options.check(source, &left_out)?;
    let members = paths.into_iter().map(|path| (path, 0)).collect();
    let [images] = fill(source, options, [members], &mut left_out, progress)?;
    options.check(source, &left_out)?;
    let counts = [(listing.hidden, "hidden files"), (ignored, "files that are no pictures")];
    let mut notes: Vec<_> = (counts.into_iter())
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("ignored {what}: {count}"))
        .collect();
    if left_out.count() > 0 {
        notes.push(format!("left out {left_out}"));
    }
    Ok(FolderRead { dataset: Dataset::unlabelled(images, notes)?, left_out, has_test: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::PictureSize;
    use crate::testing::{Files, jpeg, png, write_folder};
    use crate::{Sample, SplitName};

    fn read(files: &[(&str, Vec<u8>)], options: &PictureOptions) -> Result<FolderRead, String> {
        let folder = tempfile::tempdir().unwrap();
        let files: Files = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.clone())).collect();
        write_folder(folder.path(), &files);
        let source = Source::open_named(folder.path(), "set".into()).unwrap();
        pictures(&source, options, &mut |_| ()).map_err(|error| error.to_string())
    }

    fn grey(width: u32, height: u32, value: u8) -> Vec<u8> {
        png(width, height, ::png::ColorType::Grayscale, &vec![value; (width * height) as usize])
    }

    #[test]
    fn pictures_of_any_folder_and_size_become_one_split() {
        let files = [
            ("b/2.png", grey(3, 5, 20)),
            ("a/x/1.png", grey(9, 2, 10)),
            ("3.jpg", jpeg(4, 4, [30; 3])),
            ("notes.txt", b"text".to_vec()),
        ];
        let options = PictureOptions { size: PictureSize::new(2, 2), ..PictureOptions::default() };
        let read = read(&files, &options).unwrap();
        assert_eq!((read.left_out.count(), read.dataset.train.len(), read.dataset.test.len()), (0, 3, 0));
        assert_eq!(read.dataset.train.image(1), [10; 12]);
        assert_eq!(read.dataset.train.image(2), [20; 12]);
        assert_eq!(read.dataset.provenance.notes, ["ignored files that are no pictures: 1"]);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.safetensors");
        read.dataset.write(&path).unwrap();
        let mut sample = Sample::open(&path, SplitName::Train).unwrap();
        assert_eq!((sample.len(), sample.shape().unwrap()), (3, [3, 2, 2]));
        assert_eq!(sample.take(&[2]).unwrap().image(0), [20; 12]);
        assert!(Sample::open(&path, SplitName::Test).unwrap().is_empty());
        let refused = Dataset::read(&path).unwrap_err().to_string();
        assert!(refused.contains("pictures without labels"), "{refused}");
    }

    #[test]
    fn different_sizes_without_a_size_are_refused_with_a_way_out() {
        let files = [("1.png", grey(3, 5, 1)), ("2.png", grey(5, 3, 1))];
        let text = read(&files, &PictureOptions::default()).unwrap_err();
        assert!(text.contains("`2.png` in `set` is 5×3 pixels, but `1.png` is 3×5"), "{text}");
        assert!(text.contains("`image_size`"), "{text}");
    }

    #[test]
    fn a_folder_without_pictures_says_what_it_has() {
        let text = read(&[("a.npy", vec![0x93, b'N'])], &PictureOptions::default()).unwrap_err();
        assert_eq!(
            text,
            "`set` is not in the layout of `pictures`: there is no picture in it; left out are 1 of 1 files: 1 \
             `.npy`, no image (`a.npy`)"
        );
    }
}
