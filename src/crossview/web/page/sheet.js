// The photo beside its best places.

import { bearingAt, coordinates, mapLink, metres, shareAt, wind } from "./angles.js";
import { drawRay } from "./atlas.js";
import { drawClaim } from "./claim.js";
import { disc } from "./disc.js";
import { byId, el, number, percent, phrase, present } from "./dom.js";
import { FORMATS, isTold, save } from "./files.js";
import {
  choosePlace, currentPhoto, hoverPlace, shownFov, shownHeading, shownIndex, shownPlace, state, stepPhoto,
} from "./state.js";

const CARDS = 3; // places shown large

export function errorBadge({ answer }) {
  if (answer?.error_m === undefined) return null;
  const text = metres(answer.error_m);
  return el("span", {
    class: answer.error_m <= 25 ? "badge near" : "badge far", title: phrase("map.off", { metres: text }),
  }, text);
}

function photoTitle(photo) {
  const at = state.visible.indexOf(state.photo);
  const position = at < 0 ? phrase("map.not_in_selection")
    : phrase("map.position", { number: at + 1, total: state.visible.length });
  const several = state.photos.length > 1;
  const step = (by, label, sign) => several && el("button", {
    type: "button", class: "plain round", "data-step": by, "aria-label": label, onclick: () => stepPhoto(by),
  }, sign);
  return el("div", { class: "sheet-head" }, present([
    step(-1, phrase("map.previous_photo"), "\u2039"),
    el("div", { class: "grow" },
      el("h2", { class: "name", title: photo.name }, el("bdi", {}, photo.name)),
      el("p", { class: "quiet" },
        [several && position, photo.answer && describe(photo.answer)].filter(Boolean).join(" \u00b7 "))),
    step(1, phrase("map.next_photo"), "\u203a")]));
}

function describe(answer) {
  const fov = phrase("map.wide", { degrees: Math.round(answer.fov_deg) });
  const source = answer.fov_source === "panorama" ? "" : ` (${phrase(`map.fov_${answer.fov_source}`)})`;
  return `${phrase(answer.kind === "panorama" ? "map.panorama" : "map.photo")}, ${fov}${source}`;
}

// What bearings need to know of a photo: columns of a wide strip are as far apart as their angles.
function lensOf(photo) {
  const fov = shownFov();
  return { kind: fov > 150 ? "panorama" : photo.answer.kind, fov_deg: fov };
}

// Bearings below the photo, as they would be at the selected place.
function ruler(photo) {
  const node = el("div", { class: "ruler", "aria-hidden": "true" });
  const heading = shownHeading();
  if (!photo.answer || heading === null) return node;
  const lens = lensOf(photo);
  const step = lens.fov_deg > 120 ? 45 : 15;
  for (let bearing = 0; bearing < 360; bearing += step) {
    const share = shareAt(bearing, lens, heading);
    if (share === null || share < 0.02 || share > 0.98) continue;
    const tick = el("span", { class: bearing % 45 ? "" : "named" }, bearing % 45 ? "" : wind(bearing));
    tick.style.left = `${100 * share}%`;
    node.append(tick);
  }
  return node;
}

function figure(photo) {
  if (!photo.url) return el("p", { class: "no-picture" }, phrase(photo.missing));
  const needle = el("span", { class: "needle", hidden: true });
  const image = el("img", { src: photo.url, alt: phrase("map.the_photo", { name: photo.name }) });
  image.addEventListener("error", () => image.replaceWith(
    el("p", { class: "no-picture" }, phrase("map.cannot_show", { name: photo.name }))));
  const frame = el("div", { class: "frame" }, image, needle);
  frame.addEventListener("pointermove", (event) => {
    const heading = shownHeading();
    if (!photo.answer || heading === null) return;
    const box = frame.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    needle.hidden = false;
    needle.style.left = `${100 * share}%`;
    drawRay(bearingAt(share, lensOf(photo), heading));
  });
  frame.addEventListener("pointerleave", () => {
    needle.hidden = true;
    drawRay(null);
  });
  return el("figure", {}, frame, ruler(photo), seen(photo));
}

function seen(photo) {
  if (!photo.answer?.view) return null;
  return el("figcaption", { class: "seen" }, el("span", { class: "quiet" }, phrase("map.seen")),
    el("img", { src: photo.answer.view, alt: phrase("map.seen_picture") }));
}

function facing({ heading_deg: heading, heading_sigma_deg: sigma }) {
  const values = { wind: wind(heading), degrees: Math.round(heading) % 360 };
  if (!isTold(sigma)) return phrase("map.facing", values);
  return phrase("map.facing_within", { ...values, sigma: number(sigma, sigma < 10 ? 1 : 0) });
}

function placeFacts(place) {
  const { probability, position_sigma_m: sigma, error_m: error } = place;
  return [
    isTold(probability) && phrase("map.chance", { percent: percent(probability) }),
    phrase("map.score", { score: number(place.score, 3) }),
    isTold(place.heading_deg) && facing(place),
    isTold(sigma) && phrase("map.good_to", { metres: metres(sigma) }),
    isTold(error) && phrase("map.off", { metres: metres(error) }),
  ].filter(Boolean);
}

