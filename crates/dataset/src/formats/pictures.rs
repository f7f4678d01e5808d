//! Pictures in any folders, without classes and without splits: enough to calibrate on.

use std::collections::BTreeSet;

use super::filling::{FolderRead, PictureOptions, fill};
use super::left_out::{LeftOut, Reason};
use super::listing::Listing;
use crate::{Dataset, DatasetError, Source};

/// Folders of images that nothing is trained on, where they lie beside a folder [`TRAIN`]; in lowercase.
const HELD_OUT: [&str; 6] = ["test", "val", "valid", "validation", "dev", "eval"];
const TRAIN: &str = "train";

/// What is said of files that are there under several names.
pub(super) const SAME: &str = "links to files that are read, and files that links lead to";

/// Reads all pictures of a source, at any depth and under any names, as RGB images without labels; `progress` is told
/// the number of images read so far. With `train_only` those that are set apart are passed over: what lies in a folder `test`,
/// `val`, `valid`, `validation`, `dev` or `eval` beside a folder `train`, both with pictures in them. They become the training split of a [`Dataset::unlabelled`], sorted by folder and
/// name, which [`crate::Sample`] takes images out of and [`Dataset::read`] refuses: nothing can be trained or tested
/// on it. Pictures of different sizes need [`PictureOptions::size`]. What is no picture by its content is left out, and
/// counted.
///
/// # Errors
/// As [`crate::image_folder`].
pub fn pictures(
    source: &Source,
    options: &PictureOptions,
    train_only: bool,
    progress: &mut dyn FnMut(usize),
) -> Result<FolderRead, DatasetError> {
    let mut listing = Listing::of(source)?;
    let apart: BTreeSet<String> = match train_only {
        true => held_out(&listing.pictures).into_iter().map(str::to_owned).collect(),
        false => BTreeSet::new(),
    };
    let is_wanted = |path: &str| !folders_of(path).any(|folder| apart.contains(folder));
    listing.pass_over_links(is_wanted);
    let mut left_out = LeftOut::default();
    let mut ignored = 0;
    for other in listing.others.iter().filter(|other| is_wanted(&other.path)) {
        if !other.leave_out(&mut left_out) {
            ignored += 1;
        }
    }
    for path in listing.hidden_pictures.iter().filter(|path| is_wanted(path)) {
        left_out.add(Reason::Hidden, path);
    }
    let mut paths: Vec<&str> =
        listing.pictures.iter().map(String::as_str).filter(|path| is_wanted(path)).collect();
    paths.sort_by_key(|path| path.rsplit_once('/').unwrap_or(("", path)));
    if paths.is_empty() {
        let mut reason = "there is no picture in it".to_owned();
        if left_out.count() > 0 {
            reason = format!("{reason}; left out are {left_out}");
        }
        let source_name = source.name().into();
        return Err(DatasetError::Layout { source_name, format: Dataset::UNLABELLED, reason });
    }
    let passed_over = listing.pictures.len() - paths.len();
    left_out.set_read(paths.len());
    options.check(source, &left_out)?;
    let members = paths.into_iter().map(|path| (path, 0)).collect();
    let [images] = fill(source, options, [members], &mut left_out, progress)?;
    options.check(source, &left_out)?;
    let counts = [
        (listing.hidden, "hidden files"),
        (ignored, "files that are no pictures"),
        (listing.same, SAME),
        (passed_over, "pictures in folders for testing or validating beside a folder `train`"),
    ];
    let mut notes: Vec<_> = (counts.into_iter())
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("ignored {what}: {count}"))
        .collect();
    if left_out.count() > 0 {
        notes.push(format!("left out {left_out}"));
    }
    Ok(FolderRead {
        dataset: Dataset::unlabelled(images, notes)?,
        left_out,
        has_test: false,
        set_apart: passed_over,
    })
}

