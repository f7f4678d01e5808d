//! Tells the executable where libtorch lies, so that it runs without `LD_LIBRARY_PATH`: the folder it was linked
//! against, and, for a tree that was moved, that same folder seen from `target/PROFILE`.

use std::env;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-env-changed=LIBTORCH_LIB");
    let home = env::var_os("LIBTORCH_LIB").or_else(|| env::var_os("LIBTORCH"));
    let Some(library) = home.map(|home| Path::new(&home).join("lib")) else { return };
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", library.display());
    if env::var_os("CARGO_CFG_TARGET_OS").is_some_and(|os| os == "linux") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN/../../native/libtorch/lib");
    }
}
