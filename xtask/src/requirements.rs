//! What has to be on the machine before anything is fetched or built: platform, disk space, compiler, pip.
//!
//! Each check is a sentence that says what to install. Knows no library.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The wheels hold libraries for one platform. `remedy` says what to set by hand on any other.
pub(crate) fn platform(os: &str, arch: &str, libc: &str, remedy: &str) -> Result<()> {
    if (os, arch, libc) == ("linux", "x86_64", "gnu") {
        return Ok(());
    }
    let libc = if libc.is_empty() { String::new() } else { format!(" ({libc})") };
    bail!(
        "native libraries are fetched only for Linux on x86-64 with glibc, but this is {os}{libc} on {arch}: {remedy}"
    );
}

/// Bytes that an unprivileged process may still write where `folder` lies.
pub(crate) fn free_bytes(folder: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(folder)
        .with_context(|| format!("cannot ask how much disk space is free at `{}`", folder.display()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// `free` and `needed` are bytes at `folder`.
pub(crate) fn disk_space(free: u64, needed: u64, folder: &Path) -> Result<()> {
    if free < needed {
        bail!(
            "not enough disk space at `{}`: {} free, {} needed; free at least {} and try again",
            folder.display(),
            megabytes(free),
            megabytes(needed),
            megabytes(needed - free)
        );
    }
    Ok(())
}

/// Rounded up; 1 MB is 10⁶ bytes.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

/// libtorch's bindings are C++, compiled with `CXX` (`given`) or `c++`.
pub(crate) fn cpp_compiler(given: Option<&OsStr>, path: Option<&OsStr>) -> Result<()> {
    // `CXX` may hold a launcher and flags: "ccache g++ -m64".
    let program = given.map(|words| words.to_string_lossy().into_owned());
    let program = program.as_deref().and_then(|words| words.split_whitespace().next());
    if find_program(program.unwrap_or("c++"), path).is_some() {
        return Ok(());
    }
    match program {
        Some(program) => {
            bail!(
                "there is no program `{program}`, which `CXX` names as the C++ compiler: install it or unset `CXX`"
            )
        }
        None => bail!("there is no C++ compiler (`c++`): install one, on Debian with `apt-get install g++`"),
    }
}

/// A `python3` whose `-m pip` works.
pub(crate) fn pip(path: Option<&OsStr>) -> Result<PathBuf> {
    let Some(python) = find_program("python3", path) else {
        bail!(
            "there is no `python3`, whose pip fetches the native libraries: install it, on Debian with `apt-get install python3-pip`"
        );
    };
    let pip = Command::new(&python).args(["-m", "pip", "--version"]).stdin(Stdio::null()).output();
    let pip = pip.with_context(|| format!("cannot start `{}`", python.display()))?;
    if !pip.status.success() {
        bail!(
            "`{}` has no pip, which fetches the native libraries: install it, on Debian with `apt-get install python3-pip`",
            python.display()
        );
    }
    Ok(python)
}

/// As a shell would find it: a name on `PATH`, or a path.
fn find_program(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    let is_program = |file: &PathBuf| {
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(is_program);
    }
    std::env::split_paths(path?).map(|folder| folder.join(name)).find(is_program)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn other_platforms_are_told_what_to_set() {
        assert!(platform("linux", "x86_64", "gnu", "").is_ok());
        for (os, arch, libc) in
            [("macos", "aarch64", ""), ("linux", "aarch64", "gnu"), ("linux", "x86_64", "musl")]
        {
            let error = platform(os, arch, libc, "set `LIBTORCH`").unwrap_err().to_string();
            assert!(
                error.contains(os) && error.contains(arch) && error.ends_with("set `LIBTORCH`"),
                "{error}"
            );
        }
    }

    #[test]
    fn disk_space_is_compared_to_the_byte() {
        assert!(disk_space(10, 10, Path::new("/x")).is_ok());
        let error = disk_space(200_000_000, 1_500_000_001, Path::new("/x")).unwrap_err().to_string();
        assert!(error.contains("`/x`: 200 MB free, 1501 MB needed; free at least 1301 MB"), "{error}");
    }

    #[test]
    fn free_space_is_read_from_the_file_system() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_bytes(folder.path()).unwrap() > 0);
        assert!(free_bytes(&folder.path().join("absent")).is_err());
    }

    #[test]
    fn a_program_is_a_file_that_may_be_executed() {
        let folder = tempfile::tempdir().unwrap();
        let path = Some(folder.path().as_os_str());
        let file = folder.path().join("c++");
        assert!(cpp_compiler(None, path).is_err());
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(cpp_compiler(None, path).is_err());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(cpp_compiler(None, path).is_ok());
        assert!(cpp_compiler(Some(OsStr::new("c++ -m64")), path).is_ok());
        assert!(cpp_compiler(Some(file.as_os_str()), None).is_ok());
        assert!(cpp_compiler(None, None).is_err());
        let error = cpp_compiler(Some(OsStr::new("clang++ -g")), path).unwrap_err().to_string();
        assert!(error.contains("`clang++`, which `CXX` names"), "{error}");
    }
}
