// The map: imagery, heat, pins, the chosen place's window and view, the area to search.

import * as maplibre from "./maplibre-gl.mjs";
import { headers } from "./api.js";
import { drawHeat } from "./heat.js";
import { keepPace } from "./pace.js";
import { along, lonNear } from "./angles.js";
import { el, svg } from "./dom.js";
import { choosePlace, currentAnswer, hoverPlace, shownFov, shownHeading, shownPlace, state } from "./state.js";

maplibre.setWorkerUrl(new URL("./maplibre-gl-worker.mjs", import.meta.url).href);

const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
const low = matchMedia("(max-height: 500px)"); // a phone held across: the tools stand at the side
const NOTHING = { type: "FeatureCollection", features: [] };
const PIN = "M15 1C7.3 1 1 7.2 1 14.8 1 25 15 39 15 39s14-14 14-24.2C29 7.2 22.7 1 15 1Z";

export let map = null;
let pins = [];
const heatCanvas = document.createElement("canvas");

function boundsOf(region) {
  const [south, west, north, east] = region.bounds;
  return [[west, south], [east < west ? east + 360 : east, north]]; // counts on across 180
}

// Room for what floats over the map, and for the pins: those stand 45 pixels above their places.
function padding() {
  if (low.matches) return { top: 54, bottom: 50, left: 156, right: 56 };
  const isSmall = map.getContainer().clientHeight < 500;
  return isSmall ? { top: 104, bottom: 50, left: 24, right: 24 } : { top: 110, bottom: 60, left: 30, right: 60 };
}

function sourcesOf(region, online) {
  const tiles = [`${location.origin}/v1/regions/${region.name}/tiles/{z}/{x}/{y}?v=${encodeURIComponent(region.version)}`];
  const [[west, south], [east, north]] = boundsOf(region);
  const imagery = {
    type: "raster", tiles, tileSize: 512, maxzoom: region.deepest_zoom,
    ...(east <= 180 && { bounds: [west, south, east, north] }),
    attribution: region.attribution,
  };
  const shapes = Object.fromEntries(["area", "window", "view"].map((name) =>
    [name, { type: "geojson", data: NOTHING }]));
  const base = online && { base: { type: "raster", tiles: [online.url], tileSize: 256, attribution: online.attribution } };
  return { ...base, imagery, ...shapes };
}

function line(id, source, paint) {
  return { id, type: "line", source, paint, layout: { "line-join": "round" } };
}

function layersOf(online) {
  return [
    { id: "ground", type: "background", paint: { "background-color": dark ? "#1a2029" : "#d9d8d2" } },
    ...(online ? [{ id: "base", type: "raster", source: "base" }] : []),
    { id: "imagery", type: "raster", source: "imagery", paint: { "raster-fade-duration": 0 } },
    line("area-case", "area", { "line-color": "#0b0f14", "line-width": 5, "line-opacity": 0.55 }),
    line("area", "area", { "line-color": "#7db0ff", "line-width": 2.5 }),
    line("window-case", "window", { "line-color": "#0b0f14", "line-width": 4, "line-opacity": 0.55 }),
    line("window", "window", { "line-color": "#fff", "line-width": 1.5, "line-dasharray": [3, 3] }),
    { id: "view-fill", type: "fill", source: "view", paint: { "fill-color": "#ff8a4c", "fill-opacity": 0.28 } },
    line("view-case", "view", { "line-color": "#0b0f14", "line-width": 4.5, "line-opacity": 0.5 }),
    line("view", "view", { "line-color": "#fff", "line-width": 2 }),
  ];
}

// Gives whether the map could be drawn; everything else here does nothing when it could not.
export async function openMap(region, online) {
  try {
    map = made(region, online);
  } catch {
    return false; // no WebGL 2
  }
  map.touchZoomRotate.disableRotation();
  map.addControl(new maplibre.NavigationControl({ showCompass: false }), "bottom-right");
  map.addControl(new maplibre.ScaleControl({}), "bottom-right");
  map.getCanvas().setAttribute("aria-label", "Map; arrow keys move it, plus and minus zoom");
  await new Promise((resolve) => { map.once("load", resolve); });
  keepPace(map);
  fitRegion(false);
  low.addEventListener("change", () => map.once("resize", () => fitRegion(false)));
  return true;
}

function made(region, online) {
  if (!document.createElement("canvas").getContext("webgl2")) throw new Error("no WebGL 2");
  return new maplibre.Map({
    container: "map", attributionControl: false, dragRotate: false, pitchWithRotate: false, maxPitch: 0,
    touchPitch: false, fadeDuration: 0, maxZoom: 21,
    renderWorldCopies: boundsOf(region)[1][0] > 180,
    style: { version: 8, sources: sourcesOf(region, online), layers: layersOf(online) },
    transformRequest: (url) => (url.startsWith(location.origin) ? { url, headers: headers() } : { url }),
    bounds: boundsOf(region), fitBoundsOptions: { padding: 20 },
  });
}

