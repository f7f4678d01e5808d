//! Secrets: what a user may write into a pipeline or hand over in the environment, and where it must not be found again.

use std::path::Path;

use crate::project::Project;

/// Files below a folder, apart from the pipeline itself, that hold one of these texts.
fn leaks(folder: &Path, secrets: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap) {
        if !entry.file_type().is_file() || entry.file_name() == "pipeline.yaml" {
            continue;
        }
        let text = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
        for secret in secrets.iter().filter(|secret| text.contains(**secret)) {
            found.push(format!("{secret} in {}", entry.path().display()));
        }
    }
    found
}

const STAGES: &str = "
fetch:
  uses: fake/write
  with: { source: 'https://me:hunter2pass@host.invalid/x?X-Amz-Signature=signature99' }
shout:
  run: |
    echo the token is $PIPE_TEST_TOKEN
    printf 'user:%s' \"$PIPE_TEST_TOKEN\" | base64
    echo ${params.url} ${inputs.text} $DATABASE $LOGIN $NEXT > /dev/stderr
    echo ${params.url} | sed 's|.*invalid|GET |'
    test \"$FAIL\" = no
  params: { url: 'https://me:otherpass1@host.invalid/y?key=querykey77' }
  env:
    FAIL: 'FAILS'
    URL: 'https://token5566@host.invalid'
    DATABASE: 'Server=h;Database=d;Password=databasepass3;Encrypt=yes'
    LOGIN: 'me:loginpass4@host.invalid/path'
    NEXT: '/to?next=https%253A%252F%252Fme%253Atwicepass5%2540host.invalid'
  inputs: { text: fetch.out }
  secrets: [PIPE_TEST_TOKEN]
";

const SECRETS: &[&str] = &[
    "hunter2pass",
    "signature99",
    "otherpass1",
    "querykey77",
    "token5566",
    "databasepass3",
    "loginpass4",
    "twicepass5",
    "t0p-s3cr3t",
    "dDBwLXMzY3IzdA",
];

#[test]
fn no_secret_is_shown_or_kept_anywhere() {
    let mut said = String::new();
    let project = Project::new(&STAGES.replace("FAILS", "yes"));
    let with_var = || {
        let text = project.read("pipeline.yaml");
        project.write(
            "pipeline.yaml",
            &text.replace("name: test", "name: test\nvars: { url: 'http://u:varpass@h/' }"),
        );
    };
    with_var();
    let mut pipe = |args: &[&str], expected: Option<i32>| {
        let output = project.command(args).env("PIPE_TEST_TOKEN", "t0p-s3cr3t").output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert_eq!(output.status.code(), expected, "{args:?} {text}");
        said.push_str(&text);
        text
    };
    let text = pipe(&["run", "--set", "url=https://u:setpass88@h/?a=b"], Some(1));
    assert!(text.contains("the token is ***"), "{text}");
    pipe(&["log", "shout"], Some(0));
    pipe(&["run", "--json"], Some(1));
    project.set_stages(&STAGES.replace("FAILS", "no"));
    with_var();
    pipe(&["run"], Some(0));
    for args in [
        &["status", "--json"][..],
        &["why", "shout", "--all"],
        &["why", "fetch", "--all", "--json"],
        &["graph", "--json"],
        &["log", "shout"],
        &["history", "--json"],
        &["compare"],
        &["run", "--force", "--json"],
        &["-vvv", "run", "--force", "--profile-to", "trace.json"],
        &["-vvv", "--log-format", "json", "run", "--force"],
    ] {
        pipe(args, Some(0));
    }
    // A mistake is shown with its line.
    project.set_stages(&STAGES.replace("FAILS", "no").replace("with: { source", "with: { tezt: 1, source"));
    pipe(&["status"], Some(2));
    for secret in SECRETS.iter().chain(&["setpass88", "varpass"]) {
        assert!(!said.contains(secret), "{secret} is shown:\n{said}");
    }
    assert_eq!(leaks(&project.path("."), SECRETS), [""; 0]);
    assert!(said.contains("https://***@host.invalid/x?***"), "{said}");
}

