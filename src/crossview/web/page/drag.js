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

const CLICK_PX = 8; // moved by less, a press is a click
const CLOSE_PX = 16; // so near to the first corner, a click ends a polygon
let draft = null; // the area as far as it is drawn: as state.area

const isDrawing = () => byId("area-draw").getAttribute("aria-pressed") === "true";

// Drawing the area: a circle from its middle outwards, or the corners of a polygon one by one.
function setMode(isOn) {
  draft = null;
  byId("area-draw").setAttribute("aria-pressed", String(isOn));
  byId("draw-hint").hidden = !isOn;
  byId("draw-hint").textContent = phrase("map.draw_hint");
  byId("map").classList.toggle("drawing", isOn);
  for (const name of ["dragging", "touchZoom", "doubleClickZoom", "boxZoom"]) {
    map[name][isOn ? "disable" : "enable"]();
  }
}

// The area is searched if it is whole and wanted; else the one before stays.
function endDrawing(isWanted) {
  const drawn = isWanted && (draft?.metres || draft?.ring?.length > 2) ? draft : null;
  setMode(false);
  if (drawn) state.area = drawn;
  if (drawn) emit("area");
  else drawArea();
}

function addCorner(at, event) {
  const ring = draft?.ring ?? [];
  const box = byId("map").getBoundingClientRect();
  const isAt = (corner, px) => {
    const { x, y } = map.latLngToContainerPoint(corner);
    return Math.hypot(event.clientX - box.left - x, event.clientY - box.top - y) < px;
  };
  if (ring.length > 2 && (isAt(ring[0], CLOSE_PX) || isAt(ring.at(-1), CLICK_PX))) {
    endDrawing(true);
    return;
  }
  draft = { ring: [...ring, [at.lat, at.lon]] };
  byId("draw-hint").textContent = phrase(ring.length < 2 ? "map.draw_hint_corner" : "map.draw_hint_end");
  drawArea(draft);
}

function startArea(event) {
  if (!isDrawing() || event.target.closest(".leaflet-control")) return;
  const [middle, hasCorners] = [pointAt(event), Boolean(draft?.ring)];
  followPointer(event, byId("map"), (next) => {
    const moved = Math.hypot(next.clientX - event.clientX, next.clientY - event.clientY);
    if (hasCorners || (!draft && moved < CLICK_PX)) return;
    const metres = Math.hypot(...offset(middle, pointAt(next)));
    draft = { ...middle, metres: Math.max(state.region.stride_m, metres) };
    drawArea(draft);
  }, () => {
    if (draft?.metres) endDrawing(true);
    else addCorner(middle, event);
  });
}

function onDrawingKey(event) {
  if (!isDrawing() || !["Enter", "Escape"].includes(event.key)) return;
  event.preventDefault();
  event.stopPropagation();
  endDrawing(event.key === "Enter");
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
    if (isDrawing()) endDrawing(true);
    else if (event.detail === 0) circleInMiddle(); // from the keyboard
    else setMode(true);
  });
  byId("map").addEventListener("pointerdown", startArea, { capture: true });
  document.addEventListener("keydown", onDrawingKey, { capture: true });
}
