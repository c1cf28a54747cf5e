// Search: from what was typed to the operations that match.
//
// Words of a query must all match. A word is looked up in the dictionary of texts first, so that the
// operations themselves are compared by number; 100,000 of them take a few milliseconds.

const search = { query: "", hits: null, list: new Uint32Array(0), at: -1 };
const TERM = /(?:([a-z]+):)?(?:"([^"]*)"?|(\S+))/gi;
const COLUMNS_OF = {
  f: ["f"], function: ["f"], key: ["key"], k: ["key"], value: ["input", "value"], v: ["input", "value"],
  node: ["node"], error: ["error"], request: ["request"],
};
const ANYWHERE = ["f", "key", "input", "value", "node", "request", "error"];
const OUTCOME_NAMES = [["ok"], ["fail", "failed"], ["info", "unknown"]];

/// Which texts of the dictionary hold a word; a number only as a whole number.
function textsWith(word) {
  const found = new Uint8Array(data.texts.length);
  const wanted = word.toLowerCase();
  const whole = /^-?\d+(\.\d+)?$/.test(word) && new RegExp(`(?<![\\w.-])${word.replace(".", "\\.")}(?![\\w.])`);
  for (let number = 0; number < found.length; number++) {
    const text = data.texts[number];
    if (whole ? whole.test(text) : text.toLowerCase().includes(wanted)) found[number] = 1;
  }
  return found;
}

function matcher(field, word) {
  const name = field.toLowerCase();
  if (["process", "p", "worker"].includes(name)) {
    const wanted = Number(word);
    if (name === "worker") return (i) => lanes.processes[ops.lane[i]].includes(wanted);
    return (i) => ops.process[i] === wanted;
  }
  if (["outcome", "type", "o"].includes(name)) {
    const outcome = OUTCOME_NAMES.findIndex((names) => names.includes(word.toLowerCase()));
    return (i) => ops.outcome[i] === outcome;
  }
  const known = COLUMNS_OF[name];
  const texts = textsWith(known || !field ? word : `${field}:${word}`);
  const columns = (known || ANYWHERE).map((column) => ops[column]);
  const inTexts = (i) => columns.some((column) => column[i] >= 0 && texts[column[i]]);
  if (known || field) return inTexts;
  const outcome = OUTCOME_NAMES.findIndex((names) => names.includes(word.toLowerCase()));
  return outcome < 0 ? inTexts : (i) => ops.outcome[i] === outcome || inTexts(i);
}

function runSearch(query) {
  search.query = query.trim();
  search.at = -1;
  const terms = [...search.query.matchAll(TERM)].map(([, field, quoted, bare]) => matcher(field || "", quoted ?? bare));
  if (!terms.length) {
    search.hits = null;
    search.list = new Uint32Array(0);
  } else {
    search.hits = new Uint8Array(ops.count);
    const list = [];
    for (let i = 0; i < ops.count; i++) {
      if (!terms.every((term) => term(i))) continue;
      search.hits[i] = 1;
      if (!view.hidden[ops.outcome[i]]) list.push(i);
    }
    search.list = Uint32Array.from(list);
  }
  if (view.only) setOnly(true);
  tellHits();
  changed();
}

function tellHits() {
  const all = search.list.length;
  $("hits").textContent = !search.hits ? "" : !all ? "no match" :
    search.at < 0 ? `${numbers.format(all)} found` : `${numbers.format(search.at + 1)} of ${numbers.format(all)}`;
  $("next").disabled = $("previous").disabled = !all;
}

/// Goes to the next match, or the one before; the first jump takes the nearest to what is on screen.
function jump(by) {
  const all = search.list.length;
  if (!all) return announce(search.hits ? "no match" : "nothing is searched for");
  if (search.at < 0) {
    const from = view.focus >= 0 ? ops.invoked[view.focus] : view.from;
    const after = search.list.findIndex((i) => ops.invoked[i] >= from);
    search.at = by > 0 ? Math.max(after, 0) : (after < 0 ? all : after + all) - 1;
    search.at %= all;
  } else {
    search.at = (search.at + by + all) % all;
  }
  tellHits();
  focusOn(search.list[search.at], { quietly: true });
  announce(`${search.at + 1} of ${all}: ${sentenceOf(view.focus)}`);
}

/// Hides all lanes that have nothing to do with the search or, without one, with the contradiction.
function setOnly(only) {
  view.only = only;
  $("only").setAttribute("aria-pressed", String(only));
  const wanted = new Uint8Array(lanes.count);
  if (only) for (const i of search.hits ? search.list : data.culprits) wanted[ops.lane[i]] = 1;
  showLanes(wanted.includes(1) ? wanted : null);
  if (view.focus >= 0) revealLane(ops.lane[view.focus]);
}
