// Charts over time, as SVG: lines or bars over a fixed grid. Each second only the `d` of paths and a few texts change, so
// the page needs no new layout.

import { el, setText, svg } from "./dom.js";
import { NONE } from "./format.js";
import { name, say } from "./language.js";

export const HEIGHT = 100; // of the drawing, which is stretched to its box; lines keep their width
const FAR = 30; // columns that Page Up and Page Down move by
const RECENT = 10; // columns to search for the newest value

const STEPS = [1, 1.2, 1.6, 2, 4, 6, 8, 10]; // times a power of ten: round numbers, whose halves are round too

/** Returns the smallest round number that is at least `value`. */
function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return STEPS.map((step) => step * power).find((step) => step >= value * 0.999);
}

/**
 * The moment that all charts of a group point at: Unix seconds, or null for the newest; and the span that is being marked.
 * `onSelect(from, to)` is called for a span, `onReset()` to return to the whole range.
 */
export class Cursor {
  constructor({ onSelect, onReset }) {
    Object.assign(this, { at: null, marked: null, charts: [], onSelect, onReset });
  }

  point(at) {
    if (at === this.at) return;
    this.at = at;
    this.charts.forEach((chart) => chart.drawCursor());
  }

  /** Marks the columns from one to the other; null marks nothing. */
  mark(span) {
    this.marked = span;
    this.charts.forEach((chart) => chart.drawMark());
  }

  /** Selects the marked columns, which are `step` seconds long. One column is no span. */
  select(step) {
    const span = this.marked;
    this.mark(null);
    if (span && span[0] !== span[1]) this.onSelect(Math.min(...span), Math.max(...span) + step);
  }
}

/**
 * `title` is the key of the heading; `series` are words of the group "series"; `format` formats a value, `when` a time;
 * `ticks` returns the labels below, as columns and texts; `bars` draws bars instead of lines. For screen readers the chart
 * is a slider over time that announces the values.
 */
