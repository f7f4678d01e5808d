//! What of a folder that a stage reads counts for nothing: a list of patterns as in `.gitignore`. Knows paths; reads no files
//! and digests nothing. The runner and plugins that read folders both go by it, so that what is left out of a key is read by
//! nobody.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// What programs leave behind in folders that are read, and nobody means by their content. Patterns of a pipeline come after
/// these, and `!PATTERN` takes one back.
pub const USUAL: &[&str] = &[
    // What version control keeps.
    ".git",
    ".hg",
    ".svn",
    ".jj",
    // What Python and its tools write beside what they run.
    "__pycache__/",
    "*.py[co]",
    ".ipynb_checkpoints/",
    ".pytest_cache/",
    ".mypy_cache/",
    ".ruff_cache/",
    // What editors write while a file is open: Emacs, vi, LibreOffice.
    ".#*",
    r"\#*#",
    "*~",
    ".*.sw[a-p]",
    ".~lock.*#",
    // What file managers and network file systems write.
    ".DS_Store",
    "._*",
    "Thumbs.db",
    "desktop.ini",
    ".nfs*",
];

/// Folders of [`USUAL`] that hold nothing but what a tool makes anew whenever it misses it.
pub const CACHES: &[&str] = &["__pycache__/", ".pytest_cache/", ".mypy_cache/", ".ruff_cache/"];

/// The patterns of a pipeline. Cheap to clone.
#[derive(Clone)]
pub struct Ignore {
    /// Where patterns with a slash start.
    root: PathBuf,
    lines: Arc<[String]>,
    patterns: Arc<Gitignore>,
    /// Paths below the folder that is read which count whatever fits them, with the folders on the way to them.
    spared: Option<Arc<HashSet<PathBuf>>>,
}

impl fmt::Debug for Ignore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ignore").field("root", &self.root).field("patterns", &self.patterns.len()).finish()
    }
}

impl Ignore {
    /// The usual patterns and then `patterns`, of which the last one that fits counts. Those with a slash that is not at
    /// their end are relative to `root`, others fit names anywhere.
    ///
    /// # Errors
    /// Which of `patterns` cannot be read, and why.
    pub fn new<'p>(
        root: &Path,
        patterns: impl IntoIterator<Item = &'p str>,
    ) -> Result<Self, (usize, String)> {
        let patterns = USUAL.iter().copied().chain(patterns);
        // A test reads the usual ones.
        Self::exactly(root, patterns).map_err(|(index, reason)| (index.saturating_sub(USUAL.len()), reason))
    }

    /// As [`Ignore::new`] without the usual patterns: all that count, as [`Ignore::patterns`] gives them.
    ///
    /// # Errors
    /// Which of `patterns` cannot be read, and why.
    pub fn exactly<'p>(
        root: &Path,
        patterns: impl IntoIterator<Item = &'p str>,
    ) -> Result<Self, (usize, String)> {
        // Paths that are asked for are made relative before.
        let mut builder = GitignoreBuilder::new(".");
        let mut lines = Vec::new();
        for (index, pattern) in patterns.into_iter().enumerate() {
            builder.add_line(None, pattern).map_err(|error| (index, reason(&error)))?;
            lines.push(pattern.to_owned());
        }
        let patterns = builder.build().map_err(|error| (0, reason(&error)))?;
        Ok(Self { root: root.to_owned(), lines: lines.into(), patterns: Arc::new(patterns), spared: None })
    }

    /// The same but for what counts whatever fits it: files and empty folders by their paths below the folder that is read. `None`
    /// where no pattern fits any of them.
    #[must_use]
    pub fn sparing<'p>(
        &self,
        input: &Path,
        paths: impl IntoIterator<Item = (&'p str, bool)>,
    ) -> Option<Self> {
        let hidden = paths
            .into_iter()
            .filter(|(path, is_folder)| self.hides_on_the_way(input, &input.join(path), *is_folder));
        let steps = hidden.flat_map(|(path, _)| Path::new(path).ancestors());
        let spared: HashSet<PathBuf> =
            steps.filter(|step| !step.as_os_str().is_empty()).map(Path::to_owned).collect();
        (!spared.is_empty()).then(|| Self { spared: Some(Arc::new(spared)), ..self.clone() })
    }

    /// Where patterns with a slash start.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All patterns, the usual ones first.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Whether an entry of a folder, or of one in it, counts for nothing. `input` is the folder that is read, and `path` begins
    /// with it. Whether a folder on the way counts is not looked at.
    #[must_use]
    pub fn hides(&self, input: &Path, path: &Path, is_folder: bool) -> bool {
        let Some(spared) = &self.spared else { return self.fits(input, path, is_folder) };
        // Beside what is spared there may be more in a folder that counts for nothing.
        let is_spared = path.strip_prefix(input).is_ok_and(|inner| spared.contains(inner));
        !is_spared && self.fits_on_the_way(input, path, is_folder)
    }

    fn fits(&self, input: &Path, path: &Path, is_folder: bool) -> bool {
        let inner = path.strip_prefix(&self.root).or_else(|_| path.strip_prefix(input)).unwrap_or(path);
        self.patterns.matched(inner, is_folder).is_ignore()
    }

    /// Whether `path`, or a folder between `input` and it, counts for nothing.
    #[must_use]
    pub fn hides_on_the_way(&self, input: &Path, path: &Path, is_folder: bool) -> bool {
        on_the_way(input, path, is_folder).any(|(step, is_folder)| self.hides(input, step, is_folder))
    }

    fn fits_on_the_way(&self, input: &Path, path: &Path, is_folder: bool) -> bool {
        on_the_way(input, path, is_folder).any(|(step, is_folder)| self.fits(input, step, is_folder))
    }
}

