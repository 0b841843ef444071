// What the page shows, and who wants to know when that changes.

export const state = {
  source: null, // where answers come from: see embedded.js and service.js
  regions: [],
  region: null, // the chosen one's facts
  cells: null, // where the region's heat lies, once it is known
  photos: [], // {name, url, answer, file, hints, dragged, problem, busy, area: what was searched}
  visible: [], // indices of photos, after search and order
  photo: -1,
  place: 0, // index into the photo's places, selected
  hover: null, // index of the place under the pointer, or null
  follow: false, // zoom to the first place whenever the photo changes
  claim: null, // a place that somebody names: {lat, lon}
  area: null, // to search in: {lat, lon, metres}, or {ring: [[lat, lon], ...]}
};

const listeners = {};

export function on(events, ...heard) {
  for (const event of events.split(" ")) (listeners[event] ||= []).push(...heard);
}

export function emit(event) {
  for (const listener of listeners[event] || []) listener();
}

export function currentPhoto() {
  return state.photos[state.photo] ?? null;
}

export function currentAnswer() {
  return currentPhoto()?.answer ?? null;
}

export function shownIndex() {
  return state.hover ?? state.place;
}

export function shownPlace() {
  return currentAnswer()?.places[shownIndex()] ?? null;
}

// What is drawn of the view: as it is being dragged, else as the answer has it; null: not known.
export function shownFov() {
  return currentPhoto()?.dragged?.fov ?? currentAnswer()?.fov_deg ?? null;
}

export function shownHeading() {
  return currentPhoto()?.dragged?.heading ?? shownPlace()?.heading_deg ?? null;
}

export function choosePhoto(index) {
  if (!state.photos[index]) return;
  Object.assign(state, { photo: index, place: 0, hover: null });
  emit("photo");
}

export function choosePlace(index) {
  if (!currentAnswer()?.places[index]) return;
  Object.assign(state, { place: index, hover: null });
  emit("place");
}

export function hoverPlace(index) {
  if (state.hover === index) return;
  state.hover = index;
  emit("hover");
}

// One step through the photos that search and filter leave, in the chosen order.
export function stepPhoto(by) {
  const at = state.visible.indexOf(state.photo);
  const next = state.visible[at < 0 ? 0 : at + by];
  if (next !== undefined) choosePhoto(next);
}
