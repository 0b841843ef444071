// What is set by hand, on the keyboard as well: heading (by a compass ring too), its error, field of
// view, the search area.

import { RADIANS, coordinates, metres, wind, wrapped } from "./angles.js";
import { followPointer } from "./drag.js";
import { byId, el, phrase, present, svg } from "./dom.js";
import { markRuler } from "./sheet.js";
import { currentPhoto, emit, shownFov, shownHeading, state } from "./state.js";

function slider(id, label, value, range, oninput, onchange) {
  const [min, max, step] = range;
  return el("label", { class: "slider", for: id }, el("span", { class: "slider-label" }, label),
    el("input", { id, type: "range", min, max, step, value, oninput, onchange }));
}

function fovText(photo) {
  const degrees = Math.round(shownFov());
  if (photo.dragged?.fov) return phrase("map.fov", { degrees });
  return phrase("map.fov_from", { degrees, source: phrase(`map.fov_${photo.answer.fov_source}`) });
}

function headingText(photo) {
  if (photo.dragged?.turned) return phrase("map.heading", { degrees: Math.round(shownHeading()) });
  const { heading } = photo.hints;
  if (heading !== undefined) return phrase("map.heading_given", { degrees: Math.round(heading) });
  return phrase(photo.answer.heading_source ? "map.heading_of_file" : "map.heading_wanted");
}

// How good a heading is that was set by hand; 5 degrees unless it is said.
function shownSigma(photo) {
  return photo.dragged?.sigma ?? photo.hints.sigma ?? 5;
}

function sigmaText(photo) {
  return phrase("map.sigma", { sigma: shownSigma(photo), reach: 3 * shownSigma(photo) });
}

function drag(photo, change) {
  photo.dragged = { ...photo.dragged, ...change };
  emit("dragging");
}

const RING = 44; // the radius of the ring, in a picture from -50 to 50
const isSet = (photo) => photo.dragged?.turned || photo.hints.heading !== undefined;

function onRing(bearing, radius) {
  return `${radius * Math.sin(bearing * RADIANS)} ${-radius * Math.cos(bearing * RADIANS)}`;
}

// A piece of a ring, or all that lies within it, `half` degrees to each side of a bearing.
function sector(bearing, half, radius, inner) {
  const [from, to, large] = [bearing - half, bearing + half, half > 90 ? 1 : 0];
  const back = inner ? `L${onRing(to, inner)}A${inner} ${inner} 0 ${large} 0 ${onRing(from, inner)}` : "L0 0";
  return `M${onRing(from, radius)}A${radius} ${radius} 0 ${large} 1 ${onRing(to, radius)}${back}Z`;
}

// North is up. What the camera sees; where a heading is set, how far around it is searched.
function ringParts(photo) {
  const heading = shownHeading();
  const winds = [0, 90, 180, 270].map((bearing) => {
    const [x, y] = onRing(bearing, 34).split(" ");
    return svg("text", { x, y, "text-anchor": "middle", "dominant-baseline": "central" }, wind(bearing));
  });
  const ticks = Array.from({ length: 24 }, (_, i) => svg("path", {
    class: "tick", d: `M${onRing(15 * i, RING - (i % 6 ? 2 : 4))}L${onRing(15 * i, RING)}`,
  }));
  if (heading === null) return [...ticks, ...winds];
  const half = Math.min(shownFov(), 359.9) / 2;
  return [
    svg("path", { class: isSet(photo) ? "seen-part" : "seen-part found", d: sector(heading, half, 26) }),
    isSet(photo) && svg("path", {
      class: "searched", d: sector(heading, Math.min(3 * shownSigma(photo), 179.9), RING + 4, RING - 1),
    }), ...ticks, ...winds,
    isSet(photo) && svg("path", { class: "needle-line", d: `M0 0L${onRing(heading, RING - 2)}` }),
    isSet(photo) && svg("circle", {
      class: "knob", r: 6, transform: `translate(${onRing(heading, RING)})`,
    }),
  ];
}

