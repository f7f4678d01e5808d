//! Chromium without a window, spoken to over a pair of pipes (Chrome DevTools Protocol, `--remote-debugging-pipe`: JSON
//! messages that end with a zero byte). Knows pages, nothing of what they show.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// Names that the browser goes by.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Longer than anything that is waited for here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser, of which one tab is the page that is looked at.
pub(super) struct Page {
    browser: Child,
    to: ChildStdin,
    /// Its messages, read by a thread of their own: a browser that hangs is noticed.
    from: Receiver<Value>,
    tab: Option<Tab>,
    last_id: u64,
    /// Everything that the page's browser told unasked, in order.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// A tab of the browser.
#[derive(Clone)]
pub(super) struct Tab {
    target: Value,
    session: Value,
}

/// The browser's executable; a test that needs one cannot be passed over in CI.
pub(super) fn executable() -> Option<PathBuf> {
    let found = NAMES.iter().find_map(|name| {
        let folders = ["/usr/bin", "/usr/local/bin", "/snap/bin"];
        folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
    });
    assert!(
        found.is_some() || std::env::var_os("CI").is_none(),
        "CI needs Chromium: apt-get install chromium"
    );
    if found.is_none() {
        println!("skipped: there is no Chromium (apt-get install chromium)");
    }
    found
}

impl Page {
    /// Starts the browser with an empty page.
    pub(super) fn open(executable: &Path) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The browser reads from descriptor 3 and writes to 4, which the shell puts in place.
        let script = "exec \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null";
        let mut browser = Command::new("/bin/sh")
            .args(["-c", script, "sh"])
            .arg(executable)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"])
            .args(["--disable-dev-shm-usage", "--disable-background-networking", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, mut messages) =
            (browser.stdin.take().unwrap(), BufReader::new(browser.stdout.take().unwrap()));
        let (sender, from) = channel();
        std::thread::spawn(move || {
            let mut bytes = vec![];
            while messages.read_until(0, &mut bytes).is_ok() && bytes.pop() == Some(0) {
                if sender.send(serde_json::from_slice(&bytes).unwrap()).is_err() {
                    break;
                }
                bytes.clear();
            }
        });
        let mut page = Self { browser, to, from, tab: None, last_id: 0, events: vec![], _profile: profile };
        page.open_tab("about:blank");
        page
    }

    /// Opens an address in a tab before all others. It is the page from now on.
    pub(super) fn open_tab(&mut self, url: &str) -> Tab {
        // Asked of the browser, not of a tab.
        self.tab = None;
        let target = self.ask("Target.createTarget", json!({ "url": url }))["targetId"].take();
        let attach = json!({ "targetId": target, "flatten": true });
        let session = self.ask("Target.attachToTarget", attach)["sessionId"].take();
        let tab = Tab { target, session };
        self.tab = Some(tab.clone());
        for domain in ["Page", "Runtime", "Network", "Log"] {
            self.ask(&format!("{domain}.enable"), json!({}));
        }
        tab
    }

    /// Brings a tab before all others. It is the page from now on.
    pub(super) fn show_tab(&mut self, tab: &Tab) {
        self.tab = None;
        self.ask("Target.activateTarget", json!({ "targetId": tab.target }));
        self.tab = Some(tab.clone());
    }

