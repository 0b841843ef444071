// The photo, what was assumed of it, and its places.

import { showPicture } from "./api.js";
import { FORMATS, address } from "./files.js";
import { coordinates, mapLink, metres, shareAt, wind } from "./angles.js";
import { byId, el, svg } from "./dom.js";
import {
  choosePhoto, choosePlace, currentPhoto, emit, hoverPlace, shownFov, shownHeading, shownPlace, state,
} from "./state.js";

const SOURCES = { exif: "from the file", given: "as you set it", assumed: "assumed", panorama: "panorama" };

export function say(text) {
  byId("live").textContent = text;
}

export function drawStrip() {
  byId("welcome").hidden = state.photos.length > 0;
  byId("drop").classList.toggle("compact", state.photos.length > 0);
  const strip = byId("strip");
  strip.hidden = state.photos.length < 2;
  strip.replaceChildren(...state.photos.map((photo, index) => el("li", {}, el("button", {
    type: "button", "aria-current": index === state.photo ? "true" : null, title: photo.name,
    tabindex: index === state.photo ? 0 : -1, // one stop for all of them; arrows move along
    "aria-label": `${photo.name}${photo.problem ? ", not located" : photo.answer ? "" : ", waiting"}`,
    onclick: () => choosePhoto(index),
  }, photo.url ? el("img", { src: photo.url, alt: "" }) : "", photo.problem ? el("span", { class: "mark-bad" }, "!") : ""))));
  strip.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

function figure(photo) {
  if (!photo.url) return el("p", { class: "no-picture" }, "A shared result: the photo itself was not shared.");
  const image = el("img", { src: photo.url, alt: `Your photo ${photo.name}` });
  image.addEventListener("error", () => image.replaceWith(el("p", { class: "no-picture" }, `${photo.name}: your browser cannot show it, the server may still read it.`)));
  return el("figure", { class: "photo" }, el("div", { class: "frame" }, image), ruler(photo), seen(photo));
}

// Bearings below the photo, as they would be at the chosen place.
function ruler(photo) {
  const node = el("div", { class: "ruler", "aria-hidden": "true" });
  const [fov, heading] = [shownFov(), shownHeading()];
  if (heading === null || !photo.answer) return node;
  const lens = { kind: fov > 150 ? "panorama" : photo.answer.kind, fov_deg: fov };
  const step = fov > 120 ? 45 : 15;
  for (let bearing = 0; bearing < 360; bearing += step) {
    const share = shareAt(bearing, lens, heading);
    if (share === null || share < 0.02 || share > 0.98) continue;
    const tick = el("span", { class: bearing % 45 ? "" : "named" }, bearing % 45 ? "" : wind(bearing));
    tick.style.left = `${100 * share}%`;
    node.append(tick);
  }
  return node;
}

function seen(photo) {
  if (!photo.answer?.view) return null;
  return el("figcaption", { class: "seen" }, el("span", { class: "quiet" }, "What the model saw, all around"),
    el("img", { src: photo.answer.view, alt: "The photo as a strip of all directions; grey where it shows nothing" }));
}

function slider(id, label, value, range, oninput, onchange) {
  const [min, max, step] = range;
  return el("label", { class: "slider", for: id }, el("span", { class: "slider-label" }, label),
    el("input", { id, type: "range", min, max, step, value, oninput, onchange }));
}

function fovText(photo) {
  const source = photo.dragged?.fov ? "" : ` (${SOURCES[photo.answer.fov_source]})`;
  return `Field of view ${Math.round(shownFov())}\u00b0${source}`;
}

// How good a heading is that was set by hand; 5 degrees unless it is said.
function shownSigma(photo) {
  return photo.dragged?.sigma ?? photo.hints.sigma ?? 5;
}

function sigmaText(photo) {
  return `Good to ${shownSigma(photo)}\u00b0: searched within ${3 * shownSigma(photo)}\u00b0 of it`;
}

function drag(photo, change, event) {
  photo.dragged = { ...photo.dragged, ...change };
  emit(event);
}

function lensControls(photo) {
  if (!photo.answer || !photo.file) return null;
  const parts = [];
  if (state.region.uses_heading) { // first: nothing helps more
    const known = photo.hints.heading !== undefined;
    const text = known ? `Heading ${Math.round(photo.hints.heading)}\u00b0, as you set it`
      : photo.answer.heading_source ? "Heading: found near the one in the file" : "Heading: not known. Set it if you know which way you looked: nothing helps more";
    parts.push(slider("heading", text, Math.round(shownHeading() ?? 0), [0, 359, 1],
      (event) => drag(photo, { heading: Number(event.target.value), turned: true }, "dragging"), () => emit("dragged")));
    if (known) {
      parts.push(slider("sigma", sigmaText(photo), shownSigma(photo), [1, 60, 1],
        (event) => drag(photo, { sigma: Number(event.target.value) }, "dragging"), () => emit("dragged")));
    }
  }
  parts.push(slider("fov", fovText(photo), Math.round(shownFov()), [20, 360, 1],
    (event) => drag(photo, { fov: Number(event.target.value) }, "dragging"), () => emit("dragged")));
  const changed = Object.keys(photo.hints).length > 0;
  parts.push(el("button", { type: "button", class: "plain small", disabled: !changed, onclick: () => emit("forget") }, "As found in the file"));
  return el("div", { class: "lens" }, parts);
}

function areaControls() {
  if (!state.area) return null;
  const resized = (event) => { state.area.metres = Number(event.target.value); };
  const most = Math.max(2000, Math.round(2 * state.area.metres));
  return el("div", { class: "lens" },
    slider("radius", `Search area: ${metres(state.area.metres)} around ${coordinates(state.area)}`, Math.round(state.area.metres),
      [Math.ceil(state.region.stride_m), most, 1], (event) => { resized(event); emit("resizing"); }, (event) => { resized(event); emit("area"); }),
    el("button", { type: "button", class: "plain small", onclick: () => { state.area = null; emit("area"); } }, "Search everywhere"));
}

function placeFacts(place) {
  const chance = place.probability === undefined || place.probability === null
    ? null : `${Math.round(100 * place.probability)} % within 25 m`;
  const facing = place.heading_deg === undefined || place.heading_deg === null
    ? null : `facing ${wind(place.heading_deg)}, ${Math.round(place.heading_deg) % 360}\u00b0`;
  return [chance ?? `score ${place.score.toFixed(3)}`, chance && `score ${place.score.toFixed(3)}`, facing].filter(Boolean);
}

function disc(place) {
  const image = el("img", { alt: "" });
  const turn = (place.footprint?.up_bearing_deg ?? 0) - (place.heading_deg ?? 0);
  image.style.transform = `rotate(${turn}deg)`;
  if (place.window !== undefined) {
    showPicture(image, `/v1/regions/${state.region.name}/windows/${place.window}?v=${encodeURIComponent(state.region.version)}`).catch(() => {});
  }
  const fov = shownFov();
  const half = (Math.min(fov, 359) / 2) * (Math.PI / 180);
  const [x, y] = [49 * Math.sin(half), -49 * Math.cos(half)];
  const cone = place.heading_deg !== undefined && place.heading_deg !== null && fov < 359
    ? svg("path", { class: "cone", d: `M0 0 L${-x} ${y} A49 49 0 ${fov > 180 ? 1 : 0} 1 ${x} ${y} Z` }) : "";
  return el("span", { class: "disc", "aria-hidden": "true" }, image,
    svg("svg", { viewBox: "-50 -50 100 100" }, cone, svg("circle", { class: "eye", r: 3.5 })));
}

function placeRow(place, index) {
  return el("li", {}, el("button", {
    type: "button", class: "place", "data-place": index, "aria-pressed": String(index === state.place),
    onclick: () => choosePlace(index), onpointerenter: () => hoverPlace(index), onpointerleave: () => hoverPlace(null),
    onfocus: () => hoverPlace(index), onblur: () => hoverPlace(null),
  }, disc(place), el("span", { class: "rank" }, String(place.rank)),
  el("span", { class: "facts" }, placeFacts(place).map((text) => el("span", {}, text)),
    el("span", { class: "mono" }, coordinates(place)))));
}

function chosenLine() {
  const place = shownPlace();
  return place && el("p", { id: "selected", class: "quiet" }, `Place ${place.rank}: `,
    el("span", { class: "mono" }, coordinates(place)), " (latitude, longitude), ", mapLink(place));
}

function confidence(answer) {
  const { calibrated } = answer;
  const kind = calibrated?.refused ? "refused" : answer.stands_out ? "clear" : "";
  const area = calibrated?.areas.at(-1);
  return el("div", { class: `confidence ${kind}` }, el("p", {}, answer.confidence),
    area ? el("p", { class: "quiet" }, `Light blue on the map: where the truth lies with ${Math.round(100 * area.coverage)} %.`) : "");
}

function remarks(answer) {
  const texts = [...answer.assumptions, ...answer.warnings.map((text) => `Warning: ${text}`)];
  return texts.length ? el("ul", { class: "remarks" }, texts.map((text) => el("li", {}, text))) : null;
}

function actions(photo) {
  const share = el("button", { type: "button", class: "plain small", onclick: () => copy(address(photo), share) }, "Copy link");
  return el("div", { class: "actions" }, el("span", { class: "quiet" }, "Save as"),
    Object.keys(FORMATS).map((kind) => el("button", {
      type: "button", class: "plain small", "data-save": kind,
      onclick: () => { state.saving = kind; emit("save"); },
    }, { geojson: "GeoJSON", kml: "KML", csv: "CSV" }[kind])), share);
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    history.replaceState(null, "", text);
    button.textContent = "Now in the address bar";
  }
  say("The link holds the places, not the photo.");
}

