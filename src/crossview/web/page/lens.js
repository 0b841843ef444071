// What is set by hand, on the keyboard as well: heading, its error, field of view, the search area.

import { coordinates, metres } from "./angles.js";
import { byId, el, phrase } from "./dom.js";
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

export function drawLens(photo) {
  if (!photo.answer || !photo.file) return null;
  const parts = [];
  const dragged = () => emit("dragged");
  if (state.region.uses_heading) { // first: nothing helps more
    parts.push(slider("heading", headingText(photo), Math.round(shownHeading() ?? 0), [0, 359, 1],
      (event) => drag(photo, { heading: Number(event.target.value), turned: true }), dragged));
    if (photo.hints.heading !== undefined) {
      parts.push(slider("sigma", sigmaText(photo), shownSigma(photo), [1, 60, 1],
        (event) => drag(photo, { sigma: Number(event.target.value) }), dragged));
    }
  }
  parts.push(slider("fov", fovText(photo), Math.round(shownFov()), [20, 360, 1],
    (event) => drag(photo, { fov: Number(event.target.value) }), dragged));
  const changed = Object.keys(photo.hints).length > 0;
  parts.push(el("button", {
    id: "forget", type: "button", class: "plain small", disabled: !changed, onclick: () => emit("forget"),
  }, phrase("map.as_in_file")));
  return el("div", { class: "lens" }, parts);
}

// While something is dragged only its words and the ruler change.
export function markDrag() {
  const photo = currentPhoto();
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

function radiusText() {
  return phrase("map.area_circle", { metres: metres(state.area.metres), at: coordinates(state.area) });
}

export function drawAreaControls() {
  if (!state.area) return null;
  const resize = (event) => {
    state.area.metres = Number(event.target.value);
    byId("radius").previousSibling.textContent = radiusText();
    emit("resizing");
  };
  const most = Math.max(2000, Math.round(2 * state.area.metres));
  return el("div", { class: "lens" },
    slider("radius", radiusText(), Math.round(state.area.metres),
      [Math.ceil(state.region.stride_m), most, 1], resize, () => emit("area")),
    el("button", {
      id: "everywhere", type: "button", class: "plain small", onclick: () => { state.area = null; emit("area"); },
    }, phrase("map.everywhere")));
}
