// A track beside its pictures: played, or gone through by hand.

import { coordinates, mapLink, metres, wind } from "./angles.js";
import { addUncertainty, calm, cased, map, onMap, openMap, roomAround, showRegion } from "./atlas.js";
import { byId, el, number, percent, phrase, present, say, svg } from "./dom.js";
import { drawImagery, facts, picture } from "./imagery.js";
import { state } from "./state.js";

const { points, lines, told } = facts.track;
const SPEEDS = [1, 2, 4, 8, 16]; // pictures a second
const WAY = "#ffd24a";
const isDense = points.length > 150; // dots with rims would hide the way, and each other
let at = 0; // the point that is shown
let timer = null; // while it is played
let follows = false; // whether the map stays close to the point that is shown
let trail, shown; // groups on the map: all of the track, the point that is shown
let dots = [];

function name(point) {
  return el("bdi", {}, point.photo);
}

function clock(point) {
  if (point.time) {
    const [day, time] = point.time.replace("Z", "").split("T");
    return `${day} ${time.replace(/\.000$/, "")}${point.time.endsWith("Z") ? " UTC" : ""}`;
  }
  if (point.elapsed_s === undefined) return "";
  return phrase("map.track.seconds", { seconds: number(point.elapsed_s, 1) });
}

function standing(point) {
  return point.lost ? phrase("map.track.lost") : phrase("map.good_to", { metres: metres(point.position_sigma_m) });
}

function trust(point) {
  const values = { metres: metres(point.position_sigma_m) };
  if (point.lost) return phrase("map.track.lost_more", values);
  return point.foreign ? phrase("map.track.foreign", values) : standing(point);
}

function looking({ heading_deg: heading, heading_sigma_deg: sigma }) {
  if (heading === undefined) return null;
  const values = { wind: wind(heading), degrees: Math.round(heading) % 360 };
  if (sigma === undefined) return phrase("map.facing", values);
  return phrase("map.facing_within", { ...values, sigma: number(sigma, sigma < 10 ? 1 : 0) });
}

// The way that was found, straight and dashed across what was lost, and a dot for every picture.
function drawTrail() {
  if (lines.truth.length > 1) cased(trail, lines.truth, { color: "#3fe0cc", weight: 2, dashArray: "2 6" });
  for (const gap of lines.gaps) cased(trail, gap, { color: "#fff", weight: 2.5, dashArray: "3 8" });
  for (const piece of lines.found) {
    if (piece.length > 1) cased(trail, piece, { color: WAY, weight: 4, lineJoin: "round" });
  }
  dots = points.map((point, index) => {
    const dot = L.circleMarker(onMap(point.lat, point.lon), {
      radius: isDense ? 2 : 4, stroke: !isDense, weight: 1.5, color: "#0b0f14", fillColor: point.lost || point.foreign ? "#fff" : WAY,
      fillOpacity: point.lost ? 0.25 : 1, dashArray: point.lost ? "2 2" : null,
      className: `stop${point.lost ? " lost" : ""}${point.foreign ? " foreign" : ""}`,
    }).addTo(trail);
    dot.on("click", () => show(index));
    return dot;
  });
}

function drawPoint() {
  const point = points[at];
  shown.clearLayers();
  const here = onMap(point.lat, point.lon);
  if (point.view) {
    cased(shown, point.view.ring, {
      color: "#fff", weight: 1.5, closed: true, fill: true, fillColor: "#ff8a4c",
      fillOpacity: point.lost ? 0.1 : 0.45, className: "looking",
    });
  }
  addUncertainty(point, shown, point.lost ? "6 6" : null);
  if (point.truth) {
    cased(shown, [[point.truth.lat, point.truth.lon], [point.lat, point.lon]], { color: "#3fe0cc", weight: 2 });
  }
  L.circleMarker(here, {
    radius: 8, weight: 3, color: "#fff", fillColor: point.lost ? "#8a8f98" : "#e4571b", fillOpacity: 1,
    interactive: false, className: "here",
  }).addTo(shown);
  if (follows || !map.getBounds().contains(here)) map.panTo(here, { animate: !calm && timer === null });
}

