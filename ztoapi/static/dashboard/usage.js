// Cost and tokens by client key, model or day, for the days of the range. The gateway keeps them by day (UTC).

import { ask } from "./access.js";
import { go, read, watch } from "./address.js";
import { byId, el, setText } from "./dom.js";
import { NONE, brief, count, dayDate, money, percent } from "./format.js";
import { offer } from "./export.js";
import { say } from "./language.js";
import { link } from "./links.js";
import { nextOrder, Table } from "./table.js";

const DAY = 86400;
const AGAIN_MS = 60000;
const LABELS = ["key", "model", "day"];
const SUMS = ["requests", "denied", "input_tokens", "cached_tokens", "output_tokens", "cost_usd"];

const dayOf = (at) => new Date(at * 1000).toISOString().slice(0, 10);
const startOf = (day) => Date.parse(`${day}T00:00:00Z`) / 1000;
const sum = (rows, field) => rows.reduce((total, one) => total + one[field], 0);

/** Without a price there is no cost; with some it is too low. */
function cost(one) {
  if (one.unpriced_requests && !one.cost_usd) return NONE;
  return one.unpriced_requests ? `≥ ${money(one.cost_usd)}` : money(one.cost_usd);
}

/** The requests of a key, a model or a day. */
function filters(label, one) {
  if (label === "day") return { from: startOf(one.day), to: startOf(one.day) + DAY };
  return { [label]: one[label] };
}

function title(cell, one) {
  const { label } = one;
  const text = one[label] === null ? say(`usage.no_${label}`) : label === "day" ? dayDate(startOf(one.day)) : one[label];
  if (one[label] === null) cell.replaceChildren(text);
  else link(cell, text, filters(label, one));
}

/** A bar of the column by which the table is sorted, relative to the sum of all rows. */
function share(cell, one) {
  if (!cell.firstElementChild) cell.append(el("span"), el("i", { class: "meter", "aria-hidden": "true" }, el("i")));
  setText(cell.firstElementChild, percent(one.share));
  cell.lastElementChild.firstElementChild.style.transform = `scaleX(${(one.share ?? 0).toFixed(4)})`;
}

const number = (field) => ({ head: `usage.${field}`, class: "number", sort: field, text: (one) => count(one[field]) });

const COLUMNS = [
  { head: "usage.name", class: "cut", sort: "name", show: title },
  ...["requests", "denied", "input_tokens", "cached_tokens", "output_tokens"].map(number),
  { head: "usage.cost", class: "number", sort: "cost_usd", text: cost },
  { head: "usage.share", class: "number c-share", show: share },
];

export class Usage {
  /**
   * `announce` shows a text to screen readers; `bounds` returns the span of the charts in Unix seconds; `onNames` is called
   * with "key" or "model" and the names that were found.
   */
  constructor(announce, bounds, onNames) {
    Object.assign(this, { announce, bounds, onNames, found: null, asking: null });
    this.table = new Table({
      label: "usage", columns: COLUMNS, keyOf: (one) => String(one[one.label]), none: "usage.empty",
      onSort: (field) => go({ order: nextOrder(this.order, field) }),
    });
    byId("usage-table").append(this.table.element);
    for (const label of LABELS) {
      byId(`usage-${label}`).addEventListener("click", () => go({ by: label === LABELS[0] ? null : label, order: null }));
    }
    byId("usage-csv").addEventListener("click", () => this.save());
    watch(() => this.apply());
    setInterval(() => this.paused || document.hidden || this.fetch(), AGAIN_MS);
  }

  /** Takes over label and order from the address; `again` fetches in any case. */
  apply({ again = false } = {}) {
    const { by, order } = read();
    this.label = LABELS.includes(by) ? by : LABELS[0];
    this.order = order ?? null;
    const query = this.query();
    if (query !== this.asked || again) this.fetch();
    else this.draw();
  }

  /** Returns the query of the days of the span; null before it is known. */
  query() {
    const bounds = this.bounds();
    if (!bounds) return null;
    const [from, to] = bounds;
    return new URLSearchParams({ from: dayOf(from), to: dayOf(to - 1), by: this.label }).toString();
  }

  async fetch() {
    const query = (this.asked = this.query());
    if (query === null) return;
    const response = await ask(`admin/usage?${query}`, { cache: "no-store" }).catch(() => null);
    const found = response?.ok ? await response.json().catch(() => null) : null;
    if (query !== this.asked || !found) return;
    this.found = { ...found, label: this.label };
    if (this.label !== "day") this.onNames(this.label, found.usage.map((one) => one[this.label]).filter(Boolean));
    this.draw();
  }

  draw() {
    for (const label of LABELS) byId(`usage-${label}`).setAttribute("aria-pressed", String(label === this.label));
    if (!this.found) return;
    const { kept, usage, label, from, to } = this.found;
    this.table.empty.dataset.text = kept ? "usage.empty" : "range.none";
    setText(this.table.empty, say(this.table.empty.dataset.text));
    this.table.show(this.sorted(usage, label));
    this.table.showOrder(this.order);
    const tokens = sum(usage, "input_tokens") + sum(usage, "output_tokens");
    const days = [...new Set([from, to])].map((day) => dayDate(startOf(day))).join(" – ");
    setText(byId("usage-days"), say("usage.total", {
      days, requests: brief(sum(usage, "requests")), tokens: brief(tokens),
      cost: money(sum(usage, "cost_usd")),
    }));
    byId("usage-csv").disabled = !usage.length;
  }

  /** Without an order, days are sorted by time and the others by cost; without prices by output tokens. */
  sorted(usage, label) {
    const priced = sum(usage, "cost_usd") > 0 ? "cost_usd" : "output_tokens";
    const order = this.order ?? (label === "day" ? "-name" : `-${priced}`);
    const field = order.replace(/^-/, "");
    const sign = order.startsWith("-") ? -1 : 1;
    const measure = SUMS.includes(field) ? field : priced;
    const total = sum(usage, measure);
    const rows = usage.map((one) => ({ ...one, label, share: total ? one[measure] / total : null }));
    const name = (one) => one[label] ?? "";
    return rows.sort((one, other) => sign * (SUMS.includes(field) ? one[field] - other[field] : name(one).localeCompare(name(other))));
  }

  async save() {
    const response = await ask(`admin/usage?${this.asked}&format=csv`).catch(() => null);
    if (!response?.ok) return;
    offer(await response.blob(), "usage.csv");
    this.announce(say("usage.saved"));
  }
}
