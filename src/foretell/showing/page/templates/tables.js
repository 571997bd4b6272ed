const ROWS = 15;
const PRINTED = 40;
const SMALL_P = 0.001;
const shownText = (value, kind) => {
  if (kind === "yes-no") return value ? "yes" : "no";
  if (kind === "count") return value.toLocaleString("en-US");
  if (kind === "p-value" && value < SMALL_P) return "< 0.001";
  if (kind === "number" || kind === "p-value") return numberText(value);
  return visible(value);
};
const csvCell = (value) => {
  if (value === null) return "";
  const text = typeof value === "boolean" ? (value ? "true" : "false") : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};
const csvText = (table) => {
  const lines = [table.columns.map((column) => csvCell(column.name)).join(",")];
  for (let row = 0; row < table.values[0].length; row++) lines.push(table.values.map((column) => csvCell(column[row])).join(","));
  return lines.join("\n") + "\n";
};
const save = (name, text) => {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
};
const before = (one, other) => {
  if (one === other) return 0;
  if (one === null || other === null) return one === null ? 1 : -1; // undefined comes last in both orders
  return one < other ? -1 : 1;
};
const tableRow = (table, row) => {
  const reasons = table.columns.findIndex((column) => column.name === "reason");
  const cells = table.columns.map(({ kind }, place) => {
    const value = table.values[place][row];
    if (value === null) {
      const why = reasons >= 0 && place !== reasons ? table.values[reasons][row] : null;
      if (place === reasons) return make("td");
      return make("td", { class: "undefined", title: visible(why ?? "not estimated for this row") }, "undefined");
    }
    if (kind === "text") return make("td", { class: String(value).length > 40 ? "long" : String(value).length > 14 ? "words" : "" }, shownText(value, kind));
    return make("td", { class: "number" }, make("data", { value: String(value), title: String(value) }, shownText(value, kind)));
  });
  return make("tr", {}, ...cells);
};

// One table with all its rows, a page of them at a time: sorted by a heading, searched, saved.
const showTable = (host, name, table) => {
  let order = [...table.values[0].keys()];
  let sorted = { place: -1, way: 1 };
  let first = 0;
  const body = make("tbody");
  const count = make("span", { class: "soft", role: "status" });
  const fill = (rows = ROWS) => {
    first = Math.max(0, Math.min(first, order.length - 1));
    body.replaceChildren(...order.slice(first, first + rows).map((row) => tableRow(table, row)));
    const last = Math.min(first + rows, order.length);
    count.textContent = order.length ? `rows ${first + 1} to ${last} of ${order.length.toLocaleString("en-US")}` : "no row";
    pages.hidden = order.length <= ROWS;
  };
  const search = make("input", { type: "search", placeholder: "search rows", "aria-label": `Search rows of ${name}` });
  const arrange = () => {
    const words = search.value.toLowerCase();
    const holds = (row) => table.values.some((column) => column[row] !== null && String(column[row]).toLowerCase().includes(words));
    order = [...table.values[0].keys()].filter((row) => !words || holds(row));
    if (sorted.place >= 0) {
      const column = table.values[sorted.place];
      order.sort((one, other) => before(column[one], column[other]) * (column[one] === null || column[other] === null ? 1 : sorted.way));
    }
    first = 0;
    fill();
  };
  search.addEventListener("input", arrange);
  const heads = table.columns.map((column, place) => {
    const sort = () => {
      sorted = { place, way: sorted.place === place ? -sorted.way : 1 };
      heads.forEach((head, at) => head.setAttribute("aria-sort", at !== place ? "none" : sorted.way > 0 ? "ascending" : "descending"));
      arrange();
    };
    const label = visible(column.name.replaceAll("_", " "));
    return make("th", { scope: "col", "aria-sort": "none", "data-label": label }, make("button", { type: "button", title: visible(column.meaning) || label, onclick: sort }, label));
  });
  const move = (step) => () => {
    if (first + step < order.length) first += step;
    fill();
  };
  const pages = make(
    "span",
    {},
    make("button", { type: "button", onclick: move(-ROWS) }, "previous"),
    make("button", { type: "button", onclick: move(ROWS) }, "next"),
  );
  const csv = make("button", { type: "button", "data-csv": name, onclick: () => save(`${name}.csv`, csvText(table)) }, "save as CSV");
  const grid = make("table", { "data-table": name }, make("caption", {}, table.caption, " ", make("span", { class: "soft" }, table.file)));
  grid.append(make("thead", {}, make("tr", {}, ...heads)), body);
  host.append(
    make("div", { class: "table-tools" }, search, csv, pages, count),
    make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": table.caption }, grid),
  );
  host.printed = (on) => {
    first = on ? 0 : first;
    fill(on ? PRINTED : ROWS);
    if (on && order.length > PRINTED) count.textContent += `; all are in ${table.file || "the folder of the report"}`;
  };
  fill();
};
const fillFrame = async (frame) => {
  if (!frame.open || frame.dataset.filled) return;
  frame.dataset.filled = "yes";
  const tables = await unpackTables();
  showTable(frame, frame.dataset.frame, tables[frame.dataset.frame]);
};
document.querySelectorAll("details.frame").forEach((frame) => frame.addEventListener("toggle", () => fillFrame(frame)));
