use std::collections::BTreeMap;

use protocol::{Content, FromPlugin, LogLevel, Plugin};
use serde_json::{Value, json};

use super::*;
use crate::testing::{Answer, Server, fetcher, gz, tar_gz};

/// The folders of a stage.
struct Stage {
    folder: tempfile::TempDir,
    ignore: Option<Ignored>,
    messages: Vec<FromPlugin>,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("resume")).unwrap();
        Self { folder, ignore: None, messages: Vec::new() }
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("dataset.safetensors")
    }

    fn run(&mut self, params: Value) -> Result<Dataset, String> {
        self.send(params)?;
        Ok(Dataset::read(&self.output()).unwrap())
    }

    fn send(&mut self, params: Value) -> Result<(), String> {
        let request = RunRequest {
            op: "download".into(),
            params,
            inputs: BTreeMap::new(),
            outputs: BTreeMap::from([("dataset".into(), self.output())]),
            threads: 2,
            resume_dir: self.folder.path().join("resume"),
            continue_dir: None,
            companions: BTreeMap::new(),
            ignore: self.ignore.clone(),
        };
        let mut sent = Vec::new();
        let data = crate::plugin::Data::new(fetcher());
        let outcome = data.run(&request, &mut Reporter::new(&mut sent));
        let lines = String::from_utf8(sent).unwrap();
        self.messages = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let declared = data.manifest().ops["download"].metric_names([], &request.params).unwrap();
        for message in &self.messages {
            if let FromPlugin::Metric { name, .. } = message {
                assert!(declared.contain(name), "`{name}` is not declared");
            }
        }
        outcome.map_err(|failure| format!("{failure:?}"))
    }

    /// Writes an archive beside the output; gives its path.
    fn archive(&self, bytes: &[u8]) -> String {
        let path = self.folder.path().join("set.tar.gz");
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }
}

fn error(params: Value) -> String {
    Stage::new().run(params).unwrap_err()
}

/// CIFAR-10's files with one image each.
fn cifar_files(label: u8) -> Vec<u8> {
    let mut record = vec![label];
    record.extend((0..3072).map(|index| (index % 251) as u8));
    let names = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n";
    let batches =
        ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"];
    let names_of: Vec<_> = batches.map(|name| format!("cifar-10-batches-bin/{name}.bin")).to_vec();
    let mut files: Vec<(&str, &[u8])> =
        names_of.iter().map(|name| (name.as_str(), record.as_slice())).collect();
    files.push(("cifar-10-batches-bin/batches.meta.txt", names.as_bytes()));
    tar_gz(&files)
}

fn digests(bytes: &[u8]) -> crate::checks::Fingerprint {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    fingerprint(file.path()).unwrap()
}

#[test]
fn a_local_archive_becomes_a_dataset_with_metrics_and_figures() {
    let mut stage = Stage::new();
    let archive = cifar_files(3);
    let source = stage.archive(&archive);
    let dataset = stage.run(json!({"source": source, "format": "cifar10-binary"})).unwrap();
    assert_eq!((dataset.train.len(), dataset.test.len()), (5, 1));
    let provenance = &dataset.provenance;
    assert_eq!((provenance.train, provenance.test, provenance.format.as_str()), (5, 1, "cifar10-binary"));
    assert_eq!(provenance.source_digest, Some(format!("sha256:{}", digests(&archive).sha256)));
    let metrics: BTreeMap<_, _> = stage
        .messages
        .iter()
        .filter_map(|message| match message {
            FromPlugin::Metric { name, metric } => Some((name.as_str(), metric.value)),
            _ => None,
        })
        .collect();
    assert_eq!(metrics, BTreeMap::from([("train_images", 5.0), ("test_images", 1.0), ("classes", 10.0)]));
    let figures: Vec<_> = stage
        .messages
        .iter()
        .filter_map(|message| match message {
            FromPlugin::Figure(figure) => Some(&figure.content),
            _ => None,
        })
        .collect();
    assert!(matches!(figures.as_slice(), [Content::Table { .. }, Content::Images { .. }]), "{figures:?}");
    let last = stage.messages.last().unwrap();
    assert!(matches!(last, FromPlugin::Progress(Progress { milestone: true, .. })), "{last:?}");
}

#[test]
fn the_output_does_not_depend_on_the_place() {
    let files: Vec<_> = (0..2)
        .map(|_| {
            let mut stage = Stage::new();
            let source = stage.archive(&cifar_files(3));
            stage.run(json!({"source": format!("file://{source}"), "format": "cifar10-binary"})).unwrap();
            fs::read(stage.output()).unwrap()
        })
        .collect();
    assert_eq!(files[0], files[1]);
}

