// Brings the page together: asks, shows what comes, stops.

import { Answer } from "./answer.js";
import { answers, get, spansOf, stop } from "./api.js";
import { browse } from "./browse.js";
import { legend } from "./colours.js";
import { Form } from "./form.js";
import { Panel } from "./panel.js";
import { at, make, visible } from "./text.js";

const PREVIEW_PAUSE = 400;
const QUEUE_PAUSE = 4000;
const FILES = {
  "surfaces.png": "picture (png)",
  "surfaces.svg": "picture (svg)",
  "tokens.csv": "table of tokens",
  "layers.csv": "table of layers",
  "report.html": "report",
};

const view = { layers: [0, 0], scale: "green-red", shape: "map" };
let panels = [];
let running = null; // { job, abort } of the request of this page
let form = null;

function problem(text) {
  at("problem").textContent = text;
}

function say(text, isBusy = false) {
  at("queue").textContent = text;
  at("queue").classList.toggle("busy", isBusy);
}

function setRunning(now) {
  running = now;
  at("go").disabled = now !== null;
  at("stop").disabled = now === null;
  document.documentElement.dataset.running = now === null ? "no" : "yes";
}

async function ask() {
  if (running || !at("form").reportValidity()) return;
  problem("");
  at("note").textContent = "";
  const abort = new AbortController();
  setRunning({ job: null, abort });
  [panels, at("exports").hidden] = [[], true];
  at("panels").replaceChildren();
  if (matchMedia("(max-width: 960px)").matches) at("answers").scrollIntoView();
  try {
    const question = form.question();
    say("asking", true);
    for await (const event of answers(question, abort.signal)) take(event, question);
  } catch (error) {
    if (!abort.signal.aborted) problem(error.message);
  }
  for (const panel of panels) if (panel.answer.outcome === null) panel.end("stopped");
  setRunning(null);
  showQueue();
}

/** Show one event of the server. */
function take(event, question) {
  const panel = panels[event.answer];
  switch (event.event) {
    case "job":
      running.job = event.job;
      break;
    case "queued":
      say(event.place === 1 ? "next in the queue" : `place ${event.place} in the queue`, true);
      break;
    case "loading":
      say(`loading ${visible(event.model)}`, true);
      break;
    case "started":
      say(`${event.is_given ? "reading" : "writing"} ${event.answer + 1} of ${question.answers.length}`, true);
      begin(event);
      break;
    case "token":
      panel.add(event);
      break;
    case "finished":
      panel.finish(event);
      break;
    case "done":
      showExports(event.result);
      break;
    case "note":
      at("note").textContent = visible(event.message);
      break;
    case "error":
      problem(visible(event.message));
      break;
  }
}

function begin(event) {
  const answer = new Answer(event);
  const last = answer.nLayers - 1;
  if (at("last-layer").max !== `${last}`) {
    view.layers = [0, last];
    for (const [id, layer] of [["first-layer", 0], ["last-layer", last]]) Object.assign(at(id), { max: last, value: layer });
  }
  const panel = new Panel(answer, view);
  panels.push(panel);
  at("panels").append(panel.element);
}

function showExports(result) {
  const isRead = panels.some((panel) => panel.answer.tokens.length);
  const hasSurface = panels.some((panel) => panel.answer.concept);
  const offered = Object.entries(FILES).filter(([file]) => isRead && (hasSurface || file.endsWith(".csv")));
  const links = offered.map(([file, name]) => make("a", { href: `/api/results/${result}/${file}`, download: `foretell-${file}` }, name));
  at("exports").hidden = !links.length;
  at("exports").replaceChildren(make("strong", {}, "Save:"), ...links);
}

async function stopAsking() {
  if (!running) return;
  if (running.job) await stop(running.job);
  else running.abort.abort();
}

async function showQueue() {
  if (running) return;
  try {
    const counts = Object.values(await get("/api/queue"));
    const n = counts.reduce((sum, one) => sum + one, 0);
    if (!running) say(n === 0 ? "ready" : `busy with ${n} ${n === 1 ? "request" : "requests"}`, n > 0);
  } catch {
    say("the server is gone: start foretell serve again");
  }
}

let due = 0;
/** Show the prompt in segments, a moment after the last change. */
function preview() {
  clearTimeout(due);
  if (!at("preview").open || !at("query").value.trim()) return;
  due = setTimeout(async () => {
    try {
      const found = await spansOf({ ...form.question(), answers: [{}], steering: null });
      at("preview-text").replaceChildren(...found.pieces.map(([segment, text]) => make("span", { class: `of-${segment}`, title: segment }, visible(text))));
      const counts = Object.entries(found.counts).filter(([, count]) => count);
      at("preview-counts").textContent = `${found.n_tokens} tokens: ${counts.map(([name, count]) => `${name} ${count}`).join(", ")}`;
    } catch (error) {
      at("preview-counts").textContent = error.message;
      at("preview-text").replaceChildren();
    }
  }, PREVIEW_PAUSE);
}

function changeView() {
  const first = Math.max(Number(at("first-layer").value), 0);
  view.layers = [first, Math.max(Number(at("last-layer").value), first)];
  Object.assign(view, { scale: at("scale").value, shape: at("shape").value });
  legend(at("legend"), view.scale);
  for (const panel of panels) panel.repaint();
}

function setTheme() {
  const theme = at("theme").value;
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  for (const panel of panels) panel.draw();
}

async function start() {
  const catalogue = await get("/api/catalogue");
  form = new Form(catalogue, preview);
  browse(catalogue, (sample) => {
    form.setMessages(sample.messages, sample.id);
    const stored = { title: "stored", text: sample.answer, token_ids: sample.answer_token_ids };
    form.setAnswers(sample.answer ? [stored] : [{}]);
    preview();
    at("form").scrollIntoView({ block: "start" });
    at("query").focus();
  });
  at("form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  at("stop").addEventListener("click", stopAsking);
  at("preview").addEventListener("toggle", preview);
  at("theme").addEventListener("change", setTheme);
  for (const id of ["first-layer", "last-layer", "scale", "shape"]) at(id).addEventListener("change", changeView);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => panels.forEach((panel) => panel.draw()));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask();
    if (event.key === "Escape") stopAsking();
  });
  changeView();
  setRunning(null);
  await showQueue();
  setInterval(() => document.visibilityState === "visible" && showQueue(), QUEUE_PAUSE);
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => problem(error.message));
