//! Finds the ONNX Runtime library and tells its version and what this CPU gives it. Knows files and the one C
//! function that names the version; sessions are made in `runtime`.

use std::env;
use std::ffi::{CStr, OsStr};
use std::mem;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use protocol::NativeLibrary;

/// Environment variable that names the library's file.
pub(crate) const PATH_VARIABLE: &str = "ORT_DYLIB_PATH";

/// What to do where the library is missing or does not load.
pub(crate) const REMEDY: &str =
    "run `cargo xtask setup`, or set `ORT_DYLIB_PATH` to the file of ONNX Runtime 1.31 or newer";

const FILE: &str = "libonnxruntime.so.1.32.0";
const FOLDER: &str = "native/onnxruntime";

/// The library's file.
///
/// # Errors
/// Where there is none; the message says what to do.
pub(crate) fn find() -> Result<PathBuf> {
    let executable = env::current_exe().context("cannot tell where this executable is")?;
    search(env::var_os(PATH_VARIABLE).as_deref(), &executable)
}

/// As [`find`], with the value of `ORT_DYLIB_PATH` and the executable's path given: the variable's file, or one
/// beside the executable, or `native/onnxruntime/` below a folder that the executable lies in.
fn search(variable: Option<&OsStr>, executable: &Path) -> Result<PathBuf> {
    if let Some(value) = variable.filter(|value| !value.is_empty()) {
        let path = std::path::absolute(value)?;
        if !path.is_file() {
            bail!("`{PATH_VARIABLE}` is `{}`, which is not a file: {REMEDY}", path.display());
        }
        return Ok(path);
    }
    let folders = executable.ancestors().skip(1);
    let beside = executable.with_file_name(FILE);
    std::iter::once(beside)
        .chain(folders.map(|folder| folder.join(FOLDER).join(FILE)))
        .find(|path| path.is_file())
        .ok_or_else(|| anyhow!("ONNX Runtime is missing (no `{FOLDER}/{FILE}`): {REMEDY}"))
}

/// The version that the library at `path` says it has, such as `1.32.0`.
///
/// # Errors
/// Where the file is not an ONNX Runtime library.
pub(crate) fn version(path: &Path) -> Result<String> {
    let not_it = || format!("`{}` is not a usable ONNX Runtime library: {REMEDY}", path.display());
    // SAFETY: the user or `cargo xtask setup` put this library here to be loaded; its initialisers are trusted
    // as much as the inference it does later.
    let library = unsafe { libloading::Library::new(path) }.with_context(not_it)?;
    // SAFETY: `OrtGetApiBase` has had this signature in every release of ONNX Runtime.
    let base = unsafe {
        library
            .get::<unsafe extern "C" fn() -> *const ort::sys::OrtApiBase>(b"OrtGetApiBase")
            .map(|get| get())
    }
    .with_context(not_it)?;
    if base.is_null() {
        return Err(anyhow!(not_it()));
    }
    // SAFETY: a non-null base points at a static struct; its version is a static, zero-terminated string.
    let version = unsafe { CStr::from_ptr(((*base).GetVersionString)()) };
    let version = version.to_str().with_context(not_it)?.to_owned();
    // Unloading runs the destructors of a library that may have started threads: keep it.
    mem::forget(library);
    Ok(version)
}

/// The library as the manifest shows it; where it is missing or does not load, the reason and the remedy.
pub(crate) fn describe() -> NativeLibrary {
    let path = match find() {
        Ok(path) => path,
        Err(error) => return missing(None, &error),
    };
    match version(&path) {
        Ok(version) => NativeLibrary {
            version: Some(version),
            path: Some(path),
            detail: int8_support().into(),
            remedy: None,
        },
        Err(error) => missing(Some(path), &error),
    }
}

fn missing(path: Option<PathBuf>, error: &anyhow::Error) -> NativeLibrary {
    NativeLibrary { version: None, path, detail: format!("{error:#}"), remedy: Some(REMEDY.into()) }
}

/// What this CPU has for INT8 products, in words.
#[cfg(target_arch = "x86_64")]
pub(crate) fn int8_support() -> &'static str {
    if std::is_x86_feature_detected!("avx512vnni") {
        "CPU with AVX512-VNNI: INT8 is fast here"
    } else if std::is_x86_feature_detected!("avxvnni") {
        "CPU with AVX-VNNI: INT8 is fast here"
    } else {
        "CPU without VNNI: INT8 gains little, and sums of u8 × i8 may saturate"
    }
}

/// What this CPU has for INT8 products, in words.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn int8_support() -> &'static str {
    "CPU"
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let executable = root.path().join("target/release/pipe-onnx");
        fs::create_dir_all(executable.parent().unwrap()).unwrap();
        (root, executable)
    }

    fn put(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "library").unwrap();
    }

    #[test]
    fn the_variable_comes_first() {
        let (root, executable) = tree();
        let named = root.path().join("elsewhere.so");
        put(&named);
        put(&executable.with_file_name(FILE));
        assert_eq!(search(Some(named.as_os_str()), &executable).unwrap(), named);
    }

    #[test]
    fn a_variable_that_names_nothing_is_an_error_and_an_empty_one_is_unset() {
        let (root, executable) = tree();
        let beside = executable.with_file_name(FILE);
        put(&beside);
        let message =
            search(Some(root.path().join("no.so").as_os_str()), &executable).unwrap_err().to_string();
        assert!(message.contains("no.so") && message.contains("ORT_DYLIB_PATH"), "{message}");
        assert_eq!(search(Some(OsStr::new("")), &executable).unwrap(), beside);
    }

    #[test]
    fn beside_the_executable_comes_before_the_repository() {
        let (root, executable) = tree();
        let repository = root.path().join(FOLDER).join(FILE);
        put(&repository);
        assert_eq!(search(None, &executable).unwrap(), repository);
        let beside = executable.with_file_name(FILE);
        put(&beside);
        assert_eq!(search(None, &executable).unwrap(), beside);
    }

    #[test]
    fn nothing_anywhere_says_what_to_do() {
        let (_root, executable) = tree();
        let message = search(None, &executable).unwrap_err().to_string();
        assert!(message.contains("cargo xtask setup") && message.contains("ORT_DYLIB_PATH"), "{message}");
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error_that_names_it() {
        let (root, _) = tree();
        let rubbish = root.path().join("rubbish.so");
        put(&rubbish);
        let message = format!("{:#}", version(&rubbish).unwrap_err());
        assert!(message.contains("rubbish.so") && message.contains("cargo xtask setup"), "{message}");
    }
}
