//! The op `download`: from a source to a dataset file, with its metrics and figures.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use dataset::{Dataset, DatasetError, FolderOptions, Source};
use patterns::Ignore;
use protocol::{
    CheckRequest, Failure, Ignored, Metric, Op, OpManifest, OutputSpec, Problem, Progress, Reporter,
    RunRequest,
};

use crate::checks::{Checks, fingerprint};
use crate::fetch::{Event, FetchError, Fetcher, Wanted};
use crate::figures;
use crate::location::{self, Location};
use crate::params::{DownloadParams, Format};
use crate::partial::Partial;
use crate::url::Url;

const KB: f64 = 1024.0;
const MB: f64 = 1024.0 * KB;
/// Name of the archive in the folder for partial work.
const ARCHIVE: &str = "archive";
/// MNIST's files, as they are called on servers.
const IDX_FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// The op.
pub(crate) struct Download {
    /// How servers are reached.
    pub(crate) fetcher: Fetcher,
}

impl Op for Download {
    const NAME: &'static str = "download";
    const VERSION: u32 = 3;
    const DESCRIPTION: &'static str =
        "Fetches a set of labelled images, checks it, and writes it as one dataset file";
    const CHECKS: bool = true;
    type Params = DownloadParams;

    fn outputs(&self) -> Vec<(&'static str, OutputSpec)> {
        let description = "Training and test images with their labels and class names";
        vec![("dataset", OutputSpec::new(description, "dataset.safetensors"))]
    }

    /// What takes its time may be the network, so that nothing is said of that.
    fn manifest(&self) -> OpManifest {
        OpManifest::of(self).with_metrics(&["train_images", "test_images", "classes"]).on_all_threads()
    }

    fn check(&self, params: &DownloadParams, request: &CheckRequest) -> Vec<Problem> {
        let source = match params.format {
            Format::Synthetic => None,
            _ => source(params).err().map(|failure| Problem::from(failure).param("source")),
        };
        let contradiction = params.check().err().map(|failure| Problem::from(failure).about(&request.params));
        source.into_iter().chain(contradiction).collect()
    }

    fn run(
        &self,
        params: DownloadParams,
        request: &RunRequest,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), Failure> {
        let output = request.output("dataset")?;
        // A pool that exists already, in a process that runs more than one op, serves as well.
        drop(rayon::ThreadPoolBuilder::new().num_threads(request.threads).build_global());
        let dataset = match params.format {
            Format::Synthetic => synthetic(&params, reporter)?,
            _ => from_source(&self.fetcher, &params, request, reporter)?,
        };
        // What is left out was said aloud.
        for note in dataset.provenance.notes.iter().filter(|note| !note.starts_with("left out ")) {
            reporter.info(note.clone());
        }
        dataset.write(output).map_err(|error| explain(&error))?;
        report(&dataset, reporter)
    }
}

fn synthetic(params: &DownloadParams, reporter: &mut Reporter<'_>) -> Result<Dataset, Failure> {
    if params.source.is_some() {
        reporter.warn("`source` is not used: `format` is `synthetic`");
    }
    params.synthetic.dataset().map_err(|error| explain(&error))
}

/// A source on this machine.
struct Fetched {
    path: PathBuf,
    /// What it is called in messages.
    name: String,
    /// What counts for nothing in it.
    ignore: Option<Ignore>,
    /// Deleted when it turns out to be no good, so that the next run fetches it anew.
    downloads: Vec<Partial>,
}

