// The map: imagery, heat, pins, the selected place's window and view, the actual place, the area
// to search in. Leaflet (the global L) draws it: pictures and SVG, so no browser is without a map.

import { along, circle, cornersOf, lonNear, metres } from "./angles.js";
import { byId, el, number, phrase, sentence, svg } from "./dom.js";
import { Heat, heatLevels, placeCells } from "./heat.js";
import {
  choosePlace, currentAnswer, currentPhoto, hoverPlace, shownFov, shownHeading, shownIndex, shownPlace, state,
} from "./state.js";

export const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const low = matchMedia("(max-height: 500px)"); // a phone held across: the tools stand at the side
const PIN = "M15 1C7.3 1 1 7.2 1 14.8 1 25 15 39 15 39s14-14 14-24.2C29 7.2 22.7 1 15 1Z";

export let map = null;
export let heat = null;
let imagery = []; // the region's layers
let marks, view, ray, area; // groups: of the photo, of the shown place, under the pointer, to search
let pins = [];

export function openMap() {
  map = L.map("map", {
    attributionControl: false, zoomControl: false, zoomSnap: 0.25, minZoom: 1, maxZoom: 22,
    zoomAnimation: !calm, fadeAnimation: false, markerZoomAnimation: !calm, maxBoundsViscosity: 0.6,
  });
  const titles = { zoomInTitle: phrase("map.zoom_in"), zoomOutTitle: phrase("map.zoom_out") };
  L.control.zoom({ position: "bottomright", ...titles }).addTo(map);
  L.control.scale({ imperial: false, position: "bottomright" }).addTo(map);
  map.setView([0, 0], 1);
  [area, marks, view, ray] = Array.from({ length: 4 }, () => L.layerGroup().addTo(map));
  heat = new Heat(map);
  low.addEventListener("change", () => map.once("resize", () => fitRegion(false)));
}

// The region's own imagery instead of what was shown before.
export function showRegion() {
  for (const layer of imagery) layer.remove();
  const bounds = regionBounds();
  map.setMaxBounds(null);
  fitRegion(false);
  map.setMaxBounds(bounds.pad(state.source.reach));
  imagery = state.source.drawImagery(map, bounds);
}

function regionBounds() {
  const [south, west, north, east] = state.region.bounds;
  return L.latLngBounds([south, west], [north, east < west ? east + 360 : east]);
}

// A point where the map counts its longitude: beyond 180 if the region crosses that.
export function onMap(lat, lon) {
  return [lat, lonNear(lon, regionBounds().getCenter().lng)];
}

// Room for what floats over the map, and for the pins: those stand 45 pixels above their places.
export function roomAround() {
  if (low.matches) return { paddingTopLeft: [178, 54], paddingBottomRight: [54, 30] };
  const isTall = map.getSize().y > 600;
  return { paddingTopLeft: [24, isTall ? 112 : 102], paddingBottomRight: isTall ? [60, 96] : [24, 50] };
}

export function fitRegion(animate = !calm) {
  map.fitBounds(regionBounds(), { animate, ...roomAround() });
}

export function resizeMap() {
  map.invalidateSize({ animate: false });
  if (!state.follow) fitRegion(false);
}

async function showHeat() {
  const found = currentAnswer()?.heat;
  if (found && !state.cells) {
    const { region } = state;
    const record = await state.source.loadCells(region);
    if (region !== state.region) return;
    state.cells = placeCells(record, regionBounds().getCenter().lng);
  }
  heat.show(state.cells, heatLevels(currentAnswer()?.heat));
}

function placeLabel(place) {
  const values = { rank: place.rank, score: number(place.score, 3) };
  const off = place.error_m === undefined ? "" : `, ${phrase("map.off", { metres: metres(place.error_m) })}`;
  return phrase("map.place_label", values) + off;
}

function pinIcon(place, index) {
  const [width, height] = index === 0 ? [34, 45] : [24, 32];
  const drawing = svg("svg", { viewBox: "0 0 30 40", width, height, "aria-hidden": "true" },
    svg("path", { d: PIN }),
    svg("text", { x: 15, y: 20, "text-anchor": "middle" }, String(place.rank)));
  return L.divIcon({
    html: el("span", {}, drawing), className: index === 0 ? "pin first" : "pin",
    iconSize: [width, height], iconAnchor: [width / 2, height - 1],
  });
}