function placeButton(place, index) {
  return el("li", {}, el("button", {
    type: "button", class: index < CARDS ? "place large" : "place", "data-place": index,
    "aria-pressed": String(index === state.place), onclick: () => choosePlace(index),
    onpointerenter: () => hoverPlace(index), onpointerleave: () => hoverPlace(null),
    onfocus: () => hoverPlace(index), onblur: () => hoverPlace(null),
  },
  disc(place),
  el("span", { class: "rank" }, String(place.rank)),
  el("span", { class: "facts" },
    placeFacts(place).map((text) => el("span", {}, text)),
    el("span", { class: index < CARDS ? "mono hidden" : "mono" }, coordinates(place)))));
}

function remarks(answer) {
  const warnings = answer.warnings.map((text) => phrase("map.warning", { text }));
  const texts = [...answer.assumptions, ...warnings];
  return texts.length > 0 && el("ul", { class: "remarks" }, texts.map((text) => el("li", {}, text)));
}

function confidence(photo) {
  const { answer } = photo;
  const kind = answer.calibrated?.refused ? "refused" : answer.stands_out ? "clear" : "";
  return el("p", { class: `confidence ${kind}` }, errorBadge(photo), el("span", {}, answer.confidence));
}

function selectedLine() {
  const place = currentPhoto().answer.places[state.place];
  return place && el("p", { id: "selected", class: "quiet" }, `${phrase("map.place", { rank: place.rank })}: `,
    el("span", { class: "mono" }, coordinates(place)), ` (${phrase("map.lat_lon")}), `, mapLink(place));
}

function bestPlaces(answer) {
  const turned = answer.places.some((place) => typeof place.heading_deg === "number");
  const [large, rest] = [answer.places.slice(0, CARDS), answer.places.slice(CARDS)];
  return [
    el("h3", {}, phrase(large.length ? "map.best_places" : "map.no_place"),
      large.length > 0 && el("small", {}, phrase(turned ? "map.from_above_turned" : "map.from_above"))),
    el("ol", { class: "places cards" }, large.map(placeButton)),
    selectedLine(),
    rest.length > 0 && el("ol", { class: "places rows", start: CARDS + 1 },
      rest.map((place, i) => placeButton(place, i + CARDS))),
  ];
}

// What each of several photos of one spot says of their first place.
function togetherList(answer) {
  if (!answer.together?.length) return [];
  const facts = (one) => [
    phrase("map.together_bits", { bits: number(one.bits, 1) }),
    isTold(one.heading_deg) && facing(one),
    isTold(one.alone_m) && phrase("map.together_alone", { metres: metres(one.alone_m) }),
    one.foreign > 0.5 && phrase("map.together_foreign"),
  ].filter(Boolean).join(" \u00b7 ");
  return [
    el("h3", {}, phrase("map.together")),
    el("ul", { class: "together" }, answer.together.map((one) =>
      el("li", { class: one.foreign > 0.5 ? "foreign" : null }, el("bdi", {}, one.photo), el("span", { class: "quiet" }, facts(one))))),
  ];
}

async function saveAll(kind) {
  await state.source.bringUpToDate();
  save(kind);
}

function actions(photo) {
  return el("div", { class: "actions" }, el("span", { class: "quiet" }, phrase("map.save_as")),
    Object.keys(FORMATS).map((kind) => el("button", {
      type: "button", class: "plain small", "data-save": kind, onclick: () => saveAll(kind),
    }, FORMATS[kind].label)), state.source.drawActions(photo));
}

function drawPhotoSheet(photo) {
  const { answer } = photo;
  return [
    photoTitle(photo), figure(photo),
    photo.problem && el("p", { class: "problem", role: "alert" }, photo.problem),
    photo.busy && el("p", { class: "quiet working" }, phrase("map.searching")),
    answer && confidence(photo),
    answer?.advice && el("p", { class: "quiet advice" }, answer.advice),
    state.source.drawControls(photo),
    drawClaim(answer),
    answer && [...bestPlaces(answer), ...togetherList(answer), actions(photo), remarks(answer)],
  ];
}

// What has the focus has it still when the sheet was drawn anew.
function findFocus(sheet) {
  const node = document.activeElement;
  if (!sheet.contains(node)) return null;
  if (node.id) return `#${node.id}`;
  const name = ["place", "step", "save"].find((each) => each in node.dataset);
  return name ? `[data-${name}="${node.dataset[name]}"]` : null;
}

export function drawSheet() {
  const [photo, sheet] = [currentPhoto(), byId("sheet")];
  const focus = findFocus(sheet);
  sheet.classList.toggle("busy", Boolean(photo?.busy));
  const nodes = photo ? drawPhotoSheet(photo) : [state.source.drawEmpty()];
  sheet.replaceChildren(...present(nodes.flat(2)));
  if (focus) sheet.querySelector(focus)?.focus({ preventScroll: true });
}

export function markPlaces() {
  const shown = shownIndex();
  for (const button of document.querySelectorAll("[data-place]")) {
    const index = Number(button.dataset.place);
    button.setAttribute("aria-pressed", String(index === state.place));
    button.classList.toggle("hovered", index === shown);
  }
  markRuler();
  if (shownPlace()) byId("selected")?.replaceWith(selectedLine());
}

export function markRuler() {
  const photo = currentPhoto();
  if (photo) byId("sheet").querySelector(".ruler")?.replaceWith(ruler(photo));
}
