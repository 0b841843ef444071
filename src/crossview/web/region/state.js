// What the page knows, and who wants to hear when that changes.

export const state = {
  regions: [],
  limits: null,
  region: null, // the chosen one's facts
  photos: [], // {file, name, url, hints, answer, problem, busy, area: what the answer was searched in}
  photo: -1,
  place: 0,
  hover: null, // a place under the pointer, or null
  area: null, // {lat, lon, metres}
  saving: null, // the format that results are about to be saved in
};

const listeners = {};

export function on(events, listener) {
  for (const event of events.split(" ")) (listeners[event] ||= []).push(listener);
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

export function shownPlace() {
  return currentAnswer()?.places[state.hover ?? state.place] ?? null;
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

// The field of view that is drawn: being dragged, else of the answer.
export function shownFov() {
  const photo = currentPhoto();
  return photo?.dragged?.fov ?? photo?.answer?.fov_deg ?? null;
}

export function shownHeading() {
  const photo = currentPhoto();
  return photo?.dragged?.heading ?? shownPlace()?.heading_deg ?? null;
}
