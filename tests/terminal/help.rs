//! What `pipe --help` and the help of every command say, word for word.

use clap::CommandFactory;

use crate::project::Project;

#[test]
fn help_reads_as_agreed_on() {
    let project = Project::new("unused:\n  run: 'true'\n");
    let help = |args: &[&str]| {
        let output = project.command(args).env("COLUMNS", "100").output().unwrap();
        assert!(output.status.success(), "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    snapshots::assert_printed!("help", help(&["--help"]));
    for command in pipe::cli::Cli::command().get_subcommands() {
        let name = command.get_name();
        snapshots::assert_printed!(format!("help_{name}"), help(&[name, "--help"]));
    }
}
