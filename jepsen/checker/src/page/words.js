// Words: times, operations and outcomes for a person, and the elements that carry them.
//
// All text of a history passes `visible`, and reaches the page as text nodes or as pixels only.

// Characters that change how their surroundings look, or that cannot be seen: written out instead.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
const LABEL_MAX = 120;
const OUTCOMES = ["ok", "failed", "unknown"];
const numbers = new Intl.NumberFormat("en");
const count = (number, noun, plural = `${noun}s`) => `${numbers.format(number)} ${number === 1 ? noun : plural}`;

function visible(text) {
  return text.replace(UNSEEN, (letter) => {
    const code = letter.charCodeAt(0).toString(16).padStart(4, "0");
    return `\\u${code}`;
  });
}

const shorten = (text, length) => (text.length > length ? text.slice(0, length - 1) + "…" : text);

/// What an operation did, such as "read → 17".
function act(i, length = LABEL_MAX) {
  const input = textOf(ops.input[i]), value = textOf(ops.value[i]);
  let text = textOf(ops.f[i]);
  if (input) text += " " + shorten(input, length);
  if (ops.outcome[i] === OK && ops.value[i] !== ops.input[i]) text += " → " + (shorten(value, length) || "nil");
  else if (ops.outcome[i] === OK && ops.reads[i] && !value) text += " → nil";
  return shorten(visible(text), length);
}

/// The same with its key, where a history has keys.
function actAt(i, length = LABEL_MAX) {
  return ops.key[i] < 0 ? act(i, length) : `${visible(shorten(textOf(ops.key[i]), 24))}: ${act(i, length)}`;
}

function outcomeWords(i) {
  if (ops.outcome[i] === OK) return "ok: it happened";
  if (ops.outcome[i] === FAIL) return "failed: it did not happen";
  return "unknown: it may have happened, then or later";
}

/// One line about an operation, for a reader who sees no bar.
function sentenceOf(i) {
  const until = ops.returned[i] < 0 ? "never returned" : `returned ${moment(ops.returned[i])}`;
  const guilty = ops.guilty[i] ? `, number ${ops.guilty[i]} of the contradiction` : "";
  return `process ${ops.process[i]}, ${actAt(i)}, ${OUTCOMES[ops.outcome[i]]}, ` +
    `called ${moment(ops.invoked[i])}, ${until}${guilty}`;
}

const inPositions = data.clock === "positions";

/// A time of the history, as its clock showed it, fine enough to tell it from one `step` later.
function moment(time, step) {
  const at = time + data.origin;
  if (inPositions) return `event ${numbers.format(Math.round(at))}`;
  if (at === 0) return "0 s";
  const [unit, size] = at >= 1e9 ? ["s", 1e9] : at >= 1e6 ? ["ms", 1e6] : at >= 1e3 ? ["µs", 1e3] : ["ns", 1];
  const finest = step || (at >= 1e9 ? 1e6 : Math.max(size / 1000, 1));
  const digits = Math.min(9, Math.max(0, Math.ceil(Math.log10(size / finest) - 1e-9)));
  // Cut off, not rounded, as the sentences of the checkers are; but not by an error of the division.
  const cut = Math.floor(at / size * 10 ** digits + 1e-4) / 10 ** digits;
  return `${cut.toFixed(digits)} ${unit}`;
}

/// A time to the last digit that says something.
const exactly = (time) => moment(time, 1).replace(/(\.\d*?)0+ /, "$1 ").replace(". ", " ");

/// A length of time.
function duration(length) {
  if (inPositions) return count(Math.round(length), "event");
  const [unit, size] = length >= 1e9 ? ["s", 1e9] : length >= 1e6 ? ["ms", 1e6] : length >= 1e3 ? ["µs", 1e3] : ["ns", 1];
  const number = length / size;
  return `${number.toFixed(number >= 100 || size === 1 ? 0 : number >= 10 ? 1 : 2)} ${unit}`;
}

function laneName(lane) {
  const processes = lanes.processes[lane];
  return processes.length === 1 ? `process ${processes[0]}` : `process ${processes[0]} +${processes.length - 1}`;
}

const $ = (id) => document.getElementById(id);

/// An element with attributes and children; texts become text nodes.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/// Says something to those who do not see the page.
function announce(text) {
  $("announce").textContent = text;
}
