// Controls: pointer, wheel, fingers, keys and buttons, each turned into a change of the view.
//
// Whatever the mouse can do, the keyboard can do too; `page.html` lists the keys.

/// Goes round the operations of the contradiction: all of them first, with one in focus.
function goTo(number) {
  const i = data.culprits[number];
  if (i === undefined) return announce("there is no contradiction to go to");
  if (view.only) setOnly(true);
  showOperations(data.culprits);
  view.focus = i;
  view.hover = -1;
  view.aside = null;
  if (view.row[ops.lane[i]] < 0) setOnly(false);
  revealLane(ops.lane[i]);
  announce(`${number + 1} of ${data.culprits.length} of the contradiction: ${sentenceOf(i)}`);
  changed();
}

/// From one culprit to the next; from anywhere else to the first.
function nextCulprit() {
  const at = view.focus >= 0 ? ops.guilty[view.focus] : 0;
  goTo(data.culprits.length ? at % data.culprits.length : 0);
}

/// The operation before or after the one in focus, in its lane.
function neighbour(by) {
  if (view.focus < 0) return enter();
  const lane = ops.lane[view.focus];
  let at = placeOf(view.focus) + by;
  while (at >= lanes.start[lane] && at < lanes.start[lane + 1] && view.hidden[ops.outcome[lanes.members[at]]]) at += by;
  if (at < lanes.start[lane] || at >= lanes.start[lane + 1]) return announce(by > 0 ? "the last of this lane" : "the first of this lane");
  focusOn(lanes.members[at]);
}

/// The operation of the next lane that is nearest in time.
function otherLane(by) {
  if (view.focus < 0) return enter();
  const time = ops.invoked[view.focus];
  for (let row = view.row[ops.lane[view.focus]] + by; row >= 0 && row < view.shown.length; row += by) {
    const i = nearestIn(view.shown[row], time);
    if (i >= 0) return focusOn(i);
  }
  announce(by > 0 ? "the last lane" : "the first lane");
}

function nearestIn(lane, time) {
  const after = firstAfter(lane, time);
  const near = [after - 1, after].filter((at) => at >= lanes.start[lane] && at < lanes.start[lane + 1]);
  near.sort((a, b) => Math.abs(ops.invoked[lanes.members[a]] - time) - Math.abs(ops.invoked[lanes.members[b]] - time));
  return near.length ? lanes.members[near[0]] : -1;
}

/// The first step into the operations: the first one that is on screen.
function enter() {
  const first = Math.floor($("scroller").scrollTop / view.laneHeight);
  for (let row = first; row < view.shown.length; row++) {
    const i = nearestIn(view.shown[row], Math.max(view.from, 0));
    if (i >= 0) return focusOn(i);
  }
}

function listenToPointer() {
  const canvas = $("timeline"), pointers = new Map();
  let pulled = 0, pinch = 0;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, place(event));
    canvas.setPointerCapture(event.pointerId);
    pulled = 0;
    pinch = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    const before = pointers.get(event.pointerId);
    if (!before) return point(x, y);
    pointers.set(event.pointerId, [x, y]);
    if (pointers.size === 2) {
      const [[a], [b]] = [...pointers.values()];
      const apart = Math.max(Math.abs(a - b), 20);
      if (pinch) zoom(pinch / apart, toTime((a + b) / 2));
      pinch = apart;
      pulled = 99;
      return;
    }
    pulled += Math.abs(x - before[0]) + Math.abs(y - before[1]);
    if (pulled < 4) return;
    canvas.classList.add("pulling");
    pan((before[0] - x) / (view.width - view.gutter));
    if (event.pointerType === "mouse") $("scroller").scrollTop += before[1] - y;
  });
  const release = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    canvas.classList.remove("pulling");
    pinch = 0;
    if (event.type === "pointerup" && pulled < 4) {
      const i = operationAt(...place(event));
      if (i >= 0) focusOn(i);
      else { view.focus = -1; changed(); }
    }
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => point(-1, -1));
  canvas.addEventListener("dblclick", (event) => zoom(0.4, toTime(place(event)[0])));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 200 : 1;
    const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    if (event.altKey) $("scroller").scrollTop += event.deltaY * unit;
    else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(sideways * unit / view.width);
    else zoom(Math.exp(Math.max(-240, Math.min(240, event.deltaY * unit)) * 0.0025), toTime(place(event)[0]));
  }, { passive: false });
}

