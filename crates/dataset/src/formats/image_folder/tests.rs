use super::*;
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

fn read_files(files: &Files) -> Result<Dataset, DatasetError> {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), files);
    image_folder(&Source::open_named(folder.path(), "set".into()).unwrap(), &mut |_| ())
}

fn read_archive(bytes: &[u8]) -> Result<Dataset, DatasetError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    std::fs::write(&path, bytes).unwrap();
    image_folder(&Source::open_named(&path, "set".into()).unwrap(), &mut |_| ())
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
    let dataset =
        image_folder(&Source::open(folder.path()).unwrap(), &mut |images| seen.push(images)).unwrap();
    assert_eq!(seen, [BATCH_FILES, BATCH_FILES + 101]);
    assert!((0..BATCH_FILES + 100).all(|index| usize::from(dataset.train.image(index)[0]) == index % 251));
}

#[test]
fn what_is_no_image_is_ignored_and_counted() {
    let mut files = sample();
    for path in ["set/train/dog/.hidden.png", "set/train/.DS_Store", "__MACOSX/set/train/dog/._2.png"] {
        files.insert(path.into(), vec![1]);
    }
    files.insert("set/train/dog/notes.txt".into(), vec![1]);
    files.insert("set/logo.png".into(), vec![1]);
    let dataset = read_files(&files).unwrap();
    assert_eq!(
        dataset.provenance.notes,
        [
            "ignored hidden files: 3",
            "ignored files that are neither .jpg, .jpeg nor .png: 1",
            "ignored images outside train/CLASS/ and test/CLASS/: 1"
        ]
    );
    assert_eq!(dataset.train.len(), 3);
}

#[test]
fn an_image_of_another_size_is_named_with_both_sizes() {
    let other = png(2, 4, ::png::ColorType::Rgb, &[0; 24]);
    let text = message(|files| _ = files.insert("set/train/dog/9.png".into(), other));
    assert!(
        text.starts_with("`set/train/dog/9.png` in `set` is 2×4 pixels, but `set/test/cat/z.jpeg` is 4×2;"),
        "{text}"
    );
}

#[test]
fn a_damaged_image_is_named() {
    let mut bytes = jpeg(4, 2, [1; 3]);
    bytes.truncate(bytes.len() / 2);
    let text = message(|files| _ = files.insert("set/test/cat/z.jpeg".into(), bytes));
    assert!(text.contains("`set/test/cat/z.jpeg` in `set` cannot be decoded as JPEG"), "{text}");
    let text = message(|files| _ = files.insert("set/test/cat/z.jpeg".into(), b"<html>".to_vec()));
    assert!(text.contains("is neither a JPEG nor a PNG file"), "{text}");
}

#[test]
fn an_empty_class_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &sample());
    std::fs::create_dir(folder.path().join("set/train/emu")).unwrap();
    let error = image_folder(&Source::open(folder.path()).unwrap(), &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("the class folder `train/emu` holds no image"), "{error}");
    let text = message(|files| _ = files.insert("set/test/emu/readme.txt".into(), vec![1]));
    assert!(text.contains("the class folder `test/emu` holds no image"), "{text}");
}

#[test]
fn both_splits_must_have_the_same_classes() {
    let text = message(|files| _ = files.insert("set/test/emu/1.png".into(), picture(1)));
    assert!(text.contains("class `emu` is in `test` but not in `train`"), "{text}");
    let text = message(|files| _ = files.remove("set/test/cat/z.jpeg"));
    assert!(text.contains("class `cat` is in `train` but not in `test`"), "{text}");
    let text = message(|files| files.retain(|path, _| path.contains("train")));
    assert!(text.contains("there is no folder `test`"), "{text}");
}

#[test]
fn a_set_without_the_layout_says_what_is_expected() {
    let text = read_files(&Files::from([("cat/1.png".into(), picture(1))])).unwrap_err().to_string();
    assert!(text.contains("in `train/CLASS/` or `test/CLASS/`"), "{text}");
    assert!(text.contains("ignored images outside train/CLASS/ and test/CLASS/: 1"), "{text}");
    let text = message(|files| _ = files.insert("other/train/cat/1.png".into(), picture(1)));
    assert!(text.contains("both below `other/` and below `set/`"), "{text}");
}

#[test]
fn all_real_images_are_read() {
    let Some(path) = shared("data/cifar10-images.tar.gz") else { return };
    let dataset = image_folder(&Source::open(&path).unwrap(), &mut |_| ()).unwrap();
    assert_eq!((dataset.train.len(), dataset.test.len()), (50_000, 10_000));
    assert_eq!(dataset.classes.len(), 10);
    assert_eq!((dataset.classes[0].as_str(), dataset.classes[9].as_str()), ("airplane", "truck"));
    assert!(dataset.train.class_counts(10).iter().all(|&count| count == 5_000));
    assert_eq!(dataset.shape(), [3, 32, 32]);
}
