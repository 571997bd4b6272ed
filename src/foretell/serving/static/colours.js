// Colours of activities and segments.

export const SCALES = {
  "green-red": ["#00682f", "#5db85b", "#ffe45e", "#f3703a", "#a50026"],
  "colour-blind-safe": ["#2c5c9e", "#8fc1dd", "#ffffbf", "#fca85b", "#c2171c"],
};
export const LIMIT = 2; // standard deviations at the ends of a scale
export const SEGMENTS = ["system", "prompt", "query", "template", "generated"];

const channels = (colour) => [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));

/** Red, green and blue of a score; null where it is undefined. */
export function colourOf(score, scale) {
  if (score === null || score === undefined) return null;
  const stops = SCALES[scale];
  const place = Math.min(Math.max(0.5 + score / (2 * LIMIT), 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(place), stops.length - 2);
  const [first, second] = [channels(stops[low]), channels(stops[low + 1])];
  return first.map((one, index) => Math.round(one + (place - low) * (second[index] - one)));
}

export const css = (colour) => `rgb(${colour.join(" ")})`;

/** Black or white, whichever is easier to read on a colour (relative luminance of WCAG 2). */
export function inkOn(colour) {
  const linear = colour.map((one) => (one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179 ? "#000" : "#fff";
}

/** The value of one of the page's colours, such as "--ink". */
export const pageColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Draw the scale of activities. */
export function legend(place, scale) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [120, 12];
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    context.fillStyle = css(colourOf((x / (canvas.width - 1) - 0.5) * 2 * LIMIT, scale));
    context.fillRect(x, 0, 1, canvas.height);
  }
  place.replaceChildren(`−${LIMIT}`, canvas, `${LIMIT} standard deviations`);
}
