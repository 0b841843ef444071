// Results as files, and as an address that holds them without the photo.

import { state } from "./state.js";

const SHARED = "#result=";

function facts(photo, place) {
  const { answer } = photo;
  return {
    photo: photo.name, rank: place.rank, score: place.score, heading_deg: place.heading_deg ?? null,
    probability: place.probability ?? null, kind: answer.kind, fov_deg: answer.fov_deg, confidence: answer.confidence,
  };
}

function everyPlace(photos) {
  return photos.filter((photo) => photo.answer).flatMap((photo) =>
    photo.answer.places.map((place) => ({ lat: place.lat, lon: place.lon, ...facts(photo, place) })));
}

export function geojson(photos) {
  const features = everyPlace(photos).map(({ lat, lon, ...properties }) => ({
    type: "Feature", geometry: { type: "Point", coordinates: [lon, lat] }, properties,
  }));
  return JSON.stringify({ type: "FeatureCollection", features }, null, 1);
}

function cell(value) {
  const text = value === null ? "" : String(value);
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function csv(photos) {
  const columns = ["photo", "rank", "lat", "lon", "score", "heading_deg", "probability", "kind", "fov_deg", "confidence"];
  const rows = everyPlace(photos).map((place) => columns.map((name) => cell(place[name])).join(","));
  return `${[columns.join(","), ...rows].join("\n")}\n`;
}

function escaped(text) {
  return String(text).replace(/[<>&"']/g, (sign) => `&#${sign.charCodeAt(0)};`).replace(/[^\P{C}\n\t]/gu, "\uFFFD");
}

export function kml(photos) {
  const marks = everyPlace(photos).map((place) => `<Placemark><name>${place.rank}</name>`
    + `<description>${escaped(`${place.photo}: ${place.confidence}`)}</description>`
    + `<LookAt><longitude>${place.lon}</longitude><latitude>${place.lat}</latitude>`
    + `<heading>${place.heading_deg ?? 0}</heading><tilt>0</tilt><range>250</range></LookAt>`
    + `<ExtendedData><Data name="score"><value>${place.score}</value></Data></ExtendedData>`
    + `<Point><coordinates>${place.lon},${place.lat}</coordinates></Point></Placemark>`);
  return '<?xml version="1.0" encoding="UTF-8"?>\n<kml xmlns="http://www.opengis.net/kml/2.2"><Document>'
    + `<name>crossview places</name>\n${marks.join("\n")}\n</Document></kml>\n`;
}

export const FORMATS = {
  geojson: ["application/geo+json", geojson],
  kml: ["application/vnd.google-earth.kml+xml", kml],
  csv: ["text/csv", csv],
};

export function save(kind) {
  const [type, write] = FORMATS[kind];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([write(state.photos)], { type }));
  link.download = `places.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function base64url(text) {
  const bytes = new TextEncoder().encode(text);
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// The part behind "#" is never sent to a server. Neither the photo nor its name is in it.
export function address(photo) {
  const { answer } = photo;
  const places = answer.places.map((place) => [place.lat, place.lon, place.score, place.heading_deg ?? null, place.window]);
  const told = { v: 1, region: state.region.name, kind: answer.kind, fov: answer.fov_deg, confidence: answer.confidence, places };
  return `${location.origin}${location.pathname}${SHARED}${base64url(JSON.stringify(told))}`;
}

// What an address holds, or null; whatever is not as we write it is left out.
export function sharedResult(hash) {
  if (!hash.startsWith(SHARED)) return null;
  try {
    const text = atob(hash.slice(SHARED.length).replaceAll("-", "+").replaceAll("_", "/"));
    const told = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (c) => c.charCodeAt(0))));
    const numbers = told.places.slice(0, 100).map((place) => place.map((value) => (value === null ? null : Number(value))));
    if (told.v !== 1 || numbers.some(([lat, lon, score]) => ![lat, lon, score].every(Number.isFinite))) return null;
    return { ...told, fov: Number(told.fov), confidence: String(told.confidence).slice(0, 300), places: numbers };
  } catch {
    return null;
  }
}
