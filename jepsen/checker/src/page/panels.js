// Panels: everything beside the timeline that says the same in words.
//
// Facts, the table of the contradiction, details of one operation, the order step by step, faults and
// leaders as a table, and notes. All text is written as text.

const STEP = 30, MOMENTS_MAX = 1000;

function writeFacts() {
  const kinds = [0, 0, 0];
  for (let i = 0; i < ops.count; i++) kinds[ops.outcome[i]]++;
  const processes = lanes.processes.reduce((sum, list) => sum + list.length, 0);
  const facts = [count(ops.count, "operation"), count(lanes.count, "client")];
  if (processes > lanes.count) facts.push(count(processes, "process", "processes"));
  if (data.nodes.length) facts.push(count(data.nodes.length, "node"));
  if (data.bands.length) facts.push(count(data.bands.length, "fault"));
  facts.push(duration(data.end));
  $("facts").replaceChildren(...facts.map((fact) => {
    const [number, ...rest] = fact.split(" ");
    return element("span", {}, element("b", {}, number), " " + rest.join(" "));
  }));
  document.querySelectorAll(".chip[data-outcome]").forEach((chip) => {
    chip.querySelector("b").textContent = numbers.format(kinds[chip.dataset.outcome]);
  });
  $("sentence").firstChild.textContent = visible(data.sentence);
  document.querySelector(".subject bdi").textContent = visible(data.title);
}

function writeCulprits() {
  if (!data.culprits.length) return;
  $("contradiction").hidden = false;
  $("culprits").replaceChildren(...data.culprits.map((i, number) => {
    const cell = (text, name) => element("td", name ? { class: name } : {}, text);
    const link = element("button", { type: "button", class: "link", onclick: () => goTo(number) }, actAt(i));
    return element("tr", { "data-operation": i },
      element("td", {}, element("span", { class: "badge" }, `${number + 1}`)),
      element("td", { class: "wide" }, link),
      cell(`${ops.process[i]}`),
      cell(moment(ops.invoked[i])),
      cell(ops.returned[i] < 0 ? "never" : moment(ops.returned[i])),
      cell(OUTCOMES[ops.outcome[i]]),
      cell(visible(shorten(textOf(ops.node[i]), 32)) || "not known"));
  }));
}

function writeNotes() {
  if (data.notes.length) {
    $("notes").hidden = false;
    $("notes").querySelector("ul").replaceChildren(...data.notes.map((note) => element("li", {}, element("bdi", {}, visible(note)))));
  }
  const moments = data.bands.map((band) => [band.from, band.to, bandName(band), band.nodes.join(", ")]);
  for (const node of data.nodes) for (const [at, text] of node.events) moments.push([at, at, text, node.name]);
  moments.sort((a, b) => a[0] - b[0]);
  if (!moments.length) return;
  $("background").hidden = false;
  const rows = moments.slice(0, MOMENTS_MAX).map(([from, to, what, where]) => element("tr", {},
    element("td", {}, element("button", { type: "button", class: "link", onclick: () => showMoment(from, to) }, moment(from))),
    element("td", {}, to === null ? "the end" : to === from ? "" : moment(to)),
    element("td", { class: "wide" }, visible(what)),
    element("td", {}, visible(where))));
  if (moments.length > MOMENTS_MAX) rows.push(element("tr", {}, element("td", { colspan: "4" }, `and ${numbers.format(moments.length - MOMENTS_MAX)} more`)));
  $("moments").replaceChildren(...rows);
}

function showMoment(from, to) {
  const until = to ?? data.end;
  const room = Math.max((until - from) * 0.2, span / 100);
  travel(from - room, until + room);
  $("timeline").focus();
}

let detailed = null;

/// What is under the pointer, else what is in focus.
function writeDetail() {
  const i = view.hover >= 0 ? view.hover : view.focus;
  const key = view.aside ? view.aside.title + view.aside.rows : `${i} ${view.focus}`;
  if (key === detailed) return;
  detailed = key;
  const rows = view.aside ? view.aside.rows : i < 0 ? [] : detailRows(i);
  $("detail-title").textContent = view.aside ? "Surroundings" : "Operation";
  if (!rows.length) {
    $("detail").replaceChildren(element("p", { class: "empty" },
      "Point at an operation, or move among them with Shift and the arrow keys, to see what it did."));
    return;
  }
  const parts = [element("p", { class: "what" }, visible(view.aside ? view.aside.title : actAt(i, 400)))];
  if (!view.aside && ops.guilty[i]) {
    parts.push(element("p", { class: "guilt" }, element("span", { class: "badge" }, `${ops.guilty[i]}`), "part of the contradiction"));
  }
  parts.push(element("dl", {}, ...rows.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, element("bdi", {}, visible(text)))])));
  if (!view.aside && i === view.focus) {
    const act = (text, does) => element("button", { type: "button", onclick: does }, text);
    parts.push(element("p", { class: "acts" }, act("Zoom to it", () => showOperations([i])),
      act("Before", () => neighbour(-1)), act("After", () => neighbour(1))));
  }
  $("detail").replaceChildren(...parts);
}

