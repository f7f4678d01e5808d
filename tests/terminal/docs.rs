//! The documentation's examples, run as they stand.

use crate::project::Project;

fn page(name: &str) -> String {
    std::fs::read_to_string(format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The first fenced block of a language.
fn block(page: &str, language: &str) -> String {
    let (_, rest) = page.split_once(&format!("\n```{language}\n")).unwrap();
    rest.split_once("\n```").unwrap().0.to_owned() + "\n"
}

#[test]
fn the_plugin_in_another_language_works() {
    let page = page("plugins.md");
    let project = Project::new("unused:\n  run: 'true'\n");
    project.script("pipe-shout", "");
    project.write("pipe-shout", &block(&page, "python"));
    project.write("pipeline.yaml", &block(&page, "yaml"));
    project.write("words.txt", "one\ntwo\n");
    // Where the machine's python3 is, not the test's shortened PATH.
    let path = std::env::var("PATH").unwrap();
    let run = || project.command(&["run"]).env("PATH", &path).output().unwrap();
    let output = run();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(project.read("artifacts/loud/loud.txt"), "ONE!!\nTWO!!\n");
    assert!(project.read("artifacts/report.html").contains("Lines"));
    let pipeline = block(&page, "yaml");
    project.write("pipeline.yaml", &pipeline.replace("!!", "!\\n"));
    let output = run();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("stage `loud`: `mark` has a line break"), "{stderr}");
    project.write("pipeline.yaml", &pipeline);
    std::fs::remove_file(project.path("words.txt")).unwrap();
    std::fs::create_dir(project.path("words.txt")).unwrap();
    let output = run();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is the input a text file?"));
}

/// Compares a file below `docs` with what it should hold, or writes it where the environment says so.
fn assert_up_to_date(name: &str, fresh: &str) {
    let path = format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("PIPE_UPDATE_DOCS").is_some() {
        std::fs::write(&path, fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, fresh, "run `cargo xtask bless` and look at the difference");
}

#[test]
fn the_schema_of_answers_is_up_to_date() {
    let fresh = Project::new("unused:\n  run: 'true'\n").pipe_ok(&["schema", "--cli"]).stdout;
    assert_up_to_date("cli.schema.json", &fresh);
}

#[test]
fn the_protocol_schema_is_up_to_date() {
    let schema = serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What pipe and its plugins say to each other",
        "manifest": schemars::schema_for!(protocol::Manifest),
        "to_plugin": schemars::schema_for!(protocol::ToPlugin),
        "from_plugin": schemars::schema_for!(protocol::FromPlugin),
        "partial": schemars::schema_for!(protocol::Partial),
    });
    let fresh = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    assert_up_to_date("plugin-protocol.schema.json", &fresh);
}

/// The files and folders that a page names in backticks, from the root of the repository.
fn places(page: &str) -> Vec<&str> {
    let quoted = page.split('`').skip(1).step_by(2);
    let roots = ["src/", "crates/", "plugins/", "tests/", "docs/", "fuzz/", "bench/", "xtask/", "examples/"];
    quoted
        .filter(|text| roots.iter().any(|root| text.starts_with(root)) && !text.contains(['*', ' ', '…']))
        .collect()
}

#[test]
fn heads_of_crates_with_terms_of_their_own_name_the_glossary() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = page("glossary.md");
    let crates = ["crates", "plugins"].into_iter().flat_map(|group| {
        let entries = std::fs::read_dir(root.join(group)).unwrap();
        entries.map(move |entry| format!("{group}/{}/src/", entry.unwrap().file_name().to_string_lossy()))
    });
    for folder in crates
        .chain(["src/".to_owned()])
        .filter(|folder| places(&page).iter().any(|place| place.starts_with(folder)))
    {
        let head = ["lib.rs", "main.rs"]
            .into_iter()
            .find_map(|file| std::fs::read_to_string(root.join(&folder).join(file)).ok());
        let head: String = head.unwrap().lines().take_while(|line| line.starts_with("//!")).collect();
        assert!(head.contains("docs/glossary.md"), "the head of `{folder}` does not name the glossary");
    }
}

#[test]
fn the_glossary_names_places_that_are_there_and_is_in_order() {
    let page = page("glossary.md");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let gone: Vec<&str> = places(&page).into_iter().filter(|place| !root.join(place).exists()).collect();
    assert_eq!(gone, [""; 0], "not there any more");
    assert!(places(&page).len() > 50, "the page names where terms live");
    let terms: Vec<String> = page
        .lines()
        .filter_map(|line| {
            Some(line.strip_prefix("- **")?.split_once("**")?.0.replace('`', "").to_lowercase())
        })
        .collect();
    let mut sorted = terms.clone();
    sorted.sort();
    assert_eq!(terms, sorted);
}
