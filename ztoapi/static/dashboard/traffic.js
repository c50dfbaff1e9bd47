// The charts: their range, the span that is zoomed into, and where their columns come from.

import { ask } from "./access.js";
import { go, read, readSpan, watch } from "./address.js";
import { Cursor } from "./charts.js";
import { byId, setText } from "./dom.js";
import { span as length, stamp } from "./format.js";
import { HeatMap } from "./heat.js";
import { ALL, HistoryCharts, HistoryTable, OF_KEY } from "./history.js";
import { say } from "./language.js";
import { LiveCharts, WINDOW } from "./live.js";

const DAY = 86400;
const LIVE = "5m";
const RANGES = { [LIVE]: [10, 30], "1h": [60, 60], "24h": [600, 144], "7d": [3600, 168], "30d": [DAY, 30] }; // step, columns
const SHORTER = ["5m", "1h"]; // ranges that are shorter than the hours that are kept by key and model
const OF_DAY = [3600, 24];
const AGAIN_MS = { [LIVE]: 10000, "1h": 15000 }; // intervals of refreshing
const RARELY_MS = 60000;
const LOOK_MS = 2500;
const MEASURES = ["time_to_first_token", "inter_token", "duration"];
const CHOSEN = ["key", "model"]; // filters of the requests that the charts follow
const OTHERS = ["q", "status", "outcome", "ending", "platform", "credential", "error", "cache", "attempts"];

