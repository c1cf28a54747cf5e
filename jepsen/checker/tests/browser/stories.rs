//! Stories: what a person does with the page, and what must come of it.
//!
//! In go the scenes, each opened in a browser of its own; every story ends with the question whether
//! anything failed or was requested. Times are bounded generously, since a machine that tests does
//! other things too.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::chromium::{self, Tab};
use crate::scenes::{self, Scene};

/// Generous, since a machine that tests does other things too; a page that is not smooth takes longer.
const LOAD_MS_MAX: f64 = 20_000.0;
const ACT_MS_MAX: f64 = 4000.0;

/// One browser at a time: two would only wait for each other.
static TURN: Mutex<()> = Mutex::new(());

/// A page that is open, while the file it came from exists.
struct Open {
    tab: Tab,
    _file: tempfile::NamedTempFile,
    _turn: MutexGuard<'static, ()>,
}

/// Opens a scene; `None` if there is no browser.
fn open(scene: &Scene, dark: bool) -> Option<Open> {
    let Some(program) = chromium::find() else {
        // Past the test runner, which would keep it to itself.
        let skipped = "skipped: neither chromium nor google-chrome is installed\n";
        let _unheard = std::io::stderr().write_all(skipped.as_bytes());
        return None;
    };
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut file = tempfile::Builder::new().suffix(".html").tempfile().unwrap();
    file.write_all(scene.html().as_bytes()).unwrap();
    let tab = Tab::open(&program, file.path(), dark);
    Some(Open { tab, _file: file, _turn: turn })
}

/// Nothing failed, and nothing but the file itself was asked for.
fn is_clean(tab: &mut Tab) {
    tab.settle();
    assert!(tab.errors.is_empty(), "{:?}", tab.errors);
    assert_eq!(tab.requests.len(), 1, "{:?}", tab.requests);
    assert!(tab.requests[0].starts_with("file://"), "{:?}", tab.requests);
}

/// How many colours the timeline has.
fn colours(tab: &mut Tab) -> u64 {
    let script = "(() => {
        const canvas = document.querySelector('#timeline');
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return new Set(new Uint32Array(data.buffer)).size;
    })()";
    tab.ask(script).as_u64().unwrap()
}

/// A place in the window where the timeline has the colour of a name in the style sheet.
fn place_of(tab: &mut Tab, colour: &str) -> (f64, f64) {
    let place = tab.ask(&format!(
        "(() => {{
            const probe = document.createElement('b');
            probe.style.color = 'var(--{colour})';
            document.body.append(probe);
            const wanted = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
            probe.remove();
            const canvas = document.querySelector('#timeline');
            canvas.scrollIntoView({{ block: 'center' }});
            const {{ data, width }} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            const box = canvas.getBoundingClientRect();
            for (let at = 0; at < data.length; at += 4) {{
                if (wanted.every((part, k) => data[at + k] === part))
                    return [box.x + at / 4 % width, box.y + Math.floor(at / 4 / width)];
            }}
            return null;
        }})()"
    ));
    (
        place[0].as_f64().expect("the colour is there"),
        place[1].as_f64().expect("the colour is there"),
    )
}

#[test]
fn the_page_opens_at_the_contradiction_and_says_what_it_is() {
    let Some(Open { mut tab, .. }) = open(&scenes::small(), false) else { return };
    assert_eq!(tab.text("#verdict span"), "invalid");
    assert!(tab.text("#sentence").starts_with("process 4 read 17 (node 1, 90 ms to 93 ms), but"));
    assert!(tab.text("#facts").contains("10 operations"));
    assert_eq!(tab.ask("document.querySelectorAll('#culprits tr').length"), 3);
    assert!(
        tab.text("#culprits").contains("write 18") && tab.text("#culprits").contains("read → 17")
    );
    assert!(tab.text("#detail").contains("read → 17"), "{}", tab.text("#detail"));
    assert!(tab.text("#moments").contains("became leader of term 5"));
    assert!(tab.text("#moments").contains("partition majorities-ring"));
    assert!(colours(&mut tab) > 20, "the timeline is as good as blank");
    for drawn in ["ok", "read", "info", "fail", "culprit", "leader", "partition"] {
        place_of(&mut tab, drawn);
    }
    is_clean(&mut tab);
}