export class Chart {
  constructor({ title, series, format, when, ticks, cursor, bars = false, floor = 0 }) {
    Object.assign(this, { title, series, format, when, ticks, cursor, bars, floor, times: [], values: [] });
    this.middleOf = bars ? 0.5 : 0; // of a column
    this.paths = series.map((one) => [svg("path", { class: `area ${one}` }), svg("path", { class: `line ${one}` })]);
    this.line = svg("path", { class: "cursor" });
    this.mark = svg("path", { class: "mark" });
    this.grid = svg("path", { class: "grid" });
    this.svg = svg("svg", { viewBox: `0 0 1 ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
      this.grid, this.paths.flat(), this.mark, this.line);
    this.dragged = null; // the column where the pointer went down
    this.top = el("span", { class: "y" });
    this.middle = el("span", { class: "y middle" });
    this.empty = el("span", { class: "empty", "data-text": "chart.empty" }, say("chart.empty"));
    this.plot = el("div", {
      class: "plot", role: "slider", tabindex: "0", "aria-valuemin": "0",
      pointerdown: (event) => this.grab(event), pointermove: (event) => this.pointAt(event),
      pointerup: () => this.release(), pointercancel: () => this.release({ keep: false }),
      pointerleave: () => this.cursor.point(null), dblclick: () => this.cursor.onReset(),
      keydown: (event) => this.press(event), blur: () => this.leave(),
    }, this.svg, this.top, this.middle, this.empty);
    this.shown = series.map(() => el("b"));
    this.names = series.map(() => el("span"));
    this.time = el("span", { class: "quiet time" });
    this.heading = el("h3", { "data-text": title }, say(title));
    this.legend = el("ul", { class: "legend" }, series.map((one, at) =>
      el("li", {}, el("i", { class: one }), series.length > 1 ? this.names[at] : null, this.shown[at])));
    this.axis = el("div", { class: `x quiet ${bars ? "of-bars" : ""}`, "aria-hidden": "true" });
    this.element = el("figure", { class: `chart card ${bars ? "columns" : ""}` },
      el("figcaption", {}, this.heading, this.time, this.legend), this.plot, this.axis);
    cursor.charts.push(this);
  }

  /**
   * `times` are the columns, in Unix seconds; `values` has a list for each series, with null for missing values. `drawn`
   * replaces them in the drawing, for example with sums; the first series is below the others.
   */
  show(times, values, drawn = values) {
    this.times = times;
    this.values = values;
    this.highest = drawn.flat().reduce((most, value) => Math.max(most, value ?? 0), 0);
    this.scale = ceiling(Math.max(this.highest, this.floor));
    const some = values.some((list) => list.some((value) => value !== null));
    this.empty.hidden = some;
    this.svg.setAttribute("viewBox", `0 0 ${this.width()} ${HEIGHT}`);
    this.grid.setAttribute("d", `M0 0H${this.width()}M0 ${HEIGHT / 2}H${this.width()}`);
    drawn.forEach((list, at) => {
      const [area, line] = this.bars ? ["", this.barsPath(list)] : this.linePaths(list);
      this.paths[at][0].setAttribute("d", area);
      this.paths[at][1].setAttribute("d", line);
    });
    setText(this.top, some ? this.format(this.scale) : "");
    const half = this.format(this.scale / 2);
    setText(this.middle, some && half !== this.top.textContent ? half : "");  // a scale of 1 has no whole half
    this.axisTexts();
    this.drawMark();
    this.drawCursor();
  }

  width() {
    return this.bars ? this.times.length : Math.max(this.times.length - 1, 1);
  }

  y(value) {
    return (HEIGHT * (1 - value / this.scale)).toFixed(1);
  }

  linePaths(list) {
    let line = "";
    let area = "";
    let start = -1;
    for (let at = 0; at <= list.length; at += 1) {
      const value = at < list.length ? list[at] : null;
      if (value !== null) {
        const point = `${at + this.middleOf} ${this.y(value)}`;
        line += start < 0 ? `M${point}h0` : `L${point}`;
        area += start < 0 ? `M${at + this.middleOf} ${HEIGHT}V${this.y(value)}` : `L${point}`;
        if (start < 0) start = at;
      } else if (start >= 0) {
        area += `V${HEIGHT}Z`;
        start = -1;
      }
    }
    return [area, line];
  }

  barsPath(list) {
    return list.map((value, at) => (value ? `M${at + 0.12} ${HEIGHT}V${this.y(value)}h.76V${HEIGHT}Z` : "")).join("");
  }

  axisTexts() {
    const texts = this.ticks(this.times);
    while (this.axis.children.length < texts.length) this.axis.append(el("span"));
    while (this.axis.children.length > texts.length) this.axis.lastChild.remove();
    texts.forEach(([column, text], at) => {
      this.axis.children[at].style.left = `${(100 * column) / this.width()}%`;
      this.axis.children[at].className = column === this.width() ? "end" : "";
      setText(this.axis.children[at], text);
    });
  }

  // -- the cursor ------------------------------------------------------------------------------------------------

  /** Returns the length of a column in seconds. */
  step() {
    return this.times.length > 1 ? this.times[1] - this.times[0] : 1;
  }

  /** Returns the column of a time, at most the last one. */
  columnOf(at) {
    return Math.min(Math.max(Math.round((at - this.times[0]) / this.step()), 0), this.times.length - 1);
  }

  column() {
    return this.cursor.at === null || !this.times.length ? null : this.columnOf(this.cursor.at);
  }

  timeOf(event) {
    const box = this.plot.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    const at = this.bars ? Math.floor(share * this.times.length) : Math.round(share * (this.times.length - 1));
    return this.times[Math.min(at, this.times.length - 1)] ?? null;
  }

  pointAt(event) {
    const at = this.timeOf(event);
    this.cursor.point(at);
    if (this.dragged !== null && at !== null) this.cursor.mark([this.dragged, at]);
  }

  // -- selecting a span ------------------------------------------------------------------------------------------

  grab(event) {
    if (event.button) return;
    this.dragged = this.timeOf(event);
    this.plot.setPointerCapture(event.pointerId);
  }

  release({ keep = true } = {}) {
    if (this.dragged === null) return;
    this.dragged = null;
    if (keep) this.cursor.select(this.step());
    else this.cursor.mark(null);
  }

  leave() {
    this.cursor.mark(null);
    this.cursor.point(null);
  }

  press(event) {
    const last = this.times.length - 1;
    const now = this.column() ?? last;
    const moves = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1, PageDown: now - FAR, PageUp: now + FAR, Home: 0, End: last };
    if (event.key === "Escape") {
      // The page resets the span too.
      this.leave();
    } else if (event.key === "Enter" && this.cursor.marked) {
      this.cursor.select(this.step());
    } else if (event.key in moves && last >= 0) {
      const at = this.times[Math.min(Math.max(moves[event.key], 0), last)];
      this.cursor.mark(event.shiftKey ? [this.cursor.marked?.[0] ?? this.times[now], at] : null);
      this.cursor.point(at);
    } else {
      return;
    }
    event.preventDefault();
  }

  drawMark() {
    const span = this.cursor.marked;
    const [low, high] = span && this.times.length ? span.map((at) => this.columnOf(at)).sort((one, other) => one - other) : [0, 0];
    const width = this.bars ? 1 : 0;
    this.mark.setAttribute("d", span ? `M${low} 0H${high + width}V${HEIGHT}H${low}Z` : "");
  }

  /** Returns the value of a series at the cursor, else the newest. */
  valueOf(list, column) {
    if (column !== null) return list[column] ?? null;
    return list.slice(-RECENT).findLast((value) => value !== null) ?? null;
  }

  drawCursor() {
    const column = this.column();
    const x = column === null ? 0 : column + this.middleOf;
    this.line.setAttribute("d", column === null ? "" : `M${x} 0V${HEIGHT}`);
    const when = column === null ? "" : this.when(this.times[column]);
    setText(this.time, when);
    const texts = this.values.map((list) => {
      const value = this.valueOf(list, column);
      return value === null ? NONE : this.format(value);
    });
    texts.forEach((text, at) => setText(this.shown[at], text));
    this.series.forEach((one, at) => setText(this.names[at], name("series", one)));
    this.describe(when, texts, column);
  }

  /** Updates the text for screen readers, which do not announce each new second on a focused chart. */
  describe(when, texts, column) {
    const last = Math.max(this.times.length - 1, 0);
    const same = this.plot.getAttribute("aria-valuemax") === String(last);
    if (column === null && same && document.activeElement === this.plot) return;
    const values = this.series.map((one, at) => `${this.series.length > 1 ? `${name("series", one)} ` : ""}${texts[at] ?? NONE}`).join(", ");
    const summary = column === null ? say("chart.summary", { values, highest: this.format(this.highest ?? 0) }) : `${when}: ${values}`;
    this.plot.setAttribute("aria-label", say(this.title));
    this.plot.setAttribute("aria-valuemax", String(last));
    this.plot.setAttribute("aria-valuenow", String(column ?? last));
    this.plot.setAttribute("aria-valuetext", summary);
  }
}