function drawFigures() {
  const errors = told.median_error_m !== undefined && [
    [phrase("map.median_error"), metres(told.median_error_m)],
    [phrase("map.track.near"), percent(told.within_25m)],
  ];
  const figures = [
    [phrase("map.track.pictures"), number(told.points)], [phrase("map.track.lost_points"), number(told.lost)],
    [phrase("map.track.length"), metres(told.length_m)], ...(errors || []),
  ];
  byId("title").textContent = `${told.source} \u00b7 ${facts.region.name}`;
  byId("figures").replaceChildren(...figures.map(([label, value]) =>
    el("div", {}, el("dd", {}, value), el("dt", {}, label))));
}

function drawLegend() {
  const row = (symbol, text) => el("li", {}, el("i", { class: `key ${symbol}` }), el("span", {}, text));
  byId("legend").replaceChildren(el("ul", {}, present([
    row("way-key", phrase("map.track.key_way")),
    told.lost > 0 && row("gap-key", phrase("map.track.key_gap")),
    told.foreign > 0 && row("foreign-key", phrase("map.track.key_foreign")),
    row("position-key", phrase("map.track.key_circle")),
    points.some((point) => point.view) && row("looking-key", phrase("map.track.key_looking")),
    lines.truth.length > 0 && row("truth-key", phrase("map.track.key_truth")),
  ])));
}

// How well the position is known along the way; bars of lost points are hatched and full.
function drawCourse() {
  const most = Math.max(...points.filter((point) => !point.lost).map((point) => point.position_sigma_m), 1);
  const bars = points.map((point, index) => svg("rect", {
    class: point.lost ? "bar lost" : "bar", x: index, width: 1,
    y: point.lost ? 0 : 20 - 18 * Math.sqrt(point.position_sigma_m / most), height: 20,
  }));
  byId("course").replaceChildren(svg("svg", { viewBox: `0 0 ${points.length} 20`, preserveAspectRatio: "none" }, bars,
    svg("rect", { id: "cursor", class: "cursor", x: 0, width: Math.max(1, points.length / 120), y: 0, height: 20 })));
  byId("course").addEventListener("pointerdown", (event) => {
    const box = byId("course").getBoundingClientRect();
    show(Math.floor(((event.clientX - box.left) / box.width) * points.length));
  });
}

function figure(point) {
  const source = picture("photos", point.picture, "jpeg");
  if (!source) return el("p", { class: "no-picture" }, phrase("map.no_picture"));
  const image = el("img", { src: source, alt: phrase("map.the_photo", { name: point.photo }) });
  return el("figure", {}, el("div", { class: "frame still" }, image));
}

function facing(point) {
  return [
    looking(point), phrase("map.track.fits", { percent: percent(point.fits) }),
    point.error_m !== undefined && phrase("map.off", { metres: metres(point.error_m) }),
  ].filter(Boolean);
}

function drawSheet() {
  const point = points[at];
  const remarks = [...told.assumptions, ...told.warnings.map((text) => phrase("map.warning", { text }))];
  byId("sheet").replaceChildren(...present([
    figure(point),
    el("h2", { class: "name", title: point.photo }, name(point)),
    el("p", { id: "clock", class: "quiet" }, clock(point)),
    el("p", { id: "standing", class: `confidence ${point.lost ? "refused" : point.foreign ? "" : "clear"}` }, trust(point)),
    el("ul", { class: "point-facts" }, facing(point).map((text) => el("li", {}, text))),
    el("p", { id: "selected", class: "quiet" }, el("span", { class: "mono" }, coordinates(point)),
      ` (${phrase("map.lat_lon")}), `, mapLink(point)),
    remarks.length > 0 && el("ul", { class: "remarks" }, remarks.map((text) => el("li", {}, text))),
  ]));
}

function markPlayer() {
  const point = points[at];
  const isLast = at === points.length - 1;
  const position = phrase("map.position", { number: at + 1, total: points.length });
  byId("slider").value = at;
  byId("slider").setAttribute("aria-valuetext", [position, clock(point), standing(point)].filter(Boolean).join(", "));
  byId("position").textContent = position;
  byId("back").disabled = at === 0;
  byId("ahead").disabled = isLast;
  byId("cursor").setAttribute("x", at);
  const isOn = timer !== null;
  byId("play").textContent = phrase(isOn ? "map.track.pause" : isLast ? "map.track.again" : "map.track.play");
  byId("play").setAttribute("aria-pressed", String(isOn));
}

export function show(index) {
  at = Math.min(points.length - 1, Math.max(0, index));
  drawPoint();
  drawSheet();
  markPlayer();
  history.replaceState(null, "", `#point=${at + 1}`);
}

function stop() {
  clearInterval(timer);
  timer = null;
  markPlayer();
}

