// A claimed place: shown beside the best ones, and on a server entered or clicked on the map.

import { coordinates, lonNear, mapLink, wrappedLon } from "./angles.js";
import { addHandle, calm, map, pointAt } from "./atlas.js";
import { disc } from "./disc.js";
import { byId, el, number, percent, phrase, say, svg } from "./dom.js";
import { currentAnswer, emit, on, state } from "./state.js";

let mark = null;
let isPicking = false;
let isOpen = false; // the form

function claimMark() {
  const drawing = svg("svg", { viewBox: "0 0 32 32", width: 32, height: 32, "aria-hidden": "true" },
    svg("path", { d: "M16 3 29 16 16 29 3 16Z", class: "halo" }),
    svg("path", { d: "M16 3 29 16 16 29 3 16Z" }),
    svg("text", { x: 16, y: 21, "text-anchor": "middle" }, "?"));
  return el("span", { class: "claim-mark", title: phrase("map.claim") }, drawing);
}

// The place that is claimed: as it has just been set, or of the answer in a file.
function shownClaim() {
  return state.source.live ? state.claim : currentAnswer()?.claim;
}

function drawMark() {
  mark?.remove();
  const claim = shownClaim();
  mark = claim ? addHandle(claimMark(), [claim.lat, claim.lon]) : null;
}

function showClaim({ lat, lon }) {
  const at = L.latLng(lat, lonNear(lon, map.getCenter().lng));
  if (!map.getBounds().pad(-0.1).contains(at)) map.panTo(at, { animate: !calm });
}

// The window that speaks for the claimed place, as a place that can be drawn.
function windowOf({ footprint, heading_deg, window, tile }) {
  return { lat: footprint.lat, lon: footprint.lon, footprint, heading_deg, window, tile };
}

function standing(claim) {
  if (claim.rank === undefined) return null;
  return el("p", { class: "claim-rank" },
    el("strong", {}, number(claim.rank)), phrase("map.claim_of", { windows: number(claim.windows) }));
}

// What the photo's answer says of the claimed place.
export function drawClaim(answer) {
  const claim = answer?.claim;
  if (!claim) return null;
  const isRanked = claim.rank !== undefined;
  return el("section", { class: "claim", "aria-labelledby": "claim-title" },
    isRanked && el("button", {
      type: "button", class: "claim-view", id: "claim-view", "aria-label": phrase("map.claim_show"),
      onclick: () => showClaim(claim),
    }, disc(windowOf(claim))),
    el("div", { class: "grow" },
      el("h3", { id: "claim-title" }, phrase("map.claim")), standing(claim),
      el("p", {}, claim.says),
      el("p", { class: "quiet" }, [
        isRanked && phrase("map.score", { score: number(claim.score, 3) }),
        claim.probability !== undefined && phrase("map.chance", { percent: percent(claim.probability) }),
      ].filter(Boolean).join(" \u00b7 "), " ", mapLink(claim))));
}

// "52.5163, 13.3777", as maps write it: latitude first. Null for anything else.
function parsePlace(text) {
  const found = /^\s*([-+]?\d+(?:\.\d+)?)\s*[,;\s]\s*([-+]?\d+(?:\.\d+)?)\s*$/.exec(text);
  const [lat, lon] = found ? [Number(found[1]), Number(found[2])] : [];
  return found && Math.abs(lat) <= 90 && Math.abs(lon) <= 180 ? { lat, lon } : null;
}

function setClaim(claim) {
  state.claim = claim && { lat: claim.lat, lon: wrappedLon(claim.lon) };
  emit("area"); // whatever is shown is asked again, as under another search area
}

function submitClaim(event) {
  event.preventDefault();
  const field = byId("claim");
  const claim = parsePlace(field.value);
  if (!claim && field.value.trim()) {
    field.setAttribute("aria-invalid", "true");
    byId("claim-problem").textContent = phrase("map.claim_wrong");
    return;
  }
  setClaim(claim);
  if (claim) showClaim(claim);
}

// Where a place is claimed: by its coordinates, or by a click on the map.
export function drawClaimControls() {
  const text = state.claim ? coordinates(state.claim) : "";
  const form = el("form", { onsubmit: submitClaim },
    el("label", { class: "slider", for: "claim" },
      el("span", { class: "slider-label" }, phrase("map.claim_place")),
      el("input", {
        id: "claim", class: "field", value: text, placeholder: "52.51630, 13.37770", spellcheck: "false",
        autocomplete: "off", maxlength: 60, "aria-describedby": "claim-problem",
      })),
    el("p", { id: "claim-problem", class: "claim-problem", role: "alert" }),
    el("div", { class: "claim-buttons" },
      el("button", { id: "claim-check", class: "plain small" }, phrase("map.claim_check")),
      el("button", {
        id: "claim-pick", type: "button", class: "plain small", "aria-pressed": String(isPicking),
        onclick: () => pickClaim(!isPicking),
      }, phrase("map.claim_pick")),
      state.claim && el("button", {
        id: "claim-remove", type: "button", class: "plain small", onclick: () => setClaim(null),
      }, phrase("map.claim_remove"))));
  const attributes = { class: "lens claim-form", open: isOpen || Boolean(state.claim) };
  const details = el("details", attributes, el("summary", { id: "claim-open" }, phrase("map.claim_ask")), form);
  details.addEventListener("toggle", () => { isOpen = details.open; });
  return details;
}

// While picking, the next press on the map is the claimed place.
export function pickClaim(isOn) {
  if (isOn === isPicking) return;
  const drawing = byId("area-draw");
  if (isOn && drawing.getAttribute("aria-pressed") === "true") drawing.click(); // one at a time
  isPicking = isOn;
  document.querySelector(".claim-form")?.toggleAttribute("open", isOn || isOpen);
  byId("map").classList.toggle("drawing", isOn);
  byId("claim-pick")?.setAttribute("aria-pressed", String(isOn));
  byId("draw-hint").textContent = phrase(isOn ? "map.claim_hint" : "map.draw_hint");
  byId("draw-hint").hidden = !isOn;
  if (isOn) say(phrase("map.claim_hint"));
}

function takePress(event) {
  if (!isPicking || event.target.closest(".leaflet-control")) return;
  event.preventDefault();
  event.stopImmediatePropagation(); // it is no corner of an area
  const claim = pointAt(event);
  pickClaim(false);
  setClaim(claim);
}

export function wireClaim() {
  on("map area", drawMark);
  if (!state.source.live) return;
  byId("area-draw").addEventListener("click", () => pickClaim(false));
  byId("map").addEventListener("pointerdown", takePress, { capture: true });
}
