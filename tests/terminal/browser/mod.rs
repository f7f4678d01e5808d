//! The report in a real browser: every section is there and drawn, what can be pointed at answers, nothing goes wrong and
//! nothing is asked of a network. Pictures of it are left in `target/screenshots` to be looked at.

mod chromium;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::chromium::Page;
use crate::project::{Project, pid};
use crate::ui::Ui;

/// What a stage tells: a figure of every kind, with text that would be markup if it were let.
fn figures() -> Vec<Value> {
    let axis = |label: &str, unit: &str| json!({ "label": label, "unit": unit });
    let series = |name: &str, axis: usize| json!({ "name": name, "axis": axis, "points": [[1, 0.5], [2, 0.7], [3, 0.8]] });
    let figure = |id: &str, content: Value| json!({ "id": id, "title": format!("Figure {id} <b onload=x>"), "content": content });
    let bins: Vec<Value> =
        (0..8).map(|bin| json!({ "low": bin, "high": bin + 1, "count": 10 * bin })).collect();
    // A grey pixel.
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==";
    vec![
        figure(
            "series",
            json!({ "kind": "series", "x": axis("epoch", ""), "y": [axis("loss", ""), axis("rate", "")],
            "series": [series("training", 0), series("rate", 1)] }),
        ),
        figure(
            "table",
            json!({ "kind": "table", "columns": [{ "label": "layer" }, { "label": "error", "unit": "dB", "digits": 1 }],
            "rows": [[{ "text": "stem" }, { "number": 31.25 }], [{ "text": "<script>" }, "empty"]] }),
        ),
        figure(
            "matrix",
            json!({ "kind": "matrix", "row_label": "true", "column_label": "predicted", "rows": ["cat", "dog"],
            "columns": ["cat", "dog"], "values": [[8, 2], [1, 9]] }),
        ),
        figure(
            "histograms",
            json!({ "kind": "histograms", "x": axis("value", ""), "histograms": [{ "name": "relu", "bins": bins,
            "markers": [{ "label": "clipped at", "value": 6.5 }] }] }),
        ),
        figure(
            "distribution",
            json!({ "kind": "distribution", "x": axis("time", "ms"),
            "groups": [{ "name": "fp32", "values": [2.0, 2.1, 2.2, 2.3] }, { "name": "int8", "values": [1.0, 1.1, 1.2, 1.3] }] }),
        ),
        figure(
            "images",
            json!({ "kind": "images", "images": [{ "caption": "taken for a dog", "png": png }] }),
        ),
        figure(
            "graph",
            json!({ "kind": "graph", "nodes": [{ "id": "a", "label": "Conv", "group": "integers", "detail": "kernel: 3" },
            { "id": "b", "label": "Gemm", "group": "floats" }], "edges": [{ "from": "a", "to": "b", "label": "16×8×8" }] }),
        ),
        figure("answer", json!({ "kind": "answer", "text": "Because `int8` is fast." })),
    ]
}

/// A project whose report has every section: two runs, a table, a trade-off, gates that hold and that do not.
fn project() -> Project {
    let project = Project::new("");
    let fake = crate::project::built("examples/pipe-fake");
    let metrics = json!({
        "fp32.accuracy": { "value": 91.8, "unit": "%", "interval": [91.3, 92.3], "basis": "10,000 test images" },
        "int8.accuracy": { "value": 91.7, "unit": "%", "interval": [91.2, 92.2], "basis": "10,000 test images" },
        "fp32.size_kb": { "value": 325.2, "unit": "KB" },
        "int8.size_kb": { "value": 104.8, "unit": "KB" },
    });
    let text = |word: &str| {
        format!(
            "version: 1\nname: seen\nplugins: {{ fake: {} }}\nvars: {{ word: {word} }}\nstages:\n  train:\n    uses: fake/write\n    \
             with: {{ text: \"${{vars.word}}\" }}\n  evaluate:\n    uses: fake/tell\n    inputs: {{ of: train.out }}\n    with: {}\n\
             gates:\n  - evaluate.int8.accuracy >= 85\n  - evaluate.int8.size_kb < 100\n\
             report:\n  title: Seen in a browser\n  rows: {{ FP32: fp32, INT8: int8 }}\n  columns:\n    \
             - {{ label: size KB, metric: \"evaluate.${{row}}.size_kb\", digits: 1, better: lower }}\n    \
             - {{ label: accuracy %, metric: \"evaluate.${{row}}.accuracy\", better: higher }}\n",
            fake.display(),
            json!({ "metrics": metrics, "figures": figures() }),
        )
    };
    for word in ["one", "another"] {
        project.write("pipeline.yaml", &text(word));
        let outcome = project.pipe(&["run"]);
        assert_eq!(outcome.code, Some(3), "a gate fails: {}{}", outcome.stdout, outcome.stderr);
    }
    project
}

