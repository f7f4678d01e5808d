use super::*;
use crate::formats::filling::BATCH_FILES;
use crate::picture::{Fit, PictureSize};
use crate::testing::{Files, jpeg, png, shared, tar_gz, write_folder, zip};

fn picture(value: u8) -> Vec<u8> {
    png(4, 2, ::png::ColorType::Rgb, &[value; 24])
}

fn sample() -> Files {
    Files::from([
        ("set/train/dog/2.png".into(), picture(12)),
        ("set/train/dog/10.PNG".into(), picture(11)),
        ("set/train/cat/a.png".into(), picture(13)),
        ("set/test/cat/z.jpeg".into(), jpeg(4, 2, [99; 3])),
        ("set/test/dog/y.JPG".into(), jpeg(4, 2, [200; 3])),
    ])
}

fn read_with(files: &Files, options: &FolderOptions) -> Result<FolderRead, DatasetError> {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), files);
    image_folder(&Source::open_named(folder.path(), "set".into()).unwrap(), options, &mut |_| ())
}

fn read_files(files: &Files) -> Result<Dataset, DatasetError> {
    read_with(files, &FolderOptions::default()).map(|read| read.dataset)
}

fn read_archive(bytes: &[u8]) -> Result<Dataset, DatasetError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    std::fs::write(&path, bytes).unwrap();
    let source = Source::open_named(&path, "set".into()).unwrap();
    image_folder(&source, &FolderOptions::default(), &mut |_| ()).map(|read| read.dataset)
}

fn message(change: impl FnOnce(&mut Files)) -> String {
    let mut files = sample();
    change(&mut files);
    read_files(&files).unwrap_err().to_string()
}

#[test]
fn classes_and_files_are_sorted() {
    let dataset = read_files(&sample()).unwrap();
    assert_eq!(dataset.classes, ["cat", "dog"]);
    assert_eq!((dataset.shape(), dataset.train.labels()), ([3, 2, 4], &[0, 1, 1][..]));
    assert_eq!([0, 1, 2].map(|index| dataset.train.image(index)[0]), [13, 11, 12]);
    assert_eq!(dataset.test.labels(), [0, 1]);
    assert!(dataset.test.image(1)[0].abs_diff(200) < 3);
    assert!(dataset.provenance.notes.is_empty());
}

#[test]
fn archives_give_the_same_in_any_order() {
    let expected = read_files(&sample()).unwrap();
    assert_eq!(read_archive(&tar_gz(&sample())).unwrap(), expected);
    assert_eq!(read_archive(&zip(&sample())).unwrap(), expected);
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in sample().iter().rev() {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content.as_slice()).unwrap();
    }
    assert_eq!(read_archive(&builder.into_inner().unwrap()).unwrap(), expected);
}

#[test]
fn more_images_than_a_batch_are_all_read_and_counted() {
    let mut files = Files::new();
    for index in 0..BATCH_FILES + 100 {
        files.insert(format!("train/cat/{index:05}.png"), picture((index % 251) as u8));
    }
    files.insert("test/cat/0.png".into(), picture(0));
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &files);
    let mut seen = Vec::new();
    let source = Source::open(folder.path()).unwrap();
    let dataset =
        image_folder(&source, &FolderOptions::default(), &mut |images| seen.push(images)).unwrap().dataset;
    assert_eq!(seen, [BATCH_FILES, BATCH_FILES + 101]);
    assert!((0..BATCH_FILES + 100).all(|index| usize::from(dataset.train.image(index)[0]) == index % 251));
}

#[test]
fn what_accompanies_images_is_ignored_and_counted() {
    let mut files = sample();
    for path in ["set/train/dog/.hidden.png", "set/train/.DS_Store", "__MACOSX/set/train/dog/._2.png"] {
        files.insert(path.into(), vec![1]);
    }
    files.insert("set/train/dog/notes.txt".into(), vec![1]);
    files.insert("set/logo.png".into(), vec![1]);
    let options = FolderOptions {
        pictures: PictureOptions { max_left_out: 0.2, ..PictureOptions::default() },
        ..FolderOptions::default()
    };
    let read = read_with(&files, &options).unwrap();
    // Words and order of the first version: they are in datasets that people have.
    assert_eq!(
        read.dataset.provenance.notes,
        [
            "ignored hidden files: 3",
            "ignored files that are neither .jpg, .jpeg nor .png: 1",
            "ignored images outside train/CLASS/ and test/CLASS/: 1"
        ]
    );
    assert_eq!(read.dataset.train.len(), 3);
    assert_eq!(
        read.left_out.to_string(),
        "1 of 6 files: 1 outside `train/CLASS/` and `test/CLASS/` (`set/logo.png`)"
    );
}

