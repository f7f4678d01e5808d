//! README.md and docs/: links lead somewhere, commands are commands, figures are those that were measured.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap::error::ErrorKind;

use crate::bench::{python, python_is_there};
use crate::project::{Project, built};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn markdown_in(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            markdown_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// Every page with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths = ["README.md", "bench/README.md", "fuzz/README.md"].map(|name| root().join(name)).to_vec();
    markdown_in(&root().join("docs"), &mut paths);
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path, text)
        })
        .collect()
}

/// A line of a page, and the language of the fenced block that it stands in; text has none.
fn lines(page: &str) -> Vec<(Option<&str>, &str)> {
    let (mut language, mut found) = (None, vec![]);
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), language) {
            (Some(opened), None) => language = Some(opened),
            (Some(_), Some(_)) => language = None,
            (None, _) => found.push((language, line)),
        }
    }
    found
}

/// A page's text without code.
fn prose(page: &str) -> String {
    let text: Vec<&str> =
        lines(page).into_iter().filter(|(code, _)| code.is_none()).map(|(_, line)| line).collect();
    text.join("\n").split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// What stands between a mark and what ends it, each time.
fn between<'t>(text: &'t str, mark: &str, end: char) -> Vec<&'t str> {
    text.split(mark).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0)).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = lines(page).into_iter().filter_map(|(code, line)| {
        let text = line.trim_start_matches('#');
        (code.is_none() && text.len() < line.len()).then_some(text.strip_prefix(' ')?)
    });
    headings
        .map(|heading| {
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().to_lowercase().replace(' ', "-")
        })
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut checked = 0;
    for (path, page) in pages() {
        let prose = prose(&page);
        let links = between(&prose, "](", ')').into_iter().chain(between(&prose, "src=\"", '"'));
        for link in links.filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: nothing is at `{link}`", path.display());
            if !anchor.is_empty() {
                let there = anchors(&std::fs::read_to_string(&target).unwrap());
                assert!(there.contains(anchor), "{}: no heading is `{link}`: {there:?}", path.display());
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "only {checked} links were found");
}

/// The commands of a line for a shell, as words: what stands between `|`, `&&`, `;` and the like. Comments and
/// redirections are left out.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut word, mut quote) = (vec![vec![]], None::<String>, None);
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, quote) {
            (_, Some(open)) if char == open => quote = None,
            (_, Some(_)) => word.get_or_insert_default().push(char),
            ('\'' | '"', None) => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            ('#', None) if word.is_none() => break,
            (' ' | '|' | '&' | ';' | '>' | '<', None) => {
                commands.last_mut().unwrap().extend(word.take());
                match char {
                    ' ' => {}
                    '>' | '<' => {
                        // The file is no word of the command.
                        while chars.next_if(|next| " >&".contains(*next)).is_some() {}
                        while chars.next_if(|next| !" |;".contains(*next)).is_some() {}
                    }
                    _ => commands.push(vec![]),
                }
            }
            (_, None) => word.get_or_insert_default().push(char),
        }
    }
    commands.last_mut().unwrap().extend(word);
    commands
}

/// The commands of `pipe` among those of a line.
fn commands_of_pipe(line: &str) -> Vec<Vec<String>> {
    let is_assignment = |word: &String| {
        word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    };
    let mut found = commands(line);
    for command in &mut found {
        let assignments = command.iter().take_while(|word| is_assignment(word)).count();
        command.drain(..assignments);
    }
    found.retain(|command| command.first().is_some_and(|program| program == "pipe"));
    found
}

#[test]
fn lines_are_taken_apart_as_a_shell_does() {
    let found = |line: &str| {
        commands_of_pipe(line).iter().map(|words| words.join("·")).collect::<Vec<_>>().join(" / ")
    };
    assert_eq!(found("pipe run 'train[lr=0.1]' # why"), "pipe·run·train[lr=0.1]");
    assert_eq!(
        found("X=1 pipe gc -n > out.txt && pipe status | pipe why \"a b\""),
        "pipe·gc·-n / pipe·status / pipe·why·a b"
    );
    assert_eq!(found("cargo run; echo pipe; # pipe nonsense"), "");
}

