//! Paths of files that are given, as a pipeline in another folder names them. Knows nothing of what they hold.

use std::fs;
use std::path::Path;

use crate::error::Error;

/// A path as the pipeline has to name it, which lies elsewhere. Links stay: a model finds its weights beside its name.
pub(super) fn absolute(path: &Path) -> Result<String, Error> {
    let absolute = fs::metadata(path)
        .and_then(|_| std::path::absolute(path))
        .map_err(|error| Error::usage(format!("cannot read `{}`: {error}", path.display())))?;
    let text = absolute.to_str().map(|text| text.replace("${", "$${"));
    text.ok_or_else(|| Error::usage(format!("`{}` is not UTF-8", path.display())))
}
