//! What can be wrong with a dataset or with what it is read from, in words for the person who supplied it.

use std::io;
use std::path::PathBuf;

/// Why a dataset could not be read, made or written.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The safetensors file is unreadable, damaged, or lacks a tensor.
    #[error(transparent)]
    File(#[from] tensors::Error),
    /// The file's tensors do not make a dataset (or predictions).
    #[error("`{}` is not a valid file of {kind}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// `a dataset` or `predictions`.
        kind: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Images, labels and classes do not fit together.
    #[error("{0}")]
    Inconsistent(String),
    /// A source, or a file in a folder, cannot be read.
    #[error("cannot read `{place}`: {cause}")]
    Unreadable {
        /// The file or folder.
        place: String,
        /// The cause.
        cause: io::Error,
    },
    /// A file that is no archive of a known format.
    #[error("`{source_name}` is {found}, not a folder, a zip, a tar or a tar.gz archive")]
    UnknownFormat {
        /// The file.
        source_name: String,
        /// What it looks like.
        found: &'static str,
    },
    /// An archive that ends too early.
    #[error("`{source_name}` is truncated: it ends {place}")]
    Truncated {
        /// The archive.
        source_name: String,
        /// Where, such as ``in the middle of `train/cat/1.png` ``.
        place: String,
    },
    /// An archive that its format's rules do not allow.
    #[error("`{source_name}` is damaged {place}: {reason}")]
    Damaged {
        /// The archive.
        source_name: String,
        /// Where.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// An entry that could harm, or hide what is read.
    #[error("refused to read `{source_name}`: its entry `{entry}` {reason}")]
    Unsafe {
        /// The archive or folder.
        source_name: String,
        /// Whether it is a folder.
        in_folder: bool,
        /// The entry.
        entry: String,
        /// Why, such as `is a symbolic link`.
        reason: String,
    },
    /// A link whose file is wanted and is not there.
    #[error("`{entry}` in `{source_name}` is a link to {target}, which is not there")]
    Lost {
        /// The archive or folder.
        source_name: String,
        /// The link.
        entry: String,
        /// What it leads to, with marks of quotation.
        target: String,
    },
    /// An entry of a zip that is packed in a way that is not read.
    #[error("`{entry}` in `{source_name}` is {how}, which is not read")]
    Packed {
        /// The archive.
        source_name: String,
        /// The entry.
        entry: String,
        /// How, such as `compressed by LZMA`.
        how: String,
    },
    /// An archive that another follows in the same file.
    #[error(
        "`{source_name}` holds more than one archive: the first ends {place}, and another of {bytes} bytes follows"
    )]
    Several {
        /// The file.
        source_name: String,
        /// Where the first ends, such as ``after `a.png` ``.
        place: String,
        /// Bytes from the start of the second on.
        bytes: u64,
    },
    /// More entries or bytes than any dataset has.
    #[error("refused to read `{source_name}`: it holds more than {limit}")]
    TooLarge {
        /// The archive or folder.
        source_name: String,
        /// The limit that it breaks, with its unit.
        limit: String,
    },
    /// More pixels than memory is given for.
    #[error("refused to read `{source_name}`: {}", budget(*images, things, image, *bytes, *limit))]
    Budget {
        /// The archive or folder.
        source_name: String,
        /// How many images, or labels, it has.
        images: usize,
        /// `images` or `labels`.
        things: &'static str,
        /// What each is like: ``32×24 pixels, as `a.png` ``.
        image: String,
        /// Bytes of all of them.
        bytes: u64,
        /// Bytes allowed; absent where the machine has not as many.
        limit: Option<u64>,
    },
    /// More files that are not read than may be missing.
    #[error("refused to read `{source_name}`: left out would be {left_out}, more than a share of {allowed}")]
    LeftOut {
        /// The archive or folder.
        source_name: String,
        /// How many, why, and some names.
        left_out: String,
        /// Whether links that lead nowhere are among them.
        has_lost: bool,
        /// The share that may be missing.
        allowed: String,
    },
    /// An entry whose content is not what the format asks for.
    #[error("`{entry}` in `{source_name}` {reason}")]
    Entry {
        /// The archive or folder.
        source_name: String,
        /// The entry.
        entry: String,
        /// What is wrong, as the rest of a sentence: `is not a JPEG file`.
        reason: String,
    },
    /// An image of another size than the first, where all must have one.
    #[error("`{entry}` in `{source_name}` {reason}")]
    OtherSize {
        /// The archive or folder.
        source_name: String,
        /// The image.
        entry: String,
        /// Both sizes, as the rest of a sentence.
        reason: String,
    },
    /// Files that the format asks for are missing, or are there twice.
    #[error("`{source_name}` is not in the layout of `{format}`: {reason}")]
    Layout {
        /// The archive or folder.
        source_name: String,
        /// The format.
        format: &'static str,
        /// What is missing or too much.
        reason: String,
    },
}

impl DatasetError {
    /// An [`DatasetError::Inconsistent`].
    pub(crate) fn inconsistent(reason: impl Into<String>) -> Self {
        Self::Inconsistent(reason.into())
    }

    /// What to do about it, where that is not in the message already.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::UnknownFormat { .. } => Some(
                "pack the files as .zip or .tar.gz; if it was downloaded, check that it is no error page",
            ),
            Self::Truncated { .. } | Self::Damaged { .. } => {
                Some("download or copy it again; `size`, `md5` or `sha256` notice such damage at once")
            }
            Self::Unsafe { in_folder: true, .. } => {
                Some("remove or rename it, or leave it out with `ignore:` in the pipeline")
            }
            Self::Unsafe { .. } => Some(
                "make the archive again from plain files and folders, each once, with relative paths (`tar \
                 --dereference --hard-dereference` packs files for links)",
            ),
            Self::Lost { .. } => {
                Some("fetch what it leads to, as with `dvc pull` or `git annex get`, or give another source")
            }
            Self::Packed { .. } => Some("pack it again as usual: with Deflate and without a password"),
            Self::Several { .. } => Some(
                "unpack them into one folder (`tar --ignore-zeros -xf`) and give that, or pack that again",
            ),
            Self::Entry { .. } => Some("repair or remove that file"),
            Self::OtherSize { .. } => Some(
                "give all images one size with `image_size` (for `pipe quantize`: `--size`), or remove that file",
            ),
            Self::TooLarge { .. } => Some("check that it is the archive you meant"),
            Self::Budget { .. } => Some(
                "scale the images with `image_size`, or give the bytes that they may take as `max_bytes`",
            ),
            Self::LeftOut { has_lost: true, .. } => Some(
                "fetch what links lead to, as with `dvc pull` or `git annex get`, leave files out with `ignore:` in the \
                 pipeline, or give the share that may be missing as `max_left_out` (for `pipe quantize`: `--max-left-out`)",
            ),
            Self::LeftOut { .. } => Some(
                "convert them to PNG or JPEG, move them to a class, or give the share that may be missing as \
                 `max_left_out` (for `pipe quantize`: `--max-left-out`)",
            ),
            _ => None,
        }
    }
}

fn budget(images: usize, things: &str, image: &str, bytes: u64, limit: Option<u64>) -> String {
    let limit = match limit {
        Some(limit) => format!("more than the {} that they may", size(limit)),
        None => "which this machine does not have".into(),
    };
    format!("{images} {things} of {image} take {}, {limit}", size(bytes))
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{bytes} bytes"),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
