// Puts the parts together: header, legend, controls, keyboard, address.

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

// Of one kind of picture all figures; of several kinds only the first, each kind by itself.
function accuracyFigures(kinds) {
  if (kinds.length > 1) {
    return kinds.map((found) => {
      const [least, most] = found.fov_deg;
      const width = least === most ? `${most}\u00b0` : `${least}\u2013${most}\u00b0`;
      const name = found.kind === "panorama" ? "panoramas" : `photos of ${width}`;
      return [`${name} within 25 m`, percent(found.within_25m)];
    });
  }
  return kinds.flatMap((found) => [
    ["first place within 25 m", percent(found.within_25m)],
    found.recall_at_10 !== undefined && ["one of ten within 25 m", percent(found.recall_at_10)],
    found.median_error_m !== undefined && ["median error", metres(found.median_error_m)],
  ]);
}

function drawFigures() {
  const { summary, region: about } = facts;
  const area = `tiles, ${about.area_km2.toPrecision(2)} km\u00b2`;
  const figures = [
    ["photos", String(summary.photos)], ...accuracyFigures(summary.kinds).filter(Boolean),
    [area, about.tiles.toLocaleString("en")],
  ];
  byId("title").textContent = about.title;
  byId("figures").append(...figures.map(([label, value]) =>
    el("div", {}, el("dd", {}, value), el("dt", {}, label))));
}

function legendRow(symbol, text) {
  return el("li", {}, symbol, el("span", {}, text));
}

// The coverage of the outlines, if the index is calibrated for any of the photos.
function outlineCoverage() {
  const found = facts.photos.find((photo) => photo.outline && photo.outline.length);
  return found ? found.calibrated.areas[0].coverage : null;
}

function drawLegend() {
  const area = outlineCoverage();
  const stops = HEAT_STOPS.map(([level, r, g, b]) => `rgb(${r} ${g} ${b}) ${100 * level}%`);
  const bar = el("i", { class: "ramp", style: `background:linear-gradient(90deg,${stops})` });
  byId("legend").replaceChildren(
    el("div", { class: "scale" }, el("span", {}, "median score"), bar, el("span", {}, "best")),
    el("ul", {},
      legendRow(el("i", { class: "key pin-key" }), "place, by rank"),
      known ? legendRow(el("i", { class: "key truth-key" }), "actual place") : "",
      legendRow(el("i", { class: "key view-key" }), "its window and view"),
      area === null ? "" : legendRow(el("i", { class: "key area-key" }),
        `holds the actual place of ${percent(area)} of photos`)));
}

function drawAbout() {
  const { region: about, heat: layer, notes } = facts;
  const imagery = [about.attribution, about.date].filter(Boolean).join(", ");
  const merged = layer.merged
    ? [`Heat: squares of ${metres(layer.spacing_m)}, each with the best score of its windows.`] : [];
  byId("about").append(
    el("p", {}, `Imagery: ${imagery || "source not recorded"}. Model: ${about.model}. Windows of `,
      `${metres(about.footprint_m)}. Scores compare places of one photo only; they are no `,
      "probabilities."),
    ...[...notes, ...merged].map((text) => el("p", {}, text)),
    el("p", {}, "Made with crossview. This page works offline and sends nothing. Map drawn by ",
      "Leaflet (BSD 2-Clause)."));
}

const KEYS = [
  ["j  k", "next and previous photo"], ["1 \u2026 9", "place by rank"], ["h", "heat on or off"],
  ["r", "whole region"], ["z", "zoom to the place"], ["/", "search"], ["?", "this help"],
];

function drawHelp() {
  byId("help").append(
    el("h2", { id: "help-title" }, "Reading this map"),
    el("p", {}, "The heat layer shows how well each window of the imagery fits the photo, from ",
      "this photo's median score (dark) to its best (bright). Pins are places: neighbouring ",
      "windows merged, best first. Move the pointer over the photo to see where a column looks."),
    el("p", {}, "A place \u201cstands out\u201d when it leads the second one by more than three ",
      "times the lead that chance gives. That is a rule of thumb and no probability. Where the ",
      "index was calibrated, it is likelier right than not; the green outline then holds the ",
      "actual place as often as the legend says."),
    el("dl", { class: "keys" }, KEYS.map(([key, text]) =>
      el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, text)))),
    el("form", { method: "dialog" }, el("button", { class: "primary" }, "Close")));
  byId("help-open").addEventListener("click", () => byId("help").showModal());
}

function toggleHeat(isOn) {
  byId("heat").checked = isOn;
  heat.switch(isOn);
  byId("legend").classList.toggle("cold", !isOn);
}

function setOpacity(value) {
  heat.opacity = value;
  heat.draw();
}

function follow(isOn) {
  state.follow = isOn;
  byId("to-place").setAttribute("aria-pressed", String(isOn));
  byId("to-region").setAttribute("aria-pressed", String(!isOn));
  if (isOn) zoomToPlace();
  else fitRegion(!calm);
}

const SHORTCUTS = {
  j: () => stepPhoto(1), k: () => stepPhoto(-1), h: () => toggleHeat(!byId("heat").checked),
  r: () => follow(false), z: () => follow(true), "?": () => byId("help").showModal(),
  "/": () => { showPane("list"); byId("search").focus(); },
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input:not([type=checkbox]), select") || byId("help").open) return;
  const action = SHORTCUTS[event.key] || (/^[1-9]$/.test(event.key) && (() => choosePlace(event.key - 1)));
  if (!action) return;
  event.preventDefault();
  action();
}

function announce() {
  const photo = currentPhoto();
  if (!photo) return;
  const error = photo.error_m === undefined ? "" : `, ${metres(photo.error_m)} off`;
  byId("live").textContent = `${photo.photo}${error}. ${photo.confidence}`;
  history.replaceState(null, "", `#photo=${state.photo + 1}`);
}

function wire() {
  options(byId("show"), SHOWS);
  options(byId("order"), ORDERS);
  byId("search").addEventListener("input", drawList);
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
  byId("heat").addEventListener("change", (event) => toggleHeat(event.target.checked));
  byId("opacity").addEventListener("input", (event) => setOpacity(event.target.value / 100));
  byId("to-region").addEventListener("click", () => follow(false));
  byId("to-place").addEventListener("click", () => follow(true));
  for (const tab of document.querySelectorAll(".tabs button")) {
    tab.addEventListener("click", () => showPane(tab.dataset.pane));
  }
  document.addEventListener("keydown", onKey);
  byId("photos").addEventListener("keydown", moveAlong);
  for (const draw of [drawPhoto, drawSheet, markPhoto, markPlaces, announce]) on("photo", draw);
  for (const draw of [drawView, markPlaces, keepInView]) on("place", draw);
  for (const draw of [drawView, markPlaces]) on("hover", draw);
  on("list", drawSheet);
}

function start() {
  const asked = Number((/photo=(\d+)/.exec(location.hash) || [])[1]);
  state.photo = facts.photos[asked - 1] ? asked - 1 : 0;
  document.body.classList.toggle("single", facts.photos.length < 2);
  drawFigures();
  drawLegend();
  drawAbout();
  drawHelp();
  wire();
  drawList();
  toggleHeat(true);
  setOpacity(byId("opacity").value / 100);
  emit("photo");
  const [width, height] = [region.getEast() - region.getWest(), region.getNorth() - region.getSouth()];
  if (Math.max(width, height) * METRES_PER_DEGREE > 6000) follow(true);
}

start();
