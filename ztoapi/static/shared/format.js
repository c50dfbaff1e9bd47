// Formats numbers. Missing values are "–".

import { locale } from "./language.js";

export const NONE = "–";
const GAP = "\u202f"; // a narrow no-break space
const formats = new Map();

function number(value, options) {
  const key = `${locale()}${JSON.stringify(options)}`;
  let format = formats.get(key);
  if (!format) formats.set(key, (format = new Intl.NumberFormat(locale(), options)));
  return format.format(value);
}

const digits = (value, count) => number(value, { minimumFractionDigits: count, maximumFractionDigits: count });

/** About three digits. */
function short(value) {
  const size = Math.abs(value);
  return digits(value, size >= 100 || value === 0 ? 0 : size >= 10 ? 1 : 2);
}

/** A whole number, abbreviated from a million. */
export function count(value) {
  if (value === null || value === undefined) return NONE;
  return value < 1e6 ? number(value, { maximumFractionDigits: 0 }) : number(value, { notation: "compact", maximumFractionDigits: 2 });
}

/** A whole number, abbreviated from ten thousand. */
export const brief = (value) =>
  (value < 1e4 ? count(value) : number(value, { notation: "compact", maximumSignificantDigits: 3 }));

/** A number that may be small, such as a rate. */
export function amount(value) {
  if (value === null || value === undefined) return NONE;
  if (Math.abs(value) >= 100 || Number.isInteger(value)) return count(value);
  return digits(value, Math.abs(value) >= 10 ? 1 : 2);
}

/** Seconds as a number and its unit. */
export function durationParts(seconds) {
  if (seconds === null || seconds === undefined) return [NONE, ""];
  if (seconds < 0.9995) return [short(seconds * 1000), "ms"];
  if (seconds < 100) return [digits(seconds, seconds < 9.995 ? 2 : 1), "s"];
  return [short(seconds / 60), "min"];
}

export const duration = (seconds) => durationParts(seconds).filter(Boolean).join(GAP);

export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (value >= 999.5 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${at ? short(value) : digits(value, 0)}${GAP}${units[at]}`;
}

export function percent(share) {
  if (share === null || share === undefined) return NONE;
  return `${digits(share * 100, share > 0 && share < 0.0995 ? 1 : 0)}${GAP}%`;
}

/** US dollars: cents, or four digits below a dollar. */
export function money(value) {
  if (value === null || value === undefined) return NONE;
  const small = value !== 0 && Math.abs(value) < 1 ? 4 : 2;
  return number(value, { style: "currency", currency: "USD", currencyDisplay: "narrowSymbol", minimumFractionDigits: 2, maximumFractionDigits: small });
}

/** A duration in its two largest units. */
export function span(seconds) {
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  let rest = Math.max(Math.round(seconds), 0);
  const parts = [];
  for (const [unit, size] of units) {
    const whole = Math.floor(rest / size);
    rest -= whole * size;
    if (whole || (unit === "second" && !parts.length)) {
      parts.push(number(whole, { style: "unit", unit, unitDisplay: "narrow" }));
    }
    if (parts.length && (whole === 0 || parts.length === 2)) break;
  }
  return parts.join(" ");
}

const time = (unix, options) => new Date(unix * 1000).toLocaleString(locale(), options);
const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };

export const clock = (unix) => time(unix, CLOCK);
export const minute = (unix) => time(unix, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
export const stamp = (unix) => time(unix, { ...CLOCK, day: "numeric", month: "short" });
export const moment = (unix) => time(unix, { ...CLOCK, year: "numeric", month: "short", day: "numeric", fractionalSecondDigits: 3 });
export const hour = (unix) => time(unix, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
export const date = (unix) => time(unix, { day: "numeric", month: "short" });

// Days are in UTC, as in the gateway.
export const day = (unix) => time(unix, { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });
export const dayDate = (unix) => time(unix, { day: "numeric", month: "short", timeZone: "UTC" });
