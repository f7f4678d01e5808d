//! Where a folder of pictures has its splits and classes. Knows paths only.
//!
//! A class is the first folder below its split, and all below it belongs to it, as torchvision has it. Classes are
//! sorted by name and images by folder and name, both by code points, so that capitals come first.

use std::collections::{BTreeMap, BTreeSet};

/// Names of the folders of the splits.
const SPLITS: [&str; 2] = ["train", "test"];

/// Where images lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Layout {
    /// In `ROOT/train/CLASS/…` and `ROOT/test/CLASS/…`.
    Splits {
        /// Steps to the root, joined by `/`.
        root: String,
    },
    /// In `ROOT/CLASS/…`.
    Classes {
        /// Steps to the root, joined by `/`.
        root: String,
    },
}

/// Where an image, or anything else, belongs. The order is that of images in a dataset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place<'a> {
    pub(super) is_test: bool,
    pub(super) class: &'a str,
    /// The folder that it lies in, from the source on.
    pub(super) folder: &'a str,
    /// Its name.
    pub(super) name: &'a str,
    /// The way to it from the folder of its class on, with the class's name.
    pub(super) inner: &'a str,
}

impl Layout {
    /// The layout that pictures at these paths have. Without folders of splits, folders of classes will do where
    /// `plain` says so. Nothing where there is neither.
    ///
    /// # Errors
    /// The reason, where several folders look like the root.
    pub(super) fn of(pictures: &[String], plain: bool) -> Result<Option<Self>, String> {
        let mut roots: BTreeMap<&str, [bool; 2]> = BTreeMap::new();
        for path in pictures {
            for (root, split) in roots_of(path) {
                if let Some(seen) = roots.entry(root).or_default().get_mut(split) {
                    *seen = true;
                }
            }
        }
        // A class may be called `train`, too: what has both splits comes before what has one, and what lies
        // further up before what lies below it.
        let best = roots.iter().min_by_key(|(root, seen)| (seen.contains(&false), depth(root), **root));
        let Some((root, _)) = best else {
            return Ok(plain.then(|| class_root(pictures)).flatten().map(|root| Self::Classes { root }));
        };
        let layout = Self::Splits { root: (*root).to_owned() };
        let stray = pictures.iter().filter(|path| layout.place(path).is_none());
        if let Some((other, _)) = stray.flat_map(|path| roots_of(path)).next() {
            return Err(format!("there are images both below `{root}/` and below `{other}/`"));
        }
        Ok(Some(layout))
    }

    /// What images are looked for in, in words.
    pub(super) fn pattern(&self) -> &'static str {
        match self {
            Self::Splits { .. } => "`train/CLASS/` and `test/CLASS/`",
            Self::Classes { .. } => "`CLASS/`",
        }
    }

    /// Where a file belongs; nothing where that is no class.
    pub(super) fn place<'a>(&self, path: &'a str) -> Option<Place<'a>> {
        let (folder, name) = path.rsplit_once('/')?;
        let (inner, is_test) = self.inner(folder)?;
        let class = inner.split('/').next().filter(|class| !class.is_empty())?;
        let inner = path.get(folder.len() - inner.len()..)?;
        Some(Place { is_test, class, folder, name, inner })
    }

    /// The class that a folder is, or lies in, and whether it is one of the test split.
    pub(super) fn class<'a>(&self, folder: &'a str) -> Option<(&'a str, bool)> {
        let (inner, is_test) = self.inner(folder)?;
        let class = inner.split('/').next().filter(|class| !class.is_empty())?;
        Some((class, is_test))
    }

    /// What of the way to a folder lies below its split, or below the root where there are none.
    fn inner<'a>(&self, folder: &'a str) -> Option<(&'a str, bool)> {
        let (Self::Splits { root } | Self::Classes { root }) = self;
        let inner = match root.as_str() {
            "" => folder,
            root => folder.strip_prefix(root)?.strip_prefix('/')?,
        };
        match self {
            Self::Splits { .. } => {
                let (split, rest) = inner.split_once('/')?;
                Some((rest, SPLITS.iter().position(|known| *known == split)? == 1))
            }
            Self::Classes { .. } => Some((inner, false)),
        }
    }
}

fn depth(root: &str) -> usize {
    if root.is_empty() { 0 } else { root.split('/').count() }
}