function addPin(place, index) {
  const title = placeLabel(place);
  const pin = L.marker(onMap(place.lat, place.lon), {
    icon: pinIcon(place, index), title, zIndexOffset: 500 - 20 * index, riseOnHover: true,
  }).addTo(marks);
  pin.on("click", () => choosePlace(index));
  pin.on("mouseover", () => hoverPlace(index));
  pin.on("mouseout", () => hoverPlace(null));
  pin.getElement().setAttribute("aria-label", title);
  pins[index] = pin;
}

function addTruth(truth) {
  const ring = svg("svg", { viewBox: "0 0 32 32", width: 32, height: 32, "aria-hidden": "true" },
    svg("circle", { cx: 16, cy: 16, r: 11, class: "halo" }),
    svg("circle", { cx: 16, cy: 16, r: 11 }),
    svg("circle", { cx: 16, cy: 16, r: 3, class: "dot" }));
  const icon = L.divIcon({ html: el("span", {}, ring), className: "truth", iconSize: [32, 32] });
  const title = sentence(phrase("map.actual_place"));
  L.marker(onMap(truth.lat, truth.lon), { icon, title, keyboard: false, zIndexOffset: 400 }).addTo(marks);
}

// Where the truth lies with the coverage that the index was calibrated for.
function addOutline(outline) {
  const rings = outline.map((polygon) => polygon.map((ring) => ring.map(([lat, lon]) => onMap(lat, lon))));
  const shared = { interactive: false, lineJoin: "round" };
  L.polygon(rings, { ...shared, fill: false, color: "#0b0f14", opacity: 0.5, weight: 4 }).addTo(marks);
  L.polygon(rings, {
    ...shared, color: "#8ef0a0", weight: 1.75, fillColor: "#8ef0a0", fillOpacity: 0.25,
  }).addTo(marks);
}

// What was known before the photo was looked at.
function addPrior({ lat, lon, sigma_m }) {
  const shared = { interactive: false, radius: sigma_m, fill: false };
  L.circle(onMap(lat, lon), { ...shared, color: "#0b0f14", opacity: 0.5, weight: 4 }).addTo(marks);
  L.circle(onMap(lat, lon), { ...shared, color: "#c8b0ff", weight: 2, dashArray: "8 6", className: "prior" }).addTo(marks);
}

// What the photo's answer puts on the map.
export function drawAnswer() {
  const answer = currentAnswer();
  marks.clearLayers();
  pins = [];
  if (answer?.truth) addTruth(answer.truth);
  if (answer?.outline?.length) addOutline(answer.outline);
  if (answer?.prior) addPrior(answer.prior);
  (answer?.places ?? []).map((place, index) => [place, index]).reverse().forEach((pair) => addPin(...pair));
  drawView();
  return showHeat();
}

export function cased(to, points, options) {
  const shape = options.closed ? L.polygon : L.polyline;
  const quiet = { interactive: false, fill: false, smoothFactor: 0.4 };
  const line = points.map(([lat, lon]) => onMap(lat, lon));
  shape(line, { ...quiet, color: "#0b0f14", opacity: 0.55, weight: options.weight + 2.5 }).addTo(to);
  shape(line, { ...quiet, ...options }).addTo(to);
}

export function viewReach(place) {
  return place.view?.length_m ?? 0.62 * place.footprint.width_m;
}

function wedge(place, fov, heading) {
  const steps = Array.from({ length: 33 }, (_, i) => heading - fov / 2 + (i * fov) / 32);
  const arc = steps.map((bearing) => along(place, bearing, viewReach(place)));
  return fov >= 359 ? arc : [[place.lat, place.lon], ...arc];
}

// What was seen, as it was answered; while it is dragged, and of a shared result, as it would be.
function viewRing(place, fov, heading) {
  const isAnswered = place.view && !currentPhoto().dragged;
  return isAnswered ? place.view.ring : wedge(place, fov, heading);
}

