// All photos: search, filter, order, step.

const known = facts.photos.some((photo) => photo.error_m !== undefined);
const mixed = new Set(facts.photos.map((photo) => photo.kind)).size > 1;

const SHOWS = {
  "all": ["All photos", () => true],
  ...(known && {
    near: ["Within 25 m", (photo) => photo.error_m <= 25],
    far: ["Farther off", (photo) => !(photo.error_m <= 25)],
  }),
  ...(mixed && {
    panoramas: ["Panoramas", (photo) => photo.kind === "panorama"],
    photos: ["Perspective", (photo) => photo.kind !== "panorama"],
  }),
  clear: ["Stands out", (photo) => photo.stands_out],
  unclear: ["None stands out", (photo) => !photo.stands_out],
};

function lead(photo) {
  const [first, second] = photo.places;
  return first && second ? first.score - second.score : -1;
}

const last = (value) => value ?? Infinity;
const ORDERS = {
  given: ["As given", null],
  ...(known && {
    worst: ["Worst first", (a, b) => (b.error_m ?? -1) - (a.error_m ?? -1)],
    best: ["Best first", (a, b) => last(a.error_m) - last(b.error_m)],
  }),
  lead: ["Clear lead first", (a, b) => lead(b) - lead(a)],
};

function shortly(photo) {
  return `${photo.kind === "panorama" ? "panorama" : "photo"}, ${Math.round(photo.fov_deg)}\u00b0`;
}

const rows = facts.photos.map((photo, index) => {
  const source = picture("photos", photo.picture, "jpeg");
  return el("li", {}, el("button", { "data-photo": index, onclick: () => openPhoto(index) },
    source ? el("img", { src: source, alt: "", decoding: "async", loading: "lazy" })
      : el("span", { class: "blank", "aria-hidden": "true" }),
    el("span", { class: "name" },
      el("bdi", {}, photo.photo),
      el("span", { class: "under quiet" }, shortly(photo), errorBadge(photo)))));
});

function openPhoto(index) {
  showPane("sheet");
  choosePhoto(index);
}

function showPane(name) {
  document.body.dataset.pane = name;
  for (const tab of document.querySelectorAll(".tabs button")) {
    tab.setAttribute("aria-pressed", String(tab.dataset.pane === name));
  }
}

function options(select, choices) {
  for (const [value, [label]] of Object.entries(choices)) {
    select.append(el("option", { value }, label));
  }
  select.addEventListener("change", drawList);
}

function drawList() {
  const wanted = byId("search").value.trim().toLowerCase();
  const keeps = SHOWS[byId("show").value][1];
  const compare = ORDERS[byId("order").value][1];
  const found = facts.photos.map((_, index) => index).filter((index) =>
    keeps(facts.photos[index]) && facts.photos[index].photo.toLowerCase().includes(wanted));
  if (compare) found.sort((a, b) => compare(facts.photos[a], facts.photos[b]) || a - b);
  state.visible = found;
  byId("photos").replaceChildren(...found.map((index) => rows[index]));
  byId("photos").scrollTop = 0;
  oneStop(found.includes(state.photo) ? state.photo : found[0]);
  byId("shown").textContent = found.length === rows.length
    ? `${rows.length} photos` : `${found.length} of ${rows.length} photos`;
  emit("list");
}

// All photos are one stop of the Tab key; arrows move along them.
function oneStop(at) {
  rows.forEach((row, index) => { row.firstElementChild.tabIndex = index === at ? 0 : -1; });
}

function moveAlong(event) {
  const at = state.visible.indexOf(Number(event.target.closest("[data-photo]")?.dataset.photo));
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: state.visible.length - 1 }[event.key];
  if (at < 0 || to === undefined || state.visible[to] === undefined) return;
  event.preventDefault();
  oneStop(state.visible[to]);
  rows[state.visible[to]].firstElementChild.focus();
}

function markPhoto() {
  for (const [index, row] of rows.entries()) {
    const button = row.firstElementChild;
    if (index === state.photo) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  if (state.visible.includes(state.photo)) oneStop(state.photo);
  const row = rows[state.photo];
  if (row && row.isConnected) row.scrollIntoView({ block: "nearest" });
}