/// A path and the folders between `input` and it, with whether each is one.
fn on_the_way<'p>(
    input: &'p Path,
    path: &'p Path,
    is_folder: bool,
) -> impl Iterator<Item = (&'p Path, bool)> {
    let between = path.ancestors().take_while(move |step| *step != input && step.starts_with(input));
    between.enumerate().map(move |(index, step)| (step, is_folder || index > 0))
}

fn reason(error: &ignore::Error) -> String {
    match error {
        ignore::Error::Glob { err, .. } => err.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignore(patterns: &[&str]) -> Ignore {
        Ignore::new(Path::new("/p"), patterns.iter().copied()).unwrap()
    }

    fn hides(patterns: &[&str], path: &str) -> bool {
        let (path, is_folder) = path.strip_suffix('/').map_or((path, false), |path| (path, true));
        ignore(patterns).hides_on_the_way(Path::new("/p/src"), Path::new(path), is_folder)
    }

    #[test]
    fn what_is_spared_counts_and_what_is_beside_it_does_not() {
        let (root, input) = (Path::new("/p"), Path::new("/p/artifacts/s/d"));
        let plain = Ignore::new(root, ["old/"]).unwrap();
        assert!(plain.sparing(input, [("m.py", false), ("a/b.py", false)]).is_none());
        let made = [("m.py", false), ("x/__pycache__/a.pyc", false), ("old", true)];
        let spared = plain.sparing(input, made).unwrap();
        for (path, is_folder, hides) in [
            ("x", true, false),
            ("x/__pycache__", true, false),
            ("x/__pycache__/a.pyc", false, false),
            ("x/__pycache__/b.pyc", false, true),
            ("x/__pycache__/notes", false, true),
            ("__pycache__", true, true),
            ("old", true, false),
            ("old/notes", false, true),
            ("m.py", false, false),
            ("n.py", false, false),
        ] {
            assert_eq!(spared.hides(input, &input.join(path), is_folder), hides, "{path}");
        }
        assert!(CACHES.iter().all(|cache| USUAL.contains(cache)));
    }

    #[test]
    fn what_programs_leave_behind_is_hidden() {
        for path in [
            "__pycache__/",
            "a/b/__pycache__/x.cpython-312.pyc",
            "m.pyc",
            ".git/",
            ".git/objects/ab/cd",
            ".git",
            ".#model.py",
            "#model.py#",
            "model.py~",
            ".model.py.swp",
            ".~lock.table.ods#",
            "a/.DS_Store",
            "a/._x",
            ".ipynb_checkpoints/n.ipynb",
            ".nfs0001",
        ] {
            assert!(hides(&[], &format!("/p/src/{path}")), "{path}");
        }
        for path in ["a.py", "__pycache__", ".gitignore", ".github/x", "a#b", "x.sw", "pyc", ".env", "git/"] {
            assert!(!hides(&[], &format!("/p/src/{path}")), "{path}");
        }
        let none = GitignoreBuilder::new(".").build().unwrap();
        assert_eq!(ignore(&[]).patterns.len(), USUAL.len());
        assert!(none.is_empty());
    }

    #[test]
    fn patterns_read_as_in_gitignore_from_the_pipelines_folder() {
        assert!(hides(&["*.log"], "/p/src/deep/a.log"));
        assert!(hides(&["/src/gen"], "/p/src/gen/x"), "a slash starts at the pipeline's folder");
        assert!(!hides(&["/gen"], "/p/src/gen/x"));
        assert!(hides(&["src/**/tmp/"], "/p/src/a/b/tmp/x"));
        assert!(!hides(&["*.log", "!keep.log"], "/p/src/keep.log"), "the last one that fits counts");
        assert!(!hides(&["!*.pyc"], "/p/src/a.pyc"), "a usual one is taken back");
        assert!(!hides(&["# a comment", ""], "/p/src/a"));
        assert!(!hides(&["src/"], "/p/src/a"), "what is named as an input is never hidden");
        let elsewhere = ignore(&["/gen", "*.log"]);
        assert!(elsewhere.hides(Path::new("/q/in"), Path::new("/q/in/gen"), true));
        assert!(elsewhere.hides(Path::new("/q/in"), Path::new("/q/in/a/b.log"), false));
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_named() {
        let (index, reason) = Ignore::new(Path::new("/p"), ["a", "b{"]).unwrap_err();
        assert_eq!(index, 1);
        assert!(reason.contains("unclosed"), "{reason}");
    }

    #[test]
    fn what_is_handed_on_reads_the_same() {
        let own = ignore(&["/src/gen", "!*.pyc", "*.log"]);
        let other = Ignore::exactly(own.root(), own.patterns()).unwrap();
        for path in ["/p/src/gen", "/p/src/a.pyc", "/p/src/a.log", "/p/src/.git", "/p/src/a", "/p/src/a~"] {
            let hides = |ignore: &Ignore| ignore.hides(Path::new("/p/src"), Path::new(path), false);
            assert_eq!(hides(&own), hides(&other), "{path}");
        }
        assert!(!Ignore::exactly(Path::new("/p"), []).unwrap().hides(
            Path::new("/p"),
            Path::new("/p/.git"),
            true
        ));
    }
}
