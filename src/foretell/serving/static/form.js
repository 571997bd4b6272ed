// The form: what is asked, as the server takes it.

import { Marks } from "./marks.js";
import { at, make, shortened, visible } from "./text.js";

export class Form {
  constructor(catalogue, onChange) {
    this.catalogue = catalogue;
    this.onChange = onChange;
    this.earlier = [];
    this.sample = null;
    this.fields = { system: at("system"), prompt: at("prompt"), query: at("query") };
    this.marks = new Marks(this.fields, at("mark-buttons"), at("marks"), onChange);
    choices(at("model"), catalogue.models, (one) => one.id);
    const of = (one) => (catalogue.models.length > 1 ? `, of ${lastPart(one.model)}` : "");
    const named = (one) => (one.name === one.concept ? one.name : `${one.concept} (${one.name})`);
    choices(at("direction"), catalogue.directions, (one) => named(one) + of(one), "none");
    choices(at("monitor"), catalogue.monitors, (one) => one.name + of(one), "none");
    this.chooseSuited((entries) => entries[0]);
    at("longest").max = catalogue.limits.new_tokens;
    at("add").addEventListener("click", () => this.addAnswer().querySelector("select").focus());
    at("example").addEventListener("click", () => this.loadExample());
    at("dose").addEventListener("input", () => this.showDose());
    at("model").addEventListener("change", () => this.chooseSuited(() => undefined));
    at("direction").addEventListener("change", () => this.setLayers());
    for (const id of ["model", "direction", "monitor"]) at(id).addEventListener("change", onChange);
    this.addAnswer();
    this.setLayers();
  }

  /** Choose the first direction and monitor that were made with the chosen model, by its name; whether they fit is the
   * server's to say. `other`: what is chosen where none was. */
  chooseSuited(other) {
    for (const [id, entries] of [["direction", this.catalogue.directions], ["monitor", this.catalogue.monitors]]) {
      const suits = (one) => lastPart(one.model) === lastPart(at("model").value);
      if (!entries.some((one) => one.id === at(id).value && suits(one))) at(id).value = (entries.find(suits) ?? other(entries))?.id ?? "";
    }
    this.setLayers();
  }

  /** Steer in the middle third of the layers unless others are chosen. */
  setLayers() {
    const n = this.catalogue.directions.find((one) => one.id === at("direction").value)?.n_layers ?? 0;
    at("steer-first").value = Math.floor(n / 3);
    at("steer-last").value = Math.max(Math.floor((2 * n) / 3) - 1, 0);
    for (const id of ["dose", "steer-first", "steer-last"]) at(id).disabled = !n;
  }

  showDose() {
    at("dose-text").value = `${at("dose").value.replace("-", "−")} standard deviations`;
  }

  addAnswer({ title = "", text = null, token_ids = null } = {}) {
    const area = make("textarea", { rows: 3, value: text ?? "", hidden: text === null, placeholder: "the answer, read as if the model had written it" });
    area.setAttribute("aria-label", "Text of the answer");
    const name = make("input", { value: title, placeholder: "title", maxLength: 80 });
    name.setAttribute("aria-label", "Title of the answer");
    const kind = make("select", {}, make("option", { value: "written" }, "model writes"), make("option", { value: "given" }, "given text"));
    kind.setAttribute("aria-label", "Who writes the answer");
    kind.value = text === null ? "written" : "given";
    kind.addEventListener("change", () => (area.hidden = kind.value === "written"));
    const remove = make("button", { type: "button", title: "Remove this answer" }, "×");
    remove.setAttribute("aria-label", "Remove this answer");
    const row = make("li", {}, make("div", { class: "line" }, name, kind, remove), area);
    row.read = () => {
      const asked = kind.value === "written" ? {} : { text: area.value };
      if (name.value.trim()) asked.title = name.value.trim();
      // The tokens of a stored answer are only those of its own text.
      if (asked.text && token_ids && asked.text === text) asked.token_ids = token_ids;
      return asked;
    };
    remove.addEventListener("click", () => {
      row.remove();
      this.countAnswers();
    });
    at("rows").append(row);
    this.countAnswers();
    return row;
  }