#[test]
fn the_mouse_finds_the_contradiction_from_anywhere() {
    let Some(Open { mut tab, .. }) = open(&scenes::long(2000), false) else { return };
    let close = tab.text("#range");
    tab.click("#zoom-all");
    let whole = tab.text("#range");
    assert!(whole.starts_with("0 s to 1."), "{whole}");
    tab.click("#go");
    assert_eq!(tab.text("#range").len(), close.len());
    assert_ne!(tab.text("#range"), whole);
    assert!(tab.text("#detail").contains("part of the contradiction"));
    tab.click("#culprits tr:nth-child(2) button");
    let second = tab.text("#culprits tr:nth-child(2) button");
    assert!(tab.text("#detail").contains(&second), "{second}");
    // An operation itself: what is framed is a culprit.
    tab.press("Escape");
    let (x, y) = place_of(&mut tab, "culprit");
    tab.click_at(x + 3.0, y + 8.0);
    assert!(tab.text("#detail").contains("part of the contradiction"), "{}", tab.text("#detail"));
    // The order is linked both ways.
    tab.click("#steps .step:nth-child(3)");
    let step = tab.text("#steps .step[aria-selected=true] .act");
    assert!(tab.text("#detail .what").contains(step.trim_start_matches("! ")), "{step}");
    // The wheel zooms, dragging pans, and hiding an outcome changes what is drawn.
    let before = tab.text("#range");
    let (x, y) = place_of(&mut tab, "ok");
    let wheel = |delta: i64| serde_json::json!({ "type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": delta });
    tab.call("Input.dispatchMouseEvent", &wheel(-120));
    tab.wait(&format!("document.querySelector('#range').textContent !== {before:?}"));
    // And so do two fingers.
    let before = tab.text("#range");
    for (kind, apart) in [("touchStart", 20.0), ("touchMove", 60.0), ("touchMove", 120.0)] {
        let points = [-apart, apart].map(|by| serde_json::json!({ "x": x + 200.0 + by, "y": y }));
        let touch = serde_json::json!({ "type": kind, "touchPoints": points });
        tab.call("Input.dispatchTouchEvent", &touch);
    }
    let end = serde_json::json!({ "type": "touchEnd", "touchPoints": [] });
    tab.call("Input.dispatchTouchEvent", &end);
    tab.wait(&format!("document.querySelector('#range').textContent !== {before:?}"));
    tab.click(".chip[data-outcome='0']");
    tab.settle();
    assert_eq!(tab.ask("document.querySelector('.chip').ariaPressed"), "false");
    is_clean(&mut tab);
}

#[test]
fn everything_can_be_done_without_a_mouse() {
    let Some(Open { mut tab, .. }) = open(&scenes::small(), false) else { return };
    let focused = "document.activeElement.id || document.activeElement.className";
    // The first stop leads past everything else.
    tab.press("Tab");
    assert_eq!(tab.ask(focused), "skip");
    tab.press("Enter");
    tab.wait("document.activeElement.id === 'timeline'");
    let opened = tab.text("#range");
    tab.press("+");
    let closer = tab.text("#range");
    assert_ne!(opened, closer);
    tab.press("ArrowRight");
    assert_ne!(tab.text("#range"), closer);
    tab.press("0");
    assert!(tab.text("#range").starts_with("0 s to 12"), "{}", tab.text("#range"));
    tab.press("c");
    assert!(tab.text("#announce").starts_with("1 of 3 of the contradiction"));
    tab.press("c");
    assert!(tab.text("#detail").contains("write 18"));
    tab.press("Shift+ArrowLeft");
    assert!(tab.text("#detail").contains("write 17"), "{}", tab.text("#detail"));
    tab.press("Shift+ArrowDown");
    assert!(
        tab.text("#announce").contains("process 3, cas [11 12], failed"),
        "{}",
        tab.text("#announce")
    );
    tab.press("?");
    assert_eq!(tab.ask("document.querySelector('#help').open"), true);
    tab.press("Escape");
    assert_eq!(tab.ask("document.querySelector('#help').open"), false);
    tab.press("/");
    assert_eq!(tab.ask(focused), "query");
    // On from there to the order, which the arrow keys walk through.
    for _ in 0..20 {
        tab.press("Tab");
        if tab.ask(focused) == "steps" {
            break;
        }
    }
    assert_eq!(tab.ask(focused), "steps", "the order cannot be reached");
    tab.press("ArrowDown");
    assert!(
        tab.ask("document.querySelector('#steps').getAttribute('aria-activedescendant')")
            .is_string()
    );
    is_clean(&mut tab);
}