export function drawSheet() {
  const photo = currentPhoto();
  const sheet = byId("sheet");
  if (!photo) {
    sheet.replaceChildren(...[areaControls()].filter(Boolean));
    return;
  }
  const { answer } = photo;
  const turned = answer?.places.some((place) => typeof place.heading_deg === "number");
  sheet.classList.toggle("busy", Boolean(photo.busy));
  const found = answer ? [
    confidence(answer), lensControls(photo), areaControls(),
    el("h3", {}, answer.places.length ? "Best places" : "No place",
      el("small", {}, turned ? "seen from above, turned so that the view is up" : "seen from above")),
    el("ol", { class: "places" }, answer.places.map(placeRow)), chosenLine(), actions(photo), remarks(answer),
  ] : [areaControls()];
  sheet.replaceChildren(...[
    el("h2", { class: "name" }, el("bdi", {}, photo.name)), figure(photo),
    photo.problem ? el("p", { class: "problem", role: "alert" }, photo.problem) : null,
    photo.busy ? el("p", { class: "quiet working" }, "Searching\u2026") : null, ...found,
  ].filter(Boolean));
}

export function markPlaces() {
  const shown = state.hover ?? state.place;
  for (const button of document.querySelectorAll("[data-place]")) {
    const index = Number(button.dataset.place);
    button.setAttribute("aria-pressed", String(index === state.place));
    button.classList.toggle("hovered", index === shown);
  }
  const photo = currentPhoto();
  if (photo) byId("sheet").querySelector(".ruler")?.replaceWith(ruler(photo));
  if (shownPlace()) byId("selected")?.replaceWith(chosenLine());
}

// While something is dragged only its words and the ruler change.
export function markDrag() {
  const photo = currentPhoto();
  const [fov, heading, sigma] = [byId("fov"), byId("heading"), byId("sigma")];
  if (sigma) sigma.previousSibling.textContent = sigmaText(photo);
  if (fov) {
    fov.value = shownFov();
    fov.previousSibling.textContent = fovText(photo);
  }
  if (heading && photo.dragged?.turned) {
    heading.value = shownHeading();
    heading.previousSibling.textContent = `Heading ${Math.round(shownHeading())}\u00b0`;
  }
  byId("sheet").querySelector(".ruler")?.replaceWith(ruler(photo));
}

export function announce() {
  const photo = currentPhoto();
  const place = shownPlace();
  if (photo?.problem) say(`${photo.name}: ${photo.problem}`);
  else if (photo?.answer && place) say(`${photo.name}: ${photo.answer.confidence} First place at ${coordinates(photo.answer.places[0])}.`);
}