// Another region: its imagery instead of the one before.
export async function changeRegion(region, online) {
  if (!map) return;
  map.setRenderWorldCopies(boundsOf(region)[1][0] > 180);
  map.setStyle({ version: 8, sources: sourcesOf(region, online), layers: layersOf(online) });
  fitRegion(false);
  await new Promise((resolve) => { map.once("idle", resolve); });
}

export function fitRegion(animate = !calm) {
  map?.fitBounds(boundsOf(state.region), { padding: padding(), animate });
}

export function showHeat(grid, answer, isOn) {
  if (!map) return;
  if (map.getLayer("heat")) map.removeLayer("heat");
  if (map.getSource("heat")) map.removeSource("heat");
  if (!grid || !answer?.heat) return;
  drawHeat(heatCanvas, grid, answer);
  map.addSource("heat", { type: "canvas", canvas: heatCanvas, coordinates: grid.corners, animate: false });
  map.addLayer({
    id: "heat", type: "raster", source: "heat",
    layout: { visibility: isOn ? "visible" : "none" },
    paint: { "raster-fade-duration": 0, "raster-opacity": ["interpolate", ["linear"], ["zoom"], 15, 0.9, 18, 0.45] },
  }, "area-case");
}

export function switchHeat(isOn) {
  if (map?.getLayer("heat")) map.setLayoutProperty("heat", "visibility", isOn ? "visible" : "none");
}

function polygon(points) {
  const ring = [...points, points[0]].map(([lat, lon]) => [lon, lat]);
  return { type: "Feature", properties: {}, geometry: { type: "Polygon", coordinates: [ring] } };
}

function set(source, features) {
  map?.getSource(source)?.setData({ type: "FeatureCollection", features });
}

export function circle(centre, metres) {
  return polygon(Array.from({ length: 72 }, (_, i) => along(centre, 5 * i, metres)));
}

function windowOf(place) {
  const { footprint } = place;
  const half = Math.hypot(footprint.width_m, footprint.height_m) / 2;
  const corner = (Math.atan2(footprint.width_m, footprint.height_m) * 180) / Math.PI;
  const up = footprint.up_bearing_deg;
  return polygon([-corner, corner, 180 - corner, 180 + corner].map((turn) => along(footprint, up + turn, half)));
}

export function viewReach(place) {
  return 0.62 * place.footprint.width_m;
}

function viewOf(place, fov, heading) {
  const steps = Array.from({ length: 33 }, (_, i) => heading - fov / 2 + (i * fov) / 32);
  const arc = steps.map((bearing) => along(place, bearing, viewReach(place)));
  return polygon(fov >= 359 ? arc : [[place.lat, place.lon], ...arc]);
}

export function drawView() {
  const place = shownPlace();
  const [fov, heading] = [shownFov(), shownHeading()];
  set("window", place?.footprint ? [windowOf(place)] : []);
  set("view", place?.footprint && heading !== null ? [viewOf(place, fov, heading)] : []);
  pins.forEach(({ node }, index) => {
    node.classList.toggle("chosen", index === (state.hover ?? state.place));
    node.setAttribute("aria-pressed", String(index === state.place));
  });
}

export function drawArea() {
  set("area", state.area ? [circle(state.area, state.area.metres)] : []);
}

export function placeLabel(place) {
  return `Place ${place.rank}, score ${place.score.toFixed(3)}`;
}

function addPin(place, index) {
  const [width, height] = index === 0 ? [34, 45] : [24, 32];
  const node = el("button", {
    class: index === 0 ? "pin first" : "pin", type: "button", "aria-label": placeLabel(place), title: placeLabel(place),
    onclick: (event) => { event.stopPropagation(); choosePlace(index); },
    onpointerenter: () => hoverPlace(index), onpointerleave: () => hoverPlace(null),
  }, svg("svg", { viewBox: "0 0 30 40", width, height, "aria-hidden": "true" },
    svg("path", { d: PIN }),
    svg("text", { x: 15, y: 20, "text-anchor": "middle" }, String(place.rank))));
  const marker = new maplibre.Marker({ element: node, anchor: "bottom" }).setLngLat([place.lon, place.lat]).addTo(map);
  node.style.zIndex = String(100 - index);
  return { marker, node };
}

export function drawPins() {
  for (const { marker } of pins) marker.remove();
  const places = map ? currentAnswer()?.places ?? [] : [];
  pins = places.map(addPin);
}

export function zoomToPlace() {
  const place = shownPlace();
  if (!place || !map) return;
  const reach = 2.2 * (place.footprint?.width_m ?? 80);
  const points = [0, 90, 180, 270].map((bearing) => along(place, bearing, reach));
  const [lats, lons] = [points.map((p) => p[0]), points.map((p) => p[1])];
  map.fitBounds([[Math.min(...lons), Math.min(...lats)], [Math.max(...lons), Math.max(...lats)]],
    { padding: padding(), animate: !calm });
}

export function keepInView() {
  const place = shownPlace();
  if (!place || !map) return;
  const at = [lonNear(place.lon, map.getCenter().lng), place.lat];
  if (!map.getBounds().contains(at)) map.panTo(at, { animate: !calm });
}

export function marker(node, at) {
  return new maplibre.Marker({ element: node }).setLngLat([at[1], at[0]]).addTo(map);
}