/// Each way to read a path as `ROOT/SPLIT/CLASS/…`: the root, and the number of the split.
fn roots_of(path: &str) -> impl Iterator<Item = (&str, usize)> {
    let ends = path.match_indices('/').map(|(at, _)| at);
    let starts = std::iter::once(0).chain(path.match_indices('/').map(|(at, _)| at + 1));
    starts.zip(ends).filter_map(|(start, end)| {
        let split = SPLITS.iter().position(|known| *known == &path[start..end])?;
        // Below it is a class, and below that a file.
        let has_class = path[end + 1..].contains('/');
        has_class.then(|| (path[..start].trim_end_matches('/'), split))
    })
}

/// The folder whose folders are the classes: the first from the source on that has pictures below two of its own.
fn class_root(pictures: &[String]) -> Option<String> {
    let mut root = String::new();
    loop {
        let inner = |path: &'_ str| -> Option<String> {
            let rest = if root.is_empty() { path } else { path.strip_prefix(&*root)?.strip_prefix('/')? };
            rest.split_once('/').map(|(folder, _)| folder.to_owned())
        };
        let folders: BTreeSet<String> = pictures.iter().filter_map(|path| inner(path)).collect();
        if folders.len() > 1 {
            return Some(root);
        }
        let only = folders.into_iter().next()?;
        root = if root.is_empty() { only } else { format!("{root}/{only}") };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(paths: &[&str], plain: bool) -> Result<Option<Layout>, String> {
        let paths: Vec<_> = paths.iter().map(|&path| path.to_owned()).collect();
        Layout::of(&paths, plain)
    }

    fn splits(root: &str) -> Result<Option<Layout>, String> {
        Ok(Some(Layout::Splits { root: root.into() }))
    }

    fn class<'a>(layout: &Layout, path: &'a str) -> Option<(&'a str, bool)> {
        layout.place(path).map(|place| (place.class, place.is_test))
    }

    #[test]
    fn all_below_a_class_belongs_to_it() {
        let found = layout(&["set/train/cat/a/b/1.png", "set/test/cat/1.png"], false).unwrap().unwrap();
        assert_eq!(found, Layout::Splits { root: "set".into() });
        assert_eq!(class(&found, "set/train/cat/a/b/1.png"), Some(("cat", false)));
        assert_eq!(class(&found, "set/test/cat/2.png"), Some(("cat", true)));
        for path in ["set/train/1.png", "set/val/cat/1.png", "train/cat/1.png", "1.png", "settrain/x/1.png"] {
            assert_eq!(class(&found, path), None, "{path}");
        }
        assert_eq!(found.place("set/train/cat/a/1.png").unwrap().inner, "cat/a/1.png");
        assert_eq!(found.class("set/train/cat"), Some(("cat", false)));
        assert_eq!(found.class("set/train"), None);
    }

    #[test]
    fn a_class_may_be_called_as_a_split_is() {
        let found = layout(&["train/train/1.png", "train/car/1.png", "test/train/1.png"], false);
        assert_eq!(found, splits(""));
        let found = found.unwrap().unwrap();
        assert_eq!(class(&found, "train/train/1.png"), Some(("train", false)));
        assert_eq!(class(&found, "test/train/1.png"), Some(("train", true)));
    }

    #[test]
    fn the_root_may_lie_below_a_folder_called_as_a_split_is() {
        assert_eq!(
            layout(&["train/set/train/cat/1.png", "train/set/test/cat/1.png"], false),
            splits("train/set")
        );
        assert_eq!(layout(&["a/train/cat/1.png"], false), splits("a"));
    }

    #[test]
    fn two_roots_are_refused() {
        let text = layout(&["a/train/c/1.png", "a/test/c/1.png", "b/train/c/1.png"], false).unwrap_err();
        assert_eq!(text, "there are images both below `a/` and below `b/`");
    }

    #[test]
    fn folders_of_classes_do_where_no_split_is_there() {
        let paths = ["top/set/cat/1.png", "top/set/dog/x/2.png", "top/logo.png"];
        assert_eq!(layout(&paths, false), Ok(None));
        let found = layout(&paths, true).unwrap().unwrap();
        assert_eq!(found, Layout::Classes { root: "top/set".into() });
        assert_eq!(class(&found, "top/set/dog/x/2.png"), Some(("dog", false)));
        assert_eq!(class(&found, "top/logo.png"), None);
        assert_eq!(layout(&["a/b/1.png", "a/b/2.png"], true), Ok(None));
        assert_eq!(layout(&["1.png"], true), Ok(None));
    }
}
