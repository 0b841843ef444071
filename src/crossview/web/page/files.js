// Results as files, and as an address that holds them without the photo.

import { along, mapAddress } from "./angles.js";
import { state } from "./state.js";

const SHARED = "#result=";

// The columns of crossview.outputs.records, which every format carries; a test compares them.
const COLUMNS = [
  "photo", "rank", "lat", "lon", "position_sigma_m", "score", "heading_deg", "heading_sigma_deg", "probability",
  "error_m", "openstreetmap", "kind", "fov_deg", "fov_source", "heading_source", "confidence", "advice", "assumptions",
  "warnings", "truth", "window", "sha256",
];

const CLAIM_COLUMNS = [
  "claim_lat", "claim_lon", "claim_says", "claim_inside", "claim_rank", "claim_windows", "claim_percentile",
  "claim_score", "claim_heading_deg", "claim_probability", "claim_listed",
];

function exportRow(photo, place) {
  const row = { ...photo.answer, ...place, photo: photo.name, openstreetmap: mapAddress(place) };
  return Object.fromEntries(COLUMNS.filter((name) => isTold(row[name])).map((name) => [name, row[name]]));
}

function claimed(photos) {
  return photos.filter((photo) => photo.answer?.claim).map((photo) => [photo, photo.answer.claim]);
}

export function isTold(value) {
  return value !== undefined && value !== null;
}

function everyRow(photos) {
  return photos.filter((photo) => photo.answer).flatMap((photo) =>
    photo.answer.places.map((place) => exportRow(photo, place)));
}

// What the cameras saw: wedges, of pictures all around a line to their fronts; and how long these are drawn.
function everyView(photos) {
  return photos.filter((photo) => photo.answer).flatMap(({ name, answer }) =>
    answer.places.filter((place) => place.view).map((place) => {
      const { length_m, ring } = place.view;
      const front = along(place, place.heading_deg, length_m);
      const isAround = answer.fov_deg >= 359;
      const points = (isAround ? [[place.lat, place.lon], front] : ring).map(([lat, lon]) => [lon, lat]);
      return { photo: name, place, length_m, fov_deg: answer.fov_deg, isAround, points };
    }));
}

function text(value) {
  if (Array.isArray(value)) return value.join("; ");
  return typeof value === "object" ? Object.values(value).join(", ") : String(value);
}

function geojson(photos) {
  const features = everyRow(photos).map(({ lat, lon, ...properties }) => ({
    type: "Feature", geometry: { type: "Point", coordinates: [lon, lat] }, properties: { role: "place", ...properties },
  }));
  const claims = claimed(photos).map(([{ name }, { lat, lon, ...facts }]) => ({
    type: "Feature", geometry: { type: "Point", coordinates: [lon, lat] },
    properties: { role: "claim", photo: name, ...facts },
  }));
  const views = everyView(photos).map(({ photo, place, length_m, fov_deg, isAround, points }) => ({
    type: "Feature",
    geometry: isAround ? { type: "LineString", coordinates: points } : { type: "Polygon", coordinates: [points] },
    properties: { role: "view", photo, rank: place.rank, heading_deg: place.heading_deg, fov_deg, length_m },
  }));
  return JSON.stringify({ type: "FeatureCollection", features: [...features, ...views, ...claims] }, null, 1);
}

function cell(value) {
  if (!isTold(value)) return "";
  const plain = text(value);
  const safe = typeof value !== "number" && /^[=+\-@\t\r\uFF1D\uFF0B\uFF0D\uFF20]/.test(plain) ? `'${plain}` : plain;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function csv(photos) {
  const columns = claimed(photos).length ? [...COLUMNS, ...CLAIM_COLUMNS] : COLUMNS;
  const rows = photos.flatMap((photo) => {
    const claim = Object.entries(photo.answer?.claim ?? {}).map(([name, value]) => [`claim_${name}`, value]);
    return everyRow([photo]).map((row) => ({ ...row, ...Object.fromEntries(claim) }));
  });
  return `${[columns, ...rows.map((row) => columns.map((name) => cell(row[name])))].join("\n")}\n`;
}

function escaped(text) {
  return String(text).replace(/[<>&"']/g, (sign) => `&#${sign.charCodeAt(0)};`).replace(/[^\P{C}\n\t]/gu, "\uFFFD");
}

function kml(photos) {
  const marks = everyRow(photos).map((row) => `<Placemark><name>${row.rank}</name>`
    + `<description>${escaped([`${row.photo}: ${row.confidence}`, ...row.warnings, row.openstreetmap].join("\n"))}</description>`
    + `<LookAt><longitude>${row.lon}</longitude><latitude>${row.lat}</latitude>`
    + `${isTold(row.heading_deg) ? `<heading>${row.heading_deg}</heading><tilt>60</tilt>` : "<tilt>0</tilt>"}`
    + "<range>250</range></LookAt>"
    + `<ExtendedData>${Object.entries(row).filter(([name]) => !["lat", "lon"].includes(name)).map(([name, value]) =>
      `<Data name="${name}"><value>${escaped(text(value))}</value></Data>`).join("")}</ExtendedData>`
    + `<Point><coordinates>${row.lon},${row.lat}</coordinates></Point></Placemark>`);
  const views = everyView(photos).map(({ photo, place, isAround, points }) => {
    const line = `<coordinates>${points.join(" ")}</coordinates>`;
    const shape = isAround ? `<LineString><tessellate>1</tessellate>${line}</LineString>`
      : `<Polygon><tessellate>1</tessellate><outerBoundaryIs><LinearRing>${line}</LinearRing></outerBoundaryIs></Polygon>`;
    return `<Placemark><name>${escaped(`${photo} ${place.rank} view`)}</name>${shape}</Placemark>`;
  });
  const claims = claimed(photos).map(([{ name }, { lat, lon, says }]) => "<Placemark><name>claim</name>"
    + `<description>${escaped(`${name}: ${says}`)}</description><Point><coordinates>${lon},${lat}</coordinates></Point></Placemark>`);
  return '<?xml version="1.0" encoding="UTF-8"?>\n<kml xmlns="http://www.opengis.net/kml/2.2"><Document>'
    + `<name>crossview places</name>\n${[...marks, ...views, ...claims].join("\n")}\n</Document></kml>\n`;
}

export const FORMATS = {
  geojson: { label: "GeoJSON", type: "application/geo+json", write: geojson },
  kml: { label: "KML", type: "application/vnd.google-earth.kml+xml", write: kml },
  csv: { label: "CSV", type: "text/csv", write: csv },
};

export function save(kind) {
  const { type, write } = FORMATS[kind];
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
