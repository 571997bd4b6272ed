(() => {
  "use strict";
  const page = JSON.parse(document.getElementById("figure-data").textContent);
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const theme = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const drawn = new Map();
  const config = (picture) => ({
    responsive: true,
    displaylogo: false,
    showTips: false,
    modeBarButtons: [picture.layout.scene ? ["resetCameraDefault3d", "toImage"] : ["toImage"]],
  });
  const threeDimensional = (() => {
    try {
      const canvas = document.createElement("canvas");
      return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
    } catch {
      return false;
    }
  })();

  // The sheets around a surface are in front of it: they show its numbers, which the page holds once.
  for (const { data } of Object.values(page.pictures)) {
    for (const trace of data) if (trace.type === "surface") trace.customdata = data[0].customdata;
  }

  const withTheme = (picture) => ({ ...picture.layout, template: page.templates[theme()] });

  // Rotating one surface rotates the others of the figure, so that the answers stay comparable.
  const rotateTogether = (figure, plot) => {
    plot.on("plotly_relayout", (change) => {
      const camera = change["scene.camera"];
      if (!camera || figure.dataset.rotating) return;
      figure.dataset.rotating = "yes";
      const others = [...drawn].filter(([other, { layout }]) => other !== plot && figure.contains(other) && layout.scene);
      Promise.all(others.map(([other]) => Plotly.relayout(other, { "scene.camera": camera }))).finally(() => {
        delete figure.dataset.rotating;
      });
    });
  };

  const draw = async (figure) => {
    const plots = [...figure.querySelectorAll(".plot")].map((plot) => [plot, page.pictures[plot.dataset.picture]]);
    if (!threeDimensional && plots.some(([, picture]) => picture.layout.scene)) return;
    figure.classList.add("live");
    try {
      for (const [plot, picture] of plots) {
        await Plotly.newPlot(plot, picture.data, withTheme(picture), config(picture));
        drawn.set(plot, picture);
        if (picture.layout.scene) rotateTogether(figure, plot);
      }
    } catch (error) {
      figure.classList.remove("live");
      console.warn("a figure is shown as a static image:", error);
    }
  };

  const repaint = () => {
    for (const [plot, picture] of drawn) {
      const camera = plot.layout.scene && plot.layout.scene.camera;
      const layout = withTheme(picture);
      if (camera) layout.scene = { ...layout.scene, camera };
      Plotly.react(plot, picture.data, layout, config(picture));
    }
  };

  // One figure at a time, yielding in between, so that the page stays responsive while it is drawn. A folded figure has
  // no size: it is drawn when it is unfolded.
  const begun = new WeakSet();
  let drawing = Promise.resolve();
  const drawVisible = () => {
    root.dataset.drawn = "no";
    const last = (drawing = drawing.then(async () => {
      for (const figure of document.querySelectorAll("figure[data-figure]")) {
        if (begun.has(figure) || figure.closest("details:not([open])")) continue;
        begun.add(figure);
        await draw(figure);
        await new Promise((resume) => setTimeout(resume, 0));
      }
      if (last === drawing) root.dataset.drawn = "yes";
    }));
  };
  document.querySelectorAll("details.figure").forEach((each) => each.addEventListener("toggle", drawVisible));

  // What a link leads to is unfolded, and so is everything on paper.
  const unfold = () => {
    for (let each = document.getElementById(location.hash.slice(1)); each; each = each.parentElement)
      if (each.tagName === "DETAILS") each.open = true;
  };
  window.addEventListener("hashchange", unfold);
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((each) => (each.open = true));
  });
  window.addEventListener("afterprint", () => folded.forEach((each) => (each.open = false)));

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
})();
