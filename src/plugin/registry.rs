//! Finds plugins and knows their manifests. A plugin is asked once, with `pipe-NAME describe`; the answer is kept in
//! the store until the executable, one of the environment variables it declared or one of its native libraries
//! changes. Only plugins that somebody asks for are looked for at all.

mod error;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use error::PluginError;
use pipeline::digest::Digest;
use pipeline::spec::{Manifests, Unusable};
use protocol::{Manifest, PROTOCOL_VERSION};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Durability, Store, is_inner, read_record};
use text::secret::without_credentials;

use super::process::{Output, PROXIES, Process, Stdout, Stopper};
use crate::env;

const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

/// A manifest longer than this is none.
const MAX_MANIFEST: usize = 16 << 20;

/// Plugins by name.
#[derive(Debug)]
pub struct Registry {
    root: PathBuf,
    named: BTreeMap<String, PathBuf>,
    /// Where to look for those that are not named: beside `pipe`, then on PATH.
    folders: Vec<PathBuf>,
    store: Store,
    timeout: Duration,
    described: Mutex<BTreeMap<String, Described>>,
}

/// A manifest as kept in the store, with what it depends on beside the executable.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    /// Digests of the values of declared environment variables; `None` for one that was not set.
    env: BTreeMap<String, Option<Digest>>,
    /// Digests of native libraries.
    natives: BTreeMap<PathBuf, Digest>,
    manifest: Manifest,
}

/// A manifest, and what it rests on.
#[derive(Debug, Clone)]
struct Described {
    manifest: Arc<Manifest>,
    executable: PathBuf,
    rests_on: RestsOn,
    /// Whether that is all that it rests on: a library that is missing may appear anywhere at any time.
    is_all: bool,
}

/// What a manifest rests on: it stays as it is for as long as these do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestsOn {
    /// The executable and the native libraries that it loads, as they were when it was read.
    pub files: BTreeMap<PathBuf, Digest>,
    /// Digests of the values of declared environment variables; `None` for one that was not set.
    pub env: BTreeMap<String, Option<Digest>>,
}

