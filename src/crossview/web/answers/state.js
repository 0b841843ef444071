// What the page shows, and who wants to know when that changes.

const facts = JSON.parse(document.getElementById("facts").textContent);
const pictures = JSON.parse(document.getElementById("pictures").textContent);

function picture(kind, index, mime) {
  const data = index === null || index === undefined ? null : pictures[kind][index];
  return data ? `data:image/${mime};base64,${data}` : null;
}

// Longitudes on one turn around the Earth, counting on beyond 180 where the region crosses it.
const middleLon = facts.region.middle_lon;
function onOneTurn(place) {
  if (place) place.lon = lonNear(place.lon, middleLon);
}
function ringOnOneTurn(ring) {
  for (const corner of ring || []) corner[1] = lonNear(corner[1], middleLon);
}
facts.imagery.forEach((box) => {
  const [west, east] = [box[0][1], box[1][1]];
  const turn = lonNear((west + east) / 2, middleLon) - (west + east) / 2;
  box[0][1] = west + turn;
  box[1][1] = east + turn;
});
for (const photo of facts.photos) {
  onOneTurn(photo.truth);
  for (const polygon of photo.outline || []) polygon.forEach(ringOnOneTurn);
  for (const place of photo.places) {
    onOneTurn(place);
    ringOnOneTurn(place.corners);
  }
}

const state = {
  photo: 0, // index into facts.photos
  place: 0, // index into the photo's places, selected
  hover: null, // index of the place under the pointer, or null
  visible: facts.photos.map((_, index) => index), // after search and order
  follow: false, // zoom to the first place whenever the photo changes
};

const listeners = {};

function on(event, listener) {
  (listeners[event] ||= []).push(listener);
}

function emit(event) {
  for (const listener of listeners[event] || []) listener();
}

function currentPhoto() {
  return facts.photos[state.photo];
}

function currentPlace() {
  const photo = currentPhoto();
  return photo && photo.places[state.hover ?? state.place];
}

function choosePhoto(index) {
  if (!facts.photos[index]) return;
  Object.assign(state, { photo: index, place: 0, hover: null });
  emit("photo");
}

function choosePlace(index) {
  if (!currentPhoto().places[index]) return;
  Object.assign(state, { place: index, hover: null });
  emit("place");
}

function hoverPlace(index) {
  if (state.hover === index) return;
  state.hover = index;
  emit("hover");
}

// One step through the photos that search and filter leave, in the chosen order.
function stepPhoto(by) {
  const at = state.visible.indexOf(state.photo);
  const next = state.visible[at < 0 ? 0 : at + by];
  if (next !== undefined) choosePhoto(next);
}
