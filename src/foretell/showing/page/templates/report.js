(() => {
  "use strict";
  const page = JSON.parse(document.getElementById("figure-data").textContent);
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const theme = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const drawn = new Map();
  const config = (surface) => ({
    responsive: true,
    displaylogo: false,
    showTips: false,
    modeBarButtons: [surface ? ["resetCameraDefault3d", "toImage"] : ["toImage"]],
  });
  const threeDimensional = (() => {
    try {
      const canvas = document.createElement("canvas");
      return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
    } catch {
      return false;
    }
  })();

  const withTheme = (picture) => ({ ...picture.layout, template: page.templates[theme()] });

  // Rotating one surface rotates the others of the figure, so that the answers stay comparable.
  const rotateTogether = (figure, plot) => {
    plot.on("plotly_relayout", (change) => {
      const camera = change["scene.camera"];
      if (!camera || figure.dataset.rotating) return;
      figure.dataset.rotating = "yes";
      const others = [...figure.querySelectorAll(".plot")].filter((other) => other !== plot && drawn.has(other));
      Promise.all(others.map((other) => Plotly.relayout(other, { "scene.camera": camera }))).finally(() => {
        delete figure.dataset.rotating;
      });
    });
  };

  const draw = async (figure) => {
    if (figure.dataset.surface && !threeDimensional) return;
    figure.classList.add("live");
    try {
      for (const plot of figure.querySelectorAll(".plot")) {
        const picture = page.pictures[plot.dataset.picture];
        await Plotly.newPlot(plot, picture.data, withTheme(picture), config(figure.dataset.surface));
        drawn.set(plot, picture);
        if (figure.dataset.surface) rotateTogether(figure, plot);
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
      Plotly.react(plot, picture.data, layout, config(plot.closest("figure").dataset.surface));
    }
  };

  // One figure at a time, yielding in between, so that the page stays responsive while it is drawn.
  const drawAll = async () => {
    for (const figure of document.querySelectorAll("figure[data-figure]")) {
      await draw(figure);
      await new Promise((resume) => setTimeout(resume, 0));
    }
    root.dataset.drawn = "yes";
  };

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
  drawAll();
})();