  countAnswers() {
    const rows = [...at("rows").children];
    at("add").disabled = rows.length >= this.catalogue.limits.answers;
    for (const row of rows) row.querySelector(".line button").disabled = rows.length === 1;
  }

  setAnswers(answers) {
    at("rows").replaceChildren();
    for (const one of answers) this.addAnswer(one);
  }

  loadExample() {
    const { question, answers } = this.catalogue.example;
    this.setMessages([{ role: "user", content: question }]);
    this.setAnswers(answers);
    this.onChange();
  }

  /** Show a stored conversation: its last user turn in the fields, what stands before it above them. */
  setMessages(messages, sample = null) {
    const turns = [...messages];
    const last = turns.pop();
    const system = turns[0]?.role === "system" && !turns[0].spans ? turns.shift().content : "";
    this.earlier = turns;
    this.sample = sample;
    Object.assign(this.fields.system, { value: system });
    Object.assign(this.fields.prompt, { value: "" });
    Object.assign(this.fields.query, { value: last.content });
    const units = unitsOf(last.content);
    this.marks.set((last.spans ?? []).map(([start, stop, segment]) => ({ name: "query", start: units[start], stop: units[stop], segment })));
    this.showEarlier();
  }

  showEarlier() {
    const clear = make("button", { type: "button" }, "Remove earlier turns");
    clear.addEventListener("click", () => {
      this.earlier = [];
      this.showEarlier();
      this.onChange();
    });
    at("earlier").hidden = !this.earlier.length;
    at("earlier").replaceChildren(...this.earlier.map((one) => make("p", {}, `${one.role}: ${visible(one.content)}`)), clear);
  }

  messages() {
    const { system, prompt, query } = this.fields;
    const made = [];
    if (system.value.trim()) made.push(message("system", system.value, this.marks.spans([["system", system.value, null]])));
    made.push(...this.earlier);
    const parts = [];
    if (prompt.value.trim()) parts.push(["prompt", prompt.value, "prompt"], [null, "\n\n", null]);
    const isMarked = this.marks.marks.some((one) => one.name === "query");
    parts.push(["query", query.value, parts.length || isMarked ? "query" : null]);
    made.push(message("user", parts.map(([, text]) => text).join(""), this.marks.spans(parts)));
    return made;
  }

  question() {
    const asked = { model: at("model").value, messages: this.messages(), answers: [...at("rows").children].map((row) => row.read()) };
    if (this.sample) asked.id = this.sample;
    for (const name of ["direction", "monitor"]) if (at(name).value) asked[name] = at(name).value;
    const whole = (id) => Math.round(Number(at(id).value));
    asked.sampling = {
      max_new_tokens: whole("longest"),
      temperature: Number(at("temperature").value),
      top_p: Number(at("top-p").value),
      seed: whole("seed"),
    };
    const dose = Number(at("dose").value);
    if (dose && asked.direction) asked.steering = { dose, layers: [whole("steer-first"), whole("steer-last")] };
    return asked;
  }
}

function lastPart(name) {
  return name.replace(/\/+$/, "").split("/").at(-1);
}

function message(role, content, spans) {
  return spans.length ? { role, content, spans } : { role, content };
}

/** The UTF-16 unit at which each Python character of a text begins, and the end. */
function unitsOf(text) {
  const units = [0];
  for (const character of text) units.push(units.at(-1) + character.length);
  return units;
}

function choices(select, entries, name, none = null) {
  const made = entries.map((one) => make("option", { value: one.id }, shortened(name(one), 60)));
  if (none !== null) made.push(make("option", { value: "" }, none));
  select.replaceChildren(...made);
  select.disabled = made.length < 2;
}
