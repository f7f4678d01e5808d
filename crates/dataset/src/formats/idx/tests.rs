use super::*;
use crate::MAX_BYTES;
use crate::testing::{Files, gz, write_folder};

fn file(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn sample() -> Files {
    Files::from([
        ("raw/train-images-idx3-ubyte".into(), file(&[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])),
        ("raw/train-labels.idx1-ubyte".into(), file(&[2], &[0, 4])),
        ("t10k-images-idx3-ubyte.gz".into(), gz(&file(&[1, 2, 3], &[9; 6]))),
        ("t10k-labels-idx1-ubyte.gz".into(), gz(&file(&[1], &[3]))),
    ])
}

fn read(files: &Files) -> Result<Dataset, DatasetError> {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), files);
    idx(&Source::open(folder.path()).unwrap(), MAX_BYTES, &mut |_| ())
}

fn message(name: &str, bytes: Vec<u8>) -> String {
    let mut files = sample();
    files.insert(name.into(), bytes);
    read(&files).unwrap_err().to_string()
}

#[test]
fn plain_and_gzipped_files_are_read() {
    let dataset = read(&sample()).unwrap();
    assert_eq!(dataset.shape(), [1, 2, 3]);
    assert_eq!(dataset.train.image(1), [7, 8, 9, 10, 11, 12]);
    assert_eq!((dataset.train.labels(), dataset.test.labels()), (&[0, 4][..], &[3][..]));
    assert_eq!(dataset.classes, ["0", "1", "2", "3", "4"]);
}

#[test]
fn a_bad_magic_number_is_shown() {
    let text = message("raw/train-images-idx3-ubyte", vec![0, 0, 13, 3, 0, 0]);
    snapshots::assert_message!(text);
    let text = message("raw/train-images-idx3-ubyte", vec![]);
    snapshots::assert_message!(text);
}

#[test]
fn wrong_lengths_and_counts_are_errors() {
    let text = message("raw/train-images-idx3-ubyte", file(&[2, 2, 3], &[0; 11]));
    snapshots::assert_message!(text);
    let text = message("raw/train-images-idx3-ubyte", file(&[u32::MAX, u32::MAX, u32::MAX], &[]));
    snapshots::assert_message!(text);
    let text = message("raw/train-labels.idx1-ubyte", file(&[3], &[0, 1, 2]));
    snapshots::assert_message!(text);
    let text = message("raw/train-labels.idx1-ubyte", file(&[2, 1], &[0, 1]));
    snapshots::assert_message!(text);
    let mut cut = gz(&file(&[1], &[3]));
    cut.truncate(cut.len() - 9);
    let text = message("t10k-labels-idx1-ubyte.gz", cut);
    snapshots::assert_message!(text);
}

#[test]
fn a_file_may_lie_beside_its_gzipped_form() {
    let mut files = sample();
    let plain = files["raw/train-images-idx3-ubyte"].clone();
    files.insert("raw/train-images-idx3-ubyte.gz".into(), gz(&plain));
    files.insert("t10k-labels-idx1-ubyte".into(), file(&[1], &[3]));
    assert_eq!(read(&files).unwrap(), read(&sample()).unwrap());
    for other in [file(&[2, 2, 3], &[0; 12]), file(&[2, 3, 2], &plain[16..])] {
        let text = message("raw/train-images-idx3-ubyte.gz", gz(&other));
        assert!(
            text.contains("`raw/train-images-idx3-ubyte` and `raw/train-images-idx3-ubyte.gz` differ"),
            "{text}"
        );
    }
}

#[test]
fn no_more_is_unpacked_than_the_header_announces() {
    // It would unpack to 64 MB.
    let mut bomb = file(&[1, 2, 3], &[]);
    bomb.resize(64 << 20, 0);
    let text = message("t10k-images-idx3-ubyte.gz", gz(&bomb));
    snapshots::assert_message!(text);
}

#[test]
fn more_pixels_than_are_allowed_are_refused_by_the_header() {
    let text = message("t10k-images-idx3-ubyte.gz", gz(&file(&[3_000_000, 100, 100], &[])));
    snapshots::assert_message!(text);
}

#[test]
fn labels_count_as_well_before_they_are_read() {
    let text = message("t10k-labels-idx1-ubyte.gz", gz(&file(&[2_000_000_000], &[])));
    snapshots::assert_message!(text);
    // 12 and 6 pixels, two labels and one.
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &sample());
    let source = Source::open(folder.path()).unwrap();
    assert!(idx(&source, 12 + 6 + 3 * LABEL, &mut |_| ()).is_ok());
    let text = idx(&source, 12 + 6 + 3 * LABEL - 1, &mut |_| ()).unwrap_err().to_string();
    snapshots::assert_message!(text);
}

#[test]
fn missing_and_doubled_files_are_named() {
    let mut files = sample();
    files.remove("t10k-images-idx3-ubyte.gz");
    let text = read(&files).unwrap_err().to_string();
    snapshots::assert_message!(text);
    let text = message("train-images-idx3-ubyte.gz", gz(&file(&[1, 1, 1], &[0])));
    snapshots::assert_message!(text);
}

/// The files of [`sample`] under other names.
fn renamed(prefix: &str, test: &str) -> Files {
    let names = sample().into_iter().map(|(path, bytes)| {
        let name = path.rsplit('/').next().unwrap().replace("t10k", test);
        (format!("gzip/{prefix}{name}"), bytes)
    });
    names.collect()
}

#[test]
fn a_set_may_have_a_prefix() {
    let mut files = renamed("emnist-letters-", "test");
    assert_eq!(read(&files).unwrap(), read(&sample()).unwrap());
    // A set of which files are missing is none, unless it is alone.
    files.insert("gzip/emnist-mnist-train-images-idx3-ubyte".into(), vec![]);
    assert_eq!(read(&files).unwrap(), read(&sample()).unwrap());
    files.extend(renamed("emnist-balanced-", "t10k"));
    let text = read(&files).unwrap_err().to_string();
    snapshots::assert_message!(text);
    // The set without a prefix is what is meant, where it is there.
    files.extend(sample());
    assert_eq!(read(&files).unwrap(), read(&sample()).unwrap());
    let mut files = renamed("x_", "test");
    files.remove("gzip/x_train-labels.idx1-ubyte");
    let text = read(&files).unwrap_err().to_string();
    snapshots::assert_message!(text);
}

#[test]
fn of_labels_with_columns_the_first_is_read() {
    let labels = |rows: &[[i32; 3]]| {
        let mut bytes = vec![0, 0, 12, 2];
        bytes.extend([rows.len() as u32, 3].iter().flat_map(|dim| dim.to_be_bytes()));
        bytes.extend(rows.iter().flatten().flat_map(|value| value.to_be_bytes()));
        bytes
    };
    let mut files = renamed("qmnist-", "test");
    files.remove("gzip/qmnist-train-labels.idx1-ubyte");
    files.remove("gzip/qmnist-test-labels-idx1-ubyte.gz");
    files.insert("gzip/qmnist-train-labels-idx2-int".into(), labels(&[[0, 70_000, 1], [4, -1, 2]]));
    files.insert("gzip/qmnist-test-labels-idx2-int.gz".into(), gz(&labels(&[[3, 9, 9]])));
    assert_eq!(read(&files).unwrap(), read(&sample()).unwrap());
    files.insert("gzip/qmnist-train-labels-idx2-int".into(), labels(&[[0, 7, 1], [256, 0, 2]]));
    let text = read(&files).unwrap_err().to_string();
    snapshots::assert_message!(text);
}
