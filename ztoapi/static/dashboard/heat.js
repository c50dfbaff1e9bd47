// The heat map of latencies: columns of time, rows of half octaves, and darker where more requests are. The median and the
// 99th percentile are lines on it.

import { Chart, HEIGHT } from "./charts.js";
import { el, setText, svg } from "./dom.js";
import { count, duration } from "./format.js";
import { name, say } from "./language.js";
import { ticks, when } from "./ticks.js";

const LEVELS = 6;
const FEW_ROWS = 8; // shown at least, so that a constant latency does not fill the map
const LABELS = 5; // beside the rows
const TOP = 0.9; // share of the height above which a label would exceed the chart
const low = (band) => 2 ** (band / 2); // seconds

export class HeatMap extends Chart {
  constructor(cursor) {
    super({
      title: "heat", series: ["p99", "p50"], format: duration, cursor, bars: true,
      when: (at) => when(at, this.length), ticks: (times) => ticks(times, this.length),
    });
    this.length = 1; // of a column, in seconds
    this.bands = [0, 1];
    this.counts = [];
    this.levels = Array.from({ length: LEVELS }, (_, level) => svg("path", { class: `cells level-${level}` }));
    this.grid.after(...this.levels);
    this.top.remove();
    this.middle.remove();
    this.marks = el("div", { class: "marks", "aria-hidden": "true" });
    this.plot.append(this.marks);
    this.note = el("li", { class: "note" });
    this.shown[0].parentElement.parentElement.append(this.note);
    this.element.classList.add("heat");
  }

  /** Draws the distribution `field` of each column. */
  fill(times, columns, step, field) {
    this.length = step;
    const found = times.map((at) => columns.get(at)?.[field] ?? null);
    this.counts = found.map((one) => new Map(Object.entries(one?.bands ?? {}).map(([band, number]) => [Number(band), number])));
    const bands = this.counts.flatMap((counts) => [...counts.keys()]);
    const least = bands.length ? Math.min(...bands) : -20;
    this.bands = [least, Math.max(least + FEW_ROWS, ...bands.map((band) => band + 1))];
    this.drawCells();
    this.show(times, [found.map((one) => one?.p99 ?? null), found.map((one) => one?.p50 ?? null)]);
    this.drawMarks();
  }

  /** Rows have equal heights, so the scale is logarithmic. */
  y(value) {
    const [first, last] = this.bands;
    const share = (2 * Math.log2(value) - first) / (last - first);
    return (HEIGHT * (1 - Math.min(Math.max(share, 0), 1))).toFixed(1);
  }

  /** The series are lines through the middles of the columns. */
  barsPath(list) {
    return this.linePaths(list)[1];
  }

  drawCells() {
    const [first, last] = this.bands;
    const row = HEIGHT / (last - first);
    const most = Math.max(1, ...this.counts.flatMap((counts) => [...counts.values()]));
    const paths = this.levels.map(() => "");
    this.counts.forEach((counts, column) => {
      for (const [band, number] of counts) {
        const level = Math.min(Math.floor((LEVELS * Math.log(1 + number)) / Math.log(1 + most)), LEVELS - 1);
        const y = HEIGHT - (band - first + 1) * row;
        paths[level] += `M${column} ${y.toFixed(2)}h1v${row.toFixed(2)}h-1Z`;
      }
    });
    this.levels.forEach((path, level) => path.setAttribute("d", paths[level]));
  }

  drawMarks() {
    const [first, last] = this.bands;
    const every = Math.max(Math.ceil((last - first) / LABELS / 2) * 2, 2);
    this.marks.hidden = this.counts.every((counts) => !counts.size);
    const bands = [];
    for (let band = Math.ceil(first / 2) * 2; band < first + TOP * (last - first); band += every) bands.push(band);
    while (this.marks.children.length < bands.length) this.marks.append(el("span"));
    while (this.marks.children.length > bands.length) this.marks.lastChild.remove();
    bands.forEach((band, at) => {
      this.marks.children[at].style.bottom = `${(100 * (band - first)) / (last - first)}%`;
      setText(this.marks.children[at], duration(low(band)));
    });
  }

  /** The requests of the column at the cursor, and the row with most of them. */
  drawCursor() {
    super.drawCursor();
    const column = this.column();
    const counts = column === null ? null : this.counts[column];
    setText(this.note, counts?.size ? this.most(counts) : "");
  }

  most(counts) {
    const [band] = [...counts].reduce((best, one) => (one[1] > best[1] ? one : best));
    const total = [...counts.values()].reduce((sum, number) => sum + number, 0);
    return say("heat.most", { total: count(total), low: duration(low(band)), high: duration(low(band + 1)), number: count(counts.get(band)) });
  }

  describe(when, texts, column) {
    super.describe(when, texts, column);
    const counts = column === null ? null : this.counts[column];
    if (!counts?.size) return;
    const values = this.series.map((one, at) => `${name("series", one)} ${texts[at]}`).join(", ");
    this.plot.setAttribute("aria-valuetext", `${when}: ${this.most(counts)}, ${values}`);
  }
}
