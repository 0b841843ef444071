// Scores of all windows as one picture that the map lays over the region: drawn once per answer.

import { lonNear } from "./angles.js";

const STOPS = [
  [0.0, 14, 18, 38, 0.5], [0.25, 32, 20, 74, 0.52], [0.45, 112, 28, 122, 0.6],
  [0.65, 216, 66, 84, 0.7], [0.83, 252, 152, 50, 0.8], [1.0, 255, 244, 170, 0.92],
];
const MOST_PX = 1024; // of the picture's longer side
const AREA_FILL = 0.22; // opacity
const PER_CELL = 6; // pixels, where there is room

function colour(level) {
  const upper = Math.max(1, STOPS.findIndex((stop) => stop[0] >= level));
  const [a, b] = [STOPS[upper - 1], STOPS[upper]];
  const share = (level - a[0]) / (b[0] - a[0]);
  return a.slice(1).map((value, i) => value + share * (b[i + 1] - value));
}

const TABLE = Array.from({ length: 256 }, (_, i) => colour(i / 255));

function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function doubles(base64) {
  const view = new DataView(bytes(base64).buffer);
  return Float64Array.from({ length: view.byteLength / 8 }, (_, i) => view.getFloat64(8 * i, true));
}

const mercator = (lat) => Math.asinh(Math.tan((lat * Math.PI) / 180));

export function drawRamp(canvas) {
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x += 1) {
    const [red, green, blue] = colour(x / (canvas.width - 1));
    context.fillStyle = `rgb(${red} ${green} ${blue})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}

// Longitudes counting on beyond 180 where the cells cross it; their middle stays within.
function onOneTurn(lon) {
  const near = lon.map((value) => lonNear(value, lon[0]));
  const [west, east] = minmax(near);
  const turn = lonNear((west + east) / 2, 0) - (west + east) / 2;
  return near.map((value) => value + turn);
}

// Where cells lie on the picture; made once per region.
export function gridOf(record) {
  const [lat, lon] = [doubles(record.lat), onOneTurn(doubles(record.lon))];
  const up = (record.spacing_m / 6371008.8) * (180 / Math.PI);
  const across = up / Math.cos((lat[lat.length >> 1] * Math.PI) / 180);
  const [south, north] = [Math.min(...minmax(lat)) - up, Math.max(...minmax(lat)) + up];
  const [west, east] = [Math.min(...minmax(lon)) - across, Math.max(...minmax(lon)) + across];
  const height_m = mercator(north) - mercator(south);
  const width_m = ((east - west) * Math.PI) / 180;
  const perCell = (PER_CELL / across) * (180 / Math.PI);
  const scale = Math.min(perCell, MOST_PX / Math.max(width_m, height_m));
  const [width, height] = [Math.ceil(width_m * scale), Math.ceil(height_m * scale)];
  return {
    corners: [[west, north], [east, north], [east, south], [west, south]],
    width, height, merged: record.merged,
    reach: Math.max(1.2, ((across * Math.PI) / 180) * scale),
    x: lon.map((value) => ((value - west) / (east - west)) * width),
    y: lat.map((value) => ((mercator(north) - mercator(value)) / height_m) * height),
  };
}

function minmax(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

// Level 0..1 of each cell; -1 where nothing was searched. Scores: from the median to the best.
// A posterior: its square root, so that what is unlikely but not impossible is seen as well.
function levelsOf(heat) {
  const codes = bytes(heat.codes);
  if (heat.of === "posterior") return Float32Array.from(codes, (code) => (code ? Math.sqrt((code - 1) / 254) : -1));
  const searched = codes.filter((code) => code > 0).sort();
  const median = searched[searched.length >> 1];
  const span = Math.max(1, 255 - median);
  return Float32Array.from(codes, (code) => (code ? Math.max(0, (code - median) / span) : -1));
}

// Flat top, smooth edge: neighbours one spacing apart join without dips.
function falloff(distance) {
  if (distance <= 0.5) return 1;
  if (distance >= 1) return 0;
  const rest = 2 * (1 - distance);
  return rest * rest * (3 - 2 * rest);
}

export function drawHeat(canvas, grid, answer) {
  const { heat } = answer;
  Object.assign(canvas, { width: grid.width, height: grid.height });
  const levels = levelsOf(heat);
  const field = new Float32Array(grid.width * grid.height);
  const cover = new Float32Array(grid.width * grid.height);
  for (let i = 0; i < levels.length; i += 1) if (levels[i] >= 0) splat(grid, i, levels[i], field, cover);
  const image = new ImageData(grid.width, grid.height);
  for (let i = 0; i < field.length; i += 1) {
    if (!cover[i]) continue;
    const [red, green, blue, alpha] = TABLE[Math.round(255 * field[i])];
    image.data.set([red, green, blue, 255 * alpha * cover[i]], 4 * i);
  }
  const context = canvas.getContext("2d");
  context.putImageData(image, 0, 0);
  const area = answer.calibrated?.areas.at(-1);
  if (area?.windows && !grid.merged) outline(context, grid, area);
}

function windowsOf(base64) {
  const view = new DataView(bytes(base64).buffer);
  return Array.from({ length: view.byteLength / 4 }, (_, i) => view.getUint32(4 * i, true));
}

// An area, lightly filled within an outline: its cells drawn with a rim, then cut out again.
export function outline(context, grid, area) {
  const layer = document.createElement("canvas");
  Object.assign(layer, { width: grid.width, height: grid.height });
  const drawing = layer.getContext("2d");
  const rows = windowsOf(area.windows).filter((row) => row < grid.x.length);
  const half = grid.reach / 2;
  const squares = (rim) => {
    for (const row of rows) drawing.fillRect(grid.x[row] - half - rim, grid.y[row] - half - rim, 2 * (half + rim), 2 * (half + rim));
  };
  drawing.fillStyle = "#9be7ff";
  squares(0.5 + grid.reach / 8);
  drawing.globalCompositeOperation = "destination-out";
  squares(0.4);
  drawing.globalCompositeOperation = "source-over";
  drawing.globalAlpha = AREA_FILL;
  drawing.beginPath(); // all at once, so that cells that overlap are not filled twice
  for (const row of rows) drawing.rect(grid.x[row] - half, grid.y[row] - half, 2 * half, 2 * half);
  drawing.fill();
  context.drawImage(layer, 0, 0);
}

function splat(grid, i, level, field, cover) {
  const [x, y, reach] = [grid.x[i], grid.y[i], grid.reach];
  const [top, bottom] = [Math.max(0, Math.ceil(y - reach)), Math.min(grid.height - 1, y + reach)];
  const [left, right] = [Math.max(0, Math.ceil(x - reach)), Math.min(grid.width - 1, x + reach)];
  for (let row = top; row <= bottom; row += 1) {
    for (let column = left; column <= right; column += 1) {
      const share = falloff(Math.hypot(column - x, row - y) / reach);
      const k = row * grid.width + column;
      if (share > cover[k]) cover[k] = share;
      if (level * share > field[k]) field[k] = level * share;
    }
  }
}
