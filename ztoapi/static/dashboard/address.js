// The state of the page in its address: range and span of the charts, filters, order, page and the open request. A reload or
// another browser shows the same, and the browser's buttons go back and forward.

const LONGEST = 400 * 86400; // seconds of a span; the gateway keeps less
const watchers = [];

/** The parameters that select requests; the others belong to the charts and tables. */
export const OF_REQUESTS = ["q", "status", "outcome", "ending", "model", "key", "platform", "credential", "error", "cache",
  "attempts", "sort", "page", "request"];

/** Returns the parameters by name. */
export const read = () => Object.fromEntries(new URLSearchParams(location.search));

/** Returns the span of the charts as Unix seconds, or null: an address may hold anything. */
export function readSpan() {
  const { from, to } = read();
  const [first, last] = [from, to].map((text) => (/^\d{1,11}$/.test(text) ? Number(text) : NaN));
  return first < last && last - first <= LONGEST ? [first, last] : null;
}

/** Returns the address with `changes`; a null or empty value removes the parameter. */
export function addressWith(changes) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") query.delete(name);
    else query.set(name, value);
  }
  const text = String(query);
  return text ? `?${text}` : location.pathname;
}

/** Changes parameters. With `replace`, the browser's back button does not return to the state before. */
export function go(changes, { replace = false } = {}) {
  const address = addressWith(changes);
  if (address === (location.search || location.pathname)) return;
  history[replace ? "replaceState" : "pushState"](null, "", address);
  watchers.forEach((watcher) => watcher());
}

/** Calls `watcher` whenever parameters have changed. */
export const watch = (watcher) => watchers.push(watcher);

addEventListener("popstate", () => watchers.forEach((watcher) => watcher()));