#[test]
fn every_command_that_is_shown_is_understood() {
    let understood = |words: &[String]| pipe::cli::Cli::command().try_get_matches_from(words).map(drop);
    let mut checked = 0;
    for (path, page) in pages() {
        for (language, line) in lines(&page) {
            let line = match language {
                Some("console") => line.trim_start().strip_prefix("$ "),
                Some("sh" | "bash") => Some(line),
                _ => None,
            };
            for words in commands_of_pipe(line.unwrap_or_default()) {
                if let Err(error) = understood(&words) {
                    panic!("{}: {words:?}\n{error}", path.display());
                }
                checked += 1;
            }
        }
        // Within a sentence a command may be shortened, and names stand for values. With a comma it is a label.
        let text: Vec<&str> =
            lines(&page).into_iter().filter(|(code, _)| code.is_none()).map(|(_, line)| line).collect();
        for code in text
            .join(" ")
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|code| code.starts_with("pipe ") && !code.contains(','))
        {
            for words in commands_of_pipe(code) {
                if let Err(error) = understood(&words) {
                    let wrong = [ErrorKind::UnknownArgument, ErrorKind::InvalidSubcommand];
                    assert!(!wrong.contains(&error.kind()), "{}: `{code}`\n{error}", path.display());
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 80, "only {checked} commands were found");
}

/// Numbers with a fraction: figures, in a text without code.
fn figures(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .map(|number| number.trim_matches('.'))
        .filter(|number| number.contains('.'))
        .map(str::to_owned)
        .collect()
}

/// The figures below each heading of the second level, by its anchor.
fn figures_by_section(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let sections = page.split("\n## ").skip(1);
    sections
        .flat_map(|section| {
            let anchors = anchors(&format!("## {section}"));
            anchors.into_iter().map(|anchor| (anchor, figures(section)))
        })
        .collect()
}

/// A figure must stand in the section that its line links to or, where it links to none, the words above its table do.
#[test]
fn decisions_rest_on_the_figures_of_the_benchmarks() {
    let read = |name: &str| std::fs::read_to_string(root().join("docs").join(name)).unwrap();
    let known = figures_by_section(&read("benchmarks.md"));
    let (mut above, mut checked) = (BTreeSet::new(), 0);
    for line in read("decisions.md").lines() {
        let linked: BTreeSet<String> =
            between(line, "(benchmarks.md#", ')').into_iter().map(str::to_owned).collect();
        match line {
            line if line.starts_with("## ") => above.clear(),
            line if !line.starts_with('|') && !linked.is_empty() => above.clone_from(&linked),
            _ => {}
        }
        // What a comment in the code says is linked to the code, and not measured by a script.
        if ["(../crates/", "(../src/", "(../Cargo"].iter().any(|code| line.contains(code)) {
            continue;
        }
        let sections = if linked.is_empty() { &above } else { &linked };
        for figure in figures(&prose(line)) {
            checked += 1;
            assert!(
                sections
                    .iter()
                    .any(|section| known.get(section).is_some_and(|known| known.contains(&figure))),
                "docs/decisions.md has {figure}, which is not in {sections:?} of docs/benchmarks.md:\n{line}"
            );
        }
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn a_run_is_recorded_as_a_picture() {
    if !python_is_there() {
        return;
    }
    let project =
        Project::new("greet:\n  run: 'echo hello > ${outputs.text}'\n  outputs: { text: hello.txt }\n");
    let file = |name: &str| project.path(name).to_str().unwrap().to_owned();
    let command = format!("{} run --color always -f {}", built("pipe").display(), file("pipeline.yaml"));
    let (recorded, said) = python(&[
        "docs/record.py",
        &file("run.svg"),
        &command,
        "--keep",
        &file("run.cast"),
        "--seconds",
        "2",
    ]);
    assert!(recorded, "{said}");
    let picture = project.read("run.svg");
    for text in [">greet", "ran in", "1 stage ran", "@keyframes", "prefers-reduced-motion"] {
        assert!(picture.contains(text), "{text} is not in\n{picture}");
    }
    // The one address is the name of the format.
    assert!(!picture.contains("<script") && picture.matches("://").count() == 1, "{picture}");
    let (drawn, said) =
        python(&["docs/record.py", &file("again.svg"), "--from", &file("run.cast"), "--seconds", "2"]);
    assert!(drawn, "{said}");
    assert_eq!(project.read("again.svg"), picture);

    let (recorded, said) = python(&["docs/record.py", &file("no.svg"), "false"]);
    assert!(!recorded && said.contains("`false` ended with exit code 1"), "{said}");
    assert!(!project.path("no.svg").exists());
}