#[test]
fn what_a_pipeline_calls_itself_and_its_parts_is_shown_and_kept_without_secrets() {
    let project = Project::new("unused:\n  run: 'true'\n");
    let text = format!(
        "version: 1\nname: 'n https://u:NAMEPASSWD@h/'\nplugins: {{ fake: {} }}\n\
         profiles: {{ 'https://u:PROFILEPASS@h/': {{ v: 2 }} }}\nvars: {{ v: 1 }}\nstages:\n  \
         one:\n    uses: fake/write\n    description: see https://u:DESCPASSWD@h/\n    \
         matrix: {{ e: ['https://u:MATRIXPASS@h/', b] }}\n    with: {{ text: 'v ${{vars.v}}' }}\n  \
         three:\n    uses: fake/pick\n  \
         two:\n    run: HUB=https://u:WORDPASSWD@h/ true\n\
         report:\n  title: of https://u:TITLEPASS@h/\n  rows: {{ 'row https://u:ROWPASSWDD@h/': three }}\n  \
         columns: [{{ label: 'x https://u:LABELPASS@h/', metric: '${{row}}.picked' }}]\n",
        crate::project::built("examples/pipe-fake").display()
    );
    project.write("pipeline.yaml", &text);
    let secrets = [
        "NAMEPASSWD",
        "PROFILEPASS",
        "DESCPASSWD",
        "MATRIXPASS",
        "WORDPASSWD",
        "TITLEPASS",
        "ROWPASSWDD",
        "LABELPASS",
    ];
    let profile = ["--profile", "https://u:PROFILEPASS@h/"];
    for args in [
        &["run"][..],
        &["run"],
        &["run", "--force", "--json"],
        &["status"],
        &["graph"],
        &["graph", "--json"],
        &["graph", "--format", "dot"],
        &["graph", "--format", "svg"],
        &["graph", "--format", "mermaid"],
        &["history"],
        &["report", "-o", "page.html"],
        &["report", "-o", "page.md"],
        &["report", "--json"],
    ] {
        let takes_profile = matches!(args[0], "run" | "status" | "graph");
        let args = [args, if takes_profile { &profile } else { &[] }].concat();
        let outcome = project.pipe_ok(&args);
        let said = outcome.stdout + &outcome.stderr;
        for secret in secrets {
            assert!(!said.contains(secret), "{args:?}: {secret}: {said}");
        }
    }
    assert_eq!(leaks(&project.path("."), &secrets), [""; 0]);
}

/// Says its secret in every message that the protocol has.
const LEAKY: &str = r#"if [ "$1" = describe ]; then
echo '{"protocol":1,"plugin":"leaky","version":"1","ops":{"say":{"description":"Says it.","version":1,"params":{"type":"object"}}}}'
exit 0
fi
echo '{"type":"hello","version":1}'
read hello; read run
t=$PIPE_TEST_TOKEN
echo "{\"type\":\"log\",\"level\":\"warn\",\"message\":\"log $t\"}"
echo "{\"type\":\"progress\",\"done\":1,\"total\":2,\"unit\":\"$t\",\"text\":\"$t\",\"milestone\":true}"
echo "{\"type\":\"metric\",\"name\":\"m\",\"metric\":{\"value\":1,\"unit\":\"$t\",\"basis\":\"one $t\"}}"
echo "{\"type\":\"figure\",\"id\":\"f\",\"title\":\"$t\",\"caption\":\"$t\",\"content\":{\"kind\":\"table\",\"columns\":[{\"label\":\"$t\"}],\"rows\":[[{\"text\":\"$t\"}]]}}"
echo "error $t" >&2
"#;

