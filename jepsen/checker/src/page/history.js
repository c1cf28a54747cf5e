// The history: the JSON in this file, with its columns as typed arrays and its operations by lane.
//
// Everything here is computed once and never changed. Times count from the first moment of the
// history; `data.origin` says where its clock stood then.

const OK = 0, FAIL = 1, INFO = 2;

const data = JSON.parse(document.getElementById("data").textContent);
const ops = readColumns(data.operations);
const lanes = sortIntoLanes(ops, data.lanes);
// Something to divide by, also for a history of one moment.
const span = Math.max(data.end, 1);

function readColumns(columns) {
  const count = columns.index.length;
  const invoked = new Float64Array(count);
  const returned = new Float64Array(count);
  const outcome = new Uint8Array(count);
  const index = new Float64Array(count);
  let now = 0, place = 0;
  for (let i = 0; i < count; i++) {
    now += columns.invoked[i];
    place += columns.index[i];
    index[i] = place;
    invoked[i] = now;
    returned[i] = columns.took[i] < 0 ? -1 : now + columns.took[i];
    outcome[i] = columns.outcome[i] === "o" ? OK : columns.outcome[i] === "f" ? FAIL : INFO;
  }
  // A column that is not there is one in which no operation has anything.
  const whole = (column) => (column.length ? Int32Array.from(column) : new Int32Array(count).fill(-1));
  return {
    count, invoked, returned, outcome,
    index, process: columns.process,
    lane: whole(columns.lane),
    f: whole(columns.f), key: whole(columns.key),
    input: whole(columns.input), value: whole(columns.value),
    node: whole(columns.node), request: whole(columns.request), error: whole(columns.error),
    // Where the bar of an operation ends that has no end: at the next one of its lane.
    shownUntil: new Float64Array(count),
    reads: null, guilty: new Uint8Array(count), step: new Int32Array(count).fill(-1),
  };
}

/// Operations of one lane follow each other, so those that are visible are found by halving.
function sortIntoLanes(ops, processes) {
  const start = new Uint32Array(processes.length + 1);
  for (let i = 0; i < ops.count; i++) start[ops.lane[i] + 1]++;
  for (let lane = 0; lane < processes.length; lane++) start[lane + 1] += start[lane];
  const next = start.slice();
  const members = new Uint32Array(ops.count);
  for (let i = 0; i < ops.count; i++) members[next[ops.lane[i]]++] = i;
  for (let lane = 0; lane < processes.length; lane++) {
    for (let at = start[lane]; at < start[lane + 1]; at++) {
      const i = members[at];
      const following = at + 1 < start[lane + 1] ? ops.invoked[members[at + 1]] : data.end;
      ops.shownUntil[i] = ops.returned[i] < 0 ? Math.max(following, ops.invoked[i]) : ops.returned[i];
    }
  }
  return { count: processes.length, processes, start, members };
}

/// The place in `lanes.members` of the first operation of a lane that begins after a time.
function firstAfter(lane, time) {
  let low = lanes.start[lane], high = lanes.start[lane + 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ops.invoked[lanes.members[middle]] <= time) low = middle + 1; else high = middle;
  }
  return low;
}

/// Where an operation stands in `lanes.members`.
function placeOf(i) {
  let at = firstAfter(ops.lane[i], ops.invoked[i]) - 1;
  while (at > lanes.start[ops.lane[i]] && lanes.members[at] !== i) at--;
  return at;
}

const textOf = (number) => (number < 0 ? "" : data.texts[number]);

data.culprits.forEach((i, number) => { ops.guilty[i] = Math.min(number + 1, 255); });
if (data.order) data.order.operation.forEach((i, step) => { ops.step[i] = step; });
ops.reads = (() => {
  const reading = data.texts.map((text) => /^(r|read|get|list|scan|txn-read)\b/i.test(text));
  return Uint8Array.from(ops.f, (f) => (f >= 0 && reading[f] ? 1 : 0));
})();
