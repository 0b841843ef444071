// What is dragged on the map: the edges and the middle of the view, and the area to search.

import { METRES_PER_DEGREE, RADIANS, along, bearingTo, offset, turnBetween } from "./angles.js";
import { addHandle, drawArea, drawView, map, moveHandle, pointAt, viewReach } from "./atlas.js";
import { byId, el, phrase } from "./dom.js";
import { currentPhoto, emit, shownFov, shownHeading, shownPlace, state } from "./state.js";

const LEAST_FOV = 20;
let handles = [];

// Follows a pointer from its press to its release; `node` gets all that it does meanwhile.
export function followPointer(event, node, move, end) {
  event.preventDefault();
  event.stopPropagation();
  node.setPointerCapture(event.pointerId);
  const ended = () => {
    node.removeEventListener("pointermove", move);
    for (const kind of ["pointerup", "pointercancel"]) node.removeEventListener(kind, ended);
    end();
  };
  node.addEventListener("pointermove", move);
  for (const kind of ["pointerup", "pointercancel"]) node.addEventListener(kind, ended);
}

function dragHandle(event, change) {
  const photo = currentPhoto();
  followPointer(event, event.currentTarget, (next) => {
    photo.dragged = { ...photo.dragged, ...change(pointAt(next)) };
    emit("dragging");
  }, () => emit("dragged"));
}

function dragEdge(event) {
  const [place, heading] = [shownPlace(), shownHeading()];
  dragHandle(event, (at) => {
    const fov = 2 * turnBetween(heading, bearingTo(place, at));
    return { fov: Math.min(360, Math.max(LEAST_FOV, fov)), heading };
  });
}

function dragMiddle(event) {
  const place = shownPlace();
  dragHandle(event, (at) => ({ heading: bearingTo(place, at), turned: true }));
}

function makeHandle(kind, title, start) {
  const node = el("span", { class: `handle ${kind}`, title, "aria-hidden": "true", onpointerdown: start });
  L.DomEvent.disableClickPropagation(node);
  return node;
}

function handlePlaces() {
  const [place, half, heading] = [shownPlace(), Math.min(shownFov(), 359.9) / 2, shownHeading()];
  return [-half, half, 0].map((turn) => along(place, heading + turn, viewReach(place)));
}

// Handles are for the pointer; the sliders beside the photo do the same with the keyboard.
export function drawHandles() {
  for (const one of handles) one.remove();
  handles = [];
  if (!shownPlace() || shownHeading() === null || !currentPhoto()?.file) return;
  const [left, right, middle] = handlePlaces();
  for (const at of [left, right]) {
    handles.push(addHandle(makeHandle("edge", phrase("map.drag_fov"), dragEdge), at));
  }
  if (state.region.uses_heading) {
    handles.push(addHandle(makeHandle("middle", phrase("map.drag_heading"), dragMiddle), middle));
  }
}

// While dragging, handles follow without being made anew: the pointer is captured by one of them.
export function moveHandles() {
  if (shownPlace() && shownHeading() !== null) {
    const places = handlePlaces();
    handles.forEach((one, index) => moveHandle(one, places[index]));
  }
  drawView();
}

const isDrawing = () => byId("area-draw").getAttribute("aria-pressed") === "true";

// Drawing the area: from its middle outwards.
export function drawMode(isOn) {
  byId("area-draw").setAttribute("aria-pressed", String(isOn));
  byId("draw-hint").hidden = !isOn;
  byId("map").classList.toggle("drawing", isOn);
  for (const name of ["dragging", "touchZoom", "doubleClickZoom", "boxZoom"]) {
    map[name][isOn ? "disable" : "enable"]();
  }
}

function startCircle(event) {
  if (!isDrawing() || event.target.closest(".leaflet-control")) return;
  const area = { ...pointAt(event), metres: 1 };
  followPointer(event, byId("map"), (next) => {
    area.metres = Math.max(1, Math.hypot(...offset(area, pointAt(next))));
    state.area = area;
    drawArea();
  }, () => {
    drawMode(false);
    if (area.metres < state.region.stride_m) area.metres = 2 * state.region.footprint_m;
    state.area = area;
    emit("area");
  });
}

// From the keyboard: a circle in the middle of what is seen, which a slider resizes.
function circleInMiddle() {
  const [centre, bounds] = [map.getCenter(), map.getBounds()];
  const height = (bounds.getNorth() - bounds.getSouth()) * METRES_PER_DEGREE;
  const width = (bounds.getEast() - bounds.getWest()) * METRES_PER_DEGREE * Math.cos(centre.lat * RADIANS);
  state.area = { lat: centre.lat, lon: centre.lng, metres: Math.min(height, width) / 4 };
  emit("area");
}

export function wireArea() {
  byId("area-draw").addEventListener("click", (event) => {
    if (event.detail === 0) circleInMiddle(); // from the keyboard
    else drawMode(!isDrawing());
  });
  byId("map").addEventListener("pointerdown", startCircle, { capture: true });
}
