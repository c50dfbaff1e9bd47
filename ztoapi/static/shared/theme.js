// Runs before the first paint, so that a page never flashes in the wrong colours. A module would run too late.
"use strict";
(() => {
  const THEMES = ["auto", "light", "dark"];
  const read = (name) => {
    try { return localStorage.getItem(name); } catch { return null; }
  };
  const show = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  };
  let theme = THEMES.includes(read("ztoapi-theme")) ? read("ztoapi-theme") : "auto";
  show(theme);
  window.ztoapiTheme = {
    get: () => theme,
    next: () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      try { localStorage.setItem("ztoapi-theme", theme); } catch { /* it holds for this page only */ }
      show(theme);
      return theme;
    },
  };
})();