impl Registry {
    /// A registry of the plugins that a pipeline in `root` names, those beside this executable and those on PATH.
    #[must_use]
    pub fn new(root: &Path, named: &BTreeMap<String, PathBuf>, store: &Store) -> Self {
        let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned()));
        let path = env::PATH.value().unwrap_or_default();
        Self {
            root: root.to_owned(),
            named: named.clone(),
            folders: beside.into_iter().chain(std::env::split_paths(&path)).collect(),
            store: store.clone(),
            timeout: env::DESCRIBE_TIMEOUT.seconds().unwrap_or(DESCRIBE_TIMEOUT),
            described: Mutex::default(),
        }
    }

    /// The executables that the pipeline names, by plugin.
    #[must_use]
    pub fn named(&self) -> &BTreeMap<String, PathBuf> {
        &self.named
    }

    /// What a plugin's manifest rests on. `None` where it is not found, or must be asked each time.
    #[must_use]
    pub fn rests_on(&self, plugin: &str) -> Option<RestsOn> {
        let described = self.described(plugin).ok()?;
        described.is_all.then_some(described.rests_on)
    }

    /// Whether a plugin is still the one whose manifest was read: another executable or library says and does other
    /// things.
    ///
    /// # Errors
    /// When it is not found or cannot be read.
    pub fn is_as_described(&self, plugin: &str) -> Result<bool, PluginError> {
        let described = self.described(plugin)?;
        if self.find(plugin)? != described.executable {
            return Ok(false);
        }
        for (path, digest) in &described.rests_on.files {
            if self.store.digest_path(path)? != *digest {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The executable of a plugin.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(&self, plugin: &str) -> Result<PathBuf, PluginError> {
        if let Some(path) = self.named.get(plugin) {
            let path: PathBuf = self.root.join(path).components().collect();
            if path.is_file() {
                return Ok(path);
            }
            let looked = format!("the pipeline names `{}`, which is not a file", path.display());
            return Err(PluginError::NotFound { plugin: plugin.into(), looked });
        }
        let name = format!("pipe-{plugin}{}", std::env::consts::EXE_SUFFIX);
        let files: Vec<PathBuf> =
            self.folders.iter().map(|folder| folder.join(&name)).filter(|path| path.is_file()).collect();
        // One that cannot be executed is better than none: starting it says what is wrong.
        let found = files.iter().find(|path| is_executable(path)).or(files.first()).cloned();
        found.ok_or_else(|| {
            let beside = self.folders.first().map(|folder| folder.display().to_string()).unwrap_or_default();
            let looked = format!("`{name}` is neither beside `pipe` in `{beside}` nor on PATH");
            PluginError::NotFound { plugin: plugin.into(), looked }
        })
    }

    /// The manifest of a plugin. Starts it only if it, its libraries or its environment have changed since it was
    /// last asked.
    ///
    /// # Errors
    /// When it is not found, or does not describe itself as a plugin of this `pipe` does.
    pub fn manifest(&self, plugin: &str) -> Result<Arc<Manifest>, PluginError> {
        Ok(self.described(plugin)?.manifest)
    }

    fn described(&self, plugin: &str) -> Result<Described, PluginError> {
        let mut all = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(described) = all.get(plugin) {
            return Ok(described.clone());
        }
        let path = self.find(plugin)?;
        let executable = self.store.digest_path(&path)?;
        let file = self.store.folder().join("manifests").join(format!("{executable}.json"));
        let kept = read_record::<Known>(&file).whole().filter(|known| self.is_current(plugin, known));
        let (manifest, known) = match kept {
            Some(known) => (known.manifest.clone(), Some(known)),
            None => {
                let manifest = self.describe(plugin, &path)?;
                let known = self.known(&manifest);
                if let Some(known) = &known {
                    // A store that cannot be written to is told about by whoever needs it to be.
                    let _ = self.store.write_record(&file, known, Durability::Eventual);
                }
                (manifest, known)
            }
        };
        let is_all = known.is_some();
        let (env, mut files) = known.map(|known| (known.env, known.natives)).unwrap_or_default();
        files.insert(path.clone(), executable);
        let rests_on = RestsOn { files, env };
        let described = Described { manifest: Arc::new(manifest), executable: path, rests_on, is_all };
        all.insert(plugin.to_owned(), described.clone());
        Ok(described)
    }

    /// The manifest with what it depends on, or `None` where it must not be kept: a library that is missing may
    /// appear anywhere at any time.
    fn known(&self, manifest: &Manifest) -> Option<Known> {
        let mut natives = BTreeMap::new();
        for native in manifest.natives.values() {
            native.version.as_ref()?;
            if let Some(path) = &native.path {
                let path: PathBuf = self.root.join(path).components().collect();
                let digest = self.store.digest_path(&path).ok()?;
                natives.insert(path, digest);
            }
        }
        let env = manifest.env.iter().map(|name| (name.clone(), environment(name))).collect();
        Some(Known { env, natives, manifest: manifest.clone() })
    }

    fn is_current(&self, plugin: &str, known: &Known) -> bool {
        known.manifest.plugin == plugin
            && known.manifest.protocol == PROTOCOL_VERSION
            && known.env.iter().all(|(name, digest)| environment(name) == *digest)
            && known
                .natives
                .iter()
                .all(|(path, digest)| self.store.digest_path(path).is_ok_and(|now| now == *digest))
    }

    fn describe(&self, plugin: &str, path: &Path) -> Result<Manifest, PluginError> {
        let mut process = self.start(path).map_err(|source| PluginError::Start {
            plugin: plugin.into(),
            path: path.into(),
            source,
        })?;
        let lost = |source| PluginError::Start { plugin: plugin.into(), path: path.into(), source };
        let rubbish =
            |problem: String| PluginError::Rubbish { plugin: plugin.into(), path: path.into(), problem };
        let deadline = Instant::now().checked_add(self.timeout);
        process.kill_rest();
        let mut text = String::new();
        // Dropped on any way out, the process is killed.
        let status = loop {
            match process.next(deadline).map_err(lost)? {
                Some(Output::Out(line)) => {
                    text.push_str(&line);
                    text.push('\n');
                }
                Some(
                    Output::Err(_)
                    | Output::OutClosed(None)
                    | Output::Left(_)
                    | Output::Escaped(_)
                    | Output::Detached(_),
                ) => {}
                Some(Output::OutClosed(Some(why))) => return Err(rubbish(why)),
                Some(Output::Ended(end)) => break end.status,
                None => {
                    let seconds = self.timeout.as_secs();
                    return Err(PluginError::Hangs { plugin: plugin.into(), path: path.into(), seconds });
                }
            }
            if text.len() > MAX_MANIFEST {
                return Err(rubbish(format!("more than {} MB of output", MAX_MANIFEST >> 20)));
            }
        };
        if !status.success() {
            let mut tail = process.tail();
            if !tail.is_empty() {
                tail.insert_str(0, "; the end of its standard error:\n");
            }
            return Err(PluginError::Crashed { plugin: plugin.into(), path: path.into(), status, tail });
        }
        parse(plugin, &text).map_err(|problem| match problem {
            Problem::Version(theirs) => {
                PluginError::Version { plugin: plugin.into(), path: path.into(), theirs }
            }
            Problem::Rubbish(problem) => rubbish(problem),
        })
    }

    /// The whole environment is passed on: which variables matter is only known from the answer.
    fn start(&self, path: &Path) -> io::Result<Process> {
        let mut attempts = 0;
        loop {
            let mut command = Command::new(path);
            command.arg("describe").current_dir(&self.root);
            match Process::start(command, Stdio::null(), Stdout::Messages, &Stopper::default()) {
                // It is being written at this moment, or a child that is just being started still holds it open.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempts < 50 => {
                    attempts += 1;
                    std::thread::sleep(Duration::from_millis(20));
                }
                started => return started,
            }
        }
    }
}

impl Manifests for Registry {
    fn manifest(&self, plugin: &str) -> Result<Arc<Manifest>, Unusable> {
        Self::manifest(self, plugin)
            .map_err(|error| Unusable { message: error.to_string(), help: error.hint() })
    }

    fn known(&self) -> Vec<String> {
        let entries = self.folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
        let beside = entries.filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_stem()?.to_str()?.strip_prefix("pipe-")?.to_owned();
            is_executable(&path).then_some(name)
        });
        let names: BTreeSet<String> = self.named.keys().cloned().chain(beside).collect();
        names.into_iter().collect()
    }
}