#[test]
fn all_below_a_class_is_of_it_in_the_order_of_folders_and_names() {
    let mut files = sample();
    for (path, value) in
        [("b.png", 1), ("sub/a.png", 2), ("sub-x/z.png", 3), ("sub/deep/0.png", 4), ("Z/c.webp", 5)]
    {
        files.insert(format!("set/train/cat/{path}"), picture(value));
    }
    let dataset = read_files(&files).unwrap();
    assert_eq!(dataset.train.labels(), [0, 0, 0, 0, 0, 0, 1, 1]);
    let values: Vec<_> = (0..6).map(|index| dataset.train.image(index)[0]).collect();
    assert_eq!(values, [13, 1, 5, 2, 3, 4]);
    assert_eq!(read_archive(&tar_gz(&files)).unwrap(), dataset);
}

/// One of each, beside as many images as `images`.
fn with_left_out(images: u8) -> Files {
    let mut files = sample();
    for value in 5..images {
        files.insert(format!("set/train/cat/more/{value}.png"), picture(value));
    }
    files.insert("set/train/cat/empty.jpg".into(), vec![]);
    files.insert("set/train/cat/a.heic".into(), b"\0\0\0\x18ftypheic\0\0\0\0".to_vec());
    files.insert("set/train/dog/page.jpg".into(), b"<html>404</html>".to_vec());
    files.insert("set/train/dog/p.tiff".into(), include_bytes!("../../picture/fixtures/float.tiff").to_vec());
    files
}

#[test]
fn up_to_a_tenth_is_left_out_with_counts_reasons_and_names() {
    let read = read_with(&with_left_out(36), &FolderOptions::default()).unwrap();
    assert_eq!((read.dataset.train.len(), read.dataset.test.len()), (34, 2));
    let left_out = "4 of 40 files: 1 HEIC, which is not read, 1 TIFF with floating-point values, which is not read, 1 no image in spite of \
                    the name, 1 empty (such as `set/train/cat/a.heic`, `set/train/dog/p.tiff`, `set/train/dog/page.jpg`)";
    assert_eq!(read.left_out.to_string(), left_out);
    assert_eq!(read.dataset.provenance.notes, [format!("left out {left_out}")]);
    // Images close up to where one turned out to be left out.
    assert_eq!(read.dataset.train.image(33)[0], 12);
    assert_eq!(read.dataset.train.labels()[31..], [0, 1, 1]);
}

#[test]
fn a_hidden_class_counts_as_left_out() {
    let mut files = sample();
    for index in 0..25 {
        files.insert(format!("set/train/.net/{index}.png"), picture(index));
    }
    files.insert("set/train/.ipynb_checkpoints/a.png".into(), picture(1));
    let text = read_with(&files, &FolderOptions::default()).unwrap_err().to_string();
    snapshots::assert_message!(text);
    let options = FolderOptions {
        pictures: PictureOptions { max_left_out: 0.9, ..PictureOptions::default() },
        ..FolderOptions::default()
    };
    let read = read_with(&files, &options).unwrap();
    assert_eq!((read.left_out.count(), read.dataset.train.len(), read.dataset.classes.len()), (25, 3, 2));
    assert_eq!(read.dataset.provenance.notes[0], "ignored hidden files: 1");
}

#[test]
fn more_than_a_tenth_is_refused_unless_asked_for() {
    let files = with_left_out(35);
    let error = read_with(&files, &FolderOptions::default()).unwrap_err();
    snapshots::assert_message!(error.to_string());
    assert!(
        error.to_string().ends_with("more than a share of 0.1")
            && error.hint().unwrap().contains("`max_left_out`")
    );
    let options = FolderOptions {
        pictures: PictureOptions { max_left_out: 0.11, ..PictureOptions::default() },
        ..FolderOptions::default()
    };
    assert_eq!(read_with(&files, &options).unwrap().dataset.train.len(), 33);
}

fn test_share(share: f64, seed: u64) -> FolderOptions {
    FolderOptions { test: TestShare::new(share, seed), ..FolderOptions::default() }
}

