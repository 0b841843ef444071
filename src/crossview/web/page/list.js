// All photos: search, filter, order, step.

import { byId, el, phrase } from "./dom.js";
import { choosePhoto, emit, state } from "./state.js";
import { errorBadge } from "./sheet.js";

const places = (photo) => photo.answer?.places ?? [];
const isPanorama = (photo) => photo.answer?.kind === "panorama";
const isKnown = (photo) => photo.answer?.error_m !== undefined;
const last = (value) => value ?? Infinity;

function lead(photo) {
  const [first, second] = places(photo);
  return first && second ? first.score - second.score : -1;
}

const SHOWS = {
  all: () => true,
  near: (photo) => photo.answer?.error_m <= 25,
  far: (photo) => !(photo.answer?.error_m <= 25),
  panoramas: isPanorama,
  photos: (photo) => !isPanorama(photo),
  clear: (photo) => photo.answer?.stands_out,
  unclear: (photo) => !photo.answer?.stands_out,
};
const ORDERS = {
  given: null,
  worst: (a, b) => (b.answer?.error_m ?? -1) - (a.answer?.error_m ?? -1),
  best: (a, b) => last(a.answer?.error_m) - last(b.answer?.error_m),
  lead: (a, b) => lead(b) - lead(a),
};

// Choices that would tell nothing apart are not offered.
function drawOptions() {
  const known = state.photos.some(isKnown);
  const mixed = new Set(state.photos.map(isPanorama)).size > 1;
  const offered = { near: known, far: known, worst: known, best: known, panoramas: mixed, photos: mixed };
  const draw = (select, names) => {
    const choices = names.filter((name) => offered[name] ?? true);
    const chosen = choices.includes(select.value) ? select.value : choices[0];
    if (choices.join() === [...select.options].map((option) => option.value).join()) return;
    select.replaceChildren(...choices.map((value) => el("option", { value }, phrase(`map.list_${value}`))));
    select.value = chosen;
  };
  draw(byId("show"), Object.keys(SHOWS));
  draw(byId("order"), Object.keys(ORDERS));
}

function shortly(photo) {
  if (photo.problem) return phrase("map.not_located");
  if (!photo.answer) return phrase("map.waiting");
  const kind = phrase(isPanorama(photo) ? "map.panorama" : "map.photo");
  return `${kind}, ${Math.round(photo.answer.fov_deg)}\u00b0`;
}

// A photo's row is made once; what stands in it follows the photo.
function rowOf(index) {
  const photo = state.photos[index];
  photo.row ??= el("li", {}, el("button", { type: "button", "data-photo": index, onclick: () => openPhoto(index) },
    photo.url ? el("img", { src: photo.url, alt: "", decoding: "async", loading: "lazy" })
      : el("span", { class: "blank", "aria-hidden": "true" }),
    el("span", { class: "name" }, el("bdi", {}, photo.name), el("span", { class: "under quiet" }))));
  const bad = photo.problem ? el("span", { class: "badge far", "aria-hidden": "true" }, "!") : "";
  photo.row.querySelector(".under").replaceChildren(shortly(photo), errorBadge(photo) ?? bad);
  return photo.row;
}

function openPhoto(index) {
  showPane("sheet");
  choosePhoto(index);
}

export function showPane(name) {
  document.body.dataset.pane = name;
  for (const tab of document.querySelectorAll(".tabs button")) {
    tab.setAttribute("aria-pressed", String(tab.dataset.pane === name));
  }
}

export function drawList() {
  const [{ classList }, isSingle] = [document.body, state.photos.length < 2];
  if (classList.contains("single") !== isSingle) {
    classList.toggle("single", isSingle);
    emit("layout");
  }
  drawOptions();
  const wanted = byId("search").value.trim().toLowerCase();
  const [keeps, compare] = [SHOWS[byId("show").value], ORDERS[byId("order").value]];
  const found = [...state.photos.keys()].filter((index) =>
    keeps(state.photos[index]) && state.photos[index].name.toLowerCase().includes(wanted));
  if (compare) found.sort((a, b) => compare(state.photos[a], state.photos[b]) || a - b);
  state.visible = found;
  const [rows, shown] = [found.map(rowOf), byId("photos").children];
  if (rows.length !== shown.length || rows.some((row, at) => row !== shown[at])) byId("photos").replaceChildren(...rows);
  const total = phrase("map.photos_count", { count: state.photos.length });
  byId("shown").textContent = found.length === state.photos.length
    ? total : phrase("map.photos_shown", { shown: found.length, total });
  markPhoto();
  emit("list");
}

export function findPhotos() {
  drawList();
  byId("photos").scrollTop = 0;
}

// All photos are one stop of the Tab key; arrows move along them.
function oneStop(at) {
  for (const index of state.visible) state.photos[index].row.firstElementChild.tabIndex = index === at ? 0 : -1;
}

export function moveAlong(event) {
  const at = state.visible.indexOf(Number(event.target.closest("[data-photo]")?.dataset.photo));
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: state.visible.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  if (state.visible[to] === undefined) return;
  oneStop(state.visible[to]);
  state.photos[state.visible[to]].row.firstElementChild.focus();
}

export function markPhoto() {
  for (const index of state.visible) {
    const button = state.photos[index].row.firstElementChild;
    if (index === state.photo) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  oneStop(state.visible.includes(state.photo) ? state.photo : state.visible[0]);
  const row = state.photos[state.photo]?.row;
  if (row?.isConnected) row.scrollIntoView({ block: "nearest" });
}
