// The charts of the last five minutes, by second, from the event stream.

import { Chart } from "./charts.js";
import { amount, clock, count, duration } from "./format.js";
import { say } from "./language.js";
import { ticks } from "./ticks.js";

export const WINDOW = 300; // seconds, as many as the gateway keeps

const minutes = () => [4, 3, 2, 1, 0].map((count) =>
  [WINDOW - 1 - 60 * count, count ? say("chart.minutes", { count }) : say("chart.now")]);

const CHARTS = [
  ["requests", amount, { requests: "requests", refused: "refused", failed: "failed" }, 2],
  ["streams", count, { streams: "streams" }, 4],
  ["tokens", amount, { output: "output_tokens" }, 10],
  ["ttft", duration, { p99: "ttft_p99", p50: "ttft_p50" }, 0],
  ["inter_token", duration, { p99: "inter_token_p99", p50: "inter_token_p50" }, 0],
  ["duration", duration, { p99: "duration_p99", p50: "duration_p50" }, 0],
];

export class LiveCharts {
  constructor(box, cursor) {
    this.charts = CHARTS.map(([title, format, lists, floor]) => ({
      lists: Object.values(lists),
      chart: new Chart({
        title: `chart.${title}`, series: Object.keys(lists), format, when: clock, cursor, floor,
        ticks: (times) => (times.length === WINDOW ? minutes() : ticks(times, 1)),
      }),
    }));
    box.append(...this.charts.map(({ chart }) => chart.element));
  }

  /** Draws the seconds of `span`, or all up to the newest second, even without data. */
  show({ series, now }, span) {
    const last = span ? span[1] - 1 : Math.max(Math.floor(now) - 1, ...series.seconds.slice(-1));
    const start = span ? span[0] : last - WINDOW + 1;
    const times = Array.from({ length: last - start + 1 }, (_, at) => start + at);
    const first = series.seconds[0] ?? 0;
    for (const { chart, lists } of this.charts) {
      chart.show(times, lists.map((list) => times.map((at) => series[list][at - first] ?? null)));
    }
  }
}
