// Two conveniences; everything on the page can be read without them.
"use strict";
(() => {
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // A run that is chosen stays as it is in every chart; the others fade.
  const buttons = [...document.querySelectorAll("button[data-run]")];
  const show = (run) => {
    for (const part of document.querySelectorAll('svg g[class^="run-"]')) {
      part.style.opacity = run === null || part.classList.contains(`run-${run}`) ? "" : "0.1";
    }
  };
  const chosen = () => buttons.find((b) => b.getAttribute("aria-pressed") === "true");
  for (const button of buttons) {
    button.disabled = false;
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      for (const other of buttons) other.setAttribute("aria-pressed", String(on && other === button));
      show(on ? button.dataset.run : null);
    });
    button.addEventListener("mouseenter", () => show(button.dataset.run));
    button.addEventListener("mouseleave", () => show(chosen()?.dataset.run ?? null));
  }
})();
