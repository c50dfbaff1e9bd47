// The history by hour or by day.

import { ask } from "./access.js";
import { Chart, Cursor } from "./charts.js";
import { byId } from "./dom.js";
import { count, date, day, dayDate, duration, hour } from "./format.js";

const AGAIN_MS = 60000; // refresh interval
const SPANS = {
  hours: { step: 3600, columns: 168, when: hour, date, marked: (at) => new Date(at * 1000).getHours() === 0 },
  days: { step: 86400, columns: 30, when: day, date: dayDate, marked: (at) => (at / 86400) % 5 === 0 },
};

/** The columns and bars of each hour or day; a bar has its parts in front of it. */
const CHARTS = [
  ["requests", count, {
    requests: (one) => [one.requests, one.requests],
    cancelled: (one) => [one.cancelled, one.cancelled + one.refused + one.failed],
    refused: (one) => [one.refused, one.refused + one.failed],
    failed: (one) => [one.failed, one.failed],
  }],
  ["tokens", count, {
    input: (one) => [one.input_tokens, one.input_tokens + one.output_tokens],
    output: (one) => [one.output_tokens, one.output_tokens],
  }],
  ["duration", duration, { average: (one) => [one.average_seconds, one.average_seconds] }],
];

export class History {
  constructor() {
    this.span = "hours";
    this.found = null;
    const cursor = new Cursor();
    this.charts = CHARTS.map(([title, format, lists]) => ({
      pairs: Object.values(lists),
      chart: new Chart({
        title: `history.${title}`, series: Object.keys(lists), format, cursor, bars: true,
        when: (at) => SPANS[this.span].when(at), ticks: (times) => this.ticks(times),
      }),
    }));
    byId("history-charts").append(...this.charts.map(({ chart }) => chart.element));
    for (const span of Object.keys(SPANS)) byId(`history-${span}`).addEventListener("click", () => this.choose(span));
    setInterval(() => document.hidden || byId("history").hidden || this.fetch(), AGAIN_MS);
  }

  choose(span) {
    this.span = span;
    for (const one of Object.keys(SPANS)) byId(`history-${one}`).setAttribute("aria-pressed", String(one === span));
    this.draw();
  }

  /** Returns the starts of days, except where the text would exceed the right edge. */
  ticks(times) {
    const { marked, date } = SPANS[this.span];
    return times.map((at, column) => [column, at]).filter(([column, at]) => marked(at) && column < 0.92 * times.length)
      .map(([column, at]) => [column, date(at)]);
  }

  /** Fetches the hours and days. Without a history on the gateway nothing changes. */
  async fetch() {
    const response = await ask("dashboard/history", { cache: "no-store" }).catch(() => null);
    if (!response?.ok) return;
    this.found = await response.json();
    byId("history").hidden = !this.found.kept;
    this.draw();
  }

  draw() {
    if (!this.found) return;
    const { step, columns } = SPANS[this.span];
    const buckets = new Map(this.found[this.span].map((one) => [one.start, one]));
    const last = Math.max(...buckets.keys(), 0);
    const times = buckets.size ? Array.from({ length: columns }, (_, at) => last - (columns - 1 - at) * step) : [];
    const records = times.map((at) => buckets.get(at));
    for (const { chart, pairs } of this.charts) {
      const lists = (part) => pairs.map((pair) => records.map((one) => (one ? pair(one)[part] : null)));
      chart.show(times, lists(0), lists(1));
    }
  }
}
