// The surroundings: axis, faults, nodes, and the overview of the whole history.
//
// Faults lie behind the lanes and are named in a strip above them; nodes stand between strip and
// lanes, and stay there when lanes scroll.

const AXIS = 28, STRIP = 18, NODE = 24, STRIPS_MAX = 3;
const strips = packBands();

/// Faults that overlap need strips of their own; more than a few share the last one.
function packBands() {
  const ends = [];
  for (const band of data.bands) {
    const until = band.to ?? Infinity;
    let strip = ends.findIndex((end) => end <= band.from);
    if (strip < 0) strip = ends.length < STRIPS_MAX ? ends.length : STRIPS_MAX - 1;
    ends[strip] = Math.max(ends[strip] ?? 0, until);
    band.strip = strip;
  }
  return ends.length;
}

const pinnedHeight = () => AXIS + strips * STRIP + (data.nodes.length ? data.nodes.length * NODE + 8 : 4);
const bandEnd = (band) => band.to ?? data.end;
const onScreen = (from, until) => until >= view.from && from <= view.until;

function drawGround(pen) {
  pen.clearRect(0, 0, view.width, view.height);
  pen.fillStyle = palette.panel;
  pen.fillRect(0, 0, view.width, view.height);
  pen.save();
  pen.beginPath();
  pen.rect(view.gutter, AXIS, view.width - view.gutter, view.height);
  pen.clip();
  for (const band of data.bands) {
    if (!onScreen(band.from, bandEnd(band))) continue;
    const [colour, shape] = faultLook(band.name);
    const x = toX(band.from), width = Math.max(toX(bandEnd(band)) - x, 1);
    pen.globalAlpha = 0.07;
    pen.fillStyle = palette[colour];
    pen.fillRect(x, AXIS, width, view.height);
    pen.globalAlpha = 0.13;
    pen.fillStyle = pattern(pen, shape, palette[colour]);
    pen.fillRect(x, AXIS, width, view.height);
    pen.globalAlpha = 0.5;
    pen.fillStyle = palette[colour];
    pen.fillRect(x, AXIS, 1, view.height);
    if (band.to !== null) pen.fillRect(x + width, AXIS, 1, view.height);
  }
  pen.globalAlpha = 1;
  pen.restore();
}

/// A step of 1, 2 or 5 that leaves room for a label.
function tickStep() {
  const room = view.width < 600 ? 84 : 110;
  const rough = (view.until - view.from) / ((view.width - view.gutter) / room);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  return inPositions ? Math.max(1, step) : step;
}

function drawAxis(pen) {
  const step = tickStep();
  pen.font = fonts.axis;
  pen.textBaseline = "middle";
  const first = Math.ceil((view.from + data.origin) / step) * step - data.origin;
  for (let time = first; time <= view.until; time += step) {
    const x = Math.round(toX(time));
    if (x < view.gutter) continue;
    pen.fillStyle = palette.line;
    pen.fillRect(x, AXIS - 5, 1, view.height);
    pen.fillStyle = palette.muted;
    if (x < view.width - 40) pen.fillText(moment(time, step), x + 4, AXIS / 2);
  }
  pen.fillStyle = palette.line;
  pen.fillRect(0, AXIS, view.width, 1);
}

/// Where the operation in focus begins and ends, across all lanes.
function drawGuides(pen) {
  if (view.focus < 0) return;
  const times = [ops.invoked[view.focus], ops.returned[view.focus]].filter((time) => time >= 0);
  pen.fillStyle = palette.ink;
  pen.globalAlpha = 0.6;
  for (const time of times) {
    const x = Math.round(toX(time));
    if (x < view.gutter || x > view.width) continue;
    for (let y = AXIS; y < view.height; y += 6) pen.fillRect(x, y, 1, 3);
  }
  pen.globalAlpha = 1;
}

