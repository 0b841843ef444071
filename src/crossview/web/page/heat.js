// The heat layer: every searched window's score, from the photo's median (dark) to its best
// (bright); of a calibrated answer, how probable each is.

import { METRES_PER_DEGREE, RADIANS, lonNear } from "./angles.js";

export const HEAT_STOPS = [
  [0.0, 14, 18, 38, 0.5], [0.25, 32, 20, 74, 0.52], [0.45, 112, 28, 122, 0.6],
  [0.65, 216, 66, 84, 0.7], [0.83, 252, 152, 50, 0.8], [1.0, 255, 244, 170, 0.92],
];
const HEAT_SHRINK = 4; // screen pixels per canvas pixel; the browser smooths in between

function heatColour(level) {
  const upper = Math.max(1, HEAT_STOPS.findIndex((stop) => stop[0] >= level));
  const [a, b] = [HEAT_STOPS[upper - 1], HEAT_STOPS[upper]];
  const share = (level - a[0]) / (b[0] - a[0]);
  return a.slice(1).map((value, i) => value + share * (b[i + 1] - value));
}

const HEAT_TABLE = Array.from({ length: 256 }, (_, i) => heatColour(i / 255));

function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function doubles(base64) {
  const view = new DataView(bytes(base64).buffer);
  return Float64Array.from({ length: view.byteLength / 8 }, (_, i) => view.getFloat64(8 * i, true));
}

// Web Mercator shares of the world (0..1 from west and from north) of all cells of a region.
export function placeCells(record, middleLon) {
  const lat = doubles(record.lat);
  return {
    lat, spacing_m: record.spacing_m, merged: record.merged,
    x: doubles(record.lon).map((lon) => (lonNear(lon, middleLon) + 180) / 360),
    y: lat.map((value) => 0.5 - Math.asinh(Math.tan(value * RADIANS)) / (2 * Math.PI)),
  };
}

// Level 0..1 of each cell; -1 where nothing was searched. Of a posterior it is the square root, so
// that what is unlikely but not impossible is seen as well.
export function heatLevels(heat) {
  if (!heat) return null;
  const codes = bytes(heat.codes);
  if (heat.of === "posterior") {
    return Float32Array.from(codes, (code) => (code ? Math.sqrt((code - 1) / 254) : -1));
  }
  const searched = codes.filter((code) => code > 0).sort();
  const median = searched[searched.length >> 1];
  const span = Math.max(1, 255 - median);
  return Float32Array.from(codes, (code) => (code ? Math.max(0, (code - median) / span) : -1));
}

// Flat top, smooth edge: neighbours one spacing apart join without dips.
function heatFalloff(distance) {
  if (distance <= 0.5) return 1;
  if (distance >= 1) return 0;
  const rest = 2 * (1 - distance);
  return rest * rest * (3 - 2 * rest);
}

export class Heat {
  constructor(map) {
    this.map = map;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "heat";
    map.createPane("heat").style.zIndex = 250;
    this.layer = new L.SVGOverlay(this.canvas, map.getBounds(), { pane: "heat" });
    this.cells = null;
    this.levels = null;
    this.opacity = 1; // as set by hand
    map.on("moveend resize", () => this.draw());
  }

  show(cells, levels) {
    Object.assign(this, { cells, levels: cells && levels });
    this.draw();
  }

  switch(isOn) {
    if (isOn) this.layer.addTo(this.map);
    else this.layer.remove();
    this.draw();
  }

  draw() {
    if (!this.map.hasLayer(this.layer)) return;
    const bounds = this.map.getBounds().pad(0.25);
    const zoom = this.map.getZoom();
    const corner = this.map.project(bounds.getNorthWest(), zoom);
    const size = this.map.project(bounds.getSouthEast(), zoom).subtract(corner);
    const width = this.levels ? Math.max(1, Math.round(size.x / HEAT_SHRINK)) : 1;
    const height = this.levels ? Math.max(1, Math.round(size.y / HEAT_SHRINK)) : 1;
    const frame = { corner, width, height, world: 256 * 2 ** zoom };
    Object.assign(this.canvas, { width, height });
    this.layer.setBounds(bounds);
    if (!this.levels) return;
    this.canvas.getContext("2d").putImageData(this.paint(frame), 0, 0);
    this.fade(frame);
  }

  // Close up, the imagery matters more than the heat on top of it.
  fade(frame) {
    const middle = this.map.getCenter().lat;
    const spacing = (this.cells.spacing_m * frame.world)
      / (360 * METRES_PER_DEGREE * Math.cos(middle * RADIANS));
    this.layer.setOpacity(this.opacity * Math.min(1, Math.max(0.45, 1.3 - spacing / 60)));
  }

  paint(frame) {
    const field = new Float32Array(frame.width * frame.height);
    const cover = new Float32Array(frame.width * frame.height);
    this.levels.forEach((level, i) => { if (level >= 0) this.splat(i, frame, field, cover); });
    const image = new ImageData(frame.width, frame.height);
    for (let i = 0; i < field.length; i += 1) {
      if (!cover[i]) continue;
      const colour = HEAT_TABLE[Math.round(255 * field[i])];
      for (let channel = 0; channel < 3; channel += 1) image.data[4 * i + channel] = colour[channel];
      image.data[4 * i + 3] = 255 * colour[3] * cover[i];
    }
    return image;
  }

  splat(i, frame, field, cover) {
    const x = (this.cells.x[i] * frame.world - frame.corner.x) / HEAT_SHRINK;
    const y = (this.cells.y[i] * frame.world - frame.corner.y) / HEAT_SHRINK;
    const metresPerPixel = (360 * METRES_PER_DEGREE * Math.cos(this.cells.lat[i] * RADIANS) * HEAT_SHRINK)
      / frame.world;
    const reach = Math.max(1.2, this.cells.spacing_m / metresPerPixel);
    if (x < -reach || y < -reach || x > frame.width + reach || y > frame.height + reach) return;
    const [top, bottom] = [Math.max(0, Math.ceil(y - reach)), Math.min(frame.height - 1, y + reach)];
    const [left, right] = [Math.max(0, Math.ceil(x - reach)), Math.min(frame.width - 1, x + reach)];
    for (let row = top; row <= bottom; row += 1) {
      for (let column = left; column <= right; column += 1) {
        const share = heatFalloff(Math.hypot(column - x, row - y) / reach);
        const k = row * frame.width + column;
        if (share > cover[k]) cover[k] = share;
        if (this.levels[i] * share > field[k]) field[k] = this.levels[i] * share;
      }
    }
  }
}