export class Traffic {
  /** `onStart` is called when the time of the gateway is known, and with it the span. */
  constructor(onStart) {
    this.onStart = onStart;
    this.stats = null;
    this.held = null; // the statistics with the seconds of the span, or false if they have no such seconds
    this.found = null;
    this.asking = null;
    this.askedAt = 0;
    this.paused = false;
    const cursor = new Cursor({ onSelect: (from, to) => go({ from, to }), onReset: () => this.reset() });
    this.live = new LiveCharts(byId("charts"), cursor);
    this.history = new HistoryCharts(byId("history-charts"), cursor, ALL);
    this.ofKey = new HistoryCharts(byId("key-charts"), cursor, OF_KEY);
    this.heat = new HeatMap(cursor);
    byId("heat").append(this.heat.element);
    this.table = new HistoryTable(byId("traffic-table"));
    for (const range of Object.keys(RANGES)) {
      byId(`range-${range}`).addEventListener("click", () => go({ range: range === LIVE ? null : range, from: null, to: null }));
    }
    for (const measure of MEASURES) {
      byId(`heat-${measure}`).addEventListener("click", () => go({ heat: measure === MEASURES[0] ? null : measure }));
    }
    byId("unzoom").addEventListener("click", () => this.reset());
    byId("unchoose").addEventListener("click", () => go({ ...Object.fromEntries(CHOSEN.map((name) => [name, null])), page: null }));
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.escape(event));
    watch(() => this.apply());
    this.apply();
    setInterval(() => this.look(), LOOK_MS);
  }

  /** Takes over range, span, filters and measure from the address. */
  apply() {
    const { range, heat, ...filters } = read();
    const span = readSpan();
    const chosen = CHOSEN.filter((name) => filters[name]).map((name) => [name, filters[name]]);
    const view = JSON.stringify([range, span, chosen]);
    this.others = OTHERS.some((name) => filters[name]);
    this.measure = MEASURES.includes(heat) ? heat : MEASURES[0];
    if (view !== this.view) {
      this.view = view;
      this.range = Object.hasOwn(RANGES, range) ? range : LIVE;
      this.span = span;
      this.chosen = chosen;
      this.held = null;
      this.found = null;
      if (this.stats) this.begin();
    }
    this.draw();
    if (this.found) this.drawNote();
  }

  /** Fetches what the statistics of the event stream do not have. */
  begin() {
    if (this.range === LIVE && this.span && !this.chosen.length) {
      const [from, to] = this.span;
      this.held = from >= this.stats.now - WINDOW && to - from <= WINDOW ? this.stats : false;
    }
    this.fetch();
  }

  /** A second of the event stream. */
  show(stats) {
    const first = this.stats === null;
    this.stats = stats;
    if (first) {
      this.begin();
      this.onStart();
    }
    this.draw();
  }

  reset() {
    go({ from: null, to: null });
  }

  /** In a dialog and in a field, Escape has another meaning. */
  escape(event) {
    if (this.span && !event.target.closest("dialog, input, select")) this.reset();
  }

  isLive() {
    return !this.chosen.length && this.range === LIVE && this.held !== false;
  }

  /** Returns the first second that is shown, and the one after the last; null before the time of the gateway is known. */
  bounds() {
    if (this.span) return this.span;
    if (!this.stats) return null;
    const [step, columns] = this.chosen.length && SHORTER.includes(this.range) ? OF_DAY : RANGES[this.range];
    const end = (Math.floor(this.stats.now / step) + 1) * step;
    return [end - columns * step, end];
  }

  look() {
    if (this.paused || document.hidden || !this.stats || (this.span && this.found)) return;
    if (performance.now() - this.askedAt >= (AGAIN_MS[this.range] ?? RARELY_MS)) this.fetch();
  }

  async fetch() {
    this.asking?.abort();
    const mine = (this.asking = new AbortController());
    this.askedAt = performance.now();
    const [from, to] = this.bounds();
    const query = new URLSearchParams([["from", from], ["to", to], ...this.chosen]);
    const response = await ask(`dashboard/history?${query}`, { signal: mine.signal, cache: "no-store" }).catch(() => null);
    const page = await response?.json().catch(() => null);
    if (mine !== this.asking || !page) return;
    if (!response.ok) {
      setText(byId("range-note"), page.error?.message ?? "");
      return;
    }
    const start = Math.floor(from / page.step) * page.step;
    this.found = {
      ...page,
      times: Array.from({ length: Math.ceil((to - start) / page.step) }, (_, at) => start + at * page.step),
      columns: new Map(page.columns.map((one) => [one.start, one])),
    };
    this.drawFound();
  }

  draw() {
    const chosen = this.chosen.length > 0;
    const ofKey = this.chosen.some(([name]) => name === "key");
    const range = chosen && SHORTER.includes(this.range) ? "24h" : this.range;
    for (const one of Object.keys(RANGES)) {
      byId(`range-${one}`).setAttribute("aria-pressed", String(one === range));
      byId(`range-${one}`).disabled = chosen && SHORTER.includes(one);
    }
    for (const measure of MEASURES) byId(`heat-${measure}`).setAttribute("aria-pressed", String(measure === this.measure));
    byId("heat-duration").disabled = chosen; // a model has no durations
    byId("unzoom").hidden = byId("span").hidden = !this.span;
    if (this.span) setText(byId("span"), spanText(this.span));
    byId("unchoose").hidden = byId("chosen").hidden = !chosen;
    setText(byId("chosen"), this.chosen.map(([name, value]) => say(`chosen.${name}`, { name: value })).join(" · "));
    byId("charts").hidden = !this.isLive();
    byId("history-charts").hidden = this.isLive() || ofKey;
    byId("key-charts").hidden = !ofKey;
    byId("heat").hidden = ofKey;
    if (this.stats && this.isLive()) this.live.show(this.held || this.stats, this.span);
    if (this.measure !== this.drawn) this.drawFound();
  }

  /** After a change of the language. */
  translate() {
    this.drawn = null;
    this.draw();
  }

  /** Draws what has been fetched. */
  drawFound() {
    this.drawn = this.measure;
    if (!this.found) return;
    const { times, columns, step } = this.found;
    if (!byId("key-charts").hidden) this.ofKey.show(times, columns, step);
    else if (!this.isLive()) this.history.show(times, columns, step);
    this.heat.fill(times, columns, step, this.measure);
    this.table.show(columns, step);
    this.drawNote();
  }

  drawNote() {
    const { step, kept } = this.found;
    const notes = [
      say("range.step", { step: length(this.isLive() ? 1 : step) }),
      ...(this.chosen.length ? [say("chosen.kept")] : []),
      ...(this.others ? [say("chosen.others")] : []),
    ];
    setText(byId("range-note"), kept || this.isLive() ? notes.join(" · ") : say("range.none"));
  }
}

function spanText([from, to]) {
  return `${stamp(from)} – ${stamp(to)}`;
}