function drawStrips(pen) {
  pen.save();
  pen.beginPath();
  pen.rect(view.gutter, AXIS, view.width - view.gutter, strips * STRIP + 1);
  pen.clip();
  pen.font = fonts.axis;
  pen.textBaseline = "middle";
  for (const band of data.bands) {
    if (!onScreen(band.from, bandEnd(band))) continue;
    const [colour] = faultLook(band.name);
    const top = AXIS + 2 + band.strip * STRIP, height = STRIP - 3;
    const x = toX(band.from), width = Math.max(toX(bandEnd(band)) - x, 3);
    pen.fillStyle = palette.panel;
    pen.fillRect(x, top, width, height);
    pen.globalAlpha = 0.22;
    pen.fillStyle = palette[colour];
    pen.fillRect(x, top, width, height);
    pen.globalAlpha = 1;
    pen.fillRect(x, top, 2, height);
    if (band.to !== null) pen.fillRect(x + width - 2, top, 2, height);
    const left = Math.max(x, view.gutter) + 7, room = Math.min(x + width, view.width) - left - 4;
    if (room > 26) {
      pen.fillStyle = palette.ink;
      pen.fillText(fit(pen, bandName(band), room), left, top + height / 2 + 0.5);
    }
  }
  pen.restore();
}

function bandName(band) {
  const where = band.nodes.length ? ` (${band.nodes.length === 1 ? "node" : "nodes"} ${band.nodes.join(", ")})` : "";
  return visible(`${band.name} ${band.detail}${where}`.trim());
}

function fit(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  const part = Math.max(1, Math.floor(text.length * room / pen.measureText(text).width) - 1);
  return text.slice(0, part) + "…";
}

const nodeTop = (number) => AXIS + strips * STRIP + 4 + number * NODE;

function drawNodes(pen) {
  data.nodes.forEach((node, number) => {
    const top = nodeTop(number);
    pen.font = fonts.label;
    pen.textBaseline = "middle";
    pen.fillStyle = palette.ink;
    pen.fillText(fit(pen, `node ${visible(node.name)}`, view.gutter - 16), 12, top + NODE / 2);
    pen.save();
    pen.beginPath();
    pen.rect(view.gutter, top, view.width - view.gutter, NODE);
    pen.clip();
    for (const span of node.spans) if (onScreen(span[2], span[3] ?? data.end)) drawSpan(pen, span, top);
    pen.fillStyle = palette.ink;
    for (const [at] of node.events) {
      if (!onScreen(at, at)) continue;
      const x = toX(at);
      pen.beginPath();
      pen.moveTo(x - 4, top);
      pen.lineTo(x + 4, top);
      pen.lineTo(x, top + 6);
      pen.fill();
    }
    pen.restore();
  });
  if (data.nodes.length) {
    pen.fillStyle = palette.line;
    pen.fillRect(0, view.pinned - 1, view.width, 1);
  }
}

/// A leader fills its row, a follower, or a node where nobody leads, is a line in it, one that is absent a dotted one.
function drawSpan(pen, [role, term, from, to], top) {
  const x = toX(from), width = Math.max(toX(to ?? data.end) - x, 1);
  const looks = { leader: ["leader", 17], follower: ["follower", 9], learner: ["follower", 5], candidate: ["candidate", 13], running: ["follower", 9] };
  const [colour, height] = looks[role] || ["absent", 3];
  const y = top + (NODE - height) / 2 + 1;
  pen.fillStyle = palette[colour];
  if (looks[role]) {
    rounded(pen, x, y, Math.max(width - 1, 1), height, 3);
    pen.fill();
  } else {
    for (let dot = Math.max(x, view.gutter - 6); dot < Math.min(x + width, view.width); dot += 7) pen.fillRect(dot, y, 4, height);
  }
  const left = Math.max(x, view.gutter) + 6, room = Math.min(x + width, view.width) - left - 4;
  if (role !== "leader" || room < 16) return;
  pen.font = fonts.strong;
  pen.fillStyle = palette["leader-text"];
  const known = term === null ? "leader" : room > 92 ? `leader, term ${term}` : `${term}`;
  pen.fillText(fit(pen, known, room), left, top + NODE / 2 + 1.5);
}

