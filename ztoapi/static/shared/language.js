// The language of the page, and its texts.

import { chinese } from "./chinese.js";
import { setText } from "./dom.js";
import { english } from "./english.js";

const TEXT = { en: english, zh: chinese };
const KEPT = "ztoapi-language";

function preference() {
  try {
    const choice = localStorage.getItem(KEPT);
    if (choice in TEXT) return choice;
  } catch { /* a browser that keeps nothing */ }
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

let language = preference();

/** The locale of numbers and dates. */
export const locale = () => (language === "zh" ? "zh-CN" : "en");

/** Returns the text of `key`, with `values` filled in. */
export function say(key, values = {}) {
  return TEXT[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Returns the text of `group`.`word`; an unknown word is shown unchanged. */
export function name(group, word) {
  const key = `${group}.${word}`;
  return key in TEXT[language] ? TEXT[language][key] : word;
}

/** Fills in the texts of the page itself: `data-text` is an element's text, `data-label` its name, `data-hint` its placeholder. */
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
