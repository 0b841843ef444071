// Puts the parts together: files in, answers out, keyboard, regions.

import * as api from "./api.js";
import * as atlas from "./atlas.js";
import { drawHandles, drawMode, moveHandles, wireArea } from "./drag.js";
import { save, sharedResult } from "./files.js";
import { drawRamp, gridOf } from "./heat.js";
import { drawHelp } from "./help.js";
import { byId, el } from "./dom.js";
import { announce, drawSheet, drawStrip, markDrag, markPlaces, say } from "./sheet.js";
import { choosePhoto, choosePlace, currentAnswer, currentPhoto, emit, on, state } from "./state.js";

let grid = null; // of the region's heat layer
let online = null;
let job = null;
let mapTimer = null;
const PATIENCE_MS = 1000;

function forFiles(files) {
  return [...files].filter((file) => file.size > 0);
}

function tooLarge(files) {
  const large = files.find((file) => file.size > state.limits.file_bytes);
  return large && `${large.name} is larger than ${Math.round(state.limits.file_bytes / 1e6)} MB.`;
}

async function addFiles(given) {
  const files = forFiles(given);
  if (!files.length) return;
  const start = state.photos.length;
  state.photos.push(...files.map((file) => ({ file, name: file.name, url: URL.createObjectURL(file), hints: {}, busy: true })));
  choosePhoto(start);
  const problem = tooLarge(files);
  if (problem) fail(state.photos.slice(start), problem);
  else if (files.length === 1) await locate(state.photos[start]);
  else await locateAll(state.photos.slice(start));
}

function fail(photos, text) {
  for (const photo of photos) Object.assign(photo, { busy: false, problem: text, area: areaNow() });
  emit("answer");
}

// The area that is drawn on the map holds for every photo that is shown under it.
function areaNow() {
  const { area } = state;
  return area ? `${area.lat},${area.lon},${area.metres}` : "";
}

function isStale(photo) {
  return Boolean(photo.file) && photo.area !== areaNow() && photo.file.size <= state.limits.file_bytes;
}

function refresh() {
  const photo = currentPhoto();
  if (photo && !photo.busy && isStale(photo)) locate(photo);
}

async function saveFresh() {
  const kind = state.saving;
  const stale = state.photos.filter(isStale);
  for (const [done, photo] of stale.entries()) {
    progress(done, stale.length);
    await locate(photo);
  }
  if (stale.length) progress(stale.length, stale.length);
  save(kind);
}

async function locate(photo) {
  photo.asking?.abort();
  const mine = photo.asking = new AbortController();
  Object.assign(photo, { busy: true, problem: null, area: areaNow() });
  emit("busy");
  try {
    photo.answer = await api.locate(state.region, photo.file, photo.hints, state.area, mine.signal);
  } catch (problem) {
    if (problem.name === "AbortError") return;
    if (problem.status === 401) return askForKey(() => locate(photo));
    photo.answer = null;
    photo.problem = problem.message;
  }
  Object.assign(photo, { busy: false, dragged: null });
  if (photo === currentPhoto()) state.place = 0;
  emit("answer");
  return undefined;
}

// Groups within the server's limits, one after the other.
function* groups(photos) {
  let [group, bytes] = [[], 0];
  for (const photo of photos) {
    if (group.length && (group.length >= Math.min(50, state.limits.files) || bytes + photo.file.size > state.limits.request_bytes / 4)) {
      yield group;
      [group, bytes] = [[], 0];
    }
    group.push(photo);
    bytes += photo.file.size;
  }
  if (group.length) yield group;
}

async function locateAll(photos) {
  progress(0, photos.length);
  job = { cancelled: false };
  let done = 0;
  for (const group of groups(photos)) {
    try {
      done = await follow(group, done, photos.length);
    } catch (problem) {
      if (problem.status === 401) return askForKey(() => locateAll(photos));
      fail(group.filter((photo) => photo.busy), problem.message);
    }
    if (job.cancelled) break;
  }
  fail(photos.filter((photo) => photo.busy), "Cancelled.");
  job = null;
  progress(photos.length, photos.length);
  return undefined;
}

