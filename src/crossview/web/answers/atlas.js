// The map: imagery, heat, pins, the selected place's window and view, the actual place.

const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;

const low = matchMedia("(max-height: 500px)"); // a phone held across: the tools stand at the side

const map = L.map("map", {
  attributionControl: false, zoomControl: false, zoomSnap: 0.25, minZoom: 1, maxZoom: 22,
  zoomAnimation: !calm, fadeAnimation: false, markerZoomAnimation: !calm, maxBoundsViscosity: 0.6,
});
L.control.zoom({ position: "bottomright" }).addTo(map);
L.control.scale({ imperial: false, position: "bottomright" }).addTo(map);

function regionBounds() {
  const points = [...facts.imagery.flat()];
  heatLat.forEach((lat, i) => points.push([lat, 360 * heatX[i] - 180]));
  return points.length ? L.latLngBounds(points) : L.latLngBounds([[-60, -170], [75, 170]]);
}

// Room for what floats over the map, and for the pins: those stand 45 pixels above their places.
function roomAround() {
  if (low.matches) return [[24, 54], [170, 48]];
  return map.getSize().y > 600 ? [[24, 112], [60, 96]] : [[24, 102], [24, 50]];
}

function fitRegion(animate) {
  const [paddingTopLeft, paddingBottomRight] = roomAround();
  map.fitBounds(region, { animate, paddingTopLeft, paddingBottomRight });
}

const region = regionBounds();
fitRegion(false);
map.setMaxBounds(region.pad(1.5));
low.addEventListener("change", () => map.once("resize", () => fitRegion(false)));
const overlays = facts.imagery.map((bounds, index) =>
  L.imageOverlay(picture("imagery", index, "webp"), bounds, { alt: "", pane: "tilePane" }).addTo(map));

// Regions far apart are specks when all of them are in view: a dot marks those.
const dots = overlays.map((overlay) => L.circleMarker(overlay.getBounds().getCenter(), {
  radius: 3, weight: 1.5, color: "#fff", fillColor: "#24303f", fillOpacity: 1, interactive: false,
}));

function drawDots() {
  overlays.forEach((overlay, index) => {
    const bounds = overlay.getBounds();
    const [left, right] = [bounds.getNorthWest(), bounds.getNorthEast()].map((p) => map.project(p));
    if (right.x - left.x < 10) dots[index].addTo(map);
    else dots[index].remove();
  });
}

map.on("zoomend", drawDots);
drawDots();

const heat = new Heat(map);
const marks = L.layerGroup().addTo(map); // of the photo
const view = L.layerGroup().addTo(map); // of the selected or hovered place
const ray = L.layerGroup().addTo(map); // under the pointer in the photo
const pins = [];

const PIN = "M15 1C7.3 1 1 7.2 1 14.8 1 25 15 39 15 39s14-14 14-24.2C29 7.2 22.7 1 15 1Z";

function pinIcon(place, index) {
  const [width, height] = index === 0 ? [34, 45] : [24, 32];
  const drawing = svg("svg", { viewBox: "0 0 30 40", width, height, "aria-hidden": "true" },
    svg("path", { d: PIN }),
    svg("text", { x: 15, y: 20, "text-anchor": "middle" }, String(place.rank)));
  return L.divIcon({
    html: el("span", {}, drawing), className: index === 0 ? "pin first" : "pin",
    iconSize: [width, height], iconAnchor: [width / 2, height - 1],
  });
}

function placeLabel(place) {
  const error = place.error_m === undefined ? "" : `, ${metres(place.error_m)} off`;
  return `Place ${place.rank}, score ${place.score.toFixed(3)}${error}`;
}

function addPin(place, index) {
  const pin = L.marker([place.lat, place.lon], {
    icon: pinIcon(place, index), title: placeLabel(place), zIndexOffset: 500 - 20 * index,
    riseOnHover: true,
  }).addTo(marks);
  pin.on("click", () => choosePlace(index));
  pin.on("mouseover", () => hoverPlace(index));
  pin.on("mouseout", () => hoverPlace(null));
  pin.getElement().setAttribute("aria-label", placeLabel(place));
  pins[index] = pin;
}