#[test]
fn a_download_gives_the_same_file_as_a_local_archive() {
    let archive = cifar_files(3);
    let server = Server::start(&archive, &[Answer::Cut(archive.len() / 2), Answer::Ranged]);
    let (mut remote, mut local) = (Stage::new(), Stage::new());
    let found = digests(&archive);
    let url = format!("{}#md5={}&size={}", server.url("set.tar.gz"), found.md5, found.size);
    remote.run(json!({"source": url, "format": "cifar10-binary", "sha256": found.sha256})).unwrap();
    let source = local.archive(&archive);
    local.run(json!({"source": source, "format": "cifar10-binary"})).unwrap();
    assert_eq!(fs::read(remote.output()).unwrap(), fs::read(local.output()).unwrap());
    let transfers = remote.messages.iter().filter(
        |message| matches!(message, FromPlugin::Progress(progress) if progress.unit == "KB" && progress.total == archive.len() as f64 / 1024.0),
    );
    assert!(transfers.count() >= 2);
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_transfer_is_shown_in_a_unit_that_fits_it() {
    let shown = |done, total| {
        let mut out = Vec::new();
        let url = Url::parse("https://example.org/set.tar.gz?signature=secret").unwrap();
        Transfer::new(&mut Reporter::new(&mut out), &url).show_bytes(done, total);
        String::from_utf8(out).unwrap()
    };
    let small = shown(12 << 10, Some(48 << 10));
    snapshots::assert_message!(small);
    let large = shown(12 << 10, Some(2 << 20));
    snapshots::assert_message!(large);
    snapshots::assert_message!(shown(12 << 10, None));
}

#[test]
fn a_wrong_byte_is_found_by_its_digest_and_fetched_anew() {
    let archive = cifar_files(3);
    let mut wrong = archive.clone();
    wrong[40] ^= 1;
    let server = Server::start(&wrong, &[Answer::Ranged]);
    let mut stage = Stage::new();
    let md5 = digests(&archive).md5;
    let params = json!({"source": server.url("set.tar.gz"), "format": "cifar10-binary", "md5": md5});
    let message = stage.run(params.clone()).unwrap_err();
    assert!(message.contains(&format!("has MD5 {}, but `md5` says {md5}", digests(&wrong).md5)), "{message}");
    snapshots::assert_message!(message);
    server.replace(&archive, None, &[Answer::Ranged]);
    stage.run(params).unwrap();
    assert_eq!(server.requests()[0].range, None);
}

#[test]
fn a_download_that_cannot_be_read_is_fetched_anew() {
    let server = Server::start(b"<html>please log in</html>", &[Answer::Ranged]);
    let mut stage = Stage::new();
    let params = json!({"source": server.url("set.tar.gz"), "format": "cifar10-binary"});
    let message = stage.run(params.clone()).unwrap_err();
    snapshots::assert_message!(message);
    server.replace(&cifar_files(3), None, &[Answer::Ranged]);
    stage.run(params).unwrap();
}

#[test]
fn wrong_checks_of_a_local_file_leave_it_alone() {
    let mut stage = Stage::new();
    let source = stage.archive(&cifar_files(3));
    let zeros = "0".repeat(32);
    let message = stage.run(json!({"source": source, "format": "cifar10-binary", "md5": zeros})).unwrap_err();
    snapshots::assert_message!(message);
    let message = stage.run(json!({"source": source, "format": "cifar10-binary", "size": 7})).unwrap_err();
    snapshots::assert_message!(message);
    assert!(Path::new(&source).exists());
}

#[test]
fn bad_sources_are_named_with_a_remedy() {
    let missing = error(json!({"source": "no/such/file.zip", "format": "idx"}));
    snapshots::assert_message!(missing);
    let scheme = error(json!({"source": "ftp://h/x", "format": "idx"}));
    snapshots::assert_message!(scheme);
    for source in [json!(null), json!("")] {
        let none = error(json!({"source": source, "format": "idx"}));
        assert!(none.contains("`source` is missing"), "{none}");
    }
}

#[test]
fn bad_archives_are_named_with_a_remedy() {
    let message = |bytes: &[u8]| {
        let mut stage = Stage::new();
        let source = stage.archive(bytes);
        stage.run(json!({"source": source, "format": "cifar10-binary"})).unwrap_err()
    };
    let whole = cifar_files(3);
    let truncated = message(&whole[..whole.len() / 2]);
    snapshots::assert_message!(truncated);
    let escaping = message(&tar_gz(&[("../evil", b"x")]));
    snapshots::assert_message!(escaping);
    let unknown = message(b"no archive at all");
    snapshots::assert_message!(unknown);
    let label = message(&cifar_files(12));
    snapshots::assert_message!(label);
}

#[test]
fn four_idx_files_are_fetched_from_a_folder_on_a_server() {
    // The same bytes under every path cannot be both images and labels: what arrives is told to be wrong.
    let file = [&[0, 0, 8, 1][..], &1_u32.to_be_bytes(), &[0]].concat();
    let server = Server::start(&gz(&file), &[Answer::Status(404), Answer::Ranged]);
    let mut stage = Stage::new();
    let message = stage.run(json!({"source": server.url("mnist/"), "format": "idx"})).unwrap_err();
    snapshots::assert_message!(message);
    let paths: Vec<_> = server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(
        paths,
        [
            "/mnist/train-images-idx3-ubyte.gz",
            "/mnist/train-images-idx3-ubyte",
            "/mnist/train-labels-idx1-ubyte.gz",
            "/mnist/t10k-images-idx3-ubyte.gz",
            "/mnist/t10k-labels-idx1-ubyte.gz",
        ]
    );
    let checked = error(json!({"source": server.url("mnist/"), "format": "idx", "size": 1}));
    snapshots::assert_message!(checked);
}

#[test]
fn idx_files_are_all_of_one_state_of_the_set() {
    let answer = |version: u8, values: &[u8], dims: &[u32]| {
        let dims: Vec<_> = dims.iter().flat_map(|dim| dim.to_be_bytes()).collect();
        let rank = dims.len() as u8 / 4;
        let file = gz(&[&[0, 0, 8, rank][..], &dims, values].concat());
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"v{version}\"\r\nConnection: close\r\n\r\n",
            file.len()
        );
        Answer::Raw([head.as_bytes(), &file].concat())
    };
    let images = |version: u8| answer(version, &[version], &[1, 1, 1]);
    let labels = |version: u8| answer(version, &[version], &[1]);
    let server = Server::start(&[], &[images(1), Answer::Status(500)]);
    let params = json!({"source": server.url("mnist/"), "format": "idx"});
    let mut stage = Stage::new();
    snapshots::assert_message!(stage.run(params.clone()).unwrap_err());
    server.replace(&[], None, &[images(2), labels(2), images(2), labels(2)]);
    let dataset = stage.run(params).unwrap();
    assert_eq!((dataset.train.image(0), dataset.test.image(0)), (&[2][..], &[2][..]));
    assert_eq!((dataset.train.labels(), dataset.test.labels()), (&[2][..], &[2][..]));
    assert_eq!(server.requests()[0].unless.as_deref(), Some("\"v1\""));
}

