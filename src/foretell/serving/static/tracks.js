// Canvases that share one axis of tokens: map of layers, attention to segments, and lines.

import { colourOf, css, pageColour, SEGMENTS } from "./colours.js";
import { number } from "./text.js";

const LEFT = 38;
const RIGHT = 6;
const WIDEST = 26;
const FEWEST = 10;

/** Where tokens lie across a canvas of this width. */
export function axis(width, n) {
  const pitch = Math.min(WIDEST, (width - LEFT - RIGHT) / Math.max(n, FEWEST));
  return { left: LEFT, pitch, n, end: LEFT + pitch * n, at: (index) => LEFT + index * pitch };
}

/** The token at a place in a canvas, or null. */
export function tokenAt(x, width, n) {
  const index = Math.floor((x - LEFT) / axis(width, n).pitch);
  return index >= 0 && index < n ? index : null;
}

/** Fit a canvas to its place and the screen, and return what to draw with, in CSS pixels. */
export function fitted(canvas, height) {
  const width = Math.max(canvas.clientWidth, 120);
  const ratio = window.devicePixelRatio || 1;
  canvas.style.height = `${height}px`;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = pageColour("--soft");
  return { context, width, height };
}

function label(context, text, x, y, align = "right") {
  context.textAlign = align;
  context.textBaseline = "middle";
  context.fillStyle = pageColour("--soft");
  context.fillText(text, x, y);
}

function mark(context, place, index, height) {
  if (index === null || index >= place.n) return;
  context.strokeStyle = pageColour("--ink");
  context.lineWidth = 1.5;
  context.strokeRect(place.at(index), 0.75, Math.max(place.pitch, 2), height - 1.5);
}

/** Layers up, tokens across, colours by activity. */
export function drawMap(canvas, answer, view, chosen) {
  const cell = Math.max(3, Math.min(8, 190 / answer.nLayers));
  const { context, width, height } = fitted(canvas, Math.round(cell * answer.nLayers) + 14);
  const place = axis(width, answer.tokens.length);
  const bottom = height - 13;
  context.fillStyle = pageColour("--track");
  context.fillRect(place.left, 0, width - place.left - RIGHT, bottom);
  answer.tokens.forEach((token, index) => {
    (token.activity ?? []).forEach((score, layer) => {
      const colour = colourOf(score, view.scale);
      if (!colour) return;
      const isShown = layer >= view.layers[0] && layer <= view.layers[1];
      context.globalAlpha = isShown ? 1 : 0.35;
      context.fillStyle = css(colour);
      context.fillRect(place.at(index), bottom - (layer + 1) * cell, Math.max(place.pitch - 0.5, 1), cell);
    });
  });
  context.globalAlpha = 1;
  label(context, `${answer.nLayers - 1}`, LEFT - 6, 7);
  label(context, "0", LEFT - 6, bottom - 6);
  context.save();
  context.translate(9, bottom / 2);
  context.rotate(-Math.PI / 2);
  label(context, "layer", 0, 0, "center");
  context.restore();
  tokenNumbers(context, place, height);
  mark(context, place, chosen, bottom);
}

function tokenNumbers(context, place, height) {
  const step = place.pitch * 5 >= 24 ? 5 : place.pitch * 20 >= 24 ? 20 : 100;
  for (let index = 0; index < place.n; index += step)
    label(context, `${index}`, place.at(index) + place.pitch / 2, height - 6, "center");
}

/** The five masses of every token, stacked. */
export function drawMasses(canvas, answer, view, chosen) {
  const { context, width, height } = fitted(canvas, 74);
  const place = axis(width, answer.tokens.length);
  const colours = SEGMENTS.map((name) => pageColour(`--${name}`));
  context.fillStyle = pageColour("--track");
  context.fillRect(place.left, 0, width - place.left - RIGHT, height);
  answer.tokens.forEach((_, index) => {
    let reached = height;
    answer.mass(index, view.layers).forEach((mass, segment) => {
      const tall = (mass ?? 0) * height;
      context.fillStyle = colours[segment];
      context.fillRect(place.at(index), reached - tall, Math.max(place.pitch - 1, 1), tall);
      reached -= tall;
    });
  });
  label(context, "1", LEFT - 6, 6);
  label(context, "0", LEFT - 6, height - 6);
  mark(context, place, chosen, height);
}

/** One number of every token as a line, with a dashed limit. */
export function drawLine(canvas, values, chosen, { colour, limit = null, isAlarm = () => false }) {
  const { context, width, height } = fitted(canvas, 64);
  const place = axis(width, values.length);
  context.fillStyle = pageColour("--track");
  context.fillRect(place.left, 0, width - place.left - RIGHT, height);
  const known = values.filter((one) => one !== null && one !== undefined);
  const every = limit === null ? known : [...known, limit];
  if (!every.length) return;
  const [low, high] = [Math.min(...every), Math.max(...every)];
  const span = high - low || 1;
  const y = (value) => 7 + (1 - (value - low) / span) * (height - 14);
  if (limit !== null) {
    context.strokeStyle = pageColour("--alarm");
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(place.left, y(limit));
    context.lineTo(width - RIGHT, y(limit));
    context.stroke();
    context.setLineDash([]);
  }
  context.strokeStyle = pageColour(colour);
  context.lineWidth = 1.6;
  context.beginPath();
  let isDown = false;
  values.forEach((value, index) => {
    if (value === null || value === undefined) {
      isDown = false;
      return;
    }
    const [x, down] = [place.at(index) + place.pitch / 2, y(value)];
    isDown ? context.lineTo(x, down) : context.moveTo(x, down);
    isDown = true;
  });
  context.stroke();
  values.forEach((value, index) => {
    if (value === null || value === undefined) return;
    context.fillStyle = pageColour(isAlarm(index) ? "--alarm" : colour);
    context.beginPath();
    const size = isAlarm(index) ? 4 : Math.min(2.4, place.pitch / 3);
    context.arc(place.at(index) + place.pitch / 2, y(value), size, 0, 2 * Math.PI);
    context.fill();
  });
  label(context, number(high, 1), LEFT - 6, 8);
  if (high > low) label(context, number(low, 1), LEFT - 6, height - 8);
  mark(context, place, chosen, height);
}
