//! What the design promises of the code itself.

use std::process::Command;

fn tree(package: &str) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", package, "--edges", "normal,build", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_runner_knows_no_native_library() {
    let tree = tree("pipe");
    assert!(tree.contains("blake3"), "{tree}");
    for name in ["torch-sys", "ort-sys", "tch ", "ort "] {
        assert!(!tree.lines().any(|line| line.starts_with(name)), "`pipe` depends on `{name}`");
    }
}

#[test]
fn plugins_do_not_depend_on_the_runner() {
    for plugin in ["pipe-data", "pipe-torch", "pipe-onnx"] {
        let tree = tree(plugin);
        assert!(!tree.lines().any(|line| line.starts_with("pipe v")), "{plugin} depends on the runner");
    }
}

#[test]
fn the_map_names_every_module_and_crate() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    for folder in ["src", "crates", "plugins"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            // A module's own folder stands beside its file, which is named.
            let file = format!("{name}.rs");
            let named = map.contains(&format!(" {name} ")) || map.contains(&format!(" {name}/ "));
            let exempt =
                matches!(name.as_str(), "lib.rs" | "main.rs") || root.join(folder).join(&file).exists();
            assert!(named || exempt, "docs/architecture.md does not name `{folder}/{name}`");
        }
    }
}
