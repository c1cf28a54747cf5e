// The timeline: a row for each lane, a bar for each operation, and columns where bars are too narrow.
//
// Only what is on screen is looked at. Operations narrower than `BAR_MIN` are counted into columns of
// `COLUMN` pixels, so that a lane costs at most its width, however many operations it holds.

const BAR_MIN = 2.5, COLUMN = 2, TEXT_MIN = 24, DIM = 0.22;
let columns = new Uint16Array(0);
let letterWidth = 0;

function drawLanes(pen) {
  const scroll = $("scroller").scrollTop;
  const first = Math.floor(scroll / view.laneHeight);
  const last = Math.min(view.shown.length, first + Math.ceil((view.height - view.pinned) / view.laneHeight) + 1);
  const needed = 4 * (Math.ceil((view.width - view.gutter) / COLUMN) + 1);
  if (columns.length !== needed) columns = new Uint16Array(needed);
  pen.font = fonts.bar;
  letterWidth = pen.measureText("0").width;
  pen.save();
  pen.beginPath();
  pen.rect(view.gutter, view.pinned, view.width - view.gutter, view.height - view.pinned);
  pen.clip();
  for (let row = first; row < last; row++) drawLane(pen, view.shown[row], topOf(row, scroll));
  for (let row = first; row < last; row++) drawMarks(pen, view.shown[row], topOf(row, scroll));
  pen.restore();
  drawLaneNames(pen, first, last, scroll);
}

const topOf = (row, scroll) => view.pinned + row * view.laneHeight - scroll;

function drawLane(pen, lane, top) {
  pen.fillStyle = palette.line;
  pen.globalAlpha = 0.6;
  pen.fillRect(view.gutter, Math.round(top + view.laneHeight) - 0.5, view.width, 0.5);
  pen.globalAlpha = 1;
  const y = top + 4, height = view.laneHeight - 8;
  const scale = (view.width - view.gutter) / (view.until - view.from);
  const begin = Math.max(lanes.start[lane], firstAfter(lane, view.from) - 1);
  const end = firstAfter(lane, view.until);
  let counted = false;
  for (let at = begin; at < end; at++) {
    const i = lanes.members[at];
    const outcome = ops.outcome[i];
    if (view.hidden[outcome]) continue;
    const x = (ops.invoked[i] - view.from) * scale;
    const width = (ops.shownUntil[i] - ops.invoked[i]) * scale;
    if (width >= BAR_MIN) {
      drawBar(pen, i, view.gutter + x, width, y, height);
      continue;
    }
    if (x < 0) continue;
    const column = 4 * Math.floor(x / COLUMN);
    columns[column + outcome]++;
    if (search.hits && search.hits[i]) columns[column + 3]++;
    counted = true;
  }
  if (counted) drawColumns(pen, y, height);
}

/// What was counted: a higher column for more, so that a lane shows when its client had to wait.
function drawColumns(pen, y, height) {
  const dim = search.hits ? DIM : 1;
  let most = 1;
  for (let column = 0; column < columns.length; column += 4) {
    most = Math.max(most, columns[column] + columns[column + 1] + columns[column + 2]);
  }
  const each = (draw) => {
    for (let column = 0; column < columns.length; column += 4) {
      const all = columns[column] + columns[column + 1] + columns[column + 2];
      if (all) draw(view.gutter + column / 4 * COLUMN, columns[column], columns[column + 1], columns[column + 2], all, columns[column + 3]);
    }
  };
  pen.fillStyle = palette.ok;
  pen.globalAlpha = dim * 0.82;
  each((x, ok, fail, info, all) => {
    if (!ok) return;
    const part = height * (0.25 + 0.75 * all / most);
    pen.fillRect(x, y + height - part, COLUMN, part);
  });
  pen.globalAlpha = dim;
  pen.fillStyle = palette.fail;
  each((x, ok, fail, info, all) => {
    if (!fail) return;
    const part = 3 + height * 0.4 * fail / most;
    pen.fillRect(x, y + height - part, COLUMN, part);
  });
  pen.fillStyle = palette.info;
  each((x, ok, fail, info, all) => {
    if (info) pen.fillRect(x, y - 1, COLUMN, Math.max(4, height * info / all));
  });
  pen.globalAlpha = 1;
  pen.fillStyle = palette.match;
  each((x, ok, fail, info, all, matches) => {
    if (matches) pen.fillRect(x, y - 2, COLUMN, height + 4);
  });
  columns.fill(0);
}