#[test]
fn a_share_of_each_class_becomes_the_test_split_where_there_is_none() {
    let mut files = Files::new();
    for value in 0..30 {
        let class = if value < 20 { "cat" } else { "dog" };
        files.insert(format!("set/{class}/{value:02}.png"), picture(value));
    }
    let read = read_with(&files, &test_share(0.2, 42)).unwrap();
    assert!(!read.has_test);
    let Dataset { classes, train, test, .. } = &read.dataset;
    assert_eq!((classes.len(), train.class_counts(2), test.class_counts(2)), (2, vec![16, 8], vec![4, 2]));
    let values = |dataset: &Dataset| -> Vec<u8> {
        let test = &dataset.test;
        (0..test.len()).map(|index| test.image(index)[0]).collect()
    };
    let mut all: Vec<_> = values(&read.dataset);
    all.extend((0..train.len()).map(|index| train.image(index)[0]));
    all.sort_unstable();
    assert_eq!(all, (0..30).collect::<Vec<_>>());

    // Neither the order in an archive nor a folder above matters; another seed does.
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files.iter().rev() {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path.replace("set/", "a/train/"), content.as_slice()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    std::fs::write(&path, builder.into_inner().unwrap()).unwrap();
    let source = Source::open(&path).unwrap();
    let other = image_folder(&source, &test_share(0.2, 42), &mut |_| ()).unwrap();
    assert_eq!(other.dataset, read.dataset);
    let other = read_with(&files, &test_share(0.2, 43)).unwrap();
    assert_ne!(values(&other.dataset), values(&read.dataset));
}

#[test]
fn a_test_split_that_is_there_is_taken() {
    let read = read_with(&sample(), &test_share(0.5, 42)).unwrap();
    assert!(read.has_test);
    assert_eq!(read.dataset, read_files(&sample()).unwrap());
    let one = Files::from([("a/cat/1.png".into(), picture(1)), ("a/dog/1.png".into(), picture(1))]);
    let text = read_with(&one, &test_share(0.5, 42)).unwrap_err().to_string();
    snapshots::assert_message!(text);
}

#[test]
fn images_of_any_size_get_the_one_asked_for() {
    let mut files = sample();
    files.insert("set/train/dog/9.png".into(), png(2, 9, ::png::ColorType::Rgb, &[14; 54]));
    let read = |fit| {
        let pictures = PictureOptions { size: PictureSize::new(3, 3), fit, ..PictureOptions::default() };
        read_with(&files, &FolderOptions { pictures, ..FolderOptions::default() }).unwrap().dataset
    };
    for fit in [Fit::Crop, Fit::Resize] {
        let dataset = read(fit);
        assert_eq!(dataset.shape(), [3, 3, 3]);
        let values: Vec<_> = (0..4).map(|index| dataset.train.image(index)[0]).collect();
        assert_eq!(values, [13, 11, 12, 14]);
    }
}

#[test]
fn more_pixels_than_are_allowed_are_refused_before_they_take_memory() {
    let pictures = PictureOptions { max_bytes: 119, ..PictureOptions::default() };
    let options = FolderOptions { pictures, ..FolderOptions::default() };
    let error = read_with(&sample(), &options).unwrap_err();
    assert!(matches!(error, DatasetError::Budget { images: 5, bytes: 120, limit: Some(119), .. }), "{error}");
    snapshots::assert_message!(error.to_string());
    snapshots::assert_message!(error.hint().unwrap());
    let pictures = PictureOptions { max_bytes: 120, ..PictureOptions::default() };
    assert!(read_with(&sample(), &FolderOptions { pictures, ..FolderOptions::default() }).is_ok());
}

/// A hundred files of 8192×8192, which decoded would be 20 GB, are told from what their heads say.
#[test]
fn huge_images_are_refused_by_their_headers() {
    let mut header = png(1, 1, ::png::ColorType::Rgb, &[0; 3]);
    header[16..20].copy_from_slice(&8192_u32.to_be_bytes());
    header[20..24].copy_from_slice(&8192_u32.to_be_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&header[12..29]);
    header[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    let mut files = Files::new();
    for index in 0..100 {
        files.insert(format!("train/cat/{index}.png"), header.clone());
    }
    files.insert("test/cat/0.png".into(), header);
    let error = read_files(&files).unwrap_err().to_string();
    let text = "101 images of 8192×8192 pixels, as `test/cat/0.png`, take 20.3 GB, more than the 8.6 GB that they may";
    assert!(error.contains(text), "{error}");
}

#[test]
fn an_image_of_another_size_is_named_with_both_sizes() {
    let other = png(2, 4, ::png::ColorType::Rgb, &[0; 24]);
    let text = message(|files| _ = files.insert("set/train/dog/9.png".into(), other));
    snapshots::assert_message!(text);
}

#[test]
fn a_damaged_image_is_named() {
    let mut bytes = jpeg(4, 2, [1; 3]);
    bytes.truncate(bytes.len() / 2);
    let text = message(|files| _ = files.insert("set/test/cat/z.jpeg".into(), bytes));
    snapshots::assert_message!(text);
}

#[test]
fn an_empty_class_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &sample());
    std::fs::create_dir(folder.path().join("set/train/emu")).unwrap();
    let source = Source::open(folder.path()).unwrap();
    let error = image_folder(&source, &FolderOptions::default(), &mut |_| ()).unwrap_err();
    snapshots::assert_message!(error.to_string());
    let text = message(|files| _ = files.insert("set/test/emu/readme.txt".into(), vec![1]));
    snapshots::assert_message!(text);
}