fn from_source(
    fetcher: &Fetcher,
    params: &DownloadParams,
    request: &RunRequest,
    reporter: &mut Reporter<'_>,
) -> Result<Dataset, Failure> {
    let resume_dir = &request.resume_dir;
    let (location, checks) = source(params)?;
    let (fetched, checks) = match location {
        Location::Local(path) => {
            let name = path.display().to_string();
            let ignore = request.ignore.as_ref().map(ignore).transpose()?;
            (Fetched { path, name, ignore, downloads: Vec::new() }, checks)
        }
        Location::Remote { url, .. } => {
            let fetched = if params.format == Format::Idx && !is_archive(&url) {
                fetch_idx(fetcher, &url, &checks, params.max_download, resume_dir, reporter)?
            } else {
                fetch_archive(fetcher, &url, &checks, params.max_download, resume_dir, reporter)?
            };
            (fetched, checks)
        }
    };
    let digest = check(&fetched, &checks, reporter)?;
    let options = FolderOptions { pictures: params.pictures()?, test: params.test_share()? };
    let mut dataset = read(&fetched, params, &options, reporter).map_err(|error| {
        // What passed a digest is what was meant, and would not be better the next time; nor is a set any other that
        // is too large or of which too much is left out.
        let failure = explain(&error);
        let is_whole = matches!(
            error,
            DatasetError::Budget { .. }
                | DatasetError::LeftOut { .. }
                | DatasetError::OtherSize { .. }
                | DatasetError::Lost { .. }
                | DatasetError::Packed { .. }
                | DatasetError::Several { .. }
        );
        if checks.has_digest() || is_whole { failure } else { discard(&fetched, failure) }
    })?;
    dataset.provenance.source_digest = digest;
    Ok(dataset)
}

/// What counts for nothing in a folder on this machine.
fn ignore(ignored: &Ignored) -> Result<Ignore, Failure> {
    let patterns = ignored.patterns.iter().map(String::as_str);
    Ignore::exactly(&ignored.root, patterns).map_err(|(index, reason)| {
        let pattern = ignored.patterns.get(index).map(String::as_str).unwrap_or_default();
        Failure::new(format!("the pattern `{pattern}` under `ignore` cannot be read: {reason}"))
    })
}

/// Where the images are, and what the archive must be.
fn source(params: &DownloadParams) -> Result<(Location, Checks), Failure> {
    let text = params.source.as_deref().filter(|source| !source.is_empty()).ok_or_else(|| {
        Failure::new("`source` is missing").hint("only `format: synthetic` works without a source")
    })?;
    let location = location::parse(text)?;
    let checks = match &location {
        Location::Local(_) => Checks::new(params, &[])?,
        Location::Remote { fragment, .. } => Checks::new(params, fragment)?,
    };
    Ok((location, checks))
}

fn is_archive(url: &Url) -> bool {
    let path = url.without_query().to_ascii_lowercase();
    [".zip", ".tar", ".tar.gz", ".tgz"].iter().any(|ending| path.ends_with(ending))
}

fn fetch_archive(
    fetcher: &Fetcher,
    url: &Url,
    checks: &Checks,
    most: Option<u64>,
    resume_dir: &Path,
    reporter: &mut Reporter<'_>,
) -> Result<Fetched, Failure> {
    let mut transfer = Transfer::new(reporter, url);
    let (size, has_digest) = (checks.size, checks.has_digest());
    let wanted =
        Wanted { url, folder: resume_dir, name: ARCHIVE, size, most, has_digest, is_one_of_many: false };
    let path = fetcher.fetch(&wanted, &mut |event| transfer.show(event)).map_err(|error| error.failure)?;
    Ok(Fetched { path, name: url.to_string(), ignore: None, downloads: vec![wanted.partial()] })
}

