// The palette: the style sheet's colours as a canvas needs them, and the patterns drawn with them.
//
// Colours are read from the style sheet, so that a theme is defined in one place; they are read anew
// when the theme changes.

const NAMES = ["paper", "panel", "sunken", "line", "line-strong", "ink", "muted", "link", "ok", "ok-text",
  "read", "read-text", "fail", "fail-text", "info", "info-ground", "info-text", "culprit", "culprit-text",
  "match", "partition", "kill", "pause", "fault", "leader", "leader-text", "follower", "candidate", "absent"];
const THEMES = ["system", "light", "dark"];

const palette = {};
let patterns = new Map();
let fonts = {};

function readPalette() {
  // Only a property that takes a colour resolves light-dark(); a custom property stays as written.
  const probe = element("span", { hidden: "" });
  document.body.append(probe);
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`;
    palette[name] = getComputedStyle(probe).color;
  }
  const style = getComputedStyle(document.documentElement);
  const sans = style.getPropertyValue("--sans"), mono = style.getPropertyValue("--mono");
  fonts = { axis: `11px ${sans}`, label: `12px ${sans}`, strong: `600 11px ${sans}`, bar: `11px ${mono}` };
  probe.remove();
  patterns = new Map();
  changed();
}

/// A pattern for a fault or an outcome: what tells them apart where colours do not.
function pattern(context, shape, colour) {
  const key = shape + colour;
  if (patterns.has(key)) return patterns.get(key);
  const scale = devicePixelRatio || 1;
  const size = 8;
  const tile = document.createElement("canvas");
  tile.width = tile.height = size * scale;
  const pen = tile.getContext("2d");
  pen.scale(scale, scale);
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 1;
  pen.beginPath();
  const line = (x0, y0, x1, y1) => { pen.moveTo(x0, y0); pen.lineTo(x1, y1); };
  if (shape === "rising" || shape === "crossed") { line(-2, 6, 6, -2); line(-2, 10, 10, -2); line(2, 10, 10, 2); }
  if (shape === "crossed") { line(-2, 2, 6, 10); line(-2, -2, 10, 10); line(2, -2, 10, 6); }
  if (shape === "upright") line(4, -1, 4, 9);
  if (shape === "level") line(-1, 4, 9, 4);
  if (shape === "dots") { pen.fillRect(1, 1, 1.5, 1.5); pen.fillRect(5, 5, 1.5, 1.5); }
  pen.stroke();
  const made = context.createPattern(tile, "repeat");
  made.setTransform(new DOMMatrix().scale(1 / scale));
  patterns.set(key, made);
  return made;
}

/// The look of a fault by its name: a colour and a pattern.
function faultLook(name) {
  if (/part|isolat|cut|net|packet/i.test(name)) return ["partition", "upright"];
  if (/kill|crash|power|restart/i.test(name)) return ["kill", "crossed"];
  if (/pause|freeze|stop|slow/i.test(name)) return ["pause", "level"];
  return ["fault", "dots"];
}

let theme = "system";

function setTheme(name) {
  theme = name;
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  $("theme").textContent = `Theme: ${name}`;
  readPalette();
}

const nextTheme = () => {
  // The first press must change something, whatever the system has.
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const order = dark ? ["system", "light", "dark"] : ["system", "dark", "light"];
  setTheme(order[(order.indexOf(theme) + 1) % THEMES.length]);
  announce(`Theme: ${theme}`);
};
