// What is dragged on the map: the edges and the middle of the view, and the area to search.

import { drawArea, drawView, map, marker, viewReach } from "./atlas.js";
import { METRES_PER_DEGREE, RADIANS, along, offset, wrapped } from "./angles.js";
import { byId, el } from "./dom.js";
import { currentPhoto, emit, shownFov, shownHeading, shownPlace, state } from "./state.js";

const LEAST_FOV = 20;
let handles = [];

function bearingTo(place, lngLat) {
  const [east, north] = offset(place, { lat: lngLat.lat, lon: lngLat.lng });
  return wrapped((Math.atan2(east, north) * 180) / Math.PI);
}

function turnFrom(heading, bearing) {
  return Math.abs(wrapped(bearing - heading + 180) - 180);
}

function dragged(event, move, end) {
  event.preventDefault();
  event.stopPropagation();
  const box = map.getContainer().getBoundingClientRect();
  const node = event.currentTarget;
  node.setPointerCapture(event.pointerId);
  const moved = (next) => move(map.unproject([next.clientX - box.left, next.clientY - box.top]));
  const ended = () => {
    node.removeEventListener("pointermove", moved);
    end();
  };
  node.addEventListener("pointermove", moved);
  node.addEventListener("pointerup", ended, { once: true });
  node.addEventListener("pointercancel", ended, { once: true });
}

function dragEdge(event) {
  const [photo, place, heading] = [currentPhoto(), shownPlace(), shownHeading()];
  dragged(event, (at) => {
    const fov = Math.min(360, Math.max(LEAST_FOV, 2 * turnFrom(heading, bearingTo(place, at))));
    photo.dragged = { ...photo.dragged, fov, heading };
    emit("dragging");
  }, () => emit("dragged"));
}

function dragMiddle(event) {
  const [photo, place] = [currentPhoto(), shownPlace()];
  dragged(event, (at) => {
    photo.dragged = { ...photo.dragged, heading: bearingTo(place, at), turned: true };
    emit("dragging");
  }, () => emit("dragged"));
}

function handle(kind, title, start) {
  return el("span", { class: `handle ${kind}`, title, "aria-hidden": "true", onpointerdown: start });
}

// Handles are for the pointer; the sliders in the panel do the same with the keyboard.
export function drawHandles() {
  for (const one of handles) one.remove();
  handles = [];
  const [place, fov, heading] = [shownPlace(), shownFov(), shownHeading()];
  if (!map || !place?.footprint || heading === null || !currentPhoto()?.file) return;
  const reach = viewReach(place);
  const half = Math.min(fov, 359.9) / 2;
  for (const side of [-1, 1]) {
    const at = along(place, heading + side * half, reach);
    handles.push(marker(handle("edge", "Drag: field of view", dragEdge), at));
  }
  if (state.region.uses_heading) {
    handles.push(marker(handle("middle", "Drag: heading", dragMiddle), along(place, heading, reach)));
  }
}

// While dragging, handles follow without being made anew: the pointer is captured by one of them.
export function moveHandles() {
  const [place, fov, heading] = [shownPlace(), shownFov(), shownHeading()];
  const half = Math.min(fov, 359.9) / 2;
  [-half, half, 0].forEach((turn, index) => {
    const at = along(place, heading + turn, viewReach(place));
    handles[index]?.setLngLat([at[1], at[0]]);
  });
  drawView();
}

// Drawing the area: from its middle outwards.
export function drawMode(isOn) {
  if (!map) return;
  const button = byId("area-draw");
  button.setAttribute("aria-pressed", String(isOn));
  byId("draw-hint").hidden = !isOn;
  map.getContainer().classList.toggle("drawing", isOn);
  for (const name of ["dragPan", "touchZoomRotate", "doubleClickZoom"]) map[name][isOn ? "disable" : "enable"]();
  if (!isOn) map.touchZoomRotate.disableRotation();
}

export function wireArea() {
  const canvas = map.getCanvas();
  byId("area-draw").addEventListener("click", (event) => {
    if (event.detail === 0) areaAtMiddle(); // from the keyboard
    else drawMode(byId("area-draw").getAttribute("aria-pressed") !== "true");
  });
  canvas.addEventListener("pointerdown", (event) => {
    if (byId("area-draw").getAttribute("aria-pressed") !== "true") return;
    const box = canvas.getBoundingClientRect();
    const at = map.unproject([event.clientX - box.left, event.clientY - box.top]);
    state.area = { lat: at.lat, lon: at.lng, metres: 1 };
    dragged(event, (to) => {
      state.area.metres = Math.max(1, Math.hypot(...offset(state.area, { lat: to.lat, lon: to.lng })));
      drawArea();
    }, () => {
      drawMode(false);
      if (state.area.metres < state.region.stride_m) state.area.metres = 2 * state.region.footprint_m;
      emit("area");
    });
  });
}

// From the keyboard: a circle in the middle of what is seen, which the panel's slider resizes.
function areaAtMiddle() {
  const [centre, bounds] = [map.getCenter(), map.getBounds()];
  const height = (bounds.getNorth() - bounds.getSouth()) * METRES_PER_DEGREE;
  const width = (bounds.getEast() - bounds.getWest()) * METRES_PER_DEGREE * Math.cos(centre.lat * RADIANS);
  state.area = { lat: centre.lat, lon: centre.lng, metres: Math.min(height, width) / 4 };
  emit("area");
}
