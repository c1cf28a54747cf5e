// The view: which stretch of time and which lanes are on screen, and what has the attention.
//
// One object that all others read. Whoever changes it calls `changed`, and everything is drawn anew
// in the next frame, once.

const SMALLEST = inPositions ? 4 : 20;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const view = {
  from: 0, until: span,
  // Size of the timeline in CSS pixels; the gutter holds the lanes' names.
  width: 0, height: 0, gutter: 0, pinned: 0, laneHeight: 24,
  // The lanes shown, and where each lane stands among them.
  shown: Uint32Array.from({ length: lanes.count }, (_, lane) => lane),
  row: Int32Array.from({ length: lanes.count }, (_, lane) => lane),
  only: false,
  hidden: [false, false, false],
  // The operation in focus and the one under the pointer; -1 is none.
  focus: -1, hover: -1,
  // What is under the pointer beside operations: a span of a node or a fault.
  aside: null,
};

const listeners = [];
let frame = 0;

function changed() {
  if (frame) return;
  frame = requestAnimationFrame(() => {
    frame = 0;
    for (const listener of listeners) listener();
  });
}

const toX = (time) => view.gutter + (time - view.from) / (view.until - view.from) * (view.width - view.gutter);
const toTime = (x) => view.from + (x - view.gutter) / (view.width - view.gutter) * (view.until - view.from);

/// Sets the stretch of time, kept within the history and a little beyond its ends.
function setStretch(from, until) {
  const margin = span * 0.02;
  const length = Math.min(Math.max(until - from, SMALLEST), span + 2 * margin);
  const middle = (from + until) / 2;
  let start = Math.max(middle - length / 2, -margin);
  start = Math.min(start, span + margin - length);
  view.from = start;
  view.until = start + length;
  changed();
}

let motion = 0;

/// Goes there in a few frames, so that the eye can follow; at once if motion is unwelcome.
function travel(from, until) {
  cancelAnimationFrame(motion);
  if (calm.matches) return setStretch(from, until);
  const began = performance.now();
  const start = [view.from, view.until];
  const step = (now) => {
    const part = Math.min(1, Math.max(0, (now - began) / 220));
    const eased = 1 - (1 - part) ** 3;
    setStretch(start[0] + (from - start[0]) * eased, start[1] + (until - start[1]) * eased);
    if (part < 1) motion = requestAnimationFrame(step);
  };
  motion = requestAnimationFrame(step);
}

/// A factor below 1 shows less time; `at` stays where it is.
function zoom(factor, at = (view.from + view.until) / 2) {
  cancelAnimationFrame(motion);
  const length = view.until - view.from;
  // At either limit the view must not creep sideways.
  const wanted = Math.max(length * factor, SMALLEST);
  const from = at - (at - view.from) * (wanted / length);
  setStretch(from, from + wanted);
}

function pan(part) {
  const by = (view.until - view.from) * part;
  setStretch(view.from + by, view.until + by);
}

const showAll = () => travel(-span * 0.02, span * 1.02);

/// Zooms to some operations, with room around them.
function showOperations(list) {
  if (!list.length) return;
  let from = Infinity, until = -Infinity;
  for (const i of list) {
    from = Math.min(from, ops.invoked[i]);
    // One without an end would pull the view to the end of the history.
    until = Math.max(until, ops.returned[i] < 0 ? ops.invoked[i] : ops.returned[i]);
  }
  const room = Math.max((until - from) * 0.25, SMALLEST / 2, inPositions ? 2 : 0);
  travel(from - room, until + room);
}

/// Brings an operation into view with as little movement as possible.
function reveal(i) {
  const until = ops.returned[i] < 0 ? ops.invoked[i] : ops.returned[i];
  const length = view.until - view.from;
  if (ops.invoked[i] < view.from || until > view.until) {
    const middle = (ops.invoked[i] + until) / 2;
    const wanted = Math.max(length, (until - ops.invoked[i]) * 1.5);
    travel(middle - wanted / 2, middle + wanted / 2);
  }
  revealLane(ops.lane[i]);
}

function revealLane(lane) {
  const scroller = $("scroller");
  const row = view.row[lane];
  if (row < 0) return;
  const top = row * view.laneHeight, room = view.height - view.pinned;
  if (top < scroller.scrollTop) scroller.scrollTop = top - view.laneHeight;
  else if (top + view.laneHeight > scroller.scrollTop + room) scroller.scrollTop = top + 2 * view.laneHeight - room;
}

/// Shows these lanes only, or all.
function showLanes(wanted) {
  const shown = [];
  view.row.fill(-1);
  for (let lane = 0; lane < lanes.count; lane++) {
    if (wanted && !wanted[lane]) continue;
    view.row[lane] = shown.length;
    shown.push(lane);
  }
  view.shown = Uint32Array.from(shown);
  layOut();
}

/// Gives an operation the attention.
function focusOn(i, { quietly = false } = {}) {
  view.focus = i;
  view.hover = -1;
  view.aside = null;
  if (i >= 0) {
    if (view.row[ops.lane[i]] < 0) setOnly(false);
    reveal(i);
    if (!quietly) announce(sentenceOf(i));
  }
  changed();
}
