//! Where computing happens, and what libtorch was found on this machine. Knows this machine; knows nothing of what is
//! computed on it.

use std::path::{Path, PathBuf};

use anyhow::bail;
use protocol::NativeLibrary;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version that the bindings are built for; they refuse to be built against any other.
const VERSION: &str = "2.11.0";

/// What the user asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Device {
    /// CUDA where there is a device, the CPU otherwise.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The first CUDA device; an error where there is none.
    Cuda,
}

impl Device {
    /// The device to use.
    pub(crate) fn resolve(self) -> anyhow::Result<tch::Device> {
        match (self, cuda()) {
            (Self::Cpu, _) | (Self::Auto, Err(_)) => Ok(tch::Device::Cpu),
            (Self::Auto | Self::Cuda, Ok(())) => Ok(tch::Device::Cuda(0)),
            (Self::Cuda, Err(reason)) => bail!("`device` is cuda, but {reason}; use `device: auto` or `cpu`"),
        }
    }
}

/// A device in words.
pub(crate) fn name(device: tch::Device) -> &'static str {
    match device {
        tch::Device::Cpu => "CPU",
        tch::Device::Cuda(_) => "CUDA",
        tch::Device::Mps | tch::Device::Vulkan => "GPU",
    }
}

/// Whether there is a CUDA device, or why not. libtorch notices CUDA only if its CUDA part is loaded before it is
/// first asked, and this executable does not link that part.
fn cuda() -> Result<(), &'static str> {
    #[cfg(unix)]
    {
        // SAFETY: a constant, terminated string; the library's initialisers are libtorch's own.
        let handle =
            unsafe { libc::dlopen(c"libtorch_cuda.so".as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        if handle.is_null() {
            return Err("`libtorch_cuda.so` cannot be loaded");
        }
    }
    if tch::Cuda::is_available() { Ok(()) } else { Err("no CUDA device is available") }
}

/// libtorch as found on this machine.
pub(crate) fn native() -> NativeLibrary {
    let path = loaded_library();
    let declared = path.as_deref().and_then(declared_version);
    let instructions = if instruction_set().is_empty() {
        "CPU".to_owned()
    } else {
        format!("CPU with {}", instruction_set())
    };
    let accelerator = match cuda() {
        Ok(()) => "CUDA".to_owned(),
        Err(reason) => format!("no CUDA: {reason}"),
    };
    NativeLibrary {
        version: Some(declared.unwrap_or_else(|| VERSION.to_owned())),
        path,
        detail: format!("{instructions}; {accelerator}"),
        remedy: None,
    }
}

/// The file of libtorch that this process runs.
fn loaded_library() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("/libtorch_cpu.so"))?;
    line.find('/').map(|start| PathBuf::from(&line[start..]))
}

/// What the file `build-version` beside the library's folder says.
fn declared_version(library: &Path) -> Option<String> {
    let file = library.parent()?.parent()?.join("build-version");
    Some(std::fs::read_to_string(file).ok()?.trim().to_owned())
}

#[cfg(target_arch = "x86_64")]
fn instruction_set() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx512f") {
        "AVX512"
    } else if std::arch::is_x86_feature_detected!("avx2") {
        "AVX2"
    } else {
        ""
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn instruction_set() -> &'static str {
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorch_is_found_where_it_was_loaded_from() {
        let native = native();
        assert_eq!(native.version.as_deref(), Some(VERSION));
        #[cfg(target_os = "linux")]
        assert!(native.path.unwrap().is_file());
    }

    #[test]
    fn the_cpu_is_always_there() {
        assert_eq!(Device::Cpu.resolve().unwrap(), tch::Device::Cpu);
        if let Err(error) = Device::Cuda.resolve() {
            assert!(error.to_string().contains("`device: auto`"), "{error}");
        }
    }
}
