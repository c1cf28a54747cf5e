//! Chromium: a browser without a window, driven over its DevTools protocol.
//!
//! In goes a file, out comes a [`Tab`] that shows it and can be clicked, typed at and asked. What the
//! page printed as an error and what it requested is kept.
//!
//! Invariants:
//! - all traffic is on loopback: the browser listens on a port of its own choice, which it tells on its
//!   standard error;
//! - nothing waits for time: everything waits for a condition, and gives up after [`PATIENCE`];
//! - a tab that is dropped, also by a panic, takes its browser with it, which is ended by its own id,
//!   and its profile.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

/// A busy machine is slow, a page that hangs never ends.
const PATIENCE: Duration = Duration::from_secs(60);
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The browser of this machine, if there is one.
pub(crate) fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let places = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places.into_iter().find(|place| place.is_file())
}

/// A page in a browser of its own.
pub(crate) struct Tab {
    socket: WebSocket<TcpStream>,
    session: Option<String>,
    sent: u64,
    /// Errors on the page's console, and exceptions that nobody caught.
    pub(crate) errors: Vec<String>,
    /// The addresses of all requests.
    pub(crate) requests: Vec<String>,
    // Dropped in this order: the process ends before its profile goes.
    _browser: Browser,
    _profile: TempDir,
}

/// The process, ended when it is dropped.
struct Browser {
    child: Child,
    /// Closed once the last process that holds the browser's standard error is gone.
    silence: Receiver<()>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its own children leave when it does; the error is that it has ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        let _silent = self.silence.recv_timeout(PATIENCE);
    }
}

impl Tab {
    /// Opens a file, as large as a usual window, and waits until it is drawn.
    pub(crate) fn open(program: &Path, file: &Path, dark: bool) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let (browser, address) = start(program, profile.path());
        let authority = address.strip_prefix("ws://").and_then(|rest| rest.split('/').next());
        let stream = TcpStream::connect(authority.unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _response) = tungstenite::client(&address, stream).unwrap();
        let mut tab = Self {
            socket,
            session: None,
            sent: 0,
            errors: Vec::new(),
            requests: Vec::new(),
            _browser: browser,
            _profile: profile,
        };
        let target = tab.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = tab.call("Target.attachToTarget", &attach);
        tab.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            tab.call(domain, &json!({}));
        }
        // Without motion a page is where it goes at once, and a test need not wait for it.
        let features = json!([
            { "name": "prefers-reduced-motion", "value": "reduce" },
            { "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } },
        ]);
        tab.call("Emulation.setEmulatedMedia", &json!({ "features": features }));
        tab.resize(1440, 1000);
        tab.call("Page.navigate", &json!({ "url": format!("file://{}", file.display()) }));
        tab.wait(
            "document.readyState === 'complete' && document.querySelector('#range')?.textContent",
        );
        tab
    }

    /// Makes the window as large as this, in CSS pixels.
    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// What an expression is, or what its promise becomes.
    pub(crate) fn ask(&mut self, expression: &str) -> Json {
        let parameters =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", &parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The text of what a selector finds.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let answer = self.ask(&format!("document.querySelector({selector:?}).textContent"));
        answer.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true, looking once a frame.
    pub(crate) fn wait(&mut self, condition: &str) -> Json {
        let patience = PATIENCE.as_millis() / 2;
        self.ask(&format!(
            "new Promise((yes, no) => {{
                const end = performance.now() + {patience};
                const look = () => {{
                    const value = {condition};
                    if (value) yes(value);
                    else if (performance.now() > end) no(new Error('waited in vain'));
                    else requestAnimationFrame(look);
                }};
                look();
            }})"
        ))
    }

    /// Waits until what was changed has been drawn.
    pub(crate) fn settle(&mut self) {
        self.ask("new Promise((yes) => requestAnimationFrame(() => requestAnimationFrame(yes)))");
    }

    /// Clicks the middle of what a selector finds.
    pub(crate) fn click(&mut self, selector: &str) {
        let place = self.ask(&format!(
            "(() => {{
                const found = document.querySelector({selector:?});
                found.scrollIntoView({{ block: 'center' }});
                const box = found.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"
        ));
        self.click_at(place[0].as_f64().unwrap(), place[1].as_f64().unwrap());
    }

    /// Clicks a place in the window.
    pub(crate) fn click_at(&mut self, x: f64, y: f64) {
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let button = if kind == "mouseMoved" { "none" } else { "left" };
            let event = json!({ "type": kind, "x": x, "y": y, "button": button, "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", &event);
        }
        self.settle();
    }

    /// Presses a key by its name, with Shift if it says `Shift+`.
    pub(crate) fn press(&mut self, name: &str) {
        let (shift, key) = match name.strip_prefix("Shift+") {
            Some(key) => (8, key),
            None => (0, name),
        };
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => 0,
        };
        let text = match key {
            "Enter" => "\r",
            key if key.chars().count() == 1 => key,
            _ => "",
        };
        let down = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
        for kind in [down, "keyUp"] {
            let text = if kind == "keyUp" { "" } else { text };
            let event = json!({
                "type": kind, "key": key, "text": text, "modifiers": shift,
                "windowsVirtualKeyCode": code,
            });
            self.call("Input.dispatchKeyEvent", &event);
        }
        self.settle();
    }

    /// Types a text into what has the focus.
    pub(crate) fn enter(&mut self, text: &str) {
        self.call("Input.insertText", &json!({ "text": text }));
    }

    /// Calls a method and returns its result. What the page tells meanwhile is kept.
    pub(crate) fn call(&mut self, method: &str, parameters: &Json) -> Json {
        self.sent += 1;
        let id = self.sent;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.clone().into();
        }
        self.socket.send(Message::text(message.to_string())).unwrap();
        loop {
            let message = self.socket.read().unwrap_or_else(|error| panic!("{method}: {error}"));
            let Ok(text) = message.to_text() else { continue };
            let Ok(json) = serde_json::from_str::<Json>(text) else { continue };
            if json["id"] == id {
                assert!(json["error"].is_null(), "{method}: {}", json["error"]);
                return json["result"].clone();
            }
            self.note(&json);
        }
    }

    fn note(&mut self, event: &Json) {
        let parameters = &event["params"];
        let error = match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                let url = parameters["request"]["url"].as_str().unwrap_or_default();
                return self.requests.push(url.to_owned());
            }
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => parameters["type"] == "error",
            "Log.entryAdded" => parameters["entry"]["level"] == "error",
            _ => false,
        };
        if error {
            self.errors.push(parameters.to_string());
        }
    }
}

fn start(program: &Path, profile: &Path) -> (Browser, String) {
    let mut command = Command::new(program);
    command
        .args(["--headless", "--remote-debugging-port=0", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-breakpad", "--disable-dev-shm-usage", "--disable-gpu"])
        // The sandbox needs rights that root in a container does not have; the page is our own.
        .arg("--no-sandbox")
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("about:blank");
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (silent, silence) = channel();
    let browser = Browser { child, silence };
    let told = lines.by_ref().find_map(|line| {
        Some(line.ok()?.strip_prefix("DevTools listening on ")?.trim().to_owned())
    });
    let address = told.expect("the browser says where it listens");
    // Nobody may be stopped by a full pipe.
    std::thread::spawn(move || {
        lines.for_each(drop);
        drop(silent);
    });
    (browser, address)
}
