// The page in a file: answers and pictures lie in the page itself, and nothing is ever asked for.

import { METRES_PER_DEGREE, RADIANS, lonNear } from "./angles.js";
import { map } from "./atlas.js";
import { byId, el, phrase } from "./dom.js";
import { drawImagery, facts, overlays, picture } from "./imagery.js";
import { openPhotos, openRegion, startPage } from "./main.js";
import { on, state } from "./state.js";

const DISC_PX = 240;
const WIDE_M = 6000; // a region is this wide: its places are shown one by one

// The index's small picture of a place, or a piece of the map's own imagery.
function drawTile(place) {
  const turn = place.footprint.up_bearing_deg - (place.heading_deg ?? 0);
  const source = picture("tiles", place.tile, "jpeg");
  if (source) {
    const image = el("img", { src: source, alt: "", decoding: "async" });
    image.style.transform = `rotate(${turn}deg)`;
    return image;
  }
  const overlay = overlays.find((found) =>
    found.getBounds().contains([place.lat, lonNear(place.lon, found.getBounds().getCenter().lng)]));
  if (!overlay) return null;
  const canvas = el("canvas", { width: DISC_PX, height: DISC_PX });
  const image = overlay.getElement();
  const draw = () => drawPiece(canvas.getContext("2d"), image, overlay.getBounds(), place);
  if (image.complete && image.naturalWidth) draw();
  else image.addEventListener("load", draw, { once: true });
  return canvas;
}

// Web Mercator is conformal: around a place, imagery only has to be turned and scaled.
function drawPiece(context, image, bounds, place) {
  const world = (lat, lon) => map.project([lat, lon], 0);
  const [corner, end] = [bounds.getNorthWest(), bounds.getSouthEast()].map((p) => world(p.lat, p.lng));
  const perUnit = image.naturalWidth / (end.x - corner.x);
  const { lat, lon } = place.footprint;
  const at = world(lat, lonNear(lon, bounds.getCenter().lng)).subtract(corner).multiplyBy(perUnit);
  const unitsPerMetre = 256 / (360 * METRES_PER_DEGREE * Math.cos(lat * RADIANS));
  const size = place.footprint.width_m * unitsPerMetre * perUnit * Math.SQRT2;
  const scale = (DISC_PX * Math.SQRT2) / size;
  context.translate(DISC_PX / 2, DISC_PX / 2);
  context.rotate(-(place.heading_deg ?? 0) * RADIANS);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, at.x - size / 2, at.y - size / 2, size, size,
    (-size * scale) / 2, (-size * scale) / 2, size * scale, size * scale);
}

const embedded = {
  live: false,
  reach: 1.5, // of the region's size, how far the map may be moved away from it
  summary: facts.summary,
  notes: facts.notes,
  keys: [],
  help: [],
  shortcuts: {},
  loadCells: async () => facts.heat,
  bringUpToDate: async () => {},
  drawImagery,
  drawTile,
  drawControls: () => [],
  drawActions: () => [],
  drawEmpty: () => el("p", { class: "empty" }, phrase("map.no_photo")),
};

function openFile() {
  startPage(embedded);
  state.photos = facts.photos.map((answer) => ({
    name: answer.photo, answer, url: picture("photos", answer.picture, "jpeg"), missing: "map.no_picture",
  }));
  openRegion(facts.region);
  const asked = Number((/photo=(\d+)/.exec(location.hash) || [])[1]);
  on("photo", () => history.replaceState(null, "", `#photo=${state.photo + 1}`));
  const [south, west, north, east] = facts.region.bounds;
  const degrees = Math.max(north - south, (east - west + 360) % 360);
  if (degrees * METRES_PER_DEGREE > WIDE_M) byId("to-place").click();
  openPhotos(state.photos[asked - 1] ? asked - 1 : 0);
}

openFile();
