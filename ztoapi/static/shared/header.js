// The buttons for the theme and the language.

import { byId, setText } from "./dom.js";
import { say, switchLanguage, translate } from "./language.js";

function showTheme(name) {
  const theme = byId("theme");
  theme.dataset.text = `theme.${name}`;
  setText(theme, say(theme.dataset.text));
}

/** `onLanguage` is called when the language has changed, and draws the texts that are not in the page itself. */
export function watchHeader(onLanguage) {
  showTheme(window.ztoapiTheme.get());
  byId("theme").addEventListener("click", () => showTheme(window.ztoapiTheme.next()));
  byId("language").addEventListener("click", () => {
    switchLanguage();
    translate();
    byId("language").lang = byId("language").textContent === "English" ? "en" : "zh-CN";
    onLanguage();
  });
}