/// What there is above the lanes at a place, in words.
function asideAt(x, y) {
  if (x < view.gutter || y >= view.pinned) return null;
  const time = toTime(x), near = (view.until - view.from) * 5 / (view.width - view.gutter);
  const number = Math.floor((y - nodeTop(0)) / NODE);
  const node = data.nodes[number];
  if (node && y >= nodeTop(0)) {
    const span = node.spans.find((span) => span[2] <= time && time <= (span[3] ?? data.end));
    const events = node.events.filter(([at]) => Math.abs(at - time) <= near);
    if (!span && !events.length) return null;
    const rows = span ? [["role", span[0]], ["term", span[1] === null ? "not known" : `${span[1]}`],
      ["from", moment(span[2])], ["until", span[3] === null ? "the end" : moment(span[3])]] : [];
    for (const [at, text] of events) rows.push([moment(at), text]);
    return { title: `node ${node.name}`, rows };
  }
  const strip = Math.floor((y - AXIS - 2) / STRIP);
  const band = data.bands.find((band) => band.strip === strip && band.from - near <= time && time <= bandEnd(band) + near);
  if (!band) return null;
  const rows = [["from", moment(band.from)], ["until", band.to === null ? "the end: nothing ended it" : moment(band.to)]];
  return { title: bandName(band), rows };
}

let profile = null;

/// How many operations begin in each pixel of the overview, by outcome; and the most of any pixel.
function profileOf(width) {
  if (profile && profile.width === width) return profile;
  const counts = [new Uint32Array(width), new Uint32Array(width), new Uint32Array(width)];
  for (let i = 0; i < ops.count; i++) counts[ops.outcome[i]][Math.min(width - 1, Math.floor(ops.invoked[i] / span * width))]++;
  let most = 1;
  for (let x = 0; x < width; x++) most = Math.max(most, counts[0][x] + counts[1][x] + counts[2][x]);
  profile = { width, counts, most };
  return profile;
}

function drawOverview() {
  const canvas = $("overview");
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (width < 1) return;
  const pen = sized(canvas, width, height);
  const at = (time) => time / span * width;
  for (const band of data.bands) {
    pen.globalAlpha = 0.16;
    pen.fillStyle = palette[faultLook(band.name)[0]];
    pen.fillRect(at(band.from), 0, Math.max(at(bandEnd(band)) - at(band.from), 1), height);
  }
  pen.globalAlpha = 0.75;
  const { counts, most } = profileOf(width);
  const tall = height - 10;
  for (let x = 0; x < width; x++) {
    let y = height;
    [["ok", counts[OK][x]], ["fail", counts[FAIL][x]], ["info", counts[INFO][x]]].forEach(([colour, number]) => {
      if (!number) return;
      const part = Math.max(1.5, number / most * tall);
      y -= part;
      pen.fillStyle = palette[colour];
      pen.fillRect(x, y, 1, part);
    });
  }
  pen.globalAlpha = 1;
  pen.fillStyle = palette.match;
  if (search.hits) for (let k = 0; k < search.list.length; k += Math.ceil(search.list.length / 4000)) pen.fillRect(at(ops.invoked[search.list[k]]), 0, 1, 5);
  pen.fillStyle = palette.culprit;
  for (const i of data.culprits) pen.fillRect(at(ops.invoked[i]) - 1, 0, 2.5, height);
  const left = at(view.from), right = Math.max(at(view.until), left + 4);
  pen.fillStyle = palette.sunken;
  pen.globalAlpha = 0.66;
  pen.fillRect(0, 0, left, height);
  pen.fillRect(right, 0, width, height);
  pen.globalAlpha = 1;
  pen.strokeStyle = palette.ink;
  pen.lineWidth = 1.5;
  rounded(pen, Math.max(left, 0.75), 0.75, Math.min(right, width - 0.75) - Math.max(left, 0.75), height - 1.5, 4);
  pen.stroke();
}

/// The pen of a canvas of this size, clean, on a screen of any density.
function sized(canvas, width, height) {
  const scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}