async function follow(group, before, total) {
  for (const photo of group) photo.area = areaNow();
  const started = await api.startJob(state.region, group.map((photo) => photo.file), state.area);
  job.id = started.job;
  const waiting = [...group];
  let done = before;
  for await (const [kind, facts] of api.jobEvents(started.job)) {
    if (kind === "end") break;
    done += 1;
    const at = waiting.findIndex((photo) => facts.photo === photo.name || facts.photo === photo.name.slice(0, 200));
    const [photo] = waiting.splice(Math.max(0, at), 1);
    Object.assign(photo, kind === "answer" ? { answer: facts } : { problem: facts.detail }, { busy: false });
    progress(done, total);
    if (photo === currentPhoto()) emit("answer");
    else drawStrip();
  }
  return done;
}

function progress(done, total) {
  byId("progress").hidden = done >= total;
  byId("bar").value = done / total;
  byId("progress-text").textContent = `${done} of ${total}`;
  if (done >= total) say(`${total} photos are done.`);
}

function askForKey(again) {
  const dialog = byId("key-dialog");
  dialog.showModal();
  dialog.addEventListener("close", () => {
    api.useKey(byId("key").value);
    again();
  }, { once: true });
}

function applyDrag() {
  const photo = currentPhoto();
  if (!photo?.dragged) return;
  if (photo.dragged.fov) photo.hints.fov = photo.dragged.fov;
  if (photo.dragged.turned) photo.hints.heading = photo.dragged.heading;
  if (photo.dragged.sigma) photo.hints.sigma = photo.dragged.sigma;
  locate(photo);
}

async function showHeat() {
  const answer = currentAnswer();
  if (!grid && answer?.heat) grid = gridOf(await api.cells(state.region));
  atlas.showHeat(grid, answer, byId("heat").checked);
  byId("legend").hidden = !answer?.heat || !byId("heat").checked;
  const [low, high] = answer?.heat?.of === "posterior" ? ["improbable", "probable"] : ["median score", "best"];
  byId("legend").firstChild.textContent = low;
  byId("legend").lastChild.textContent = high;
}

// What an answer puts on the map: after the list is on the screen, for drawn in software the map
// takes longer than the answer. A photo that waits for its own keeps the map as it is for a second.
function drawMapSoon() {
  clearTimeout(mapTimer);
  mapTimer = setTimeout(() => requestAnimationFrame(() => setTimeout(drawMap)), currentPhoto()?.busy ? PATIENCE_MS : 0);
}

function drawMap() {
  atlas.drawPins();
  showHeat();
  atlas.drawView();
  drawHandles();
}

function banners() {
  const { region } = state;
  const texts = region.warnings.map((text) => ["warning", `${text[0].toUpperCase()}${text.slice(1)}.`]);
  if (region.synthetic_model && !region.warnings.length) {
    texts.push(["note", "The model was trained on a synthetic town: it knows nothing of the real world."]);
  }
  byId("banners").replaceChildren(...texts.map(([kind, text]) => el("p", { class: `banner ${kind}`, role: "note" }, text)));
  byId("about-region").textContent = `${region.name}, ${region.tiles.toLocaleString("en")} tiles, ${region.area_km2.toPrecision(2)} km\u00b2`;
  const imagery = [region.attribution, region.date].filter(Boolean).join(", ");
  byId("credits").textContent = `Imagery: ${imagery || "source not recorded"}.${online ? ` Base map: ${online.attribution}.` : ""} Model: ${region.model}. `
    + "Scores compare places of one photo only. Map drawn by MapLibre.";
  document.title = `${region.name} - crossview`;
}

function chooseRegion(name) {
  Object.assign(state, { region: state.regions.find((region) => region.name === name), area: null });
  grid = null;
  banners();
  atlas.changeRegion(state.region, online).then(() => {
    for (const photo of state.photos) Object.assign(photo, { answer: null, hints: {}, problem: null, area: null });
    emit("answer");
    refresh();
  });
}

function showShared() {
  const told = sharedResult(location.hash);
  const region = told && state.regions.find((one) => one.name === told.region);
  if (!region) return;
  const places = told.places.map(([lat, lon, score, heading, window], index) => ({
    rank: index + 1, lat, lon, score, heading_deg: heading, window: Number.isInteger(window) ? window : undefined,
    footprint: { lat, lon, width_m: region.footprint_m, height_m: region.footprint_m, up_bearing_deg: 0 },
  }));
  const answer = { kind: told.kind, fov_deg: told.fov, fov_source: "given", confidence: told.confidence, places, assumptions: [], warnings: region.warnings };
  state.photos.push({ name: "Shared result", hints: {}, answer });
  state.photo = 0;
  emit("answer");
}