#[test]
fn both_splits_must_have_the_same_classes() {
    let text = message(|files| _ = files.insert("set/test/emu/1.png".into(), picture(1)));
    snapshots::assert_message!(text);
    let text = message(|files| _ = files.remove("set/test/cat/z.jpeg"));
    snapshots::assert_message!(text);
    let text = message(|files| files.retain(|path, _| path.contains("train")));
    snapshots::assert_message!(text);
}

#[test]
fn what_is_set_apart_to_validate_on_is_neither_read_nor_missing() {
    for name in ["val", "valid", "validation", "dev", "Val"] {
        let mut files = sample();
        for index in 0..9 {
            files.insert(format!("set/{name}/cat/{index}.png"), picture(1));
        }
        files.insert(format!("set/{name}/cat/x.avif"), b"\0\0\0\x20ftypavif".to_vec());
        let read = read_with(&files, &FolderOptions::default()).unwrap();
        assert_eq!((read.set_apart, read.left_out.count(), read.dataset.train.len()), (10, 0, 3), "{name}");
        assert_eq!(
            read.dataset.provenance.notes,
            ["ignored images outside train/CLASS/ and test/CLASS/: 10"]
        );

        // Without images to test on, that is what is said, and not that others are left out.
        files.retain(|path, _| !path.starts_with("set/test/"));
        let text = read_with(&files, &FolderOptions::default()).unwrap_err().to_string();
        assert!(
            text.contains("there is no folder `test` with images") && text.contains("`test: 0.2`"),
            "{text}"
        );
        assert!(text.contains(&format!("in `{name}` are read under no other name than `test`")), "{text}");
        assert!(text.contains("`pipe quantize`: leave out `--format`"), "{text}");
        files.insert("set/train/cat/b.png".into(), picture(14));
        let read = read_with(&files, &test_share(0.5, 1)).unwrap();
        assert_eq!((read.dataset.train.len(), read.dataset.test.len(), read.set_apart), (2, 2, 10), "{name}");
    }
    // What lies elsewhere is missing, whatever it is called.
    let mut files = sample();
    files.insert("set/more/cat/1.png".into(), picture(1));
    let text = read_with(&files, &FolderOptions::default()).unwrap_err().to_string();
    snapshots::assert_message!(text);
    // A test split that is there and holds nothing that is read is another matter.
    let mut files = sample();
    files.retain(|path, _| !path.starts_with("set/test/"));
    files.insert("set/test/cat/x.avif".into(), b"\0\0\0\x20ftypavif".to_vec());
    let text = read_with(&files, &FolderOptions::default()).unwrap_err().to_string();
    snapshots::assert_message!(text);
}

#[test]
fn a_set_without_the_layout_says_what_is_expected() {
    let text = read_files(&Files::from([("cat/1.png".into(), picture(1))])).unwrap_err().to_string();
    snapshots::assert_message!(text);
    let unread = Files::from([("train/cat/1.npy".into(), vec![0x93, b'N'])]);
    let text = read_files(&unread).unwrap_err().to_string();
    snapshots::assert_message!(text);
    let text = message(|files| _ = files.insert("other/train/cat/1.png".into(), picture(1)));
    snapshots::assert_message!(text);
}

#[test]
fn all_real_images_are_read() {
    let Some(path) = shared("data/cifar10-images.tar.gz") else { return };
    let source = Source::open(&path).unwrap();
    let dataset = image_folder(&source, &FolderOptions::default(), &mut |_| ()).unwrap().dataset;
    assert_eq!((dataset.train.len(), dataset.test.len()), (50_000, 10_000));
    assert_eq!(dataset.classes.len(), 10);
    assert_eq!((dataset.classes[0].as_str(), dataset.classes[9].as_str()), ("airplane", "truck"));
    assert!(dataset.train.class_counts(10).iter().all(|&count| count == 5_000));
    assert_eq!(dataset.shape(), [3, 32, 32]);
}
