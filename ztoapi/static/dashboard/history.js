// The charts of the history: bars and lines over minutes, hours or days, and the same as a table. A model has the charts that
// are kept for it; a key has its usage only.

import { Chart } from "./charts.js";
import { brief, count, duration, money, percent } from "./format.js";
import { Table } from "./table.js";
import { ticks, when } from "./ticks.js";

/** Quantiles of a distribution; the first series is below the others. */
const quantiles = (name) => ({ p99: (one) => one[name]?.p99 ?? null, p50: (one) => one[name]?.p50 ?? null });

const TOKENS = ["tokens", brief, {
  input: (one) => [one.input_tokens, one.input_tokens + one.output_tokens],
  output: (one) => [one.output_tokens, one.output_tokens],
}];
const COST = ["cost", money, { cost: (one) => spent(one) }];

/** The bars or lines of each column. A bar is its value and its height: it has its parts in front of it. */
export const ALL = [
  ["requests", brief, {
    requests: (one) => [one.requests, one.requests],
    cancelled: (one) => [one.cancelled, one.cancelled + one.refused + one.failed],
    refused: (one) => [one.refused, one.refused + one.failed],
    failed: (one) => [one.failed, one.failed],
  }],
  TOKENS,
  ["failures", percent, { failed: (one) => failures(one) }, { floor: 0.01 }],
  ["ttft", duration, quantiles("time_to_first_token")],
  ["inter_token", duration, quantiles("inter_token")],
  ["duration", duration, quantiles("duration"), { field: "duration" }],
  [...COST, { field: "cost_usd" }],
];
export const OF_KEY = [
  ["requests", brief, {
    requests: (one) => [one.requests, one.requests],
    denied: (one) => [one.denied, one.denied],
  }],
  TOKENS,
  COST,
];
const IN_ROW = 3; // of a wide screen
const BARS = new Set(["requests", "tokens", "cost"]);

/** Without a price there is no cost. */
function spent(one) {
  return one.unpriced_requests && !one.cost_usd ? null : one.cost_usd ?? null;
}

/** The share of failures, without refused requests. */
function failures(one) {
  const asked = one.requests - one.refused;
  return asked > 0 ? Math.min(one.failed / asked, 1) : null;
}

export class HistoryCharts {
  /** `charts` are ALL or OF_KEY. */
  constructor(box, cursor, charts) {
    this.step = 1;
    this.charts = charts.map(([title, format, lists, { floor = 0, field = null } = {}]) => ({
      field,
      pick: Object.values(lists),
      chart: new Chart({
        title: `history.${title}`, series: Object.keys(lists), format, cursor, floor, bars: BARS.has(title),
        when: (at) => when(at, this.step), ticks: (times) => ticks(times, this.step),
      }),
    }));
    box.append(...this.charts.map(({ chart }) => chart.element));
  }

  /** Draws `columns`, of which each is found by its time. Charts of a field that they do not have are hidden. */
  show(times, columns, step) {
    this.step = step;
    const records = times.map((at) => columns.get(at));
    for (const { chart, field } of this.charts) {
      chart.element.hidden = field !== null && !records.some((one) => one && field in one);
    }
    // A last one that is alone in its row fills it.
    const shown = this.charts.filter(({ chart }) => !chart.element.hidden);
    this.charts.at(-1).chart.element.classList.toggle("alone", shown.length % IN_ROW === 1);
    for (const { chart, pick } of this.charts) {
      const lists = (part) => pick.map((of) => records.map((one) => {
        const value = one ? of(one) : null;
        return Array.isArray(value) ? value[part] : value;
      }));
      chart.show(times, lists(0), lists(1));
    }
  }
}

const numbers = (names) => names.map((field) => ({
  head: `column.${field}`, class: "number", text: (one) => count(one[field]),
}));
const times = (field, words) => words.map((word) => ({
  head: `column.${field}.${word}`, class: "number", text: (one) => duration(one[field]?.[word]),
}));

const COLUMNS = [
  { head: "column.start", class: "c-when", text: (one) => when(one.start, one.step) },
  ...numbers(["requests", "failed", "refused", "cancelled", "input_tokens", "output_tokens"]),
  ...times("time_to_first_token", ["p50", "p99"]),
  ...times("inter_token", ["p50", "p99"]),
  ...times("duration", ["p50", "p99"]),
  { head: "usage.cost", class: "number", text: (one) => money(spent(one)) },
];

/** The columns of the charts as a table, which is filled while it is open. */
export class HistoryTable {
  constructor(details) {
    this.details = details;
    this.records = [];
    this.table = new Table({ label: "traffic.table", columns: COLUMNS, keyOf: (one) => one.start, none: "chart.empty" });
    details.append(this.table.element);
    details.addEventListener("toggle", () => this.draw());
  }

  /** The newest first. */
  show(columns, step) {
    this.records = [...columns.values()].map((one) => ({ ...one, step })).reverse();
    this.draw();
  }

  draw() {
    if (this.details.open) this.table.show(this.records);
  }
}
