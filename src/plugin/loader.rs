//! What the dynamic loader of glibc says where an executable cannot be started, and what to do about it. Knows its words and
//! no library.

/// What to do where the system could not start an executable because a library that it needs is not there, as the dynamic
/// loader of glibc says it.
pub(super) fn missing_library(said: &str) -> Option<String> {
    let lack = said.lines().find_map(|line| {
        let (_, rest) = line.split_once("error while loading shared libraries: ")?;
        let (library, why) = rest.split_once(": ")?;
        why.starts_with("cannot open shared object file").then_some(library)
    })?;
    Some(format!(
        "it needs the library `{lack}`, which is not found: `cargo xtask setup` gets those of `pipe`'s own plugins; the folder of \
         one that is elsewhere is named in `LD_LIBRARY_PATH`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_found_is_named_with_the_ways_to_get_it() {
        let linux = "    bin/pipe-torch: error while loading shared libraries: libtorch_cpu.so: cannot open shared object \
                     file: No such file or directory";
        let told = missing_library(linux).unwrap();
        assert!(
            told.starts_with(
                "it needs the library `libtorch_cpu.so`, which is not found: `cargo xtask setup` "
            ),
            "{told}"
        );
        for other in ["Segmentation fault", "error while loading shared libraries: x.so: file too short", ""]
        {
            assert_eq!(missing_library(other), None);
        }
    }
}
