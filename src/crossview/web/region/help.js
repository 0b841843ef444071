// How to read the page, and its keys.

import { byId, el } from "./dom.js";

export function drawHelp() {
  const keys = [
    ["\u2191 \u2193", "place before and after"], ["1 \u2026 9", "place by rank"], ["j  k", "next and previous photo"],
    ["h", "heat on or off"], ["z", "zoom to the place"], ["r", "whole region"], ["a", "search area"], ["o", "choose photos"], ["?", "this help"],
  ];
  byId("help").append(
    el("h2", { id: "help-title" }, "Reading this map"),
    el("p", {}, "Heat shows how well each part of the region fits the photo, from this photo's median score (dark) to its best (bright). ",
      "Pins are places, best first. The wedge is what the camera sees; drag its edges to change the field of view."),
    el("p", {}, "A score is no probability. When no place stands out, this does not mean the photo is from elsewhere."),
    el("dl", { class: "keys" }, keys.map(([key, text]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, text)))),
    el("form", { method: "dialog" }, el("button", { class: "primary" }, "Close")));
  byId("help-open").addEventListener("click", () => byId("help").showModal());
}
