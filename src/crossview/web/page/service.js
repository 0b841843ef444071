// The page of a server: photos are sent to it, one by one or as a batch, and its answers shown.

import * as api from "./api.js";
import { drawClaimControls, pickClaim } from "./claim.js";
import { byId, el, phrase, say, sentence } from "./dom.js";
import { drawHandles, moveHandles, wireArea } from "./drag.js";
import { address, sharedResult } from "./files.js";
import { drawAreaControls, drawLens, markCompass, markDrag } from "./lens.js";
import { drawList, showPane } from "./list.js";
import { openPhotos, openRegion, startPage } from "./main.js";
import { choosePhoto, currentPhoto, emit, on, state } from "./state.js";

const TILE_PX = 512;
const MOST_IN_BATCH = 50;
let limits = null;
let online = null; // a base map of another server, if one is set
let job = null;

// Pictures of the API need the key, which an <img> does not send.
const OwnTiles = L.TileLayer.extend({
  createTile(coords, done) {
    const image = el("img", { alt: "", role: "presentation" });
    image.addEventListener("load", () => done(null, image));
    image.addEventListener("error", (event) => done(event, image));
    api.showPicture(image, this.getTileUrl(coords)).catch((problem) => done(problem, image));
    return image;
  },
});

function versioned(path) {
  const { name, version } = state.region;
  return `/v1/regions/${encodeURIComponent(name)}/${path}?v=${encodeURIComponent(version)}`;
}

function drawImagery(map, bounds) {
  const base = online && L.tileLayer(online.url, { maxZoom: 22, maxNativeZoom: 19 });
  const own = new OwnTiles(versioned("tiles/{z}/{x}/{y}"), {
    tileSize: TILE_PX, zoomOffset: -1, maxZoom: 22, maxNativeZoom: state.region.deepest_zoom + 1, bounds,
  });
  return [base, own].filter(Boolean).map((layer) => layer.addTo(map));
}

function drawTile(place) {
  if (place.window === undefined) return null;
  const image = el("img", { alt: "" });
  const turn = place.footprint.up_bearing_deg - (place.heading_deg ?? 0);
  image.style.transform = `rotate(${turn}deg)`;
  api.showPicture(image, versioned(`windows/${place.window}`)).catch(() => {});
  return image;
}

function tooLarge(files) {
  const large = files.find((file) => file.size > limits.file_bytes);
  return large && phrase("map.too_large", { name: large.name, mb: Math.round(limits.file_bytes / 1e6) });
}

async function addFiles(given) {
  const files = [...given].filter((file) => file.size > 0);
  if (!files.length) return;
  const start = state.photos.length;
  const added = files.map((file) => (
    { file, name: file.name, url: URL.createObjectURL(file), hints: {}, busy: true }));
  state.photos.push(...added);
  drawDrop();
  drawList();
  showPane("sheet");
  choosePhoto(start);
  const problem = tooLarge(files);
  if (problem) fail(added, problem);
  else if (files.length === 1) await locate(added[0]);
  else await locateAll(added);
}

function fail(photos, text) {
  for (const photo of photos) Object.assign(photo, { busy: false, problem: text, area: areaNow() });
  emit("answer");
}

// The area that is drawn and the place that is claimed hold for every photo that is shown under them.
function areaNow() {
  return JSON.stringify([state.area, state.claim]);
}

function isStale(photo) {
  return Boolean(photo.file) && photo.area !== areaNow() && photo.file.size <= limits.file_bytes;
}

function refresh() {
  const photo = currentPhoto();
  if (photo && !photo.busy && isStale(photo)) locate(photo);
}

// Before results are saved: whatever was searched in another area is searched again.
async function bringUpToDate() {
  const stale = state.photos.filter(isStale);
  for (const [done, photo] of stale.entries()) {
    showProgress(done, stale.length);
    await locate(photo);
  }
  if (stale.length) showProgress(stale.length, stale.length);
}

async function locate(photo) {
  photo.asking?.abort();
  const mine = photo.asking = new AbortController();
  Object.assign(photo, { busy: true, problem: null, area: areaNow() });
  emit("busy");
  try {
    photo.answer = await api.locate(state.region, photo.file, { hints: photo.hints, area: state.area, claim: state.claim }, mine.signal);
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
    const isFull = group.length >= Math.min(MOST_IN_BATCH, limits.files);
    if (group.length && (isFull || bytes + photo.file.size > limits.request_bytes / 4)) {
      yield group;
      [group, bytes] = [[], 0];
    }
    group.push(photo);
    bytes += photo.file.size;
  }
  if (group.length) yield group;
}

async function locateAll(photos) {
  showProgress(0, photos.length);
  job = { cancelled: false };
  let done = 0;
  for (const group of groups(photos)) {
    try {
      done = await followJob(group, done, photos.length);
    } catch (problem) {
      if (problem.status === 401) return askForKey(() => locateAll(photos));
      fail(group.filter((photo) => photo.busy), problem.message);
    }
    if (job.cancelled) break;
  }
  fail(photos.filter((photo) => photo.busy), phrase("map.cancelled"));
  job = null;
  showProgress(photos.length, photos.length);
  return undefined;
}

async function followJob(group, before, total) {
  for (const photo of group) photo.area = areaNow();
  const started = await api.startJob(state.region, group.map((photo) => photo.file), state);
  job.id = started.job;
  const waiting = [...group];
  let done = before;
  for await (const [kind, told] of api.jobEvents(started.job)) {
    if (kind === "end") break;
    done += 1;
    const at = waiting.findIndex(({ name }) => told.photo === name || told.photo === name.slice(0, 200));
    const [photo] = waiting.splice(Math.max(0, at), 1);
    Object.assign(photo, kind === "answer" ? { answer: told } : { problem: told.detail }, { busy: false });
    showProgress(done, total);
    if (photo === currentPhoto()) emit("answer");
    else drawList();
  }
  return done;
}

