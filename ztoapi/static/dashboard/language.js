// Which language the page speaks, and what it says in it.

import { chinese } from "./chinese.js";
import { setText } from "./dom.js";
import { english } from "./english.js";

const TEXT = { en: english, zh: chinese };
const KEPT = "ztoapi-language";

function chosen() {
  try {
    const kept = localStorage.getItem(KEPT);
    if (kept in TEXT) return kept;
  } catch { /* a browser that keeps nothing */ }
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

let language = chosen();

/** What numbers and dates are written for. */
export const locale = () => (language === "zh" ? "zh-CN" : "en");

/** The text of `key`, with `values` put in. */
export function say(key, values = {}) {
  return TEXT[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** The text of `group`.`word`; a word that the page does not know is shown as it is. */
export function name(group, word) {
  const key = `${group}.${word}`;
  return key in TEXT[language] ? TEXT[language][key] : word;
}

/** Write what stands in the page itself: `data-text` is an element's text, `data-label` its name, `data-hint` its placeholder. */
export function translate(root = document) {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = `${say("title")} · ztoapi`;
  for (const node of root.querySelectorAll("[data-text]")) setText(node, say(node.dataset.text));
  for (const node of root.querySelectorAll("[data-label]")) node.setAttribute("aria-label", say(node.dataset.label));
  for (const node of root.querySelectorAll("[data-hint]")) node.setAttribute("placeholder", say(node.dataset.hint));
}

export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  try { localStorage.setItem(KEPT, language); } catch { /* it holds for this page only */ }
}
