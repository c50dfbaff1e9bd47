// The labels below a chart: round times, in columns.

import { date, day, dayDate, clock, hour, minute } from "./format.js";

const DAY = 86400;
const INTERVALS = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 10800, 21600, 43200, DAY, 2 * DAY, 5 * DAY, 30 * DAY];
const MOST = 6; // labels that fit below a chart on a phone
const EDGE = 0.9; // share of the width after which a label would exceed the edge

/** Seconds that local time is ahead of UTC. Days are in UTC, as in the gateway. */
const ahead = (at, step) => (step < DAY ? -60 * new Date(at * 1000).getTimezoneOffset() : 0);

function text(at, interval, step) {
  if (step >= DAY) return dayDate(at);
  const midnight = (at + ahead(at, step)) % DAY < step;
  if (interval >= DAY || (interval >= 3600 && midnight)) return date(at);
  return interval < 60 ? clock(at) : minute(at);
}

/** Returns columns and texts for `times`, which are `step` seconds apart. */
export function ticks(times, step) {
  const interval = INTERVALS.find((one) => one >= step && (times.length * step) / one <= MOST) ?? INTERVALS.at(-1);
  return times.map((at, column) => [column, at])
    .filter(([column, at]) => (at + ahead(at, step)) % interval < step && column < EDGE * times.length)
    .map(([column, at]) => [column, text(at, interval, step)]);
}

/** The name of a column that is `step` seconds long. */
export const when = (at, step) => (step >= DAY ? day(at) : step >= 3600 ? hour(at) : step >= 60 ? minute(at) : clock(at));