fn screenshots() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots")
}

#[test]
fn the_report_is_whole_in_a_browser() {
    let Some(executable) = chromium::executable() else { return };
    let project = project();
    let url = format!("file://{}", project.path("artifacts/report.html").display());
    let mut page = Page::open(&executable);
    for (name, width, dark) in [("light", 1200, false), ("dark", 1200, true), ("phone", 390, false)] {
        page.shape(width, dark);
        page.load(&url);
        page.screenshot(&screenshots().join(format!("report-{name}.png")));
        let overflow =
            page.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert_eq!(overflow, 0, "the page does not scroll sideways, {name}");
        assert_eq!(page.errors(), [""; 0], "{name}");
        assert_eq!(page.requests(), [url.as_str()], "nothing but the file is asked for, {name}");
    }
    let sections = page.eval("[...document.querySelectorAll('main > section')].map(it => it.id)");
    assert_eq!(sections, json!(["result", "answers", "tradeoff", "changes", "stages", "run", "environment"]));
    // Something is drawn in every picture: marks with a size.
    let empty = page.eval(
        "[...document.querySelectorAll('svg.chart')].filter(svg => ![...svg.querySelectorAll('path,rect,circle,line')].some(it => \
         { const b = it.getBoundingClientRect(); return b.width + b.height > 2; })).length",
    );
    assert_eq!(empty, 0);
    let figures = page.eval("[...document.querySelectorAll('#stage-evaluate figure')].length");
    assert_eq!(figures, 7, "of every kind but the answer, which stands above");
    assert_eq!(page.eval("document.querySelectorAll('main script, main b').length"), 0, "text stays text");
    assert!(
        page.eval("document.querySelector('#answers').textContent")
            .as_str()
            .unwrap()
            .contains("Which one to ship?")
    );
}

#[test]
fn the_page_of_an_earlier_run_is_whole_in_a_browser() {
    let Some(executable) = chromium::executable() else { return };
    let project = project();
    project.pipe_ok(&["report", "latest~", "-o", "earlier.html"]);
    std::fs::remove_dir_all(project.path("cache/v1/definitions")).unwrap();
    project.pipe_ok(&["report", "latest~", "-o", "undefined.html"]);
    let mut page = Page::open(&executable);
    for file in ["earlier", "undefined"] {
        let url = format!("file://{}", project.path(&format!("{file}.html")).display());
        for (name, width, dark) in
            [("light", 1200, false), ("dark", 1200, true), ("phone", 390, false), ("phone-dark", 390, true)]
        {
            page.shape(width, dark);
            page.load(&url);
            page.screenshot(&screenshots().join(format!("report-{file}-{name}.png")));
            let overflow =
                page.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth");
            assert_eq!(overflow, 0, "the page does not scroll sideways, {file} {name}");
            assert_eq!(page.errors(), [""; 0], "{file} {name}");
        }
        let params =
            page.eval("document.querySelector('#stage-train dl').textContent").as_str().unwrap().to_owned();
        assert!(
            params.contains("one") && !params.contains("another"),
            "its own parameters, {file}: {params}"
        );
        let result = page.eval("document.querySelector('#result').textContent");
        assert!(result.as_str().unwrap().contains("104.8"), "its numbers, {file}: {result}");
    }
    let note = page.eval("document.querySelector('header.top > p.small').textContent");
    assert!(note.as_str().unwrap().contains("is lost"), "{note}");
}

