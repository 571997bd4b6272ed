// The conversations, a page of them at a time; unpacked when the list is first seen.
const LISTED = 5;
const browse = document.getElementById("browse");
const readChunk = async (element) => {
  const chunk = JSON.parse(await unpackText(element));
  element.remove();
  return chunk.id.map((id, at) => {
    const one = { scores: chunk.scores.map((column) => column[at]), colours: chunk.colours.map((column) => column[at]) };
    for (const name of ["id", "dataset", "behaviour", "behavior_label", "label_source", "label_reason", "reason", "messages", "answer", "tokens"])
      one[name] = chunk[name][at];
    one.words = [id, one.answer ?? "", ...one.messages.map(([, text]) => text)].join("\n").toLowerCase();
    return one;
  });
};
const coloured = (one, settings, chosen) => {
  const answer = make("p", { class: "answer tokens" });
  const values = chosen < 0 || !one.colours[chosen] ? null : one.colours[chosen];
  if (!values || !one.tokens) {
    answer.append(visible(one.answer ?? "no answer", "\n"));
    return answer;
  }
  const { name, low, high, divisor } = settings.colourings[chosen];
  const last = settings.steps.length - 1;
  one.tokens.forEach((token, at) => {
    const text = visible(token).replaceAll("↵", "↵\n") || "∅";
    const value = values[at];
    if (value === null || value === undefined) return answer.append(make("span", {}, text));
    const place = Math.round((last * (value / divisor - low)) / (high - low));
    const [paper, ink] = settings.steps[Math.min(last, Math.max(0, place))];
    const span = make("span", { title: `token ${at}: ${name} ${numberText(value / divisor, 2)}` }, text);
    span.style.cssText = `background:${paper};color:${ink}`;
    answer.append(span);
  });
  return answer;
};
const labelled = (one) => {
  const label = one.behavior_label;
  const css = label === null ? "v-none" : label ? "v-signal" : "v-leak";
  return make("span", { class: `badge ${css}` }, label === null ? "no label" : `label ${label}`);
};
const conversationView = (one, settings, chosen) => {
  const last = [...one.messages].reverse().find(([role]) => role === "user") ?? one.messages[0] ?? ["", ""];
  const about = [one.dataset, one.behaviour].filter((text) => text !== null).map((text) => visible(text)).join(" · ");
  const facts = make("dl", { class: "facts" });
  const fact = (name, value) => value !== null && facts.append(make("dt", {}, visible(name)), make("dd", {}, visible(value)));
  fact("why this label", one.label_reason);
  fact("labelled by", one.label_source);
  fact("not read", one.reason);
  settings.scores.forEach((name, at) => fact(name, one.scores[at] === null ? null : numberText(one.scores[at])));
  const messages = one.messages.map(([role, text]) => make("p", { class: "message" }, make("strong", {}, `${visible(role)}: `), make("bdi", {}, visible(text, "\n"))));
  const asked = last[1].length > 160 ? `${last[1].slice(0, 159)}…` : last[1];
  return make(
    "article",
    { class: "conversation", "data-id": one.id },
    make("p", { class: "about" }, labelled(one), make("code", {}, visible(one.id)), " ", make("span", { class: "soft" }, about)),
    make("p", { class: "asked" }, make("bdi", {}, visible(asked))),
    coloured(one, settings, chosen),
    make("details", {}, make("summary", {}, "prompt, label and scores"), ...messages, facts),
  );
};
const colourKey = (settings, chosen) => {
  const key = document.getElementById("colour-key");
  key.replaceChildren();
  if (chosen < 0) return;
  const { name, low, high } = settings.colourings[chosen];
  const scale = make("i");
  scale.style.background = `linear-gradient(90deg,${settings.steps.map(([paper]) => paper).join(",")})`;
  key.append(make("span", {}, String(low).replace("-", "−")), scale, make("span", {}, String(high).replace("-", "−")), make("span", { class: "soft" }, visible(name)));
};
const showConversations = async () => {
  const settings = JSON.parse(document.getElementById("list-settings").textContent);
  const every = [];
  for (const element of document.querySelectorAll(".packed-conversations")) every.push(...(await readChunk(element)));
  const host = document.getElementById("conversation-list");
  const count = make("p", { class: "soft", role: "status" });
  const list = make("div");
  let found = every;
  let first = 0;
  const field = (name) => browse.elements[name]?.value ?? "";
  const chosen = () => (field("colour") === "" ? -1 : Number(field("colour")));
  const fill = () => {
    list.replaceChildren(...found.slice(first, first + LISTED).map((one) => conversationView(one, settings, chosen())));
    const last = Math.min(first + LISTED, found.length);
    count.textContent = found.length ? `${first + 1} to ${last} of ${found.length.toLocaleString("en-US")} conversations` : "no conversation like this";
    colourKey(settings, chosen());
  };
  const choose = () => {
    const words = field("words").toLowerCase();
    const score = Number(field("score"));
    const ends = ["least", "most"].map((name) => (field(name) === "" ? null : Number(field(name))));
    found = every.filter((one) => {
      if (words && !one.words.includes(words)) return false;
      if (field("dataset") && one.dataset !== settings.datasets[field("dataset")]) return false;
      if (field("behaviour") && one.behaviour !== settings.behaviours[field("behaviour")]) return false;
      if (field("label") && String(one.behavior_label) !== field("label")) return false;
      if (ends[0] === null && ends[1] === null) return true;
      const value = one.scores[score];
      return value !== null && (ends[0] === null || value >= ends[0]) && (ends[1] === null || value <= ends[1]);
    });
    const way = Number(field("order"));
    if (way) found.sort((one, other) => {
      const [a, b] = [one.scores[score], other.scores[score]];
      return a === null || b === null ? before(a, b) : way * (b - a);
    });
    first = 0;
    fill();
  };
  const move = (step) => () => {
    if (first + step >= 0 && first + step < found.length) first += step;
    fill();
  };
  const pages = make("p", { class: "table-tools" }, make("button", { type: "button", onclick: move(-LISTED) }, "previous"), make("button", { type: "button", onclick: move(LISTED) }, "next"), count);
  host.replaceChildren(pages, list);
  browse.addEventListener("submit", (event) => event.preventDefault());
  browse.addEventListener("input", choose);
  choose();
  host.dataset.filled = "yes";
};
if (browse) {
  const seen = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      seen.disconnect();
      showConversations();
    },
    { rootMargin: "300px" },
  );
  seen.observe(document.getElementById("conversations"));
}