function drawBar(pen, i, x, width, y, height) {
  const outcome = ops.outcome[i];
  const left = Math.max(x, view.gutter - 8);
  const right = Math.min(x + width - (width > 6 ? 1 : 0), view.width + 8);
  const size = Math.max(right - left, 1.5);
  const hit = search.hits && search.hits[i];
  pen.globalAlpha = search.hits && !hit ? DIM : 1;
  let ink;
  if (outcome === OK) {
    ink = ops.reads[i] ? palette["read-text"] : palette["ok-text"];
    pen.fillStyle = ops.reads[i] ? palette.read : palette.ok;
    rounded(pen, left, y, size, height, 3);
    pen.fill();
    if (ops.reads[i]) {
      pen.fillStyle = palette.ok;
      pen.fillRect(left, y + height - 1.5, size, 1.5);
    }
  } else if (outcome === FAIL) {
    ink = palette["fail-text"];
    pen.fillStyle = palette.panel;
    pen.strokeStyle = palette.fail;
    pen.lineWidth = 1;
    rounded(pen, left + 0.5, y + 0.5, Math.max(size - 1, 1), height - 1, 3);
    pen.fill();
    pen.stroke();
    pen.fillStyle = palette.fail;
  } else {
    ink = palette["info-text"];
    drawOpenBar(pen, left, y, size, height);
  }
  // A bar that began long ago is named where it comes into view.
  const from = Math.max(left, view.gutter) + 5, room = right - from - 4;
  if (room >= TEXT_MIN - 10) {
    pen.font = fonts.bar;
    pen.textBaseline = "middle";
    pen.fillStyle = ink;
    const text = shorten(actAt(i), Math.floor(room / letterWidth));
    pen.fillText(text, from, y + height / 2 + 0.5, room);
    // Crossed through like a word that does not count.
    if (outcome === FAIL) pen.fillRect(from, y + height / 2, Math.min(room, text.length * letterWidth), 1);
  } else if (outcome === FAIL) {
    pen.fillRect(left, y + height / 2, size, 1);
  }
  if (hit) {
    pen.fillStyle = palette.match;
    pen.fillRect(left, y - 2.5, size, 2.5);
    pen.fillRect(left, y + height, size, 2.5);
  }
  pen.globalAlpha = 1;
}

/// A bar whose end nobody knows: hatched, and fading out.
function drawOpenBar(pen, x, y, width, height) {
  const alpha = pen.globalAlpha;
  const body = width > 30 ? width - Math.min(width * 0.4, 60) : width;
  pen.fillStyle = palette["info-ground"];
  pen.fillRect(x, y, body, height);
  pen.fillStyle = pattern(pen, "rising", palette.info);
  pen.globalAlpha = alpha * 0.45;
  pen.fillRect(x, y, body, height);
  const tail = width - body;
  for (let part = 0; part < tail; part += 6) {
    pen.globalAlpha = alpha * 0.5 * (1 - part / tail);
    pen.fillRect(x + body + part, y, Math.min(6, tail - part), height);
  }
  pen.globalAlpha = alpha;
  pen.fillStyle = palette.info;
  pen.fillRect(x, y, Math.min(2, width), height);
  pen.fillRect(x, y, body, 1);
  pen.fillRect(x, y + height - 1, body, 1);
}

function rounded(pen, x, y, width, height, radius) {
  pen.beginPath();
  pen.roundRect(x, y, width, height, Math.min(radius, width / 2, height / 2));
}

