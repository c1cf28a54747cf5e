// Main: lays the page out, draws it, and opens it where the trouble is.

const LANES_ROOMY = 40;

/// Sizes that depend on the window and on how many lanes are shown.
function layOut() {
  const scroller = $("scroller");
  view.laneHeight = lanes.count > LANES_ROOMY ? 22 : 26;
  view.pinned = pinnedHeight();
  const total = view.pinned + view.shown.length * view.laneHeight + 6;
  const most = Math.max(340, Math.round(innerHeight * 0.66), view.pinned + 6 * view.laneHeight);
  view.height = Math.min(Math.max(total, view.pinned + 3 * view.laneHeight), most);
  scroller.style.height = `${view.height + 1}px`;
  $("spacer").style.height = `${Math.max(0, total - view.height)}px`;
  view.width = scroller.clientWidth;
  view.gutter = view.width < 560 ? 68 : 116;
  $("timeline").style.width = `${view.width}px`;
  $("timeline").style.height = `${view.height}px`;
  changed();
}

function draw() {
  const pen = sized($("timeline"), view.width, view.height);
  drawGround(pen);
  drawAxis(pen);
  drawLanes(pen);
  pen.fillStyle = palette.panel;
  pen.fillRect(0, AXIS + 1, view.gutter - 1, view.pinned - AXIS - 1);
  pen.font = fonts.label;
  pen.textBaseline = "middle";
  pen.fillStyle = palette.muted;
  if (strips) pen.fillText("faults", 12, AXIS + 1 + STRIP / 2, view.gutter - 16);
  drawStrips(pen);
  drawNodes(pen);
  drawGuides(pen);
  drawOverview();
  const length = view.until - view.from;
  $("range").textContent = `${moment(Math.max(view.from, 0), length / 1000)} to ${moment(view.until, length / 1000)}`;
  writeDetail();
  const attended = view.hover >= 0 ? view.hover : view.focus;
  for (const row of $("culprits").children) row.classList.toggle("current", Number(row.dataset.operation) === attended);
}

function open() {
  writeFacts();
  writeCulprits();
  writeNotes();
  setTheme("system");
  $("only").hidden = lanes.count < 8;
  layOut();
  listeners.push(draw);
  writeOrder();
  listenToPointer();
  listenToOverview();
  listenToKeys();
  listenToButtons();
  tellHits();
  $("scroller").addEventListener("scroll", changed);
  addEventListener("resize", layOut);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readPalette);
  if (!data.culprits.length) return setStretch(-span * 0.02, span * 1.02);
  // Straight there: what one opens a page for should not first fly past.
  if (lanes.count > LANES_ROOMY) setOnly(true);
  showOperations(data.culprits);
  cancelAnimationFrame(motion);
  const { invoked, returned } = ops;
  const from = Math.min(...data.culprits.map((i) => invoked[i]));
  const until = Math.max(...data.culprits.map((i) => Math.max(invoked[i], returned[i])));
  const room = Math.max((until - from) * 0.3, SMALLEST / 2);
  setStretch(from - room, until + room);
  view.focus = data.culprits[data.culprits.length - 1];
  revealLane(ops.lane[view.focus]);
}

open();
