// Everything that is asked of the server.

import { wrappedLon } from "./angles.js";
import { LANGUAGE, phrase } from "./dom.js";

const KEY = "crossview-key";
let key = sessionStorage.getItem(KEY) || "";

class Problem extends Error {
  constructor(status, code, detail) {
    super(detail);
    Object.assign(this, { status, code });
  }
}

export function useKey(given) {
  key = given.trim();
  sessionStorage.setItem(KEY, key);
}

function headers() {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function asked(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new Problem(0, "offline", phrase("map.offline"));
  }
  if (response.ok) return response;
  let facts = {};
  try { facts = await response.json(); } catch { /* no problem document */ }
  const detail = facts.detail || phrase("map.answered", { status: response.status });
  throw new Problem(response.status, facts.code || "refused", detail);
}

const pause = (seconds) => new Promise((resolve) => { setTimeout(resolve, 1000 * seconds); });

// Busy servers say when to come back; a person would only press the button again.
async function patiently(path, options) {
  for (let trial = 0; ; trial += 1) {
    try {
      return await asked(path, options);
    } catch (problem) {
      if (problem.status !== 429 || trial >= 4) throw problem;
      await pause(1 + 2 * trial);
    }
  }
}

export async function regions() {
  return (await asked("/v1/regions")).json();
}

export async function cells(region) {
  return (await asked(`/v1/regions/${region.name}/cells?v=${region.version}`)).json();
}

// GeoJSON: longitude first, and the first corner again at the end.
function polygonOf(ring) {
  const corner = ([lat, lon]) => [Number(wrappedLon(lon).toFixed(7)), Number(lat.toFixed(7))];
  return { type: "Polygon", coordinates: [[...ring, ring[0]].map(corner)] };
}

function query(region, hints, area, claim) {
  const given = new URLSearchParams({ region: region.name, heat: "true", view: "true", language: LANGUAGE });
  if (claim) given.set("claim", `${claim.lat.toFixed(7)},${claim.lon.toFixed(7)}`);
  if (hints.fov) given.set("fov", hints.fov.toFixed(1));
  if (hints.heading !== undefined && hints.heading !== null) {
    given.set("heading", hints.heading.toFixed(1));
    if (hints.sigma) given.set("heading_sigma", hints.sigma);
  }
  if (hints.ignoreDirection) given.set("ignore_direction", "true");
  if (area?.ring) given.set("area", JSON.stringify(polygonOf(area.ring)));
  else if (area) {
    given.set("near", `${area.lat.toFixed(7)},${wrappedLon(area.lon).toFixed(7)}`);
    given.set("within", (area.metres / 1000).toFixed(4));
  }
  return given;
}

function form(files) {
  const body = new FormData();
  for (const file of files) body.append("photo", file, file.name);
  return body;
}

export async function locate(region, file, { hints, area, claim }, signal) {
  const path = `/v1/locate?${query(region, hints, area, claim)}`;
  const response = await patiently(path, { method: "POST", body: form([file]), signal });
  return (await response.json()).answers[0];
}

export async function startJob(region, files, { area, claim }) {
  const path = `/v1/jobs?${query(region, {}, area, claim)}`;
  return (await patiently(path, { method: "POST", body: form(files) })).json();
}

export async function cancelJob(job) {
  await asked(`/v1/jobs/${job}`, { method: "DELETE" });
}

// Server-sent events by fetch: an EventSource cannot carry a key.
export async function* jobEvents(job) {
  const response = await asked(`/v1/jobs/${job}/events`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const kind = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (kind && data) yield [kind, JSON.parse(data)];
    }
  }
}

// A picture of the API in an <img>, also where a key is needed.
export async function showPicture(image, path) {
  if (!key) {
    image.src = path;
    return;
  }
  const blob = await (await asked(path)).blob();
  image.src = URL.createObjectURL(blob);
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
}
