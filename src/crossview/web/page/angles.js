// Bearings (degrees clockwise from north), metres, and how both are written.

import { el, number, phrase } from "./dom.js";

export const RADIANS = Math.PI / 180;
export const METRES_PER_DEGREE = 6371008.8 * RADIANS;

export function wind(degrees) {
  return phrase("map.winds").split(" ")[Math.round(wrapped(degrees) / 45) % 8];
}

export function wrapped(degrees) {
  return ((degrees % 360) + 360) % 360;
}

export function metres(value) {
  if (value >= 1000) return `${number(value / 1000, value < 10000 ? 1 : 0)} km`;
  return `${number(value, value < 10 ? 1 : 0)} m`;
}

// A longitude in [-180, 180): on the map it may count on where a region crosses 180.
export function wrappedLon(lon) {
  return wrapped(lon + 180) - 180;
}

// The way to count a longitude that lies nearest to another one.
export function lonNear(lon, other) {
  return lon + 360 * Math.round((other - lon) / 360);
}

export function coordinates(point) {
  return `${point.lat.toFixed(6)}, ${wrappedLon(point.lon).toFixed(6)}`;
}

// A page of openstreetmap.org that marks the point: only ever a link, nothing is fetched.
export function mapAddress(point) {
  const [lat, lon] = [point.lat.toFixed(7), wrappedLon(point.lon).toFixed(7)];
  return `https://www.openstreetmap.org/?mlat=${lat}&mlon=${lon}#map=19/${lat}/${lon}`;
}

export function mapLink(point) {
  const attributes = { href: mapAddress(point), target: "_blank", rel: "noopener noreferrer" };
  return el("a", attributes, "openstreetmap.org");
}

// The place `distance` metres from `from` along a bearing, on the local tangent plane.
export function along(from, bearing, distance) {
  const north = (distance * Math.cos(bearing * RADIANS)) / METRES_PER_DEGREE;
  const east = (distance * Math.sin(bearing * RADIANS)) / METRES_PER_DEGREE;
  return [from.lat + north, from.lon + east / Math.cos(from.lat * RADIANS)];
}

// The bearing from one point to another.
export function bearingTo(from, to) {
  const [east, north] = offset(from, to);
  return wrapped(Math.atan2(east, north) / RADIANS);
}

// How far apart two bearings are: 0 to 180.
export function turnBetween(one, other) {
  return Math.abs(wrapped(one - other + 180) - 180);
}

export function circle(centre, radius) {
  return Array.from({ length: 72 }, (_, i) => along(centre, 5 * i, radius));
}

// The corners of a place's window.
export function cornersOf({ footprint }) {
  const half = Math.hypot(footprint.width_m, footprint.height_m) / 2;
  const corner = Math.atan2(footprint.width_m, footprint.height_m) / RADIANS;
  const up = footprint.up_bearing_deg;
  return [-corner, corner, 180 - corner, 180 + corner].map((turn) => along(footprint, up + turn, half));
}

// East and north metres from one point to another.
export function offset(from, to) {
  const north = (to.lat - from.lat) * METRES_PER_DEGREE;
  return [(lonNear(to.lon, from.lon) - from.lon) * METRES_PER_DEGREE * Math.cos(from.lat * RADIANS), north];
}

// Bearing seen at a share (0 left, 1 right) of the picture's width.
export function bearingAt(share, photo, heading) {
  const from = share - 0.5;
  if (photo.kind === "panorama") return wrapped(heading + from * photo.fov_deg);
  const half = Math.tan((Math.min(photo.fov_deg, 170) / 2) * RADIANS);
  return wrapped(heading + Math.atan(2 * from * half) / RADIANS);
}

// The inverse of bearingAt: a share of the width, or null outside of the picture.
export function shareAt(bearing, photo, heading) {
  const turn = wrapped(bearing - heading + 180) - 180;
  if (Math.abs(turn) > photo.fov_deg / 2) return null;
  if (photo.kind === "panorama") return 0.5 + turn / photo.fov_deg;
  const half = Math.tan((Math.min(photo.fov_deg, 170) / 2) * RADIANS);
  return 0.5 + Math.tan(turn * RADIANS) / (2 * half);
}
