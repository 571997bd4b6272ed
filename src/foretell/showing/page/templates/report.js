document.querySelectorAll("details.figure").forEach((each) => each.addEventListener("toggle", drawVisible));

// What a link leads to is unfolded.
const unfold = () => {
  for (let each = document.getElementById(decodeURIComponent(location.hash.slice(1))); each; each = each.parentElement)
    if (each.tagName === "DETAILS") each.open = true;
};
window.addEventListener("hashchange", unfold);

// On paper everything is unfolded, and long tables show their beginning.
let folded = [];
window.addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")].filter((each) => !each.closest(".conversation"));
  folded.forEach((each) => (each.open = true));
  const tables = kept.get("tables-now");
  for (const frame of document.querySelectorAll("#tables details.frame")) {
    if (tables && !frame.dataset.filled) {
      frame.dataset.filled = "yes";
      showTable(frame, frame.dataset.frame, tables[frame.dataset.frame]);
    }
    if (frame.printed) frame.printed(true);
  }
});
window.addEventListener("afterprint", () => {
  folded.forEach((each) => (each.open = false));
  for (const frame of document.querySelectorAll("details.frame")) if (frame.printed) frame.printed(false);
});
// Printing does not wait, so that tables are unpacked as soon as nothing else is to do.
const whenIdle = window.requestIdleCallback ?? ((task) => setTimeout(task, 2000));
whenIdle(
  () =>
    unpackTables().then((tables) => {
      kept.set("tables-now", tables);
      document.getElementById("tables")?.setAttribute("data-unpacked", "");
    }),
  { timeout: 1000 },
);

const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const reading = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((link) => link.removeAttribute("aria-current"));
      const link = links.get(entry.target.id);
      if (link) link.setAttribute("aria-current", "true");
    }
  },
  { rootMargin: "-10% 0px -75% 0px" },
);
document.querySelectorAll("main section[id]").forEach((section) => reading.observe(section));

const button = document.getElementById("theme");
button.hidden = false;
button.addEventListener("click", () => {
  root.dataset.theme = theme() === "dark" ? "light" : "dark";
  repaint();
});
dark.addEventListener("change", repaint);
unfold();
drawVisible();
