//! Links in a tar archive, and which of its files they lead to. Knows paths only.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::normal_path;

/// Most links from one to the next, as Linux follows them.
const MOST_STEPS: usize = 40;

/// A link.
#[derive(Debug, Clone)]
pub(super) struct Link {
    /// What it says.
    pub(super) target: String,
    pub(super) is_symbolic: bool,
}

/// What a link is of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    File(String),
    Folder(String),
    Nowhere,
}

/// The files, folders and links of an archive.
#[derive(Debug, Default)]
pub(super) struct Links {
    files: HashSet<String>,
    folders: HashSet<String>,
    links: BTreeMap<String, Link>,
}

/// Links by what they are of.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// By the file that they lead to.
    pub(super) files: HashMap<String, Vec<(String, Link)>>,
    /// Those that lead to nothing in the archive.
    pub(super) lost: Vec<(String, Link)>,
}

impl Links {
    /// Takes in a file or a folder; its path is a normal one.
    pub(super) fn add(&mut self, path: &str, is_folder: bool) {
        for (end, _) in path.match_indices('/') {
            if !self.folders.contains(&path[..end]) {
                self.folders.insert(path[..end].to_owned());
            }
        }
        let paths = if is_folder { &mut self.folders } else { &mut self.files };
        paths.insert(path.to_owned());
    }

    pub(super) fn add_link(&mut self, path: String, link: Link) {
        self.links.insert(path, link);
    }

    /// Follows all links.
    ///
    /// # Errors
    /// A link that leads to a folder, and why it is not read.
    pub(super) fn follow(self) -> Result<Followed, (String, String)> {
        let mut followed = Followed::default();
        for (path, link) in &self.links {
            match self.end(path, link) {
                End::File(file) => {
                    followed.files.entry(file).or_default().push((path.clone(), link.clone()));
                }
                End::Folder(folder) => {
                    let reason =
                        format!("is a link to the folder `{folder}`, which is not followed in an archive");
                    return Err((path.clone(), reason));
                }
                End::Nowhere => followed.lost.push((path.clone(), link.clone())),
            }
        }
        Ok(followed)
    }

    fn end(&self, path: &str, link: &Link) -> End {
        let (mut path, mut link) = (path.to_owned(), link);
        for _ in 0..MOST_STEPS {
            let Some(target) = goal(&path, link) else { return End::Nowhere };
            if self.files.contains(&target) {
                return End::File(target);
            }
            if self.folders.contains(&target) || target.is_empty() {
                return End::Folder(target);
            }
            let Some(next) = self.links.get(&target) else { return End::Nowhere };
            (path, link) = (target, next);
        }
        End::Nowhere
    }
}

/// The path in the archive that a link says; nothing where it leaves the archive.
fn goal(path: &str, link: &Link) -> Option<String> {
    if !link.is_symbolic {
        return normal_path(link.target.as_bytes()).ok();
    }
    if link.target.starts_with('/') {
        return None;
    }
    let mut steps: Vec<&str> = path.split('/').collect();
    steps.pop();
    for step in link.target.split('/').filter(|step| !step.is_empty() && *step != ".") {
        match step {
            ".." => {
                steps.pop()?;
            }
            step => steps.push(step),
        }
    }
    Some(steps.join("/"))
}