/// The four files from a folder on a server: gzipped as MNIST has them, or else plain.
fn fetch_idx(
    fetcher: &Fetcher,
    url: &Url,
    checks: &Checks,
    most: Option<u64>,
    resume_dir: &Path,
    reporter: &mut Reporter<'_>,
) -> Result<Fetched, Failure> {
    if !checks.is_empty() {
        return Err(Failure::new(
            "`size`, `md5` and `sha256` check one file, but `source` is a folder of four",
        )
        .hint("leave them out, or give an archive"));
    }
    let folder = resume_dir.join("idx");
    fs::create_dir_all(&folder)
        .map_err(|error| Failure::new(format!("cannot make `{}`: {error}", folder.display())))?;
    let mut downloads = Vec::new();
    for name in IDX_FILES {
        let mut fetch = |name: &str| -> Result<(), FetchError> {
            let url = url.join(name);
            let mut transfer = Transfer::new(reporter, &url);
            let wanted = Wanted {
                url: &url,
                folder: &folder,
                name,
                size: None,
                most,
                has_digest: false,
                is_one_of_many: true,
            };
            let fetched = fetcher.fetch(&wanted, &mut |event| transfer.show(event));
            if let Err(FetchError { status: Some(404), .. }) = fetched {
                // What an earlier run found under this name is there no longer.
                wanted.partial().discard().map_err(|error| {
                    let failure = Failure::new(format!("cannot delete the download of `{url}`: {error}"));
                    FetchError { status: None, failure }
                })?;
            }
            downloads.push(wanted.partial());
            fetched.map(drop)
        };
        match fetch(&format!("{name}.gz")) {
            Err(FetchError { status: Some(404), .. }) => fetch(name),
            other => other,
        }
        .map_err(|error| error.failure)?;
    }
    Ok(Fetched { path: folder, name: url.to_string(), ignore: None, downloads })
}

/// Compares a file with what it should be; gives its digest.
fn check(fetched: &Fetched, checks: &Checks, reporter: &mut Reporter<'_>) -> Result<Option<String>, Failure> {
    let unreadable = |error| {
        Failure::new(format!("cannot read `{}`: {error}", fetched.name)).hint("check the path in `source`")
    };
    if fetched.path.metadata().map_err(unreadable)?.is_dir() {
        if checks.is_empty() {
            return Ok(None);
        }
        let failure = Failure::new(format!(
            "`size`, `md5` and `sha256` check one file, but `{}` is a folder",
            fetched.name
        ));
        return Err(failure.hint("leave them out; the size that images get is `image_size`"));
    }
    let found = fingerprint(&fetched.path).map_err(unreadable)?;
    if let Some(difference) = checks.difference(&fetched.name, &found) {
        return Err(match fetched.downloads.as_slice() {
            [] => Failure::new(difference).hint(
                "check that `source` is the file that the checks belong to; the size that images get is `image_size`",
            ),
            _ => discard(
                fetched,
                Failure::new(difference).hint(
                    "the download is deleted, so the next run fetches it anew; if it comes out the same, the \
                     file on the server is another one than the checks belong to",
                ),
            ),
        });
    }
    if checks.has_digest() {
        reporter.info(format!("{} has the right digest", fetched.name));
    }
    Ok(Some(format!("sha256:{}", found.sha256)))
}

/// Deletes what was downloaded; the failure goes on.
fn discard(fetched: &Fetched, failure: Failure) -> Failure {
    for download in &fetched.downloads {
        if let Err(error) = download.discard() {
            return failure.hint(format!("delete `{}` by hand ({error})", fetched.path.display()));
        }
    }
    failure
}

fn read(
    fetched: &Fetched,
    params: &DownloadParams,
    options: &FolderOptions,
    reporter: &mut Reporter<'_>,
) -> Result<Dataset, DatasetError> {
    let mut source = Source::open_named(&fetched.path, fetched.name.clone())?;
    if let Some(ignore) = &fetched.ignore {
        source = source.without(ignore.clone());
    }
    let mut progress = |images: usize| {
        reporter.progress(Progress {
            // How many there will be is not known before the last.
            done: 0.0,
            total: 1.0,
            unit: "image".into(),
            text: format!("read {}", counted(images, "image", "images")),
            milestone: false,
        });
    };
    let max_bytes = options.pictures.max_bytes;
    let read = match params.format {
        Format::Cifar10Binary => return dataset::cifar10_binary(&source, max_bytes, &mut progress),
        Format::Idx => return dataset::idx(&source, max_bytes, &mut progress),
        Format::Synthetic => return dataset::Synthetic::default().dataset(),
        Format::ImageFolder => dataset::image_folder(&source, options, &mut progress)?,
        Format::Pictures => {
            let train_only = params.train_only.unwrap_or(false);
            dataset::pictures(&source, &options.pictures, train_only, &mut progress)?
        }
    };
    if read.left_out.count() > 0 {
        reporter.warn(format!("left out {}", read.left_out));
    }
    if params.format == Format::ImageFolder && read.set_apart > 0 {
        let set_apart = counted(read.set_apart, "image", "images");
        reporter.warn(format!(
            "passed over {set_apart} beside `train` and `test` that {} set apart by the folder, such as `val`",
            if read.set_apart == 1 { "is" } else { "are" }
        ));
    }
    if read.has_test && options.test.is_some() {
        reporter.warn("`test` is not used: the source has a test split");
    }
    Ok(read.dataset)
}

