//! The native libraries: given by the user, there already, or fetched now.
//!
//! Knows the order of the checks and that a folder below `native/` appears only when it is complete.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::pins::{self, Library, Pins};
use crate::workspace::{Workspace, say};
use crate::{given, requirements, unpack, wheel};

/// A library that is not given by the user, and where it belongs.
struct Wanted<'pins> {
    name: &'static str,
    library: &'pins Library,
    folder: PathBuf,
    by_hand: String,
}

/// Makes sure that both libraries are there. Fetches nothing that is given or there already.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let pins = Pins::read(&workspace.path(pins::FILE))?;
    let path = std::env::var_os("PATH");
    requirements::cpp_compiler(std::env::var_os("CXX").as_deref(), path.as_deref())?;
    let mut wanted = not_given(workspace, &pins)?;
    wanted.retain(|one| !one.is_there());
    if wanted.is_empty() {
        return Ok(());
    }
    let _lock = workspace.lock_native()?;
    wanted.retain(|one| !one.is_there());
    if wanted.is_empty() {
        return Ok(());
    }
    check_machine(&wanted, &workspace.path("native"))?;
    let python = requirements::pip(path.as_deref())?;
    let wheels = workspace.path("native/wheels");
    for one in &wanted {
        one.install(&pins, &python, &wheels)?;
    }
    remove_folder(&wheels)?;
    say("native libraries are in `native/`; the wheels they came from were removed to save disk space");
    Ok(())
}

/// The libraries that the user does not bring; what they bring is checked.
fn not_given<'pins>(workspace: &Workspace, pins: &'pins Pins) -> Result<Vec<Wanted<'pins>>> {
    let mut wanted = Vec::new();
    match workspace.libtorch_of_user() {
        Some(value) => {
            given::libtorch(&value, &pins.libtorch.version)?;
            say_given("libtorch", "LIBTORCH", &value);
        }
        None => wanted.push(Wanted {
            name: "libtorch",
            library: &pins.libtorch,
            folder: workspace.libtorch(),
            by_hand: format!("set `LIBTORCH` to a folder with libtorch {}", pins.libtorch.version),
        }),
    }
    match std::env::var_os("ORT_DYLIB_PATH") {
        Some(value) => {
            given::onnxruntime(&value)?;
            say_given("ONNX Runtime", "ORT_DYLIB_PATH", &value);
        }
        None => wanted.push(Wanted {
            name: "ONNX Runtime",
            library: &pins.onnxruntime,
            folder: workspace.onnxruntime(),
            by_hand: format!(
                "set `ORT_DYLIB_PATH` to the library of ONNX Runtime {}",
                pins.onnxruntime.version
            ),
        }),
    }
    Ok(wanted)
}

fn say_given(name: &str, variable: &str, value: &OsStr) {
    say(&format!("{name} is yours: `{variable}` is `{}`", value.display()));
}

fn check_machine(wanted: &[Wanted], native: &Path) -> Result<()> {
    let by_hand: Vec<&str> = wanted.iter().map(|one| one.by_hand.as_str()).collect();
    let libc = if cfg!(target_env = "gnu") {
        "gnu"
    } else if cfg!(target_env = "musl") {
        "musl"
    } else {
        ""
    };
    requirements::platform(std::env::consts::OS, std::env::consts::ARCH, libc, &by_hand.join(", and "))?;
    requirements::disk_space(requirements::free_bytes(native)?, bytes_needed(wanted), native)
}

/// At the worst moment: all that is unpacked, and the largest wheel both in pip's temporary folder and in ours.
fn bytes_needed(wanted: &[Wanted]) -> u64 {
    let unpacked = wanted.iter().map(|one| one.library.unpacked_bytes);
    let wheels = wanted.iter().flat_map(|one| &one.library.wheels).map(|wheel| wheel.bytes);
    unpacked.fold(0, u64::saturating_add).saturating_add(wheels.max().unwrap_or(0).saturating_mul(2))
}

impl Wanted<'_> {
    fn is_there(&self) -> bool {
        self.library.is_in(&self.folder)
    }

    /// Unpacks to a folder beside the final one and renames it at the end, so that a set-up that was cut off is
    /// done again and never half believed. The wheels stay until then, so that none is fetched twice.
    fn install(&self, pins: &Pins, python: &Path, wheels: &Path) -> Result<()> {
        let part = self.folder.with_extension("part");
        remove_folder(&part)?;
        for folder in [&part, wheels] {
            fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        }
        let mut unpacked = Vec::new();
        for pin in &self.library.wheels {
            let file = wheel::fetch(pin, &pins.pip, python, wheels)?;
            unpack::unpack(&file, &pin.take, &part)?;
            unpacked.push(file);
        }
        self.library.complete(&part)?;
        // The name must not reach the disk before the contents.
        File::open(&part)
            .and_then(|folder| Ok(rustix::fs::syncfs(folder)?))
            .with_context(|| format!("cannot write `{}` to the disk", part.display()))?;
        remove_folder(&self.folder)?;
        fs::rename(&part, &self.folder)
            .with_context(|| format!("cannot rename `{}` to `{}`", part.display(), self.folder.display()))?;
        say(&format!("{} {} is in `{}`", self.name, self.library.version, self.folder.display()));
        for file in unpacked {
            fs::remove_file(&file).with_context(|| format!("cannot remove `{}`", file.display()))?;
        }
        Ok(())
    }
}

/// Absent is as good as removed.
fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", folder.display()))
        }
        _ => Ok(()),
    }
}