function addTruth(photo) {
  const ring = svg("svg", { viewBox: "0 0 32 32", width: 32, height: 32, "aria-hidden": "true" },
    svg("circle", { cx: 16, cy: 16, r: 11, class: "halo" }),
    svg("circle", { cx: 16, cy: 16, r: 11 }),
    svg("circle", { cx: 16, cy: 16, r: 3, class: "dot" }));
  const icon = L.divIcon({ html: el("span", {}, ring), className: "truth", iconSize: [32, 32] });
  const at = [photo.truth.lat, photo.truth.lon];
  L.marker(at, { icon, title: "Actual place", keyboard: false, zIndexOffset: 400 }).addTo(marks);
}

// Where the truth lies with the coverage that the index was calibrated for.
function addOutline(photo) {
  if (!photo.outline || !photo.outline.length) return;
  const shared = { interactive: false, lineJoin: "round" };
  L.polygon(photo.outline, { ...shared, fill: false, color: "#0b0f14", opacity: 0.5, weight: 4 })
    .addTo(marks);
  L.polygon(photo.outline, {
    ...shared, color: "#8ef0a0", weight: 1.75, fillColor: "#8ef0a0", fillOpacity: 0.25,
  }).addTo(marks);
}

function drawPhoto() {
  const photo = currentPhoto();
  marks.clearLayers();
  pins.length = 0;
  if (!photo) return;
  if (photo.truth) addTruth(photo);
  addOutline(photo);
  photo.places.map((place, index) => [place, index]).reverse().forEach((pair) => addPin(...pair));
  heat.show(heatLevels(photo.heat));
  drawView();
  if (state.follow) zoomToPlace();
}

function cased(points, options) {
  const shape = options.closed ? L.polygon : L.polyline;
  const quiet = { interactive: false, fill: false };
  shape(points, { ...quiet, color: "#0b0f14", opacity: 0.55, weight: options.weight + 2.5 })
    .addTo(options.to);
  shape(points, { ...quiet, ...options }).addTo(options.to);
}

function wedge(place, photo, reach) {
  const half = photo.fov_deg / 2;
  const steps = Array.from({ length: 25 }, (_, i) => place.heading_deg - half + (i * half) / 12);
  const arc = steps.map((bearing) => along(place, bearing, reach));
  return photo.fov_deg >= 359 ? arc : [[place.lat, place.lon], ...arc];
}

function drawView() {
  view.clearLayers();
  const [photo, place] = [currentPhoto(), currentPlace()];
  if (!photo || !place) return;
  const white = { color: "#fff", to: view };
  cased(place.corners, { ...white, weight: 1.5, dashArray: "5 5", closed: true });
  if (place.heading_deg !== undefined) {
    const reach = place.width_m * 0.62;
    cased(wedge(place, photo, reach), {
      ...white, weight: 2, closed: true, fill: true, fillColor: "#ff8a4c", fillOpacity: 0.25,
    });
    const front = along(place, place.heading_deg, reach);
    cased([[place.lat, place.lon], front], { ...white, weight: 1.5 });
  }
  if (photo.truth) {
    const line = [[photo.truth.lat, photo.truth.lon], [place.lat, place.lon]];
    cased(line, { to: view, color: "#3fe0cc", weight: 2, dashArray: "2 6" });
  }
  const shown = state.hover ?? state.place;
  pins.forEach((pin, index) => pin.getElement().classList.toggle("chosen", index === shown));
}

function drawRay(bearing) {
  ray.clearLayers();
  const place = currentPlace();
  if (bearing === null || !place) return;
  const line = [[place.lat, place.lon], along(place, bearing, place.width_m)];
  cased(line, { to: ray, color: "#ffe08a", weight: 3 });
}


function zoomToPlace() {
  const [photo, place] = [currentPhoto(), currentPlace()];
  if (!place) return;
  const reach = 2.2 * place.width_m;
  const bounds = L.latLngBounds([0, 90, 180, 270].map((bearing) => along(place, bearing, reach)));
  if (photo.truth && place.error_m < 6 * place.width_m) {
    bounds.extend([photo.truth.lat, photo.truth.lon]);
  }
  map.fitBounds(bounds, { animate: !calm });
}

function keepInView() {
  const place = currentPlace();
  const at = place && L.latLng(place.lat, place.lon);
  if (place && !map.getBounds().pad(-0.1).contains(at)) map.panTo(at, { animate: !calm });
}