#[test]
fn what_can_be_pointed_at_answers() {
    let Some(executable) = chromium::executable() else { return };
    let project = project();
    let url = format!("file://{}", project.path("artifacts/report.html").display());
    let mut page = Page::open(&executable);
    page.shape(1200, false);
    page.load(&url);

    page.point("#stage-evaluate circle.hit", false);
    let tip = "document.querySelector('.tip:not([hidden])')?.textContent ?? null";
    assert_eq!(page.wait_for(tip), "training, epoch 1: 0.5 ");
    page.point("h1", false);
    page.wait_for("document.querySelector('.tip').hidden");

    page.eval("document.querySelector('#stage-evaluate svg.chart').focus()");
    for point in ["training, epoch 1: 0.5 ", "training, epoch 2: 0.7 "] {
        page.press("ArrowRight");
        page.wait_for(&format!("{tip} === {point:?}"));
    }
    page.press("Escape");
    page.wait_for("document.querySelector('.tip').hidden");

    page.point("table.results button", true);
    let open = "document.querySelector('[popover]:popover-open')?.textContent ?? ''";
    let provenance = page.wait_for(open);
    for part in ["From stage evaluate", "325.2", "pipe log evaluate", "key", "executed"] {
        assert!(provenance.as_str().unwrap().contains(part), "no `{part}` in {provenance}");
    }
    page.point("[popover]:popover-open a", true);
    assert_eq!(page.wait_for("location.hash"), "#stage-evaluate");
    assert_eq!(page.eval(open), "", "a link leads away from it");

    let dead = page.eval("[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.getElementById(a.getAttribute('href').slice(1))).length");
    assert_eq!(dead, 0);
    assert_eq!(page.errors(), [""; 0]);
}

/// Who uses a keyboard or a screen reader gets all of it.
#[test]
fn the_report_can_be_used_without_a_mouse_or_eyes() {
    let Some(executable) = chromium::executable() else { return };
    let project = project();
    let mut page = Page::open(&executable);
    for dark in [false, true] {
        page.shape(1200, dark);
        page.load(&format!("file://{}", project.path("artifacts/report.html").display()));
        let nameless = page.eval(
            "[...document.querySelectorAll('svg[role=img], img, [role=region], button, a')].filter(it => !(it.getAttribute('aria-label') \
             || it.alt || it.querySelector('title') || it.textContent.trim())).length",
        );
        assert_eq!(nameless, 0, "everything has a name");
        let faint = page.eval(include_str!("contrast.js"));
        assert_eq!(faint, json!([]), "contrast of at least 4.5 (WCAG 2.1, 1.4.3), dark: {dark}");
        let levels = page.eval("[...document.querySelectorAll('h1,h2,h3,h4')].map(it => +it.tagName[1])");
        let levels: Vec<i64> =
            levels.as_array().unwrap().iter().map(|level| level.as_i64().unwrap()).collect();
        assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "no heading is skipped: {levels:?}");
    }
}

/// The report of the real pipeline, whose sections are known by its test.
pub(crate) fn opens_without_a_complaint(report: &Path) {
    let Some(executable) = chromium::executable() else { return };
    let mut page = Page::open(&executable);
    page.shape(1200, false);
    page.load(&format!("file://{}", report.display()));
    page.screenshot(&screenshots().join("report-real.png"));
    assert_eq!(page.errors(), [""; 0]);
    assert_eq!(page.requests().len(), 1, "nothing but the file is asked for");
    let undrawn = page.eval("document.querySelectorAll('main .empty, main .broken').length");
    assert_eq!(undrawn, 0, "every figure is drawn");
}

#[test]
fn pages_of_the_server_follow_a_run_and_lead_to_each_other() {
    let Some(executable) = chromium::executable() else { return };
    let project = Project::new("counting:\n  uses: fake/count\n  with: { to: 5, stick: 3 }\n");
    let ui = Ui::start(&project);
    let mut page = Page::open(&executable);
    page.shape(1200, false);
    page.load(&ui.address());
    page.wait_for("document.getElementById('connection').textContent === 'live'");
    assert_eq!(page.eval("location.search"), "", "the token does not stay in the address");

    let mut run = project.start(&["run"]);
    page.wait_for("document.querySelector('main').textContent.includes('number 3/5')");
    page.screenshot(&screenshots().join("ui-live.png"));
    rustix::process::kill_process(pid(&run), rustix::process::Signal::KILL).unwrap();
    run.wait().unwrap();
    page.wait_for("document.querySelector('main').textContent.includes('Did not end')");
    for text in ["1", "2"] {
        project.set_stages(&format!("one:\n  uses: fake/write\n  with: {{ text: \"{text}\" }}\n"));
        project.pipe_ok(&["run"]);
    }
    page.wait_for("document.querySelectorAll('#runs tbody tr').length === 2");

    page.eval("document.querySelectorAll('#runs input[type=checkbox]').forEach(box => box.click())");
    page.point("#runs button", true);
    page.wait_for("location.pathname.startsWith('/compare/') && document.readyState === 'complete'");
    page.screenshot(&screenshots().join("ui-compare.png"));
    assert!(
        page.eval("document.querySelector('main').textContent").as_str().unwrap().contains("one.with.text")
    );
    page.point("a[href^='/runs/']", true);
    page.wait_for("location.pathname.startsWith('/runs/') && document.readyState === 'complete'");
    assert_eq!(page.eval("document.querySelectorAll('#result').length"), 1);
    assert_eq!(page.errors(), [""; 0]);
}