#[test]
fn the_search_finds_and_jumps() {
    let Some(Open { mut tab, .. }) = open(&scenes::small(), false) else { return };
    for (query, hits) in [
        ("17", "2 found"),
        ("1", "2 found"),
        ("7", "no match"),
        ("f:read", "4 found"),
        ("process:3", "2 found"),
        ("outcome:unknown", "1 found"),
        ("node:2", "1 found"),
        ("f:write 18", "1 found"),
        ("value:\"[11 12]\" outcome:failed", "1 found"),
    ] {
        tab.press("/");
        tab.ask("document.querySelector('#query').select()");
        tab.enter(query);
        tab.wait(&format!("document.querySelector('#hits').textContent === {hits:?}"));
        tab.press("Escape");
    }
    tab.press("/");
    tab.enter("f:read");
    tab.press("Enter");
    let first = tab.text("#detail");
    assert!(tab.text("#hits").contains(" of 4"), "{}", tab.text("#hits"));
    tab.press("Enter");
    assert_ne!(tab.text("#detail"), first);
    tab.press("Shift+Enter");
    assert_eq!(tab.text("#detail"), first);
    place_of(&mut tab, "match");
    is_clean(&mut tab);
}

#[test]
fn the_theme_follows_the_system_until_it_is_told_otherwise() {
    let Some(Open { mut tab, .. }) = open(&scenes::small(), true) else { return };
    let ground = "getComputedStyle(document.documentElement).backgroundColor";
    let pixel = "[...document.querySelector('#timeline').getContext('2d').getImageData(2, 2, 1, 1).data].join()";
    let dark = (tab.ask(ground), tab.ask(pixel));
    tab.click("#theme");
    let light = (tab.ask(ground), tab.ask(pixel));
    assert_eq!(tab.text("#theme"), "Theme: light");
    assert!(dark.0 != light.0 && dark.1 != light.1, "{dark:?} {light:?}");
    tab.press("t");
    assert_eq!((tab.ask(ground), tab.ask(pixel)), dark);
    // Narrow as a telephone: nothing sticks out sideways.
    tab.resize(400, 800);
    tab.wait("document.querySelector('#timeline').clientWidth < 400");
    assert!(tab.ask("document.documentElement.scrollWidth").as_u64() <= Some(400));
    is_clean(&mut tab);
}

#[test]
fn hostile_texts_are_shown_and_do_nothing() {
    let Some(Open { mut tab, .. }) = open(&scenes::hostile(), false) else { return };
    for query in ["<script>", "very", "owned"] {
        tab.press("/");
        tab.enter(query);
        tab.press("Enter");
        tab.press("Escape");
    }
    for key in ["c", "c", "c", "+", "0"] {
        tab.press(key);
    }
    assert_eq!(tab.ask("typeof globalThis.owned"), "undefined");
    assert_eq!(tab.ask("document.scripts.length + document.images.length"), 2);
    let shown = tab.text("#culprits");
    for text in ["</script><script>globalThis.owned = 1</script>", "<img src=x", "\\u202edrawkcab"]
    {
        assert!(shown.contains(text), "{shown}");
    }
    assert!(
        !tab.ask("document.body.innerText").to_string().contains('\u{202e}'),
        "a text turns its surroundings round"
    );
    // The second lock: even a script that got in by an open door would not run.
    let smuggled = "(() => {
        const made = document.createElement('div');
        try { made.innerHTML = '<img src=x onerror=\"globalThis.owned = 1\">'; } catch { return 'refused'; }
        return 'taken';
    })()";
    assert_eq!(tab.ask(smuggled), "refused");
    tab.errors.clear();
    is_clean(&mut tab);
}

/// What a reader of screens is told: landmarks, and a name for whatever can be used.
#[test]
fn everything_has_a_role_and_a_name() {
    let Some(Open { mut tab, .. }) = open(&scenes::small(), false) else { return };
    let tree = tab.call("Accessibility.getFullAXTree", &serde_json::json!({}));
    let empty = Vec::new();
    let nodes = tree["nodes"].as_array().unwrap_or(&empty);
    let text = |node: &serde_json::Value, field: &str| {
        node[field]["value"].as_str().unwrap_or_default().to_owned()
    };
    let all: Vec<(String, String)> = nodes
        .iter()
        .filter(|node| node["ignored"] == false)
        .map(|node| (text(node, "role"), text(node, "name")))
        .collect();
    let usable =
        ["button", "searchbox", "link", "listbox", "option", "application", "region", "dialog"];
    let nameless: Vec<_> = all
        .iter()
        .filter(|(role, name)| usable.contains(&role.as_str()) && name.is_empty())
        .collect();
    assert!(nameless.is_empty(), "{nameless:?}");
    for role in ["banner", "main", "search", "complementary", "table", "status", "application"] {
        assert!(all.iter().any(|(known, _)| known == role), "there is no {role}: {all:?}");
    }
    is_clean(&mut tab);
}

