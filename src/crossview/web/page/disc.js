// The window of a place seen from above as a disc, turned so that the estimated heading is up.

import { RADIANS, offset } from "./angles.js";
import { el, phrase, svg } from "./dom.js";
import { currentAnswer, shownFov, state } from "./state.js";

function discWedge(fov) {
  const half = Math.min(fov, 359) / 2; // beyond the rim, wherever in the window the place is
  const [x, y] = [Math.sin(half * RADIANS) * 49, -Math.cos(half * RADIANS) * 49];
  return svg("path", { class: "view", d: `M0 0 L${-x} ${y} A49 49 0 ${half > 90 ? 1 : 0} 1 ${x} ${y} Z` });
}

function discNorth(place) {
  const turn = -(place.heading_deg ?? 0);
  return svg("g", { class: "north", transform: `rotate(${turn})` },
    svg("path", { d: "M0 -49 L5 -38 L-5 -38 Z" }),
    svg("text", { y: -27, "text-anchor": "middle", transform: `rotate(${-turn} 0 -31)` }, phrase("map.north")));
}

// Where a point of the ground lies in the disc, whose middle is the window's.
function onDisc(place, point) {
  const [east, north] = offset(place.footprint, point);
  const radius = (Math.hypot(east, north) / place.footprint.width_m) * 100;
  const turn = Math.atan2(east, north) - (place.heading_deg ?? 0) * RADIANS;
  return [radius * Math.sin(turn), -radius * Math.cos(turn)];
}

// The actual place inside of the disc, if it lies there.
function discTruth(place, truth) {
  if (!truth) return [];
  const [cx, cy] = onDisc(place, truth);
  if (Math.hypot(cx, cy) > 47) return [];
  return ["halo", "truth"].map((name) => svg("circle", { class: name, r: 6, cx, cy }));
}

function discPlace(place, fov) {
  const isTurned = typeof place.heading_deg === "number";
  const sigma = ((place.position_sigma_m ?? 0) / place.footprint.width_m) * 100;
  return svg("g", { transform: `translate(${onDisc(place, place).join(" ")})` },
    isTurned && fov < 359 ? discWedge(fov) : null,
    isTurned && fov >= 359 ? svg("path", { class: "front", d: "M0 -6 V-48" }) : null,
    sigma > 3.2 ? svg("circle", { class: "sigma", r: sigma }) : null,
    svg("circle", { class: "eye", r: 3.2 }));
}

export function disc(place) {
  return el("span", { class: "disc", "aria-hidden": "true" },
    state.source.drawTile(place) ?? el("span", { class: "missing" }, phrase("map.no_tile")),
    svg("svg", { viewBox: "-50 -50 100 100" },
      discNorth(place),
      discTruth(place, currentAnswer()?.truth),
      discPlace(place, shownFov())));
}