fn report(dataset: &Dataset, reporter: &mut Reporter<'_>) -> Result<(), Failure> {
    let (train, test) = (dataset.train.len(), dataset.test.len());
    let classes = dataset.classes.len();
    reporter.metric("train_images", Metric::new(train as f64, ""));
    reporter.metric("test_images", Metric::new(test as f64, ""));
    reporter.metric("classes", Metric::new(classes as f64, ""));
    reporter.figure(figures::class_counts(dataset));
    reporter.figure(figures::examples(dataset)?);
    let images = (train + test) as f64;
    let text = if dataset.is_unlabelled() {
        format!("{} without labels", counted(train, "picture", "pictures"))
    } else {
        let tested = counted(test, "test image", "test images");
        format!("{train} training and {tested} of {}", counted(classes, "class", "classes"))
    };
    reporter.progress(Progress { done: images, total: images, unit: "image".into(), text, milestone: true });
    Ok(())
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn explain(error: &DatasetError) -> Failure {
    let failure = Failure::new(error.to_string());
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Shows how far a transfer is: often enough to look alive, seldom enough to cost nothing.
struct Transfer<'r, 'w> {
    reporter: &'r mut Reporter<'w>,
    name: String,
    start: Option<(Instant, u64)>,
    next: u64,
    quarters: u64,
}

impl<'r, 'w> Transfer<'r, 'w> {
    fn new(reporter: &'r mut Reporter<'w>, url: &Url) -> Self {
        Self { reporter, name: url.file_name().into(), start: None, next: 0, quarters: 0 }
    }

    fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Note(note) => self.reporter.warn(note),
            Event::Bytes(done, total) => self.show_bytes(done, total),
        }
    }

    fn show_bytes(&mut self, done: u64, total: Option<u64>) {
        let (began, from) = *self.start.get_or_insert_with(|| (Instant::now(), done));
        let quarters = total.filter(|&total| total > 0).map_or(0, |total| done.saturating_mul(4) / total);
        if done < self.next && quarters <= self.quarters {
            return;
        }
        self.next = done + total.unwrap_or(0) / 200 + (1 << 18);
        let milestone = quarters > self.quarters;
        self.quarters = self.quarters.max(quarters);
        let rate = done.saturating_sub(from) as f64 / began.elapsed().as_secs_f64().max(1e-3);
        let (rate_size, rate_unit) = unit(rate);
        let text = format!("{}  {:.1} {rate_unit}/s", self.name, rate / rate_size);
        let (size, unit) = unit(total.unwrap_or(done) as f64);
        let done = done as f64 / size;
        let (done, total, text) = match total {
            Some(total) => (done, total as f64 / size, text),
            None => (0.0, 1.0, format!("{text}, {done:.1} {unit} so far")),
        };
        self.reporter.progress(Progress { done, total, unit: unit.into(), text, milestone });
    }
}

/// The unit in which a number of bytes is shown: its size in bytes and its name.
fn unit(bytes: f64) -> (f64, &'static str) {
    if bytes < MB { (KB, "KB") } else { (MB, "MB") }
}

#[cfg(test)]
mod tests;