/// How long something takes until it has been drawn, in milliseconds.
fn timed(tab: &mut Tab, does: &str) -> f64 {
    let script = format!(
        "new Promise((yes) => {{
            const began = performance.now();
            {does};
            requestAnimationFrame(() => setTimeout(() => yes(performance.now() - began)));
        }})"
    );
    tab.ask(&script).as_f64().unwrap()
}

#[test]
fn a_hundred_thousand_operations_stay_quick() {
    let Some(Open { mut tab, .. }) = open(&scenes::long(100_000), false) else { return };
    // From the request on: what a browser needs to start says nothing about the page.
    let load = tab.ask("performance.getEntriesByType('navigation')[0].loadEventEnd");
    let load = load.as_f64().unwrap();
    assert!(tab.text("#facts").contains("100,000 operations"));
    let press = |key: &str| {
        format!(
            "document.dispatchEvent(new KeyboardEvent('keydown', {{ key: {key:?}, bubbles: true }}))"
        )
    };
    // Keys of the page are heard on its elements.
    let press = |key: &str| press(key).replace("document.dispatch", "document.body.dispatch");
    let all = timed(&mut tab, &press("0"));
    let zoom = timed(&mut tab, &press("+"));
    assert!(colours(&mut tab) > 20);
    let search = "const query = document.querySelector('#query'); query.value = 'f:read 17'; \
                  document.querySelector('#search').requestSubmit()";
    let search = timed(&mut tab, search);
    tab.wait("document.querySelector('#hits').textContent.includes(' of ')");
    println!("load {load:.0} ms, all {all:.0} ms, zoom {zoom:.0} ms, search {search:.0} ms");
    assert!(load < LOAD_MS_MAX, "opening took {load} ms");
    for (what, took) in [("showing all", all), ("a zoom", zoom), ("a search", search)] {
        assert!(took < ACT_MS_MAX, "{what} took {took} ms");
    }
    is_clean(&mut tab);
}

#[test]
fn thousands_of_processes_can_be_scrolled_and_narrowed_down() {
    let Some(Open { mut tab, .. }) = open(&scenes::crowd(5000), false) else { return };
    assert_eq!(tab.ask("document.querySelector('#only').ariaPressed"), "true");
    let short = tab.ask("document.querySelector('#scroller').scrollHeight");
    tab.click("#only");
    let tall = tab.ask("document.querySelector('#scroller').scrollHeight");
    assert!(tall.as_u64() > Some(100_000) && short.as_u64() < Some(1000), "{short} {tall}");
    tab.press("/");
    tab.enter("process:2500");
    tab.press("Enter");
    let top = tab.ask("document.querySelector('#scroller').scrollTop");
    assert!(top.as_f64() > Some(50_000.0), "{top}");
    assert!(tab.text("#detail").contains("write 2500"));
    is_clean(&mut tab);
}

/// Nothing to draw, or nothing to tell the time by, is no reason to fail.
#[test]
fn a_history_without_times_or_without_anything_opens_too() {
    let Some(Open { mut tab, .. }) = open(&scenes::foreign(""), false) else { return };
    assert_eq!(tab.text("#verdict span"), "unknown");
    for key in ["c", "+", "0", "n"] {
        tab.press(key);
    }
    assert_eq!(tab.ask("document.querySelector('#contradiction').hidden"), true);
    is_clean(&mut tab);
}

#[test]
fn a_foreign_history_without_times_shows_its_faults_and_positions() {
    let text = "{:process 0 :type :invoke :f :write :value 1}
        {:process :nemesis :type :info :f :start-partition :value :majority}
        {:process :nemesis :type :info :f :start-partition :value [:isolated {\"n1\" #{\"n2\"}}]}
        {:process 0 :type :ok :f :write :value 1}
        {:process :nemesis :type :info :f :kill :value {\"n3\" :killed}}
        {:process 1 :type :invoke :f :read :value nil}
        {:process :nemesis :type :info :f :stop-partition :value nil}
        {:process :nemesis :type :info :f :stop-partition :value :network-healed}
        {:process 1 :type :ok :f :read :value 1}";
    let Some(Open { mut tab, .. }) = open(&scenes::foreign(text), false) else { return };
    let moments = tab.text("#moments");
    assert!(moments.contains("event 1event 7partition"), "{moments}");
    assert!(moments.contains("event 4the endkill"), "{moments}");
    assert!(tab.text("#facts").contains("1 node") && tab.text("#facts").contains("2 faults"));
    tab.press("/");
    tab.enter("read");
    tab.press("Enter");
    let detail = tab.text("#detail");
    assert!(detail.contains("event 5") && detail.contains("after 3 events"), "{detail}");
    is_clean(&mut tab);
}