#[test]
fn an_idx_folder_is_read_and_takes_no_checks() {
    let mut stage = Stage::new();
    let folder = stage.folder.path().join("mnist");
    fs::create_dir(&folder).unwrap();
    let images =
        [&[0, 0, 8, 3][..], &2_u32.to_be_bytes(), &1_u32.to_be_bytes(), &1_u32.to_be_bytes(), &[7, 9]]
            .concat();
    let labels = [&[0, 0, 8, 1][..], &2_u32.to_be_bytes(), &[0, 1]].concat();
    for name in IDX_FILES {
        fs::write(folder.join(name), if name.contains("images") { &images } else { &labels }).unwrap();
    }
    let dataset = stage.run(json!({"source": folder, "format": "idx"})).unwrap();
    assert_eq!((dataset.shape(), dataset.train.len()), ([1, 1, 1], 2));
    assert_eq!(dataset.provenance.source_digest, None);
    let message = stage.run(json!({"source": folder, "format": "idx", "size": 1})).unwrap_err();
    snapshots::assert_message!(message);
}

#[test]
fn the_synthetic_set_needs_no_source() {
    let mut stage = Stage::new();
    let params = json!({"format": "synthetic", "synthetic": {"train": 30, "test": 10, "seed": 7}});
    let dataset = stage.run(params).unwrap();
    assert_eq!((dataset.train.len(), dataset.test.len(), dataset.classes.len()), (30, 10, 10));
    let message = stage.run(json!({"format": "synthetic", "synthetic": {"train": 3}})).unwrap_err();
    snapshots::assert_message!(message);
    stage.run(json!({"format": "synthetic", "source": "x", "synthetic": {"train": 10, "test": 10}})).unwrap();
    let warned = stage.messages.iter().any(
        |message| matches!(message, FromPlugin::Log { message, .. } if message.contains("`source` is not used")),
    );
    assert!(warned);
}

/// A PNG of one pixel.
fn png(value: u8) -> Vec<u8> {
    dataset::encode_png([1, 1], 1, &[value]).unwrap()
}