#[test]
fn whatever_a_plugin_says_of_its_secret_is_hidden() {
    let ends = [
        (r#"echo "{\"type\":\"done\",\"provisional\":\"busy $t\"}""#, 0),
        (r#"echo "{\"type\":\"failed\",\"message\":\"no $t\",\"hint\":\"give $t\"}""#, 1),
        (r#"echo "no message but $t""#, 1),
        ("exit 3", 1),
    ];
    for (end, code) in ends {
        let project = Project::new("one:\n  uses: leaky/say\n  secrets: [PIPE_TEST_TOKEN]\n");
        let pipeline = project.read("pipeline.yaml");
        project.write("pipeline.yaml", &pipeline.replace("plugins:\n", "plugins:\n  leaky: ./pipe-leaky\n"));
        project.script("pipe-leaky", &format!("{LEAKY}{end}\n"));
        let mut said = String::new();
        for args in [&["run", "--json"][..], &["run"], &["status"], &["log", "one"], &["history", "--json"]] {
            let output = project.command(args).env("PIPE_TEST_TOKEN", "t0p-s3cr3t").output().unwrap();
            let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
            if args.contains(&"run") {
                assert_eq!(output.status.code(), Some(code), "{end}: {text}");
                assert!(text.contains("***"), "{end}: {text}");
            }
            said.push_str(&text);
        }
        assert!(!said.contains("t0p-s3cr3t"), "{end}: {said}");
        assert_eq!(leaks(&project.path("."), &["t0p-s3cr3t"]), [""; 0], "{end}");
    }
}

#[test]
fn a_missing_secret_is_told_before_anything_runs_and_what_is_cached_needs_none() {
    let stages = "first:\n  run: echo 1 > ${outputs.o}\n  outputs: { o: o.txt }\nsecond:\n  run: echo ${#PIPE_TEST_TOKEN} > ${outputs.o}\n  \
                  inputs: { i: first.o }\n  outputs: { o: o.txt }\n  secrets: [PIPE_TEST_TOKEN]\n";
    let project = Project::new(&stages.replace("${#", "$${#"));
    let run = |token: Option<&str>| {
        let mut command = project.command(&["run"]);
        match token {
            Some(token) => command.env("PIPE_TEST_TOKEN", token),
            None => command.env_remove("PIPE_TEST_TOKEN"),
        };
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for token in [None, Some("")] {
        let (code, message) = run(token);
        assert_eq!(code, Some(2), "{message}");
        assert!(message.contains("stage `second`: secret `PIPE_TEST_TOKEN` is not set"), "{message}");
        assert!(!project.path("artifacts").exists(), "something ran");
    }
    let dry = project.command(&["run", "--dry-run"]).env_remove("PIPE_TEST_TOKEN").output().unwrap();
    assert_eq!(dry.status.code(), Some(2));
    assert!(String::from_utf8(dry.stderr).unwrap().contains("secret `PIPE_TEST_TOKEN` is not set"));
    let (code, message) = run(Some("abc"));
    assert_eq!(code, Some(0), "{message}");
    assert!(message.contains("the value of `PIPE_TEST_TOKEN` is too short to be hidden"), "{message}");
    assert_eq!(project.read("artifacts/second/o.txt"), "3\n");
    assert_eq!(run(None).0, Some(0), "what is fresh needs no secret");
    std::fs::remove_dir_all(project.path("artifacts")).unwrap();
    assert_eq!(run(Some("another")).0, Some(0));
    let log = project.pipe_ok(&["history", "--json"]).stdout;
    assert!(log.contains("restored"), "the value is no part of the key: {log}");
}

#[test]
fn a_signed_url_is_the_same_source_where_a_checksum_says_so() {
    let project = Project::new("");
    let set = |url: &str| {
        project.set_stages(&format!("fetch:\n  uses: fake/write\n  with: {{ source: '{url}' }}\n"));
    };
    set("https://host.invalid/x?sig=111111111#sha256=ab");
    project.pipe_ok(&["run"]);
    set("https://host.invalid/x?sig=222222222#sha256=ab");
    assert!(project.pipe_ok(&["why", "fetch"]).stdout.contains("fetch is fresh"));
    set("https://host.invalid/x?sig=111111111");
    project.pipe_ok(&["run"]);
    set("https://host.invalid/x?sig=222222222");
    let why = project.pipe_ok(&["why", "fetch"]).stdout;
    assert!(
        why.contains("only what is hidden of `with.source` differs") && why.contains("#sha256=…"),
        "{why}"
    );
}

#[test]
fn a_command_gets_proxies_without_their_credentials_unless_it_lists_them() {
    let stage = |more: &str| {
        format!(
            "s:\n  run: echo \"$HTTPS_PROXY $all_proxy\" | tr a-z A-Z > ${{outputs.o}}\n  outputs: {{ o: o.txt }}\n{more}"
        )
    };
    let project = Project::new(&stage(""));
    let run = || {
        let mut command = project.command(&["run", "--force"]);
        command.env("HTTPS_PROXY", "http://me:proxypass@proxy:3128").env("all_proxy", "me:proxypass@proxy:1");
        assert!(command.output().unwrap().status.success());
        project.read("artifacts/s/o.txt")
    };
    assert_eq!(run(), "HTTP://PROXY:3128 PROXY:1\n");
    project.set_stages(&stage("  secrets: [HTTPS_PROXY]\n"));
    // As it is it would be refused: see below.
    assert_eq!(run(), "HTTP://ME:PROXYPASS@PROXY:3128 PROXY:1\n");
}

#[test]
fn an_output_that_holds_a_secret_is_not_kept() {
    let stage = |run: &str| {
        format!(
            "login:\n  run: D=${{outputs.d}}; O=${{outputs.o}}; {run}\n  outputs: {{ o: o.txt, d: d }}\n  \
             secrets: [PIPE_TEST_TOKEN, PIPE_TEST_OTHER]\n"
        )
    };
    let made = "mkdir -p $D/sub && echo ok > $D/sub/x && echo ok > $O";
    let project = Project::new("");
    let run = |run: &str| {
        project.set_stages(&stage(run));
        let mut command = project.command(&["run"]);
        command.env("PIPE_TEST_TOKEN", "t0p-s3cr3t").env("PIPE_TEST_OTHER", "other-value").output().unwrap()
    };
    let cases = [
        (
            "echo 12$PIPE_TEST_TOKEN > $O",
            "its output `o` (`o.txt`) holds the value of its secret `PIPE_TEST_TOKEN`, from byte 3 on",
        ),
        (
            "echo $PIPE_TEST_OTHER > $D/sub/config",
            "`sub/config` in its output `d` (`d`) holds the value of its secret `PIPE_TEST_OTHER`, from byte 1 on",
        ),
        (
            "printf u:$PIPE_TEST_TOKEN | base64 > $D/z",
            "`z` in its output `d` (`d`) holds the value of its secret `PIPE_TEST_TOKEN`, from byte 4 on",
        ),
        (
            "touch $D/$PIPE_TEST_TOKEN",
            "a name in its output `d` (`d`) holds the value of its secret `PIPE_TEST_TOKEN`;",
        ),
    ];
    for (leak, told) in cases {
        let output = run(&format!("{made} && {leak}"));
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(told) && !said.contains("t0p-s3cr3t"), "{said}");
        assert_eq!(
            leaks(&project.path("."), &["t0p-s3cr3t", "other-value", "dDBwLXMzY3IzdA"]),
            [""; 0],
            "{leak}"
        );
        let kept = walkdir::WalkDir::new(project.path(".")).into_iter().map(Result::unwrap);
        let names: Vec<_> = kept.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        assert!(!names.iter().any(|name| name.contains("t0p-s3cr3t")), "{names:?}");
        assert!(!project.path("artifacts/login").exists());
    }
    let output = run(made);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(project.read("artifacts/login/d/sub/x"), "ok\n");
}
