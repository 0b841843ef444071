// Puts the parts together, for whatever source of answers: header, legend, controls, keyboard.

import { coordinates, metres } from "./angles.js";
import {
  calm, drawAnswer, drawArea, drawView, fitRegion, heat, keepInView, openMap, resizeMap, showRegion,
  zoomToPlace,
} from "./atlas.js";
import { wireClaim } from "./claim.js";
import { byId, el, number, percent, phrase, present, say, squareKm } from "./dom.js";
import { HEAT_STOPS } from "./heat.js";
import { drawList, findPhotos, markPhoto, moveAlong, showPane } from "./list.js";
import { drawSheet, markPlaces } from "./sheet.js";
import {
  choosePhoto, choosePlace, currentAnswer, currentPhoto, emit, on, state, stepPhoto,
} from "./state.js";

const PATIENCE_MS = 1000; // so long the map stays as it is while a photo waits for its answer
let drawTimer = null;

// Of one kind of picture all figures; of several kinds only the first, each kind by itself.
function accuracyFigures(kinds) {
  if (kinds.length > 1) {
    return kinds.map((found) => {
      const [least, most] = found.fov_deg;
      const width = least === most ? `${most}\u00b0` : `${least}\u2013${most}\u00b0`;
      const label = found.kind === "panorama" ? phrase("map.panoramas_near") : phrase("map.photos_near", { width });
      return [label, percent(found.within_25m)];
    });
  }
  return kinds.flatMap((found) => [
    [phrase("map.first_near"), percent(found.within_25m)],
    found.recall_at_10 !== undefined && [phrase("map.ten_near"), percent(found.recall_at_10)],
    found.median_error_m !== undefined && [phrase("map.median_error"), metres(found.median_error_m)],
  ]);
}

function drawFigures() {
  const { region, source: { summary } } = state;
  const figures = summary
    ? [[phrase("map.photos_located"), number(summary.photos)], ...accuracyFigures(summary.kinds).filter(Boolean)] : [];
  figures.push([phrase("map.tiles", { km2: squareKm(region.area_km2) }), number(region.tiles)]);
  byId("title").textContent = region.name;
  byId("figures").replaceChildren(...figures.map(([label, value]) =>
    el("div", {}, el("dd", {}, value), el("dt", {}, label))));
}

function drawLegend() {
  const answer = currentAnswer();
  const isOn = byId("heat").checked && Boolean(answer?.heat);
  const [low, high] = answer?.heat?.of === "posterior"
    ? ["map.improbable", "map.probable"] : ["map.median_score", "map.best"];
  const bar = el("i", { class: "ramp" });
  bar.style.background = `linear-gradient(90deg,${
    HEAT_STOPS.map(([level, r, g, b]) => `rgb(${r} ${g} ${b}) ${100 * level}%`)})`;
  const row = (symbol, text) => el("li", {}, el("i", { class: `key ${symbol}` }), el("span", {}, text));
  const coverage = answer?.outline?.length ? answer.calibrated.areas[0].coverage : null;
  byId("legend").hidden = !answer;
  byId("legend").classList.toggle("cold", !isOn);
  byId("legend").replaceChildren(...present([
    isOn && el("div", { class: "scale" }, el("span", {}, phrase(low)), bar, el("span", {}, phrase(high))),
    el("ul", {}, present([
      row("pin-key", phrase("map.key_pin")),
      answer?.claim && row("claim-key", phrase("map.key_claim_mark")),
      answer?.truth && row("truth-key", phrase("map.actual_place")),
      row("view-key", phrase("map.key_view")),
      answer?.prior && row("prior-key", phrase("map.key_prior")),
      answer?.places.some((place) => place.position_sigma_m) && row("position-key", phrase("map.key_position")),
      coverage !== null && row("area-key", phrase("map.key_area", { percent: percent(coverage) }))]))]));
}

function drawAbout() {
  const { region, source, cells } = state;
  const made = [region.attribution, region.date].filter(Boolean).join(", ") || phrase("map.no_source");
  byId("about").replaceChildren(...[
    phrase("map.about_imagery", { imagery: made, model: region.model, metres: metres(region.footprint_m) }),
    phrase("map.about_scores"), ...source.notes,
    cells?.merged && phrase("map.about_squares", { metres: metres(cells.spacing_m) }),
    phrase(source.live ? "map.about_server" : "map.about_file"),
  ].filter(Boolean).map((text) => el("p", {}, text)));
}