// Where two of three such photos were taken, if the place is right.
export function addUncertainty(place, to, dashArray = null) {
  if (!place.position_sigma_m) return;
  const shared = { interactive: false, radius: place.position_sigma_m, dashArray };
  L.circle(onMap(place.lat, place.lon), { ...shared, fill: false, color: "#0b0f14", opacity: 0.55, weight: 4 }).addTo(to);
  L.circle(onMap(place.lat, place.lon), {
    ...shared, color: "#9fd0ff", weight: 2, fillColor: "#9fd0ff", fillOpacity: dashArray ? 0.12 : 0.3, className: "uncertainty",
  }).addTo(to);
}

export function drawView() {
  view.clearLayers();
  const [place, fov, heading] = [shownPlace(), shownFov(), shownHeading()];
  pins.forEach((pin, index) => pin.getElement()?.classList.toggle("chosen", index === shownIndex()));
  if (!place) return;
  cased(view, cornersOf(place), { color: "#fff", weight: 1.5, dashArray: "5 5", closed: true });
  if (heading !== null) {
    cased(view, viewRing(place, fov, heading), {
      color: "#fff", weight: 2, closed: true, fill: true, fillColor: "#ff8a4c", fillOpacity: 0.25,
    });
    const front = along(place, heading, viewReach(place));
    cased(view, [[place.lat, place.lon], front], { color: "#fff", weight: 1.5 });
  }
  addUncertainty(place, view);
  const { truth } = currentAnswer();
  if (truth) {
    const line = [[truth.lat, truth.lon], [place.lat, place.lon]];
    cased(view, line, { color: "#3fe0cc", weight: 2, dashArray: "2 6" });
  }
}

// Where a column of the photo looks; null: nowhere.
export function drawRay(bearing) {
  ray.clearLayers();
  const place = shownPlace();
  if (bearing === null || !place) return;
  const end = along(place, bearing, place.footprint.width_m);
  cased(ray, [[place.lat, place.lon], end], { color: "#ffe08a", weight: 3 });
}

// The area to search in, or one that is being drawn.
export function drawArea(drawn = state.area) {
  area.clearLayers();
  if (!drawn) return;
  const ring = drawn.ring ?? circle(drawn, drawn.metres);
  cased(area, ring, { color: "#7db0ff", weight: 2.5, closed: ring.length > 2 });
  if (drawn === state.area) return;
  for (const [lat, lon] of drawn.ring ?? []) {
    L.circleMarker(onMap(lat, lon), {
      radius: 5, weight: 2, color: "#fff", fillColor: "#1a66e8", fillOpacity: 1, interactive: false,
    }).addTo(area);
  }
}

export function zoomToPlace() {
  const place = shownPlace();
  if (!place) return;
  const reach = 2.2 * place.footprint.width_m;
  const bounds = L.latLngBounds(
    [0, 90, 180, 270].map((bearing) => onMap(...along(place, bearing, reach))));
  const { truth } = currentAnswer();
  if (truth && place.error_m < 6 * place.footprint.width_m) bounds.extend(onMap(truth.lat, truth.lon));
  map.fitBounds(bounds, { animate: !calm, ...roomAround() });
}

export function keepInView() {
  const place = shownPlace();
  const at = place && L.latLng(onMap(place.lat, place.lon));
  if (place && !map.getBounds().pad(-0.1).contains(at)) map.panTo(at, { animate: !calm });
}

// What is under a pointer, in degrees.
export function pointAt(event) {
  const box = byId("map").getBoundingClientRect();
  const at = map.containerPointToLatLng([event.clientX - box.left, event.clientY - box.top]);
  return { lat: at.lat, lon: at.lng };
}

export function addHandle(node, at) {
  const icon = L.divIcon({ html: node, className: "", iconSize: [0, 0] });
  return L.marker(onMap(...at), { icon, keyboard: false, zIndexOffset: 1000 }).addTo(map);
}

export function moveHandle(handle, at) {
  handle.setLatLng(onMap(...at));
}
