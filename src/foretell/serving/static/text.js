// Text and elements. Whatever a user, a file or a model wrote becomes text, never markup.

const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;
const KEPT = new Set(["\u200c", "\u200d"]);

/** A text with what cannot be seen as a symbol: line feeds as arrows, others as pictures or code points. */
export function visible(text) {
  return text.replace(UNSEEN, (character) => {
    const code = character.codePointAt(0);
    if (character === "\n") return "↵\n";
    if (character === "\t") return "⇥";
    if (KEPT.has(character)) return character;
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

/** A short text on one line. */
export function shortened(text, length = 80) {
  const line = visible(text.replace(/\s+/g, " ").trim());
  return line.length > length ? `${line.slice(0, length - 1)}…` : line;
}

/** A number with so many decimals, or a dash where it is undefined. */
export function number(value, digits = 2) {
  if (value === null || value === undefined) return "–";
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

/** A new element; children are elements or texts. */
export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") made.className = value;
    else if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** The element of an id. */
export const at = (id) => document.getElementById(id);

/** How many Python characters the first `units` of a text are: JavaScript counts UTF-16 units. */
export const characters = (text, units) => Array.from(text.slice(0, units)).length;