function drawHelp() {
  const keys = [
    ["j  k", "map.key_photos"], ["1 \u2026 9", "map.key_rank"], ["\u2191 \u2193", "map.key_places"],
    ["h", "map.key_heat"], ["z", "map.key_zoom"], ["r", "map.key_region"], ["/", "map.key_search"],
    ...state.source.keys, ["?", "map.key_help"],
  ];
  byId("help").append(
    el("h2", { id: "help-title" }, phrase("map.help")),
    ...["map.help_heat", "map.help_stands_out", "map.help_nothing", "map.help_claim", ...state.source.help]
      .map((key) => el("p", {}, phrase(key))),
    el("dl", { class: "keys" }, keys.map(([key, text]) =>
      el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, phrase(text))))),
    el("form", { method: "dialog" }, el("button", { class: "primary" }, phrase("map.close"))));
  byId("help-open").addEventListener("click", () => byId("help").showModal());
}

function toggleHeat(isOn) {
  byId("heat").checked = isOn;
  heat.switch(isOn);
  drawLegend();
}

function setOpacity(value) {
  heat.opacity = value;
  heat.draw();
}

function follow(isOn) {
  state.follow = isOn;
  byId("to-place").setAttribute("aria-pressed", String(isOn));
  byId("to-region").setAttribute("aria-pressed", String(!isOn));
  if (isOn) zoomToPlace();
  else fitRegion(!calm);
}

const SHORTCUTS = {
  j: () => stepPhoto(1), k: () => stepPhoto(-1), h: () => toggleHeat(!byId("heat").checked),
  ArrowDown: () => choosePlace(state.place + 1), ArrowUp: () => choosePlace(state.place - 1),
  r: () => follow(false), z: () => follow(true), "?": () => byId("help").showModal(),
  "/": () => { showPane("list"); byId("search").focus(); },
};

function onKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.target.matches("input:not([type=checkbox],[type=file],[type=range]), select")) return;
  const isArrow = event.key.startsWith("Arrow"); // those move the map, and sliders
  if (isArrow && (!currentAnswer() || event.target.closest("#map, input"))) return;
  const action = { ...SHORTCUTS, ...state.source.shortcuts }[event.key]
    || (/^[1-9]$/.test(event.key) && (() => choosePlace(event.key - 1)));
  if (!action) return;
  event.preventDefault();
  action();
}

function announce() {
  const photo = currentPhoto();
  if (photo?.problem) say(`${photo.name}: ${photo.problem}`);
  if (!photo?.answer) return;
  const { error_m: error, confidence, places: [first] } = photo.answer;
  const off = error === undefined ? "" : `, ${phrase("map.off", { metres: metres(error) })}`;
  const at = first && phrase("map.first_place_at", { at: coordinates(first) });
  say([`${photo.name}${off}.`, confidence, at, photo.answer.claim?.says].filter(Boolean).join(" "));
}

function drawMap() {
  const cells = state.cells;
  drawAnswer().then(() => { if (state.cells !== cells) drawAbout(); });
  drawLegend();
  emit("map");
}

// The list of places is on the screen before its pins are drawn.
function drawMapSoon() {
  clearTimeout(drawTimer);
  if (!state.source.live) drawMap();
  else {
    const wait = currentPhoto()?.busy ? PATIENCE_MS : 0;
    drawTimer = setTimeout(() => requestAnimationFrame(() => setTimeout(drawMap)), wait);
  }
}

function wire() {
  for (const name of ["show", "order"]) byId(name).addEventListener("change", findPhotos);
  byId("search").addEventListener("input", findPhotos);
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
  byId("heat").addEventListener("change", (event) => toggleHeat(event.target.checked));
  byId("opacity").addEventListener("input", (event) => setOpacity(event.target.value / 100));
  byId("to-region").addEventListener("click", () => follow(false));
  byId("to-place").addEventListener("click", () => follow(true));
  for (const tab of document.querySelectorAll(".tabs button")) {
    tab.addEventListener("click", () => showPane(tab.dataset.pane));
  }
  document.addEventListener("keydown", onKey);
  byId("photos").addEventListener("keydown", moveAlong);
  on("photo", markPhoto, () => { byId("panel").scrollTop = 0; });
  on("answer busy", drawList);
  on("photo answer busy area", drawSheet);
  on("photo answer busy", drawMapSoon);
  on("photo answer", announce);
  on("photo", () => { if (state.follow) zoomToPlace(); });
  on("place", drawView, markPlaces, keepInView);
  on("hover", drawView, markPlaces);
  on("list", drawSheet);
  on("area resizing", drawArea);
  on("layout", resizeMap);
}

// Everything but the region and its photos.
export function startPage(source) {
  state.source = source;
  openMap();
  drawHelp();
  wire();
  wireClaim();
  toggleHeat(true);
  setOpacity(byId("opacity").value / 100);
}

export function openRegion(region) {
  Object.assign(state, { region, cells: null, area: null, claim: null });
  document.title = `${region.name} - crossview`;
  drawFigures();
  drawAbout();
  showRegion();
  emit("area");
}

export function openPhotos(first) {
  drawList();
  choosePhoto(first);
  if (!state.photos.length) drawSheet();
  document.body.dataset.ready = "true";
}
