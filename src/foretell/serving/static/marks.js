// Segments by marking text: a selected part of a field belongs to the segment of a button.

import { characters, make, shortened } from "./text.js";

const MARKED = ["system", "prompt", "query", "template"];

export class Marks {
  constructor(fields, buttons, list, onChange) {
    this.fields = fields;
    this.marks = [];
    this.list = list;
    this.onChange = onChange;
    this.selected = null;
    for (const [name, field] of Object.entries(fields)) {
      this.before = { ...this.before, [name]: field.value };
      for (const event of ["select", "keyup", "pointerup", "blur"])
        field.addEventListener(event, () => (this.selected = { name, start: field.selectionStart, stop: field.selectionEnd }));
      field.addEventListener("input", () => this.follow(name));
    }
    for (const segment of MARKED) {
      const button = make("button", { type: "button", class: `segment of-${segment}` }, segment);
      button.addEventListener("click", () => this.mark(segment));
      buttons.append(button);
    }
  }

  mark(segment) {
    const { name, start, stop } = this.selected ?? { start: 0, stop: 0 };
    if (start === stop) {
      this.list.replaceChildren(make("li", { class: "soft" }, "Select a part of a text above first."));
      return;
    }
    this.set([...this.marks.filter((one) => one.name !== name || one.stop <= start || one.start >= stop), { name, start, stop, segment }]);
  }

  set(marks) {
    this.marks = marks;
    for (const [name, field] of Object.entries(this.fields)) this.before[name] = field.value;
    this.show();
    this.onChange();
  }

  /** Keep marks on their texts while a field is edited; a mark whose own text changes is dropped. */
  follow(name) {
    const [before, after] = [this.before[name], this.fields[name].value];
    let same = 0;
    while (same < before.length && before[same] === after[same]) same++;
    let end = 0;
    while (end < Math.min(before.length, after.length) - same && before.at(-1 - end) === after.at(-1 - end)) end++;
    const [changed, shift] = [before.length - end, after.length - before.length];
    this.set(
      this.marks.flatMap((one) => {
        if (one.name !== name || one.stop <= same) return [one];
        return one.start >= changed ? [{ ...one, start: one.start + shift, stop: one.stop + shift }] : [];
      }),
    );
  }

  show() {
    this.list.replaceChildren(
      ...this.marks.map((one) => {
        const text = shortened(this.fields[one.name].value.slice(one.start, one.stop), 40);
        const remove = make("button", { type: "button", title: "Remove this mark" }, "×");
        remove.setAttribute("aria-label", `Remove the mark of ${text}`);
        remove.addEventListener("click", () => this.set(this.marks.filter((other) => other !== one)));
        return make("li", {}, make("span", { class: `segment of-${one.segment}` }, `${one.segment}: ${text}`), remove);
      }),
    );
  }

  /** Spans of a text made of parts `[field or null, text, segment or null]`, in Python's characters. */
  spans(parts) {
    const content = parts.map(([, text]) => text).join("");
    const codes = [];
    for (const [name, text, base] of parts) {
      const own = Array(text.length).fill(base);
      for (const one of this.marks) if (one.name === name) own.fill(one.segment, one.start, one.stop);
      codes.push(...own);
    }
    const found = [];
    for (let start = 0, stop; start < codes.length; start = stop) {
      stop = start;
      while (stop < codes.length && codes[stop] === codes[start]) stop++;
      if (codes[start] !== null) found.push([characters(content, start), characters(content, stop), codes[start]]);
    }
    return found;
  }
}
