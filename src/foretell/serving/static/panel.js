// One answer on the page: its tokens, the tracks below them, and a table of its numbers.

import { colourOf, css, inkOn, SEGMENTS } from "./colours.js";
import { make, number, visible } from "./text.js";
import { drawLine, drawMap, drawMasses, tokenAt } from "./tracks.js";
import { TurningSurface } from "./turning.js";

const OUTCOMES = { "end of turn": "done", longest: "longest length reached", stopped: "stopped", given: "read" };

export class Panel {
  constructor(answer, view) {
    this.answer = answer;
    this.view = view;
    this.chosen = null;
    this.spans = [];
    this.isDue = false;
    this.state = make("span", { class: "state" }, answer.isGiven ? "reading" : "writing");
    this.tokens = make("div", { class: "tokens writing", tabIndex: 0, role: "log" });
    this.tokens.setAttribute("aria-live", "polite");
    this.tokens.setAttribute("aria-label", `Tokens of ${answer.title}; arrow keys choose one`);
    this.readout = make("p", { class: "readout" }, "Point at a token, or choose one with the arrow keys.");
    this.element = make(
      "article",
      { class: "panel" },
      make("div", { class: "head" }, make("h2", {}, visible(answer.title)), this.state),
      this.tokens,
      this.readout,
    );
    this.canvases = {};
    if (answer.concept) this.track("surface", `Activity along “${visible(answer.concept)}”: layer × token`);
    this.track("masses", "Attention by segment", ...SEGMENTS.map(key));
    this.track("logprob", "Log-probability (nats)");
    if (answer.monitor) {
      const what = answer.monitor.behaviour ? `: ${visible(answer.monitor.behaviour)}` : "";
      const limit = answer.monitor.threshold === null ? "no threshold" : "dashed: its threshold";
      this.track("score", `Score of the monitor${what} (log-odds; ${limit})`);
    }
    if (this.canvases.surface) this.turning = new TurningSurface(this.canvases.surface, () => this.draw());
    this.numbers = make("details", { class: "numbers" }, make("summary", {}, "Numbers"));
    this.numbers.addEventListener("toggle", () => this.fillNumbers());
    this.element.append(this.numbers);
    this.tokens.addEventListener("keydown", (event) => this.onKey(event));
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  track(name, ...caption) {
    const canvas = make("canvas", { tabIndex: name === "surface" ? 0 : -1, role: "img" });
    canvas.setAttribute("aria-label", `${caption[0]}; the numbers are in the table below`);
    const point = (event) => {
      if (canvas.classList.contains("turning")) return;
      const box = canvas.getBoundingClientRect();
      this.choose(tokenAt(event.clientX - box.left, box.width, this.answer.tokens.length));
    };
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", point);
    this.canvases[name] = canvas;
    this.element.append(make("figure", { class: "track" }, make("figcaption", {}, ...caption), canvas));
  }

  add(token) {
    this.answer.tokens.push(token);
    const span = make("span", { class: token.alarm ? "token alarm" : "token" }, visible(token.text));
    span.dataset.text = token.text;
    if (!token.text) {
      span.textContent = "·";
      span.classList.add("partial");
      span.title = "part of a character that a later token completes";
    }
    const index = this.spans.length;
    span.addEventListener("pointerenter", () => this.choose(index));
    this.spans.push(span);
    this.paint(index);
    const isAtEnd = this.tokens.scrollHeight - this.tokens.scrollTop - this.tokens.clientHeight < 24;
    this.tokens.append(span);
    if (isAtEnd) this.tokens.scrollTop = this.tokens.scrollHeight;
    this.say(this.answer.isGiven ? "reading" : "writing");
    this.draw();
  }

  finish(event) {
    Object.assign(this.answer, { outcome: event.outcome, attentionLayers: event.attention_layers });
    this.end(OUTCOMES[event.outcome]);
    this.fillNumbers();
  }

  end(word) {
    this.tokens.classList.remove("writing");
    if (!this.answer.tokens.length) this.readout.textContent = "No token was read.";
    this.say(word);
    this.draw();
  }

  say(word) {
    const alarm = this.answer.firstAlarm();
    const mean = number(this.answer.meanLogprob());
    const facts = [word, `${this.answer.tokens.length} tokens`, `mean log-probability ${mean}`];
    if (alarm !== null) facts.push(`alarm at token ${alarm}`);
    this.state.classList.toggle("alarm", alarm !== null);
    this.state.textContent = facts.join(" · ");
  }

  paint(index) {
    const colour = colourOf(this.answer.activity(index, this.view.layers), this.view.scale);
    const style = this.spans[index].style;
    style.backgroundColor = colour ? css(colour) : "";
    style.color = colour ? inkOn(colour) : "";
  }

  /** Colour everything anew, because the view is another one. */
  repaint() {
    this.spans.forEach((_, index) => this.paint(index));
    this.draw();
  }

  /** Draw once before the next picture of the screen, however often it is asked for. */
  draw() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.drawNow();
    });
  }

  drawNow() {
    const { answer, canvases, chosen, view } = this;
    const isTurning = view.shape === "turning";
    canvases.surface?.classList.toggle("turning", isTurning);
    if (canvases.surface && isTurning) this.turning.draw(answer, view);
    else if (canvases.surface) drawMap(canvases.surface, answer, view, chosen);
    drawMasses(canvases.masses, answer, view, chosen);
    const logprob = answer.tokens.map((token) => token.logprob);
    drawLine(canvases.logprob, logprob, chosen, { colour: "--accent" });
    if (!canvases.score) return;
    const score = answer.tokens.map((token) => token.score);
    const isAlarm = (index) => answer.tokens[index].alarm === true;
    drawLine(canvases.score, score, chosen, { colour: "--query", limit: answer.monitor.threshold, isAlarm });
  }

  choose(index) {
    if (index === this.chosen) return;
    this.spans[this.chosen]?.classList.remove("chosen");
    this.chosen = index;
    this.spans[index]?.classList.add("chosen");
    if (index !== null) this.readout.replaceChildren(...this.described(index));
    this.draw();
  }

  described(index) {
    const token = this.answer.tokens[index];
    const parts = [make("b", {}, `token ${index} “${visible(token.text)}”`)];
    const [first, last] = this.view.layers;
    if (token.activity) parts.push(` activity ${number(this.answer.activity(index, this.view.layers))} (layers ${first}–${last})`);
    parts.push(` · log-probability ${number(token.logprob)}`);
    if (token.score !== undefined) parts.push(` · score ${number(token.score)}, probability ${number(token.probability)}`);
    const masses = this.answer.mass(index, this.view.layers);
    parts.push(` · attention: ${SEGMENTS.map((name, place) => `${name} ${number(masses[place])}`).join(", ")}`);
    return parts;
  }

  onKey(event) {
    const n = this.spans.length;
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -n, End: n }[event.key];
    if (!by || !n) return;
    event.preventDefault();
    this.choose(Math.min(Math.max((this.chosen ?? (by > 0 ? -1 : n)) + by, 0), n - 1));
    this.spans[this.chosen].scrollIntoView({ block: "nearest" });
  }

  fillNumbers() {
    if (!this.numbers.open) return;
    const names = ["token", "text", ...(this.answer.concept ? ["activity"] : []), "log-probability"];
    if (this.answer.monitor) names.push("score", "probability");
    names.push(...SEGMENTS);
    const head = make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name)));
    const cell = (value) => make("td", { class: "number" }, number(value, 3));
    const rows = this.answer.tokens.map((token, index) => {
      const row = make("tr", {}, make("td", { class: "number" }, `${index}`), make("td", {}, visible(token.text)));
      if (this.answer.concept) row.append(cell(this.answer.activity(index, this.view.layers)));
      row.append(cell(token.logprob));
      if (this.answer.monitor) row.append(cell(token.score), cell(token.probability));
      row.append(...this.answer.mass(index, this.view.layers).map(cell));
      return row;
    });
    const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
    this.numbers.replaceChildren(this.numbers.firstChild, make("div", { class: "scroll", tabIndex: 0 }, table));
  }
}

function key(name) {
  return make("span", { class: `key of-${name}` }, make("i"), name);
}
