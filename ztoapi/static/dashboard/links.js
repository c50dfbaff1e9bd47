// Links from counters to the requests behind them, and the state of the page in its address.

import { el, setText } from "./dom.js";

const SHOW = "show-requests";

/** Returns the address of the page with these filters. */
const address = (filters) => `?${new URLSearchParams(filters)}#requests-title`;

/** Shows `text` in `box` as a link to the requests that `filters` select; a page in another tab works too. */
export function link(box, text, filters) {
  let anchor = box.firstElementChild;
  if (anchor?.className !== "to") {
    anchor = el("a", { class: "to", click: (event) => follow(event, anchor) });
    box.replaceChildren(anchor);
  }
  anchor.filters = filters;
  const href = address(filters);
  if (anchor.getAttribute("href") !== href) anchor.setAttribute("href", href);
  setText(anchor, text);
}

function follow(event, anchor) {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  document.dispatchEvent(new CustomEvent(SHOW, { detail: anchor.filters }));
}

/** Calls `show(filters)` when a link is followed. */
export const onLink = (show) => document.addEventListener(SHOW, (event) => show(event.detail));

/** The filters and the page in the address. */
export const readAddress = () => Object.fromEntries(new URLSearchParams(location.search));

/** Puts filters and page into the address, so that it can be passed on. */
export function writeAddress(filters, page) {
  const query = new URLSearchParams(filters);
  if (page > 1) query.set("page", page);
  const text = String(query);
  history.replaceState(null, "", text ? `?${text}` : location.pathname);
}
