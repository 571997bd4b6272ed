// Runs and reports in the folder: their samples can be asked again, their reports open beside this page.

import { get } from "./api.js";
import { at, make, number, shortened } from "./text.js";

export function browse(catalogue, onSample) {
  const place = at("browse");
  place.hidden = !(catalogue.runs.length || catalogue.reports.length);
  if (catalogue.reports.length) {
    const links = catalogue.reports.map((one) =>
      make("li", {}, make("a", { href: `/reports/${one.id}`, target: "_blank", rel: "noopener" }, shortened(one.name, 100))),
    );
    place.append(make("h2", {}, "Reports"), make("ul", {}, ...links));
  }
  if (catalogue.runs.length) place.append(make("h2", {}, "Runs"), runs(catalogue.runs, onSample));
}

function runs(entries, onSample) {
  const options = entries.map((one) => make("option", { value: one.id }, shortened(one.name, 80)));
  const select = make("select", {}, ...options);
  const search = make("input", { type: "search", placeholder: "id, question or answer" });
  const [before, after] = [make("button", { type: "button" }, "Earlier"), make("button", { type: "button" }, "Later")];
  const [summary, table] = [make("span", { class: "soft", role: "status" }), make("div", { class: "scroll", tabIndex: 0 })];
  let first = 0;
  async function show() {
    try {
      const found = await get(`/api/runs/${select.value}?${new URLSearchParams({ first, search: search.value })}`);
      const end = Math.min(first + found.samples.length, found.n_found);
      summary.textContent = `${found.n_found ? first + 1 : 0} to ${end} of ${found.n_found} samples, model ${shortened(`${found.model}`, 60)}`;
      before.disabled = first === 0;
      after.disabled = end >= found.n_found;
      after.onclick = () => {
        first = end;
        show();
      };
      before.onclick = () => {
        first = Math.max(first - 50, 0);
        show();
      };
      table.replaceChildren(samples(found.samples, select.value, onSample));
    } catch (error) {
      summary.textContent = error.message;
      table.replaceChildren();
    }
  }
  for (const [field, event] of [[select, "change"], [search, "change"]])
    field.addEventListener(event, () => {
      first = 0;
      show();
    });
  const bar = make("div", { class: "bar" }, make("label", {}, "Run", select), make("label", {}, "Search", search), before, after, summary);
  const whole = make("details", {}, make("summary", {}, "Look at answers, and ask them again"), bar, table);
  whole.addEventListener("toggle", () => whole.open && show(), { once: true });
  return whole;
}

function samples(rows, run, onSample) {
  const names = ["", "question", "answer", "label", "tokens", "dataset", "id"];
  const head = make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name)));
  const body = rows.map((row) => {
    const ask = make("button", { type: "button" }, "Load");
    ask.setAttribute("aria-label", `Load the sample ${row.id} into the form`);
    ask.addEventListener("click", async () => {
      onSample(await get(`/api/runs/${run}/sample?${new URLSearchParams({ id: row.id })}`));
    });
    const label = row.behavior_label === null ? "–" : `${row.behavior_label}${row.behaviour ? `: ${row.behaviour}` : ""}`;
    return make(
      "tr",
      {},
      make("td", {}, ask),
      make("td", { class: "text" }, shortened(row.question, 160)),
      make("td", { class: "text" }, row.answer === null ? shortened(row.reason ?? "–", 120) : shortened(row.answer, 200)),
      make("td", {}, shortened(label, 60)),
      make("td", { class: "number" }, number(row.n_tokens_generated, 0)),
      make("td", {}, shortened(row.dataset, 40)),
      make("td", {}, shortened(row.id, 60)),
    );
  });
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}