const SHORTCUTS = {
  j: () => choosePhoto(state.photo + 1), k: () => choosePhoto(state.photo - 1),
  ArrowDown: () => choosePlace(state.place + 1), ArrowUp: () => choosePlace(state.place - 1),
  h: () => byId("heat").click(), r: () => atlas.fitRegion(), z: () => atlas.zoomToPlace(),
  a: () => byId("area-draw").click(), o: () => byId("files").click(), "?": () => byId("help").showModal(),
  Escape: () => drawMode(false),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input:not([type=checkbox],[type=file]), select")) return;
  if (event.target.matches(".maplibregl-canvas") && event.key.startsWith("Arrow")) return;
  const action = SHORTCUTS[event.key] || (/^[1-9]$/.test(event.key) && (() => choosePlace(event.key - 1)));
  if (!action) return;
  if (event.key.startsWith("Arrow") && !currentAnswer()) return;
  event.preventDefault();
  action();
}

function wireFiles() {
  const curtain = byId("curtain");
  byId("files").addEventListener("change", (event) => {
    addFiles(event.target.files);
    event.target.value = "";
  });
  document.addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    curtain.hidden = false;
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) curtain.hidden = true; });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    curtain.hidden = true;
    addFiles(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => addFiles(event.clipboardData.files));
  byId("cancel").addEventListener("click", () => {
    if (!job) return;
    job.cancelled = true;
    if (job.id) api.cancelJob(job.id).catch(() => {});
  });
}

function wire() {
  on("photo answer busy", drawStrip);
  on("photo answer busy area", drawSheet);
  on("photo answer", drawMapSoon);
  on("photo", refresh);
  on("save", saveFresh);
  on("place hover", atlas.drawView);
  on("place", drawHandles);
  on("place hover", markPlaces);
  on("place", atlas.keepInView);
  on("answer", announce);
  on("dragging", moveHandles);
  on("dragging", markDrag);
  on("dragged", applyDrag);
  on("resizing area", atlas.drawArea);
  on("area", () => { if (currentPhoto()?.file) locate(currentPhoto()); });
  on("forget", () => {
    currentPhoto().hints = {};
    locate(currentPhoto());
  });
  byId("heat").addEventListener("change", (event) => {
    atlas.switchHeat(event.target.checked);
    byId("legend").hidden = !event.target.checked || !currentAnswer()?.heat;
  });
  byId("to-region").addEventListener("click", () => atlas.fitRegion());
  byId("region").addEventListener("change", (event) => chooseRegion(event.target.value));
  document.addEventListener("keydown", onKey);
  byId("strip").addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    choosePhoto(state.photo + by);
    byId("strip").querySelector("[aria-current]").focus();
  });
}

// Whatever keeps the map from being drawn, photos are located and listed all the same.
function withoutMap() {
  document.body.classList.add("no-map");
  byId("map").replaceChildren(el("p", { class: "no-map-note", role: "status" },
    "This browser cannot draw the map, which takes WebGL 2. Photos are located all the same: places are listed below with "
    + "their coordinates and can be saved as files; the chosen one has a link to openstreetmap.org."));
}

async function start() {
  let told;
  try {
    told = await api.regions();
  } catch (problem) {
    if (problem.status === 401) return askForKey(start);
    byId("banners").replaceChildren(el("p", { class: "banner warning", role: "alert" }, problem.message));
    return undefined;
  }
  const shared = sharedResult(location.hash);
  Object.assign(state, { regions: told.regions, limits: told.limits });
  state.region = told.regions.find((region) => region.name === shared?.region) || told.regions[0];
  online = told.online_map ?? null;
  byId("region").append(...told.regions.map((region) => el("option", { value: region.name, selected: region === state.region }, region.name)));
  byId("region-choice").hidden = told.regions.length < 2;
  drawRamp(byId("ramp"));
  banners();
  drawHelp();
  wireFiles();
  drawStrip();
  const isDrawn = await atlas.openMap(state.region, online);
  wire();
  if (isDrawn) wireArea();
  else withoutMap();
  if (state.photos.length) emit("photo"); // dropped while the map was opening
  else showShared();
  document.body.dataset.ready = "true";
  return undefined;
}

start();