/// The folders that a path lies in, from the outermost one on.
pub(super) fn folders_of(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

/// The folders of these pictures that are [`HELD_OUT`].
pub(super) fn held_out(pictures: &[String]) -> BTreeSet<&str> {
    let all: BTreeSet<&str> = pictures.iter().flat_map(|path| folders_of(path)).collect();
    let split = |folder: &'_ str| -> (usize, String) {
        let start = folder.rfind('/').map_or(0, |at| at + 1);
        (start, folder[start..].to_lowercase())
    };
    let parents: BTreeSet<&str> = (all.iter())
        .filter_map(|folder| match split(folder) {
            (start, name) if name == TRAIN => Some(&folder[..start]),
            _ => None,
        })
        .collect();
    let is_held_out = |folder: &&str| {
        let (start, name) = split(folder);
        HELD_OUT.contains(&name.as_str()) && parents.contains(&folder[..start])
    };
    all.into_iter().filter(is_held_out).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::PictureSize;
    use crate::testing::{Files, jpeg, png, write_folder};
    use crate::{Sample, SplitName};

    fn read(files: &[(&str, Vec<u8>)], options: &PictureOptions) -> Result<FolderRead, String> {
        read_with(files, options, false)
    }

    fn read_with(
        files: &[(&str, Vec<u8>)],
        options: &PictureOptions,
        train_only: bool,
    ) -> Result<FolderRead, String> {
        let folder = tempfile::tempdir().unwrap();
        let files: Files = files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.clone())).collect();
        write_folder(folder.path(), &files);
        let source = Source::open_named(folder.path(), "set".into()).unwrap();
        pictures(&source, options, train_only, &mut |_| ()).map_err(|error| match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        })
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
        snapshots::assert_message!(refused);
    }

    #[test]
    fn different_sizes_without_a_size_are_refused_with_a_way_out() {
        let files = [("1.png", grey(3, 5, 1)), ("2.png", grey(5, 3, 1))];
        let text = read(&files, &PictureOptions::default()).unwrap_err();
        snapshots::assert_message!(text);
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

    #[cfg(unix)]
    #[test]
    fn a_file_counts_once_however_many_links_lead_to_it() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let set = folder.path().join("ds");
        let path = |path: &str| {
            let path = set.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        // As Hugging Face lays a repository out, with 40 images to train on and 10 to test on.
        for value in 0..50_u8 {
            std::fs::write(path(&format!("blobs/{value:02x}")), grey(1, 1, value)).unwrap();
            let split = if value < 40 { "train" } else { "test" };
            let link = path(&format!("snapshots/abc/{split}/c/{value}.png"));
            symlink(format!("../../../../blobs/{value:02x}"), link).unwrap();
        }
        let read = |train_only| {
            let source = Source::open(&set).unwrap();
            let read = pictures(&source, &PictureOptions::default(), train_only, &mut |_| ()).unwrap();
            let mut values: Vec<u8> =
                (0..read.dataset.train.len()).map(|index| read.dataset.train.image(index)[0]).collect();
            values.sort_unstable();
            (values, read.dataset.provenance.notes)
        };
        assert_eq!(read(true).0, (0..40).collect::<Vec<_>>());
        let (values, notes) = read(false);
        assert_eq!(values, (0..50).collect::<Vec<_>>());
        assert_eq!(notes, ["ignored links to files that are read, and files that links lead to: 50"]);
        // Another snapshot of the same files, and a link to a folder.
        symlink("../../blobs/00", path("snapshots/def/0.png").as_path()).unwrap();
        symlink("snapshots/abc/train", path("latest")).unwrap();
        let (values, notes) = read(false);
        assert_eq!(values, (0..50).collect::<Vec<_>>());
        assert_eq!(notes, ["ignored links to files that are read, and files that links lead to: 91"]);
        // Without a folder for the files, those count that are no links.
        std::fs::rename(set.join("blobs"), set.join("files")).unwrap();
        std::fs::remove_dir_all(set.join("snapshots")).unwrap();
        std::fs::remove_file(set.join("latest")).unwrap();
        symlink("files/00", path("favourite.png")).unwrap();
        assert_eq!(read(false).0, (0..50).collect::<Vec<_>>());
    }

    /// What a file of 526 MiB without content on disk, which starts so, is refused for.
    fn refused(start: &[u8], options: &PictureOptions) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, start).unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(526 << 20).unwrap();
        let source = Source::open_named(folder.path(), "set".into()).unwrap();
        pictures(&source, options, false, &mut |_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_file_that_is_longer_than_its_picture_can_be_is_refused_before_it_is_read() {
        let budget = PictureOptions { max_bytes: 1_000_000, ..PictureOptions::default() };
        let scaled = PictureOptions { size: PictureSize::new(2, 2), ..PictureOptions::default() };
        for options in [&budget, &scaled, &PictureOptions::default()] {
            let text = refused(b"\x89PNG\r\n\x1a\n", options);
            assert!(
                text.contains("`a.png` in `set` has 551550976 bytes, more than a picture whose height"),
                "{text}"
            );
            let text = refused(&grey(3, 5, 1), options);
            assert!(
                text.contains("has 551550976 bytes, more than a picture of 3×5 pixels is read of"),
                "{text}"
            );
        }
        let text = refused(b"II*\0\x08\0\0\0", &budget);
        snapshots::assert_message!(text);
        let text = refused(&grey(1000, 1000, 1), &budget);
        snapshots::assert_message!(text);
    }

    #[test]
    fn what_stands_around_pixels_may_be_long() {
        // A whole picture, and 40 MiB behind it.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, grey(3, 5, 7)).unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(40 << 20).unwrap();
        let source = Source::open(folder.path()).unwrap();
        let read = pictures(&source, &PictureOptions::default(), false, &mut |_| ()).unwrap();
        assert_eq!(read.dataset.train.image(0), [7; 45]);
    }

    /// What is read of files that hold their number.
    fn trained_on(paths: &[&str]) -> (Vec<u8>, Vec<String>) {
        let files: Vec<_> = (paths.iter().zip(1..)).map(|(path, value)| (*path, grey(1, 1, value))).collect();
        let read = read_with(&files, &PictureOptions::default(), true).unwrap();
        let values = (0..read.dataset.train.len()).map(|index| read.dataset.train.image(index)[0]);
        (values.collect(), read.dataset.provenance.notes)
    }

    #[test]
    fn what_is_set_apart_beside_a_training_set_is_passed_over() {
        let (values, notes) =
            trained_on(&["train/cat/a.png", "train/b.png", "val/cat/c.png", "val/d.png", "e.png"]);
        assert_eq!(values, [5, 2, 1]);
        assert_eq!(
            notes,
            ["ignored pictures in folders for testing or validating beside a folder `train`: 2"]
        );
        assert_eq!(trained_on(&["x/Train/a.png", "x/Test/b.png", "y/test/c.png"]).0, [1, 3]);
        assert_eq!(trained_on(&["x/train/val/a.png", "x/test/train/b.png"]).0, [1]);
        // A class of trains, and images of tests.
        assert_eq!(trained_on(&["bus/a.png", "car/b.png", "train/c.png"]).0, [1, 2, 3]);
        assert_eq!(trained_on(&["test/a.png", "val/b.png"]).0, [1, 2]);
        // Whoever asks for all gets all.
        let files = [("train/a.png", grey(1, 1, 1)), ("test/b.png", grey(1, 1, 2))];
        assert_eq!(read(&files, &PictureOptions::default()).unwrap().dataset.train.len(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_nowhere_is_a_file_that_is_left_out() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        for value in 0..9_u8 {
            std::fs::write(folder.path().join(format!("{value}.png")), grey(1, 1, value)).unwrap();
        }
        symlink("gone/LICENSE.txt", folder.path().join("LICENSE.txt")).unwrap();
        symlink("gone/9", folder.path().join("9.png")).unwrap();
        let source = Source::open_named(folder.path(), "set".into()).unwrap();
        let read = |max_left_out| {
            let options = PictureOptions { max_left_out, ..PictureOptions::default() };
            pictures(&source, &options, false, &mut |_| ())
        };
        let told = "1 of 10 files: 1 linked to what is not there (`9.png`, a link to `gone/9`)";
        let done = read(0.1).unwrap();
        assert_eq!((done.dataset.train.len(), done.left_out.to_string()), (9, told.into()));
        let refused = read(0.05).unwrap_err();
        assert!(refused.to_string().contains(told), "{refused}");
        snapshots::assert_message!(refused.hint().unwrap());
    }

    #[test]
    fn a_tree_of_links_in_a_tar_is_read_as_one_in_a_folder() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "snapshots/a/1.png", "../../blobs/1").unwrap();
        let mut header = tar::Header::new_gnu();
        let picture = grey(1, 1, 5);
        header.set_size(picture.len() as u64);
        builder.append_data(&mut header, "blobs/1", &*picture).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        builder.append_data(&mut header, "blobs", &b""[..]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.tar");
        std::fs::write(&path, builder.into_inner().unwrap()).unwrap();
        let source = Source::open(&path).unwrap();
        let read = pictures(&source, &PictureOptions::default(), false, &mut |_| ()).unwrap();
        assert_eq!((read.dataset.train.len(), read.dataset.train.image(0)), (1, &[5; 3][..]));
        assert_eq!(
            read.dataset.provenance.notes,
            ["ignored links to files that are read, and files that links lead to: 1"]
        );
    }

    #[test]
    fn grey_is_the_luminance_and_what_is_grey_stays() {
        use super::super::filling::Colors;
        let colors = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 100, 50], [255; 3], [12, 200, 77]];
        let rgb = png(6, 1, ::png::ColorType::Rgb, &colors.concat());
        let values = [0, 1, 2, 128, 254, 255];
        let files = [("a.png", rgb), ("b.png", png(6, 1, ::png::ColorType::Grayscale, &values))];
        let options = PictureOptions { colors: Colors::Grey, max_bytes: 12, ..PictureOptions::default() };
        let train = read(&files, &options).unwrap().dataset.train;
        assert_eq!(train.shape(), [1, 1, 6]);
        // 0.299 R + 0.587 G + 0.114 B, rounded.
        assert_eq!(train.image(0), [76, 150, 29, 124, 255, 130]);
        assert_eq!(train.image(1), values);
        let sized = PictureOptions { size: PictureSize::new(3, 1), ..options };
        assert_eq!(read(&files, &sized).unwrap().dataset.train.shape(), [1, 1, 3]);
    }

    #[test]
    fn what_lies_beside_in_a_folder_that_is_passed_over_is_not_counted_as_left_out() {
        let files =
            [("train/a.png", grey(1, 1, 1)), ("test/b.png", grey(1, 1, 2)), ("test/c.npy", vec![0x93])];
        let read = read_with(&files, &PictureOptions::default(), true).unwrap();
        assert_eq!((read.left_out.count(), read.dataset.train.len()), (0, 1));
    }
}
