// What the page holds compressed is unpacked once, when it is first needed.
const unpackText = async (element) => {
  const bytes = Uint8Array.from(atob(element.textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
};
const kept = new Map();
const unpack = (id, read) => {
  if (!kept.has(id)) kept.set(id, unpackText(document.getElementById(id)).then(read));
  return kept.get(id);
};
const unpackFigures = () => unpack("packed-figures", JSON.parse);
const unpackTables = () => unpack("packed-tables", JSON.parse);
// The library runs as an inline script, whose checksum is in the page's policy.
const loadPlotly = () =>
  unpack("packed-plotly", (text) => {
    const script = document.createElement("script");
    script.textContent = text;
    document.head.append(script);
    script.remove();
    return window.Plotly;
  });

// Control characters and other invisible ones are shown by a symbol or their code point.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;
const symbol = (character) => {
  const code = character.codePointAt(0);
  if (character === "\n") return "↵";
  if (character === "\t") return "⇥";
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "␡";
  if (code === 0x200c || code === 0x200d) return character;
  return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
};
const visible = (text, keep = "") => String(text).replace(UNSEEN, (found) => (keep.includes(found) ? found : symbol(found)));

// An element with attributes and children; strings become text, never markup.
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
};

const numberText = (value, digits = 3) => {
  if (value !== 0 && Math.abs(value) < 0.5 * 10 ** -digits) return value.toExponential(1);
  return value.toFixed(digits).replace("-", "−");
};