function detailRows(i) {
  const process = ops.process[i], worker = lanes.processes[ops.lane[i]][0];
  const rows = [["process", process === worker ? `${process}` : `${process}, which goes on for ${worker}`], ["outcome", outcomeWords(i)]];
  rows.push(["called", exactly(ops.invoked[i])]);
  if (ops.returned[i] >= 0) rows.push(["returned", `${exactly(ops.returned[i])}, after ${duration(ops.returned[i] - ops.invoked[i])}`]);
  const optional = [["key", ops.key], ["argument", ops.input], ["result", ops.outcome[i] === OK ? ops.value : null], ["error", ops.error], ["node", ops.node], ["request", ops.request]];
  for (const [name, column] of optional) if (column && column[i] >= 0) rows.push([name, textOf(column[i])]);
  if (ops.step[i] >= 0) rows.push(["order", `step ${ops.step[i] + 1}, after which: ${textOf(data.order.state[ops.step[i]])}`]);
  rows.push(["event", numbers.format(ops.index[i])]);
  return rows;
}

/// The order as a list of any length: only the steps on screen are elements.
function writeOrder() {
  if (!data.order || !data.order.operation.length) return;
  const all = data.order.operation.length;
  $("order").hidden = false;
  const whole = data.finding === "valid";
  $("order-title").textContent = whole ? "An order that explains it" : "How far an order goes";
  const size = `${count(all, "step")}, each with the state after it.`;
  $("order-words").textContent = whole ? size : `The best order that was found comes this far: ${size}`;
  const steps = $("steps");
  steps.style.height = `${Math.min(all * STEP + 2, 330)}px`;
  const sill = element("div", { class: "sill", role: "presentation" });
  sill.style.height = `${all * STEP}px`;
  steps.append(sill);
  let active = 0;
  const write = () => {
    const first = Math.max(0, Math.floor(steps.scrollTop / STEP) - 4);
    const last = Math.min(all, first + Math.ceil(steps.clientHeight / STEP) + 8);
    sill.replaceChildren(...Array.from({ length: last - first }, (_, k) => stepRow(first + k, all)));
    const selected = view.focus >= 0 ? ops.step[view.focus] : -1;
    if (selected >= first && selected < last) steps.setAttribute("aria-activedescendant", `step-${selected}`);
    else steps.removeAttribute("aria-activedescendant");
  };
  const choose = (step) => {
    active = Math.max(0, Math.min(all - 1, step));
    focusOn(data.order.operation[active]);
  };
  steps.addEventListener("scroll", write);
  steps.addEventListener("click", (event) => {
    const row = event.target.closest(".step");
    if (row) choose(Number(row.dataset.step));
  });
  steps.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 9, PageUp: -9, Home: -all, End: all }[event.key];
    if (event.key === "Enter" && view.focus >= 0) showOperations([view.focus]);
    if (by === undefined) return;
    event.preventDefault();
    choose(active + by);
  });
  let followed = -1;
  listeners.push(() => {
    const step = view.focus >= 0 ? ops.step[view.focus] : -1;
    if (step === followed) return;
    followed = step;
    if (step >= 0) {
      active = step;
      const top = step * STEP;
      if (top < steps.scrollTop || top + STEP > steps.scrollTop + steps.clientHeight) steps.scrollTop = top - steps.clientHeight / 2;
    }
    write();
  });
  write();
}

function stepRow(step, all) {
  const i = data.order.operation[step];
  const row = element("div", {
    class: ops.guilty[i] ? "step guilty" : "step", id: `step-${step}`, role: "option", "data-step": step,
    "aria-selected": String(i === view.focus), "aria-posinset": step + 1, "aria-setsize": all,
  },
  element("span", { class: "number" }, numbers.format(step + 1)),
  element("span", { class: "act" }, `${ops.guilty[i] ? "! " : ""}${actAt(i, 60)}`),
  element("span", { class: "state" }, visible(shorten(textOf(data.order.state[step]), 60))));
  row.style.top = `${step * STEP}px`;
  return row;
}
