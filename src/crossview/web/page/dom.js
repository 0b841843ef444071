// Elements without markup: text from outside only ever becomes text nodes and attributes.
// Sentences: those of the catalogue (languages/*.toml), which the page carries in its language.

const SVG = "http://www.w3.org/2000/svg";
const TEXTS = JSON.parse(document.getElementById("texts").textContent);
export const LANGUAGE = document.documentElement.lang;

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...present(children));
  return node;
}

// What there is of some nodes, lists of nodes and nothings.
export function present(nodes) {
  return nodes.flat().filter((node) => node !== null && node !== undefined && node !== false);
}

export function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function byId(id) {
  return document.getElementById(id);
}

// As crossview.texts.phrase: the text of a key; one that counts is chosen by `count`.
export function phrase(key, values = {}) {
  let text = key.split(".").reduce((table, name) => table[name], TEXTS);
  if (typeof text === "object") text = text[values.count === 1 ? "one" : "other"];
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export function number(value, digits = 0) {
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value.toLocaleString(LANGUAGE, options);
}

export function percent(share) {
  return phrase("map.percent", { number: number(100 * share) });
}

export function squareKm(area) {
  return area.toLocaleString(LANGUAGE, { maximumSignificantDigits: 2 });
}

export function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}`;
}

// For whoever cannot see what has changed.
export function say(text) {
  byId("live").textContent = text;
}
