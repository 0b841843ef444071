// The photo beside its best places.

const CARDS = 3; // places shown large
const FOV_SOURCES = { exif: " by EXIF", given: " as given", assumed: ", assumed" };

function errorBadge(photo) {
  if (photo.error_m === undefined) return null;
  const near = photo.error_m <= 25;
  const text = metres(photo.error_m);
  return el("span", { class: near ? "badge near" : "badge far", title: `${text} off` }, text);
}

function photoTitle(photo) {
  const at = state.visible.indexOf(state.photo);
  const position = at < 0 ? "not in the list's selection" : `${at + 1} of ${state.visible.length}`;
  const step = (by, label, sign) =>
    el("button", { class: "plain round", "aria-label": label, onclick: () => stepPhoto(by) }, sign);
  return el("div", { class: "sheet-head" },
    step(-1, "Previous photo", "\u2039"),
    el("div", { class: "grow" },
      el("h2", { title: photo.photo }, el("bdi", {}, photo.photo)),
      el("p", { class: "quiet" }, `${position} \u00b7 ${describe(photo)}`)),
    step(1, "Next photo", "\u203a"));
}

function describe(photo) {
  const kind = photo.kind === "panorama" ? "panorama" : "photo";
  return `${kind}, ${Math.round(photo.fov_deg)}\u00b0 wide${FOV_SOURCES[photo.fov_source] || ""}`;
}

// Bearings below the photo, as they would be at the selected place.
function ruler(photo, place) {
  const node = el("div", { class: "ruler", "aria-hidden": "true" });
  if (!place || place.heading_deg === undefined) return node;
  const step = photo.fov_deg > 120 ? 45 : 15;
  for (let bearing = 0; bearing < 360; bearing += step) {
    const share = shareAt(bearing, photo, place.heading_deg);
    if (share === null || share < 0.02 || share > 0.98) continue;
    const label = bearing % 45 ? "" : WINDS[bearing / 45];
    node.append(el("span", { style: `left:${100 * share}%`, class: label ? "named" : "" }, label));
  }
  return node;
}

function figure(photo) {
  const source = picture("photos", photo.picture, "jpeg");
  if (!source) return el("p", { class: "no-picture" }, "The picture itself is not on this page.");
  const needle = el("span", { class: "needle", hidden: true });
  const frame = el("div", { class: "frame" },
    el("img", { src: source, alt: `The photo ${photo.photo}` }), needle);
  frame.addEventListener("pointermove", (event) => {
    const place = currentPlace();
    if (!place || place.heading_deg === undefined) return;
    const box = frame.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    needle.hidden = false;
    needle.style.left = `${100 * share}%`;
    drawRay(bearingAt(share, photo, place.heading_deg));
  });
  frame.addEventListener("pointerleave", () => {
    needle.hidden = true;
    drawRay(null);
  });
  return el("figure", {}, frame, ruler(photo, currentPlace()));
}

function facing(place) {
  if (place.heading_deg === undefined) return null;
  return `facing ${wind(place.heading_deg)}, ${Math.round(place.heading_deg) % 360}\u00b0`;
}

function placeFacts(place) {
  const chance = place.probability === undefined
    ? null : `${Math.round(100 * place.probability)} % within 25 m`;
  const error = place.error_m === undefined ? null : `${metres(place.error_m)} off`;
  return [`score ${place.score.toFixed(3)}`, chance, facing(place), error].filter(Boolean);
}

function placeButton(place, index, photo) {
  const large = index < CARDS;
  return el("button", {
    class: large ? "place large" : "place", "data-place": index,
    "aria-pressed": String(index === state.place),
    onclick: () => choosePlace(index),
    onpointerenter: () => hoverPlace(index), onpointerleave: () => hoverPlace(null),
    onfocus: () => hoverPlace(index), onblur: () => hoverPlace(null),
  },
  disc(place, photo),
  el("span", { class: "rank" }, String(place.rank)),
  el("span", { class: "facts" },
    placeFacts(place).map((text) => el("span", {}, text))));
}

function remarks(photo) {
  const texts = [...photo.assumptions, ...photo.warnings.map((text) => `Warning: ${text}`)];
  return texts.length ? el("ul", { class: "remarks" }, texts.map((text) => el("li", {}, text))) : null;
}

function confidenceLine(photo) {
  return el("p", { class: photo.stands_out ? "confidence clear" : "confidence" },
    errorBadge(photo), el("span", {}, photo.confidence));
}

function selectedLine() {
  const place = currentPhoto().places[state.place];
  if (!place) return null;
  return el("p", { id: "selected", class: "quiet" }, `Place ${place.rank}: `,
    el("span", { class: "mono" }, coordinates(place)), " (latitude, longitude), ", mapLink(place));
}

function drawSheet() {
  const photo = currentPhoto();
  const sheet = byId("sheet");
  if (!photo) {
    sheet.replaceChildren(el("p", { class: "empty" }, "No photo was located."));
    return;
  }
  const large = photo.places.slice(0, CARDS);
  const rest = photo.places.slice(CARDS);
  const button = (place, index) => el("li", {}, placeButton(place, index, photo));
  const turned = photo.places.some((place) => place.heading_deg !== undefined);
  sheet.replaceChildren(
    photoTitle(photo), figure(photo), confidenceLine(photo),
    ...[photo.advice].filter(Boolean).map((text) => el("p", { class: "quiet advice" }, text)),
    el("h3", {}, "Best places",
      el("small", {}, turned ? "seen from above, turned so that the view is up" : "seen from above")),
    el("ol", { class: "cards" }, large.map(button)),
    ...[selectedLine()].filter(Boolean),
    rest.length ? el("ol", { class: "rows", start: CARDS + 1 },
      rest.map((place, i) => button(place, i + CARDS))) : "",
    ...[remarks(photo)].filter(Boolean));
  sheet.scrollTop = 0;
}

function markPlaces() {
  const shown = state.hover ?? state.place;
  for (const button of document.querySelectorAll("[data-place]")) {
    const index = Number(button.dataset.place);
    button.setAttribute("aria-pressed", String(index === state.place));
    button.classList.toggle("hovered", index === shown);
  }
  const photo = currentPhoto();
  if (photo) byId("sheet").querySelector(".ruler")?.replaceWith(ruler(photo, currentPlace()));
  const line = photo && selectedLine();
  if (line) byId("selected")?.replaceWith(line);
}
