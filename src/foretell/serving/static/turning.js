// The surface of activities in three dimensions, turned by dragging or by the arrow keys.

import { colourOf, css, LIMIT, pageColour } from "./colours.js";
import { fitted } from "./tracks.js";

const HEIGHT = 310;
const DEEP = 1.1; // layers, in units of the axis of tokens
const TALL = 0.42;

export class TurningSurface {
  constructor(canvas, onTurn) {
    this.yaw = -0.62;
    this.tilt = 0.56;
    this.canvas = canvas;
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (!canvas.classList.contains("turning")) return;
      from = [event.clientX, event.clientY, this.yaw, this.tilt];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (from) this.turn(from[2] + (event.clientX - from[0]) / 160, from[3] + (event.clientY - from[1]) / 200, onTurn);
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (from = null));
    canvas.addEventListener("keydown", (event) => {
      if (!canvas.classList.contains("turning")) return;
      const by = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.08], ArrowDown: [0, 0.08] }[event.key];
      if (!by) return;
      event.preventDefault();
      this.turn(this.yaw + by[0], this.tilt + by[1], onTurn);
    });
  }

  turn(yaw, tilt, onTurn) {
    this.yaw = yaw;
    this.tilt = Math.min(Math.max(tilt, 0.1), 1.45);
    onTurn();
  }

  /** Where a point of the box lies on the canvas, and how far away it is. */
  projection(width, height) {
    const size = Math.min(width * 0.56, height * 0.82);
    const [sin, cos, sinTilt, cosTilt] = [Math.sin(this.yaw), Math.cos(this.yaw), Math.sin(this.tilt), Math.cos(this.tilt)];
    return (x, y, z) => {
      const [across, away] = [x * cos - y * sin, x * sin + y * cos];
      const depth = away * cosTilt - z * sinTilt;
      const near = 3.4 / (3.4 + depth);
      return [width / 2 + across * size * near, height * 0.47 - (away * sinTilt + z * cosTilt) * size * near * 0.92, depth];
    };
  }

  draw(answer, view) {
    const { context, width, height } = fitted(this.canvas, HEIGHT);
    const project = this.projection(width, height);
    const n = answer.tokens.length;
    const [first, last] = view.layers;
    const layers = Array.from({ length: last - first + 1 }, (_, place) => first + place);
    const x = (index) => (n > 1 ? index / (n - 1) - 0.5 : 0);
    const y = (place) => (layers.length > 1 ? (place / (layers.length - 1) - 0.5) * DEEP : 0);
    const score = (index, place) => answer.tokens[index].activity?.[layers[place]] ?? null;
    const point = (index, place) => {
      const value = Math.min(Math.max(score(index, place) ?? 0, -LIMIT), LIMIT);
      return project(x(index), y(place), (value / LIMIT) * TALL);
    };
    this.frame(context, project, n, [first, last]);
    const quads = [];
    for (let index = 0; index + 1 < n; index++)
      for (let place = 0; place + 1 < layers.length; place++) {
        const corners = [[index, place], [index + 1, place], [index + 1, place + 1], [index, place + 1]];
        const values = corners.map(([token, layer]) => score(token, layer));
        if (values.some((value) => value === null)) continue;
        const points = corners.map(([token, layer]) => point(token, layer));
        const colour = colourOf(values.reduce((sum, value) => sum + value, 0) / 4, view.scale);
        quads.push({ points, colour, depth: points.reduce((sum, one) => sum + one[2], 0) });
      }
    quads.sort((one, other) => other.depth - one.depth);
    context.lineWidth = 0.5;
    for (const { points, colour } of quads) {
      context.fillStyle = css(colour);
      context.strokeStyle = css(colour.map((one) => Math.round(one * 0.8)));
      context.beginPath();
      points.forEach(([right, down], corner) => (corner ? context.lineTo(right, down) : context.moveTo(right, down)));
      context.closePath();
      context.fill();
      context.stroke();
    }
  }

  /** The floor, the plane of zero, and the names of the axes. */
  frame(context, project, n, [first, last]) {
    const line = (...ends) => {
      context.beginPath();
      ends.forEach((end, index) => {
        const [right, down] = project(...end);
        index ? context.lineTo(right, down) : context.moveTo(right, down);
      });
      context.stroke();
    };
    const [far, deep] = [0.5, DEEP / 2];
    context.lineWidth = 1;
    context.strokeStyle = pageColour("--line");
    for (const z of [-TALL, 0]) {
      line([-far, -deep, z], [far, -deep, z], [far, deep, z], [-far, deep, z], [-far, -deep, z]);
    }
    for (const [right, away] of [[-far, deep], [far, deep], [far, -deep], [-far, -deep]]) line([right, away, -TALL], [right, away, TALL]);
    context.fillStyle = pageColour("--soft");
    context.textAlign = "center";
    const write = (text, ...place) => context.fillText(text, ...project(...place).slice(0, 2));
    write(`token 0 to ${Math.max(n - 1, 0)}`, 0, -deep - 0.16, -TALL);
    write(`layer ${first} to ${last}`, far + 0.22, 0, -TALL);
    write(`${LIMIT}`, -far - 0.05, deep, TALL);
    write(`−${LIMIT}`, -far - 0.05, deep, -TALL);
  }
}
