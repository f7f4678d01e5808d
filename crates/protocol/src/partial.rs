//! How much of an op's work is done in a folder for partial work, said by the op so that the runner can tell how long the rest
//! will take. Knows nothing of the work.

use std::io;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an op that keeps partial work may leave beside it, in a file of the name [`Partial::FILE`] in its
/// [`RunRequest::resume_dir`] or [`RunRequest::continue_dir`]. Nothing but forecasts depends on it.
///
/// [`RunRequest::resume_dir`]: crate::RunRequest::resume_dir
/// [`RunRequest::continue_dir`]: crate::RunRequest::continue_dir
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Partial {
    /// How many are done and need not be done again.
    pub done: f64,
    /// Of what: a param that is a number and that the time is in proportion to, as in [`TimeSpec::scales_with`], such as
    /// `with.epochs`. In the folder for other values of this param, too, that many are done.
    ///
    /// [`TimeSpec::scales_with`]: crate::TimeSpec::scales_with
    pub of: String,
}

impl Partial {
    /// Name of the file.
    pub const FILE: &str = "partial.json";

    /// Leaves it in `folder`, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        regular::write_whole(&folder.join(Self::FILE), &serde_json::to_vec(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lies_in_the_folder_as_one_line_of_json() {
        let folder = tempfile::tempdir().unwrap();
        for done in [1.0, 2.5] {
            Partial { done, of: "with.epochs".into() }.write(folder.path()).unwrap();
        }
        let text = std::fs::read_to_string(folder.path().join(Partial::FILE)).unwrap();
        assert_eq!(text, r#"{"done":2.5,"of":"with.epochs"}"#);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
