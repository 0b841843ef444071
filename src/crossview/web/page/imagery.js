// What a page in a file carries: its facts and pictures, and the region's imagery on its map.

import { lonNear } from "./angles.js";
import { map } from "./atlas.js";
import { byId } from "./dom.js";

export const facts = JSON.parse(byId("facts").textContent);
const pictures = JSON.parse(byId("pictures").textContent);
export let overlays = [];

export function picture(kind, index, mime) {
  const data = index === null || index === undefined ? null : pictures[kind][index];
  return data ? `data:image/${mime};base64,${data}` : null;
}

export function drawImagery(_, region) {
  const middle = region.getCenter().lng;
  overlays = facts.imagery.map(([[south, west], [north, east]], index) => {
    const turn = lonNear((west + east) / 2, middle) - (west + east) / 2;
    const bounds = [[south, west + turn], [north, east + turn]];
    return L.imageOverlay(picture("imagery", index, "webp"), bounds, { alt: "", pane: "tilePane" }).addTo(map);
  });
  markSpecks();
  return overlays;
}

// Regions far apart are specks when all of them are in view: a dot marks those.
function markSpecks() {
  const dots = overlays.map((overlay) => L.circleMarker(overlay.getBounds().getCenter(), {
    radius: 3, weight: 1.5, color: "#fff", fillColor: "#24303f", fillOpacity: 1, interactive: false,
  }));
  const mark = () => overlays.forEach((overlay, index) => {
    const bounds = overlay.getBounds();
    const [left, right] = [bounds.getNorthWest(), bounds.getNorthEast()].map((p) => map.project(p));
    if (right.x - left.x < 10) dots[index].addTo(map);
    else dots[index].remove();
  });
  map.on("zoomend", mark);
  mark();
}