function tick() {
  if (at < points.length - 1) show(at + 1);
  if (at === points.length - 1) stop();
}

function run() {
  clearInterval(timer);
  timer = setInterval(tick, 1000 / Number(byId("speed").value));
}

function toggle() {
  if (timer !== null) {
    stop();
    say(byId("slider").getAttribute("aria-valuetext"));
    return;
  }
  if (at === points.length - 1) show(0);
  run();
  markPlayer();
}

// By hand: a track that is played stands still then, and what is shown is said.
function step(index) {
  if (timer !== null) stop();
  show(index);
  say(byId("slider").getAttribute("aria-valuetext"));
}

function fitTrack(animate) {
  const bounds = L.latLngBounds(points.map((point) => onMap(point.lat, point.lon)));
  map.fitBounds(bounds, { animate, maxZoom: 20, ...roomAround() });
}

function follow(isOn) {
  follows = isOn;
  byId("to-place").setAttribute("aria-pressed", String(isOn));
  byId("to-region").setAttribute("aria-pressed", String(!isOn));
  const { lat, lon } = points[at];
  if (isOn) map.setView(onMap(lat, lon), Math.max(19, map.getZoom()), { animate: !calm });
  else fitTrack(!calm);
}

const KEYS = {
  " ": toggle, k: toggle, ArrowRight: () => step(at + 1), ArrowLeft: () => step(at - 1),
  Home: () => step(0), End: () => step(points.length - 1), r: () => follow(false), z: () => follow(true),
  "?": () => byId("help").showModal(),
};

function onKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]") || !KEYS[event.key]) return;
  const isNamed = event.key.length > 1; // arrows, Home and End move the map, the slider and a choice
  if (isNamed && event.target.closest("#map, input, select")) return;
  if (event.key === " " && event.target.closest("button, a, select")) return;
  event.preventDefault();
  KEYS[event.key]();
}

function drawHelp() {
  const keys = [
    ["\u2423  k", "map.track.key_play"], ["\u2190 \u2192", "map.track.key_step"], ["z", "map.key_zoom"],
    ["r", "map.track.key_whole"], ["?", "map.key_help"],
  ];
  byId("help").append(
    el("h2", { id: "help-title" }, phrase("map.track.help")),
    ...["map.track.help_circle", "map.track.help_lost"].map((key) => el("p", {}, phrase(key))),
    el("dl", { class: "keys" }, keys.map(([key, text]) =>
      el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, phrase(text))))),
    el("form", { method: "dialog" }, el("button", { class: "primary" }, phrase("map.close"))));
  byId("help-open").addEventListener("click", () => byId("help").showModal());
}

function drawAbout() {
  const { region } = facts;
  const made = [region.attribution, region.date].filter(Boolean).join(", ") || phrase("map.no_source");
  byId("about").replaceChildren(...[
    phrase("map.about_imagery", { imagery: made, model: region.model, metres: metres(region.footprint_m) }),
    ...facts.notes, phrase("map.about_file"),
  ].map((text) => el("p", {}, text)));
}

function wire() {
  byId("slider").max = points.length - 1;
  byId("slider").addEventListener("input", (event) => {
    if (timer !== null) stop();
    show(Number(event.target.value));
  });
  byId("back").addEventListener("click", () => step(at - 1));
  byId("ahead").addEventListener("click", () => step(at + 1));
  byId("play").addEventListener("click", toggle);
  byId("speed").append(...SPEEDS.map((count) =>
    el("option", { value: count }, phrase("map.track.a_second", { count }))));
  byId("speed").value = calm ? 1 : 2;
  byId("speed").addEventListener("change", () => { if (timer !== null) run(); });
  byId("to-region").addEventListener("click", () => follow(false));
  byId("to-place").addEventListener("click", () => follow(true));
  document.addEventListener("keydown", onKey);
}

function openTrack() {
  Object.assign(state, { region: facts.region, source: { reach: 1.5, drawImagery } });
  openMap();
  showRegion();
  [trail, shown] = [L.layerGroup().addTo(map), L.layerGroup().addTo(map)];
  for (const draw of [drawFigures, drawLegend, drawAbout, drawHelp, drawTrail, drawCourse, wire]) draw();
  fitTrack(false);
  const asked = Number((/point=(\d+)/.exec(location.hash) || [])[1]);
  show(points[asked - 1] ? asked - 1 : 0);
  document.body.dataset.ready = "true";
}

openTrack();