pub(crate) enum Problem {
    Version(u64),
    Rubbish(String),
}

/// Reads a manifest: first its version, for another version may have other fields.
pub(crate) fn parse(plugin: &str, text: &str) -> Result<Manifest, Problem> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let shown: String = text.trim().chars().take(120).collect();
        Problem::Rubbish(format!("its output is not JSON ({error}): `{shown}`"))
    })?;
    match value.get("protocol").and_then(Value::as_u64) {
        None => return Err(Problem::Rubbish("its manifest does not name a protocol version".into())),
        Some(theirs) if theirs != u64::from(PROTOCOL_VERSION) => return Err(Problem::Version(theirs)),
        Some(_) => {}
    }
    let manifest: Manifest = serde_json::from_value(value)
        .map_err(|error| Problem::Rubbish(format!("its manifest is wrong: {error}")))?;
    if manifest.plugin != plugin {
        return Err(Problem::Rubbish(format!("it calls itself `{}`", manifest.plugin)));
    }
    for (name, op) in &manifest.ops {
        if !op.params.is_object() {
            return Err(Problem::Rubbish(format!(
                "the params of its op `{name}` are not a JSON Schema object"
            )));
        }
        if let Some(native) = op.natives.iter().find(|native| !manifest.natives.contains_key(*native)) {
            return Err(Problem::Rubbish(format!(
                "its op `{name}` needs `{native}`, which is not among its natives"
            )));
        }
        if let Some(output) = op.outputs.values().find(|output| !is_inner(&output.file)) {
            let file = &output.file;
            return Err(Problem::Rubbish(format!(
                "an output of its op `{name}` is called `{file}`, which is not a file name"
            )));
        }
    }
    Ok(manifest)
}

/// Digest of the value of an environment variable, if it is set; of a proxy without user and password, which decide nothing
/// that a plugin says of itself.
#[must_use]
pub fn environment(name: &str) -> Option<Digest> {
    let value = env::named(name)?;
    let proxy = value.to_str().filter(|_| PROXIES.contains(&name));
    let address = proxy.map(without_credentials);
    Some(Digest::of_bytes(address.as_ref().map_or(value.as_bytes(), |address| address.as_bytes())))
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests;
