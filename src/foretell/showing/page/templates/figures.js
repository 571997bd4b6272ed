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
const pictures = async () => {
  const page = await unpackFigures();
  // The sheets around a surface are in front of it: they show its numbers, which the page holds once.
  for (const { data } of Object.values(page.pictures)) {
    for (const trace of data) if (trace.type === "surface") trace.customdata = data[0].customdata;
  }
  return page;
};
const withTheme = (picture, page) => ({ ...picture.layout, template: page.templates[theme()] });

// Turning one surface turns the others of the figure, also while it is dragged, so that answers stay comparable.
let turning = false;
const turnOthers = async (figure, plot, camera) => {
  if (turning) return;
  turning = true;
  const others = [...drawn].filter(([other, { layout }]) => other !== plot && figure.contains(other) && layout.scene);
  await Promise.all(others.map(([other]) => window.Plotly.relayout(other, { "scene.camera": camera })));
  turning = false;
};
const cameraOf = (plot) => plot._fullLayout.scene._scene.getCamera();

// The wheel, touches and keys belong to the page until a surface is clicked (or entered); Escape or a click elsewhere
// leaves it.
const leave = (but) => {
  for (const plot of document.querySelectorAll(".plot[data-active]")) if (plot !== but) delete plot.dataset.active;
};
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1], "+": [0, 0, 0.9], "-": [0, 0, 1.1] };
const turned = (camera, [around, up, zoom = 1]) => {
  const { x, y, z } = camera.eye;
  const distance = Math.hypot(x, y, z);
  const azimuth = Math.atan2(y, x) + around * 0.15;
  const elevation = Math.min(1.5, Math.max(-1.5, Math.asin(z / distance) + up * 0.1));
  const flat = zoom * distance * Math.cos(elevation);
  return { ...camera, eye: { x: flat * Math.cos(azimuth), y: flat * Math.sin(azimuth), z: zoom * distance * Math.sin(elevation) } };
};
const enterable = (figure, plot) => {
  const keep = (event) => {
    if (!plot.dataset.active) event.stopPropagation();
  };
  for (const name of ["wheel", "touchstart", "touchmove"]) plot.addEventListener(name, keep, { capture: true, passive: true });
  let start = null;
  plot.addEventListener("pointerdown", (event) => (start = [event.clientX, event.clientY]), true);
  plot.addEventListener(
    "pointerup",
    (event) => {
      if (start && Math.hypot(event.clientX - start[0], event.clientY - start[1]) < 5) plot.dataset.active = "yes";
    },
    true,
  );
  plot.addEventListener("keydown", (event) => {
    if (event.key === "Enter") plot.dataset.active = "yes";
    const key = KEYS[event.key === "=" ? "+" : event.key];
    if (!plot.dataset.active || !key) return;
    event.preventDefault();
    const camera = turned(cameraOf(plot), key);
    window.Plotly.relayout(plot, { "scene.camera": camera });
    turnOthers(figure, plot, camera);
  });
  // The canvas moves without an event of the library while it is dragged.
  let waiting = false;
  const follow = (event) => {
    if (waiting || (event.type === "pointermove" && !event.buttons)) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      turnOthers(figure, plot, cameraOf(plot));
    });
  };
  plot.addEventListener("pointermove", follow, true);
  plot.on("plotly_relayout", (change) => change["scene.camera"] && turnOthers(figure, plot, change["scene.camera"]));
};
document.addEventListener("pointerdown", (event) => leave(event.target.closest(".plot")), true);
document.addEventListener("keydown", (event) => event.key === "Escape" && leave(null));

const draw = async (figure) => {
  const page = await pictures();
  const plots = [...figure.querySelectorAll(".plot")].map((plot) => [plot, page.pictures[plot.dataset.picture]]);
  if (!threeDimensional && plots.some(([, picture]) => picture.layout.scene)) return;
  try {
    if (plots.length) await loadPlotly();
    figure.classList.add("live");
    for (const [plot, picture] of plots) {
      await window.Plotly.newPlot(plot, picture.data, withTheme(picture, page), config(picture));
      drawn.set(plot, picture);
      if (picture.layout.scene) enterable(figure, plot);
    }
  } catch (error) {
    figure.classList.remove("live");
    console.warn("a figure is shown as a static image:", error);
  }
};
const repaint = async () => {
  const page = await pictures();
  for (const [plot, picture] of drawn) {
    const layout = withTheme(picture, page);
    if (layout.scene) layout.scene = { ...layout.scene, camera: cameraOf(plot) };
    window.Plotly.react(plot, picture.data, layout, config(picture));
  }
};

// One figure at a time, yielding in between, so that the page stays responsive while it is drawn. A folded figure has
// no size: it is drawn when it is unfolded.
const begun = new WeakSet();
let drawing = new Promise((resume) => requestAnimationFrame(() => setTimeout(resume, 0))); // after the first paint
const drawVisible = () => {
  root.dataset.drawn = "no";
  const last = (drawing = drawing.then(async () => {
    for (const figure of document.querySelectorAll("figure[data-figure]")) {
      if (begun.has(figure) || figure.parentElement.closest("details:not([open])")) continue;
      begun.add(figure);
      await draw(figure);
      await new Promise((resume) => setTimeout(resume, 0));
    }
    if (last === drawing) root.dataset.drawn = "yes";
  }));
};