function markRing(photo) {
  byId("ring")?.replaceChildren(
    svg("circle", { class: "rim", r: RING }), ...present(ringParts(photo)), svg("circle", { class: "eye", r: 3 }));
}

// The ring is for the pointer; the slider beside it does the same with the keyboard.
function compass(photo) {
  const ring = svg("svg", { id: "ring", class: "compass", viewBox: "-52 -52 104 104", "aria-hidden": "true" });
  const turn = (event) => {
    const box = ring.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
    drag(photo, { heading: wrapped(Math.round(Math.atan2(x, -y) / RADIANS)), turned: true });
  };
  ring.addEventListener("pointerdown", (event) => {
    followPointer(event, ring, turn, () => emit("dragged"));
    turn(event);
  });
  return ring;
}

function headingControls(photo) {
  const dragged = () => emit("dragged");
  const isKnown = photo.hints.heading !== undefined || photo.answer.heading_source;
  const value = Math.round(shownHeading() ?? 0) % 360;
  const sliders = [
    slider("heading", headingText(photo), value, [0, 359, 1],
      (event) => drag(photo, { heading: Number(event.target.value), turned: true }), dragged),
    photo.hints.heading !== undefined && slider("sigma", sigmaText(photo), shownSigma(photo), [1, 60, 1],
      (event) => drag(photo, { sigma: Number(event.target.value) }), dragged),
    isKnown && el("button", {
      id: "clear-heading", type: "button", class: "plain small", onclick: () => emit("clear"),
    }, phrase("map.clear_heading")),
  ];
  return el("div", { class: "heading-set" }, compass(photo), el("div", { class: "sliders" }, present(sliders)));
}

export function drawLens(photo) {
  if (!photo.answer || !photo.file) return null;
  const changed = Object.values(photo.hints).some((hint) => hint !== undefined);
  return el("div", { class: "lens" }, present([
    state.region.uses_heading && headingControls(photo), // first: nothing helps more
    slider("fov", fovText(photo), Math.round(shownFov()), [20, 360, 1],
      (event) => drag(photo, { fov: Number(event.target.value) }), () => emit("dragged")),
    el("button", {
      id: "forget", type: "button", class: "plain small", disabled: !changed, onclick: () => emit("forget"),
    }, phrase("map.as_in_file"))]));
}

// While something is dragged only its words and the ruler change.
export function markDrag() {
  const photo = currentPhoto();
  markRing(photo);
  const texts = {
    fov: [fovText, shownFov()], heading: [headingText, shownHeading()], sigma: [sigmaText, shownSigma(photo)],
  };
  for (const [id, [write, value]] of Object.entries(texts)) {
    if (!byId(id)) continue;
    if (value !== null) byId(id).value = value;
    byId(id).previousSibling.textContent = write(photo);
  }
  markRuler();
}

// The ring shows the heading of the place that is shown, unless one is set.
export function markCompass() {
  if (currentPhoto()?.answer) markRing(currentPhoto());
}

function radiusText() {
  return phrase("map.area_circle", { metres: metres(state.area.metres), at: coordinates(state.area) });
}

function radiusSlider() {
  const resize = (event) => {
    state.area.metres = Number(event.target.value);
    byId("radius").previousSibling.textContent = radiusText();
    emit("resizing");
  };
  const most = Math.max(2000, Math.round(2 * state.area.metres));
  return slider("radius", radiusText(), Math.round(state.area.metres),
    [Math.ceil(state.region.stride_m), most, 1], resize, () => emit("area"));
}

export function drawAreaControls() {
  if (!state.area) return null;
  const { ring } = state.area;
  return el("div", { class: "lens" },
    ring ? el("p", { id: "polygon", class: "slider-label" }, phrase("map.area_polygon", { count: ring.length }))
      : radiusSlider(),
    el("button", {
      id: "everywhere", type: "button", class: "plain small", onclick: () => { state.area = null; emit("area"); },
    }, phrase("map.everywhere")));
}
