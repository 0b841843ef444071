// A place seen from above as a disc, turned so that the estimated heading is up.

import { RADIANS, offset } from "./angles.js";
import { el, phrase, svg } from "./dom.js";
import { currentAnswer, shownFov, state } from "./state.js";

function discWedge(fov) {
  const half = Math.min(fov, 359) / 2;
  const [x, y] = [Math.sin(half * RADIANS) * 49, -Math.cos(half * RADIANS) * 49];
  return svg("path", { class: "view", d: `M0 0 L${-x} ${y} A49 49 0 ${half > 90 ? 1 : 0} 1 ${x} ${y} Z` });
}

function discNorth(place) {
  const turn = -(place.heading_deg ?? 0);
  return svg("g", { class: "north", transform: `rotate(${turn})` },
    svg("path", { d: "M0 -49 L5 -38 L-5 -38 Z" }),
    svg("text", { y: -27, "text-anchor": "middle", transform: `rotate(${-turn} 0 -31)` }, phrase("map.north")));
}

// The actual place inside of the disc, if it lies there.
function discTruth(place, truth) {
  if (!truth) return [];
  const [east, north] = offset(place, truth);
  const radius = (Math.hypot(east, north) / place.footprint.width_m) * 100;
  if (radius > 47) return [];
  const turn = Math.atan2(east, north) - (place.heading_deg ?? 0) * RADIANS;
  const at = { r: 6, cx: radius * Math.sin(turn), cy: -radius * Math.cos(turn) };
  return [svg("circle", { class: "halo", ...at }), svg("circle", { class: "truth", ...at })];
}

export function disc(place) {
  const hasHeading = typeof place.heading_deg === "number";
  const fov = shownFov();
  return el("span", { class: "disc", "aria-hidden": "true" },
    state.source.drawTile(place) ?? el("span", { class: "missing" }, phrase("map.no_tile")),
    svg("svg", { viewBox: "-50 -50 100 100" },
      hasHeading && fov < 359 ? discWedge(fov) : null,
      hasHeading && fov >= 359 ? svg("path", { class: "front", d: "M0 -6 V-48" }) : null,
      discNorth(place),
      discTruth(place, currentAnswer()?.truth),
      svg("circle", { class: "eye", r: 3.2 })));
}