/// Frames around what has the attention, above all bars.
function drawMarks(pen, lane, top) {
  const marked = data.culprits.concat(view.hover >= 0 ? [view.hover] : [], view.focus >= 0 ? [view.focus] : []);
  for (const i of marked) {
    if (ops.lane[i] !== lane) continue;
    const x = Math.max(toX(ops.invoked[i]), view.gutter - 20);
    const until = Math.min(toX(ops.shownUntil[i]), view.width + 20);
    const width = Math.max(until - x, 3), height = view.laneHeight - 8;
    if (until < view.gutter - 10 || x > view.width + 10) continue;
    if (ops.guilty[i]) {
      pen.strokeStyle = palette.culprit;
      pen.lineWidth = 2;
      rounded(pen, x - 1.5, top + 2.5, width + 2, height + 3, 4);
      pen.stroke();
      drawBadge(pen, x - 1, top + view.laneHeight / 2, ops.guilty[i]);
    }
    if (i === view.focus || i === view.hover) {
      pen.strokeStyle = palette.ink;
      pen.lineWidth = i === view.focus ? 1.5 : 1;
      rounded(pen, x - 3.5, top + 0.5, width + 6, height + 7, 6);
      pen.stroke();
    }
  }
}

function drawBadge(pen, x, y, number) {
  const at = Math.max(x - 9, view.gutter + 9);
  pen.fillStyle = palette.culprit;
  pen.beginPath();
  pen.arc(at, y, 8, 0, 7);
  pen.fill();
  pen.fillStyle = palette["culprit-text"];
  pen.font = fonts.strong;
  pen.textAlign = "center";
  pen.fillText(number, at, y + 0.5);
  pen.textAlign = "left";
}

function drawLaneNames(pen, first, last, scroll) {
  pen.save();
  pen.beginPath();
  pen.rect(0, view.pinned, view.gutter, view.height - view.pinned);
  pen.clip();
  pen.fillStyle = palette.panel;
  pen.fillRect(0, view.pinned, view.gutter, view.height);
  pen.textBaseline = "middle";
  const attended = view.hover >= 0 ? view.hover : view.focus;
  for (let row = first; row < last; row++) {
    const lane = view.shown[row];
    const middle = topOf(row, scroll) + view.laneHeight / 2;
    const own = attended >= 0 && ops.lane[attended] === lane;
    pen.font = fonts.label;
    pen.fillStyle = own ? palette.ink : palette.muted;
    const name = view.gutter < 100 ? `proc ${lanes.processes[lane][0]}` : laneName(lane);
    pen.fillText(name, 12, middle, view.gutter - 16);
    if (own) pen.fillRect(0, middle - 8, 3, 16);
  }
  pen.fillStyle = palette.line;
  pen.fillRect(view.gutter - 1, view.pinned, 1, view.height);
  pen.restore();
}

/// The operation at a place, or the nearest within a few pixels; -1 if none.
function operationAt(x, y) {
  if (x < view.gutter || y < view.pinned) return -1;
  const row = Math.floor((y - view.pinned + $("scroller").scrollTop) / view.laneHeight);
  if (row >= view.shown.length) return -1;
  const lane = view.shown[row];
  const after = firstAfter(lane, toTime(x));
  let best = -1, nearest = 5;
  for (let at = Math.max(after - 3, lanes.start[lane]); at < Math.min(after + 2, lanes.start[lane + 1]); at++) {
    const i = lanes.members[at];
    if (view.hidden[ops.outcome[i]]) continue;
    const from = toX(ops.invoked[i]), until = toX(ops.shownUntil[i]);
    // A culprit is easy to miss among its neighbours, so it attracts.
    const distance = Math.max(from - x, x - until, 0) - (ops.guilty[i] ? 3 : 0);
    if (distance < nearest || (distance === nearest && from <= x)) { best = i; nearest = distance; }
  }
  return best;
}
