// Links from counters to the requests behind them.

import { addressWith, OF_REQUESTS } from "./address.js";
import { el, setText } from "./dom.js";

const SHOW = "show-requests";

/** Returns the parameters of exactly these filters. Counters count all times, so the span of the charts is reset. */
const only = (filters) => ({
  ...Object.fromEntries([...OF_REQUESTS, "from", "to"].map((name) => [name, null])), ...filters,
});

/** Shows `text` in `box` as a link to the requests that `filters` select; a page in another tab works too. */
export function link(box, text, filters) {
  let anchor = box.firstElementChild;
  if (anchor?.className !== "to") {
    anchor = el("a", { class: "to", click: (event) => follow(event, anchor) });
    box.replaceChildren(anchor);
  }
  anchor.filters = filters;
  const href = `${addressWith(only(filters))}#requests-title`;
  if (anchor.getAttribute("href") !== href) anchor.setAttribute("href", href);
  setText(anchor, text);
}

const BETWEEN = "\u00a0· "; // a line breaks after it

/** Shows texts one after the other; a pair of a text and filters is a link. */
export function line(box, parts) {
  while (box.children.length < parts.length) box.append(...(box.children.length ? [BETWEEN] : []), el("span"));
  parts.forEach((part, at) => {
    if (Array.isArray(part)) link(box.children[at], ...part);
    else setText(box.children[at], part);
  });
}

function follow(event, anchor) {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  document.dispatchEvent(new CustomEvent(SHOW, { detail: only(anchor.filters) }));
}

/** Calls `show(parameters)` when a link is followed. */
export const onLink = (show) => document.addEventListener(SHOW, (event) => show(event.detail));
