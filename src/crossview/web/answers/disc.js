// A place seen from above as a disc, turned so that the estimated heading is up.

const DISC_PX = 240;

function tileTurn(place) {
  return place.up_deg - (place.heading_deg ?? 0);
}

function discWedge(photo) {
  const half = Math.min(photo.fov_deg, 359) / 2;
  const [x, y] = [Math.sin(half * RADIANS) * 49, -Math.cos(half * RADIANS) * 49];
  const large = half > 90 ? 1 : 0;
  return svg("path", { class: "view", d: `M0 0 L${-x} ${y} A49 49 0 ${large} 1 ${x} ${y} Z` });
}

function discNorth(place) {
  const turn = -(place.heading_deg ?? 0);
  return svg("g", { class: "north", transform: `rotate(${turn})` },
    svg("path", { d: "M0 -49 L5 -38 L-5 -38 Z" }),
    svg("text", { y: -27, "text-anchor": "middle", transform: `rotate(${-turn} 0 -31)` }, "N"));
}

// The actual place inside of the disc, if it lies there.
function discTruth(place, photo) {
  if (!photo.truth) return [];
  const [east, north] = offset(place, photo.truth);
  const radius = (Math.hypot(east, north) / place.width_m) * 100;
  if (radius > 47) return [];
  const turn = Math.atan2(east, north) - (place.heading_deg ?? 0) * RADIANS;
  const at = { r: 6, cx: radius * Math.sin(turn), cy: -radius * Math.cos(turn) };
  return [svg("circle", { class: "halo", ...at }), svg("circle", { class: "truth", ...at })];
}

// The index's small picture of the place, or a piece of the map's own imagery.
function discPicture(place) {
  const source = picture("tiles", place.tile, "jpeg");
  if (source) {
    const style = `transform:rotate(${tileTurn(place)}deg)`;
    return el("img", { src: source, alt: "", decoding: "async", style });
  }
  const overlay = overlays.find((found) => found.getBounds().contains([place.lat, place.lon]));
  if (!overlay) return el("span", { class: "missing" }, "no tile");
  const canvas = el("canvas", { width: DISC_PX, height: DISC_PX });
  const image = overlay.getElement();
  const draw = () => drawPiece(canvas.getContext("2d"), image, overlay.getBounds(), place);
  if (image.complete && image.naturalWidth) draw();
  else image.addEventListener("load", draw, { once: true });
  return canvas;
}

// Web Mercator is conformal: around a place, imagery only has to be turned and scaled.
function drawPiece(context, image, bounds, place) {
  const world = (lat, lon) => map.project([lat, lon], 0);
  const [corner, end] = [world(bounds.getNorth(), bounds.getWest()), world(bounds.getSouth(), bounds.getEast())];
  const perUnit = image.naturalWidth / (end.x - corner.x);
  const at = world(place.lat, place.lon).subtract(corner).multiplyBy(perUnit);
  const unitsPerMetre = 256 / (360 * METRES_PER_DEGREE * Math.cos(place.lat * RADIANS));
  const size = place.width_m * unitsPerMetre * perUnit * Math.SQRT2;
  const scale = (DISC_PX * Math.SQRT2) / size;
  context.translate(DISC_PX / 2, DISC_PX / 2);
  context.rotate(-(place.heading_deg ?? 0) * RADIANS);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, at.x - size / 2, at.y - size / 2, size, size,
    (-size * scale) / 2, (-size * scale) / 2, size * scale, size * scale);
}

function disc(place, photo) {
  const hasHeading = place.heading_deg !== undefined;
  const whole = photo.fov_deg >= 359;
  return el("span", { class: "disc", "aria-hidden": "true" },
    discPicture(place),
    svg("svg", { viewBox: "-50 -50 100 100" },
      hasHeading && !whole ? discWedge(photo) : null,
      hasHeading && whole ? svg("path", { class: "front", d: "M0 -6 V-48" }) : null,
      discNorth(place),
      ...discTruth(place, photo),
      svg("circle", { class: "eye", r: 3.2 })));
}