#[test]
fn a_page_elsewhere_does_not_lead_to_pages_of_the_server() {
    let Some(executable) = chromium::executable() else { return };
    let project = Project::new("one:\n  uses: fake/write\n");
    let ui = Ui::start(&project);
    let mut page = Page::open(&executable);
    page.shape(1200, false);
    page.load(&ui.address());
    assert_eq!(page.eval("document.querySelector('h2').textContent"), "Runs");
    project.write("elsewhere.html", &format!("<a href=\"{}\">there</a>", ui.address()));
    page.load(&format!("file://{}", project.path("elsewhere.html").display()));
    page.point("a", true);
    page.wait_for("document.body?.textContent.includes('another address or port led here')");
}

/// A browser has six connections to a server at once.
#[test]
fn many_tabs_are_open_at_once_and_each_knows_the_latest_when_it_is_looked_at() {
    let Some(executable) = chromium::executable() else { return };
    let project = Project::new(
        "one:\n  run: 'echo first; while [ ! -e go ]; do sleep 0.01; done; echo second; echo third; true'\n",
    );
    let ui = Ui::start(&project);
    let mut run = project.start(&["run"]);
    let mut page = Page::open(&executable);
    page.load(&ui.address());
    page.wait_for("!!document.querySelector('a.live-name')");
    let live = "document.getElementById('connection')?.textContent === 'live'";
    let origin = page.eval("location.origin");
    let at = |path: &str| format!("{}{path}", origin.as_str().unwrap());
    let log = page.open_tab(&at("/stages/one/log"));
    page.wait_for(live);
    page.wait_for("document.getElementById('log').textContent.includes('first')");
    for _ in 0..7 {
        page.open_tab(&at("/"));
        page.wait_for(live);
    }
    project.write("go", "");
    assert!(run.wait().unwrap().success());
    page.wait_for("document.querySelectorAll('#runs tbody tr').length === 1");
    page.show_tab(&log);
    page.wait_for("document.getElementById('log-heading').textContent.startsWith('Executed')");
    let words = page.eval(
        "document.getElementById('log').textContent.match(/ (first|second|third)$/gm).map(it => it.trim())",
    );
    assert_eq!(words, json!(["first", "second", "third"]), "all of it, nothing twice");
    assert_eq!(page.errors(), [""; 0]);
}

#[test]
fn what_somebody_is_in_stays_until_they_leave_it() {
    let Some(executable) = chromium::executable() else { return };
    let project = Project::new("");
    let run = |text: &str| {
        project.set_stages(&format!("one:\n  uses: fake/write\n  with: {{ text: \"{text}\" }}\n"));
        project.pipe_ok(&["run"]);
    };
    run("1");
    let ui = Ui::start(&project);
    let mut page = Page::open(&executable);
    page.load(&ui.address());
    page.wait_for("document.getElementById('connection').textContent === 'live'");
    let rows = "document.querySelectorAll('#runs tbody tr').length";
    let selects = "document.getSelection().selectAllChildren(document.querySelector('#runs h2'))";
    for (seen, enter, is_in, leave) in [
        (
            1,
            "document.querySelector('#runs input').focus()",
            "document.activeElement.matches('#runs input')",
            "document.activeElement.blur()",
        ),
        (2, selects, "document.getSelection().toString() === 'Runs'", "document.getSelection().empty()"),
    ] {
        page.eval(enter);
        run(&format!("after {seen}"));
        page.wait_for("document.getElementById('connection').textContent === 'live, but for where you are'");
        assert_eq!((page.eval(is_in), page.eval(rows)), (json!(true), json!(seen)), "{enter}");
        page.eval(leave);
        page.wait_for(&format!("{rows} === {}", seen + 1));
        assert_eq!(page.eval("document.getElementById('connection').textContent"), "live");
    }
    assert_eq!(page.errors(), [""; 0]);
}
