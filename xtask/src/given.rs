//! Native libraries that the user brings: are they what the plugins were built for?
//!
//! Judges paths it is given; knows neither the environment nor how to fetch.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

/// Where a libtorch says its version: the zip of the C++ distribution, the Python package, the headers of both.
const VERSION_FILES: [&str; 3] = ["build-version", "version.py", "include/torch/headeronly/version.h"];

/// Checks the folder in `LIBTORCH` for headers, library and version.
pub(crate) fn libtorch(value: &OsStr, wanted: &str) -> Result<()> {
    let folder = Path::new(value);
    let shown = folder.display();
    let remedy = "correct it, or unset it to have libtorch fetched";
    if !folder.is_absolute() {
        bail!("`LIBTORCH` is `{shown}`, which is not an absolute path: {remedy}");
    }
    if !folder.join("include").is_dir() {
        bail!("`LIBTORCH` is `{shown}`, but there is no folder `include` in it: {remedy}");
    }
    if !["libtorch_cpu.so", "libtorch.so", "libtorch_cpu.dylib"]
        .iter()
        .any(|file| folder.join("lib").join(file).exists())
    {
        bail!("`LIBTORCH` is `{shown}`, but there is no `lib/libtorch_cpu.so` in it: {remedy}");
    }
    match libtorch_version(folder) {
        Some(found) if found == wanted => Ok(()),
        Some(found) => bail!(
            "`LIBTORCH` is `{shown}`, which holds libtorch {found}, but {wanted} is needed: name a folder with \
             {wanted}, or unset it to have libtorch fetched"
        ),
        None => bail!(
            "`LIBTORCH` is `{shown}`, which does not say its version (no `{}`), but {wanted} is needed: write the \
             version into `{shown}/build-version`, or unset `LIBTORCH` to have libtorch fetched",
            VERSION_FILES.join("`, `")
        ),
    }
}

fn libtorch_version(folder: &Path) -> Option<String> {
    VERSION_FILES.iter().find_map(|file| version_in(&fs::read_to_string(folder.join(file)).ok()?))
}

/// The first thing in the text that looks like `1.2.3`, without a suffix such as `+cu130`.
fn version_in(text: &str) -> Option<String> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    let is_number = |part: &str| !part.is_empty();
    words
        .filter(|word| word.split('.').count() == 3 && word.split('.').all(is_number))
        .map(str::to_owned)
        .next()
}

/// Checks that the file in `ORT_DYLIB_PATH` is there. Its version is known only to itself: it is asked on loading.
pub(crate) fn onnxruntime(value: &OsStr) -> Result<()> {
    let path = Path::new(value);
    if !path.is_absolute() || !path.is_file() {
        bail!(
            "`ORT_DYLIB_PATH` is `{}`, which is not the absolute path of a file: name the library itself \
             (`libonnxruntime.so…`), or unset it to have ONNX Runtime fetched",
            path.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn torch_folder(version_file: &str, text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("include/torch/headeronly")).unwrap();
        fs::create_dir(folder.path().join("lib")).unwrap();
        fs::write(folder.path().join("lib/libtorch_cpu.so"), "").unwrap();
        fs::write(folder.path().join(version_file), text).unwrap();
        folder
    }

    fn judge(folder: &Path) -> String {
        libtorch(folder.as_os_str(), "2.11.0").map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    #[test]
    fn every_way_of_saying_the_version_is_read() {
        for (file, text) in [
            ("build-version", "2.11.0+cu130\n"),
            ("version.py", "debug = False\n__version__ = '2.11.0'\ncuda = '13.0'\n"),
            (
                "include/torch/headeronly/version.h",
                "#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION \\\n  \"2.11.0\"\n",
            ),
        ] {
            assert_eq!(judge(torch_folder(file, text).path()), "fine", "{file}");
        }
    }

    #[test]
    fn another_version_is_named() {
        let verdict = judge(torch_folder("build-version", "2.10.1").path());
        assert!(verdict.contains("holds libtorch 2.10.1, but 2.11.0 is needed"), "{verdict}");
        let verdict = judge(torch_folder("README", "").path());
        assert!(verdict.contains("does not say its version"), "{verdict}");
    }

    #[test]
    fn a_folder_without_libtorch_is_refused() {
        let folder = torch_folder("build-version", "2.11.0");
        fs::remove_file(folder.path().join("lib/libtorch_cpu.so")).unwrap();
        assert!(judge(folder.path()).contains("no `lib/libtorch_cpu.so`"));
        fs::remove_dir_all(folder.path().join("include")).unwrap();
        assert!(judge(folder.path()).contains("no folder `include`"));
        assert!(judge(Path::new("")).contains("not an absolute path"));
    }

    #[test]
    fn a_runtime_has_to_be_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libonnxruntime.so");
        assert!(onnxruntime(file.as_os_str()).is_err());
        assert!(onnxruntime(folder.path().as_os_str()).is_err());
        fs::write(&file, "").unwrap();
        assert!(onnxruntime(file.as_os_str()).is_ok());
    }
}