    /// Width of the page in CSS pixels, and whether it is dark.
    pub(super) fn shape(&mut self, width: u32, dark: bool) {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.ask("Emulation.setDeviceMetricsOverride", size);
        let scheme = if dark { "dark" } else { "light" };
        // What still moves when it is clicked would be missed.
        let still = json!({ "name": "prefers-reduced-motion", "value": "reduce" });
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }, still] });
        self.ask("Emulation.setEmulatedMedia", features);
    }

    /// Loads an address and waits until all of it is there.
    pub(super) fn load(&mut self, url: &str) {
        self.events.clear();
        let outcome = self.ask("Page.navigate", json!({ "url": url }));
        assert!(outcome["errorText"].is_null(), "{url}: {outcome}");
        let session = self.tab.as_ref().map(|tab| tab.session.clone());
        let is_loaded = |event: &Value| {
            event["method"] == "Page.loadEventFired" && event.get("sessionId") == session.as_ref()
        };
        while !self.events.iter().any(is_loaded) {
            let event = self.read();
            self.events.push(event);
        }
    }

    /// Value of a JavaScript expression; a promise is waited for.
    pub(super) fn eval(&mut self, expression: &str) -> Value {
        self.try_eval(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    fn try_eval(&mut self, expression: &str) -> Result<Value, Value> {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", &params);
        for error in [answer["error"].take(), answer["result"]["exceptionDetails"].take()] {
            if !error.is_null() {
                return Err(error);
            }
        }
        Ok(answer["result"]["result"]["value"].take())
    }

    /// Value of a JavaScript expression as soon as it is true. While a page is on its way there may be nothing yet to
    /// ask.
    pub(super) fn wait_for(&mut self, expression: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_eval(expression) {
                Ok(value) if !matches!(value, Value::Null | Value::Bool(false)) && value != "" => {
                    return value;
                }
                value => assert!(Instant::now() < deadline, "waited in vain for {expression}: {value:?}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Moves the mouse onto the middle of the first element that a selector finds, and clicks it where asked.
    pub(super) fn point(&mut self, selector: &str, click: bool) {
        let found = self.eval(&format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{ block: 'center', behavior: 'instant' }}); \
             const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }})()"
        ));
        // Scrolling tells the page, which must have heard it before the mouse moves.
        self.eval("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))");
        let event = |kind: &str| json!({ "type": kind, "x": found[0], "y": found[1], "button": "left", "clickCount": 1 });
        let moved = json!({ "type": "mouseMoved", "x": found[0], "y": found[1] });
        self.ask("Input.dispatchMouseEvent", moved);
        if click {
            self.ask("Input.dispatchMouseEvent", event("mousePressed"));
            self.ask("Input.dispatchMouseEvent", event("mouseReleased"));
        }
    }

    /// Presses a key, such as `ArrowRight`.
    pub(super) fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.ask("Input.dispatchKeyEvent", json!({ "type": kind, "key": key, "code": key }));
        }
    }

    /// Writes a PNG of the whole page.
    pub(super) fn screenshot(&mut self, file: &Path) {
        let picture =
            self.ask("Page.captureScreenshot", json!({ "captureBeyondViewport": true, "format": "png" }));
        let bytes = BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }

    /// What went wrong on the page since it was loaded: exceptions, errors in its console, violations of its policy.
    pub(super) fn errors(&mut self) -> Vec<String> {
        let text = |event: &Value| event["params"].to_string();
        let is_error = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
            Some("Runtime.consoleAPICalled") => event["params"]["type"] == "error",
            _ => false,
        };
        self.events.iter().filter(is_error).map(text).collect()
    }

    /// Addresses that were asked for since the page was loaded, but for what the page itself holds.
    pub(super) fn requests(&self) -> Vec<String> {
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        let urls = sent.filter_map(|event| event["params"]["request"]["url"].as_str());
        urls.filter(|url| !url.starts_with("data:")).map(str::to_owned).collect()
    }

    /// Asks for a method and waits for its result; what comes before it is kept as events.
    fn ask(&mut self, method: &str, params: Value) -> Value {
        let mut answer = self.call(method, &params);
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].take()
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.last_id += 1;
        let mut message = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(tab) = &self.tab {
            message["sessionId"] = tab.session.clone();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        self.to.flush().unwrap();
        loop {
            let answer = self.read();
            if answer["id"] == self.last_id {
                return answer;
            }
            self.events.push(answer);
        }
    }

    fn read(&mut self) -> Value {
        self.from.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("the browser says nothing: {error}"))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}