fn warnings(stage: &Stage) -> Vec<&str> {
    let warning = |message| match message {
        &FromPlugin::Log { level: LogLevel::Warn, ref message } => Some(message.as_str()),
        _ => None,
    };
    stage.messages.iter().filter_map(warning).collect()
}

#[test]
fn what_is_left_out_is_said_aloud_and_more_than_a_tenth_refused() {
    let mut stage = Stage::new();
    let folder = stage.folder.path().join("set");
    let images: Vec<_> =
        (0..18).map(|value| (format!("train/{}/{value}.png", value % 2), png(value))).collect();
    for (path, content) in images.iter().chain(&[
        ("test/0/a.png".into(), png(1)),
        ("test/1/a.png".into(), png(2)),
        ("train/0/a.avif".into(), b"\0\0\0\x20ftypavif".to_vec()),
        ("train/0/b.jpg".into(), Vec::new()),
    ]) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let params = json!({"source": folder, "format": "image-folder", "test": 0.2});
    let dataset = stage.run(params.clone()).unwrap();
    assert_eq!((dataset.train.len(), dataset.test.len()), (18, 2));
    assert_eq!(
        warnings(&stage),
        [
            "left out 2 of 22 files: 1 AVIF, which is not read, 1 empty (`train/0/a.avif`, `train/0/b.jpg`)",
            "`test` is not used: the source has a test split"
        ]
    );
    fs::write(folder.join("train/0/c.heic"), b"\0\0\0\x18ftypheic").unwrap();
    let message = stage.run(params).unwrap_err();
    snapshots::assert_message!(message);
    let params = json!({"source": folder, "format": "image-folder", "max_left_out": 0.2});
    assert_eq!(stage.run(params).unwrap().train.len(), 18);
}

#[test]
fn what_counts_for_nothing_in_a_folder_is_no_image() {
    let mut stage = Stage::new();
    let folder = stage.folder.path().join("set");
    let files =
        ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png", "train/a/9.png~", "old/a.png"];
    for (index, path) in (1..).zip(files) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, png(index)).unwrap();
    }
    let params = json!({"source": folder, "format": "image-folder", "max_left_out": 0.5});
    assert_eq!(stage.run(params.clone()).unwrap().train.len(), 3, "where nothing is said of it");
    stage.ignore = Some(Ignored { root: folder.clone(), patterns: vec!["*~".into(), "/old/".into()] });
    let without = stage.run(params.clone()).unwrap();
    assert_eq!(without.train.len(), 2);
    fs::remove_file(folder.join("train/a/9.png~")).unwrap();
    fs::write(folder.join("old/b.png"), png(7)).unwrap();
    assert_eq!(stage.run(params.clone()).unwrap(), without, "not even a note says what is ignored");
    stage.ignore = Some(Ignored { root: folder, patterns: vec!["b{".into()] });
    let message = stage.run(params).unwrap_err();
    snapshots::assert_message!(message);
}

#[test]
fn pictures_without_labels_become_a_set_to_take_samples_of() {
    let mut stage = Stage::new();
    let folder = stage.folder.path().join("set");
    fs::create_dir_all(folder.join("deep")).unwrap();
    fs::write(folder.join("1.png"), png(1)).unwrap();
    fs::write(folder.join("deep/2"), png(2)).unwrap();
    let params = json!({"source": folder, "format": "pictures", "image_size": {"width": 3, "height": 2}});
    let sent = stage.send(params);
    assert_eq!(sent, Ok(()));
    let output = stage.output();
    let mut sample = dataset::Sample::open(&output, dataset::SplitName::Train).unwrap();
    assert_eq!((sample.len(), sample.shape().unwrap()), (2, [3, 2, 3]));
    assert_eq!(sample.take(&[1]).unwrap().image(0), [2; 18]);
    let last = stage.messages.last().unwrap();
    assert!(
        matches!(last, FromPlugin::Progress(Progress { text, .. }) if text == "2 pictures without labels"),
        "{last:?}"
    );
}

#[test]
fn secrets_of_a_source_are_never_said() {
    let server = Server::start(b"<html>please log in</html>", &[Answer::Cut(3), Answer::Ranged]);
    let url = server.url("set.tar.gz?X-Signature=secret").replace("http://", "http://me:secret@");
    let mut stage = Stage::new();
    let message = stage.run(json!({"source": url, "format": "cifar10-binary"})).unwrap_err();
    snapshots::assert_message!(message);
    let said = format!("{message} {:?}", stage.messages);
    assert!(!said.contains("secret"), "{said}");
}