function point(x, y) {
  const i = operationAt(x, y), aside = asideAt(x, y);
  if (i === view.hover && !aside && !view.aside) return;
  view.hover = i;
  view.aside = aside;
  $("timeline").classList.toggle("over", i >= 0);
  changed();
}

function listenToOverview() {
  const canvas = $("overview");
  const move = (event) => {
    const box = canvas.getBoundingClientRect();
    const middle = (event.clientX - box.left) / box.width * span;
    const half = (view.until - view.from) / 2;
    setStretch(middle - half, middle + half);
  };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); move(event); });
  canvas.addEventListener("pointermove", (event) => { if (canvas.hasPointerCapture(event.pointerId)) move(event); });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(event.deltaY * 0.0025)); }, { passive: false });
}

/// Keys of the timeline, while it has the focus.
const TIMELINE_KEYS = {
  ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2),
  ArrowUp: () => { $("scroller").scrollTop -= view.laneHeight; }, ArrowDown: () => { $("scroller").scrollTop += view.laneHeight; },
  "Shift+ArrowLeft": () => neighbour(-1), "Shift+ArrowRight": () => neighbour(1),
  "Shift+ArrowUp": () => otherLane(-1), "Shift+ArrowDown": () => otherLane(1),
  h: () => neighbour(-1), l: () => neighbour(1), k: () => otherLane(-1), j: () => otherLane(1),
  PageUp: () => { $("scroller").scrollTop -= view.height - view.pinned; },
  PageDown: () => { $("scroller").scrollTop += view.height - view.pinned; },
  Home: () => setStretch(0, view.until - view.from), End: () => setStretch(span - (view.until - view.from), span),
  Enter: () => (view.focus >= 0 ? showOperations([view.focus]) : enter()),
  Escape: () => { view.focus = -1; changed(); },
};

/// Keys that work everywhere but in a field.
const PAGE_KEYS = {
  "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6), "_": () => zoom(1 / 0.6), 0: showAll,
  c: nextCulprit, n: () => jump(1), p: () => jump(-1), N: () => jump(-1), t: nextTheme,
  "/": () => $("query").focus(), "?": () => $("help").showModal(),
};

function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, dialog")) return;
    const inTimeline = event.target.id === "timeline";
    const shifted = event.shiftKey && event.key.startsWith("Arrow") ? `Shift+${event.key}` : event.key;
    const does = (inTimeline && TIMELINE_KEYS[shifted]) || PAGE_KEYS[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  });
  $("query").addEventListener("keydown", (event) => {
    if (event.key === "Escape") { event.preventDefault(); $("query").value = ""; runSearch(""); $("timeline").focus(); }
    // Not left to the form: its button is disabled until something is found.
    if (event.key === "Enter") { event.preventDefault(); searchNow(); jump(event.shiftKey ? -1 : 1); }
  });
}

let typing = 0;

function searchNow() {
  clearTimeout(typing);
  if ($("query").value.trim() !== search.query) runSearch($("query").value);
}

function listenToButtons() {
  const on = (id, does) => $(id).addEventListener("click", does);
  on("go", () => { nextCulprit(); $("timeline").focus({ preventScroll: true }); $("history").scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" }); });
  on("zoom-in", () => zoom(0.5));
  on("zoom-out", () => zoom(2));
  on("zoom-all", showAll);
  on("previous", () => { searchNow(); jump(-1); });
  on("only", () => setOnly(!view.only));
  on("theme", nextTheme);
  on("help-open", () => $("help").showModal());
  $("search").addEventListener("submit", (event) => { event.preventDefault(); searchNow(); jump(1); });
  // A pause in typing is long enough; a long history should not be searched at each letter.
  $("query").addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(searchNow, 120); });
  $("query").addEventListener("search", searchNow);
  document.querySelectorAll(".chip[data-outcome]").forEach((chip) => chip.addEventListener("click", () => {
    const outcome = Number(chip.dataset.outcome);
    view.hidden[outcome] = !view.hidden[outcome];
    chip.setAttribute("aria-pressed", String(!view.hidden[outcome]));
    if (search.hits) runSearch(search.query);
    changed();
  }));
}