function showProgress(done, total) {
  byId("progress").hidden = done >= total;
  byId("bar").value = done / total;
  byId("progress-text").textContent = phrase("map.progress", { done, total });
  if (done >= total) say(phrase("map.done", { count: total }));
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
  const { fov, turned, heading, sigma } = photo.dragged;
  if (fov) photo.hints.fov = fov;
  if (turned) Object.assign(photo.hints, { heading, ignoreDirection: undefined });
  if (sigma) photo.hints.sigma = sigma;
  locate(photo);
}

function forget(hints) {
  currentPhoto().hints = hints;
  locate(currentPhoto());
}

function drawDrop() {
  byId("welcome").hidden = state.photos.length > 0;
  byId("drop").classList.toggle("compact", state.photos.length > 0);
}

function drawBanners(region) {
  const texts = region.warnings.map((text) => ["warning", `${sentence(text)}.`]);
  if (region.synthetic_model && !texts.length) texts.push(["note", phrase("map.synthetic_model")]);
  byId("banners").replaceChildren(...texts.map(([kind, text]) =>
    el("p", { class: `banner ${kind}`, role: "note" }, text)));
}

function chooseRegion(name) {
  const region = state.regions.find((one) => one.name === name);
  for (const photo of state.photos) {
    photo.asking?.abort();
    Object.assign(photo, { answer: null, hints: {}, dragged: null, busy: false, problem: null, area: null });
  }
  drawBanners(region);
  openRegion(region);
  drawList();
  emit("answer");
  refresh();
}

function sharedPhoto(told) {
  const { region } = state;
  const places = told.places.map(([lat, lon, score, heading, window], index) => ({
    rank: index + 1, lat, lon, score, heading_deg: heading, window: Number.isInteger(window) ? window : undefined,
    footprint: { lat, lon, width_m: region.footprint_m, height_m: region.footprint_m, up_bearing_deg: 0 },
  }));
  const answer = {
    kind: told.kind, fov_deg: told.fov, fov_source: "given", confidence: told.confidence, places,
    assumptions: [], warnings: region.warnings,
  };
  return { name: phrase("map.shared_result"), hints: {}, answer, missing: "map.not_shared" };
}

async function copy(photo, event) {
  const [link, button] = [address(photo), event.currentTarget];
  try {
    await navigator.clipboard.writeText(link);
    button.textContent = phrase("map.copied");
  } catch {
    history.replaceState(null, "", link);
    button.textContent = phrase("map.in_address");
  }
  say(phrase("map.link_holds"));
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
  byId("languages").addEventListener("click", ({ target }) => { // photos are on this page only
    if (target.href) target.hash = location.hash;
    if (target.href) target.target = state.photos.some((photo) => photo.file) ? "_blank" : "";
  });
  byId("cancel").addEventListener("click", () => {
    if (!job) return;
    job.cancelled = true;
    if (job.id) api.cancelJob(job.id).catch(() => {});
  });
}

const service = {
  live: true,
  reach: 1.5, // of the region's size, how far the map may be moved away from it
  notes: [],
  keys: [["a", "map.key_area_draw"], ["c", "map.key_claim"], ["o", "map.key_choose"]],
  help: ["map.help_drag"],
  shortcuts: {
    a: () => byId("area-draw").click(), o: () => byId("files").click(), c: () => pickClaim(true),
    Escape: () => pickClaim(false),
  },
  loadCells: (region) => api.cells(region),
  bringUpToDate,
  drawImagery,
  drawTile,
  drawControls: (photo) => [drawLens(photo), drawAreaControls(), drawClaimControls()],
  drawActions: (photo) => el("button", {
    id: "share", type: "button", class: "plain small", onclick: (event) => copy(photo, event),
  }, phrase("map.copy_link")),
  drawEmpty: drawAreaControls,
};

async function openService() {
  let told;
  try {
    told = await api.regions();
  } catch (problem) {
    if (problem.status === 401) return askForKey(openService);
    byId("banners").replaceChildren(el("p", { class: "banner warning", role: "alert" }, problem.message));
    return undefined;
  }
  [limits, online] = [told.limits, told.online_map ?? null];
  state.regions = told.regions;
  const shared = sharedResult(location.hash);
  const region = told.regions.find((one) => one.name === shared?.region);
  if (online) Object.assign(service, { reach: 20, notes: [phrase("map.about_base", { attribution: online.attribution })] });
  startPage(service);
  wireFiles();
  wireArea();
  on("map place", drawHandles);
  on("photo answer busy area list place hover", markCompass);
  on("dragging", moveHandles, markDrag);
  on("dragged", applyDrag);
  on("forget", () => forget({}));
  on("clear", () => forget({ fov: currentPhoto().hints.fov, ignoreDirection: true }));
  on("area", () => { if (currentPhoto()?.file) locate(currentPhoto()); });
  on("photo", refresh);
  const chosen = region ?? told.regions[0];
  byId("region").append(...told.regions.map((one) =>
    el("option", { value: one.name, selected: one === chosen }, one.name)));
  byId("region-choice").hidden = told.regions.length < 2;
  byId("region").addEventListener("change", (event) => chooseRegion(event.target.value));
  drawBanners(chosen);
  openRegion(chosen);
  if (region) state.photos.push(sharedPhoto(shared));
  drawDrop();
  openPhotos(0);
  return undefined;
}

openService();
