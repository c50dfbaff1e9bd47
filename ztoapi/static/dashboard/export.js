// Saves data as files, such as the requests that the filters select.

import { el } from "./dom.js";

const FORMULA = /^[=+\-@\t\r]/; // a spreadsheet would calculate it

function field(value) {
  let text = value === null || value === undefined ? "" : String(value);
  if (typeof value === "string" && FORMULA.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv(records) {
  const names = Object.keys(records[0] ?? {});
  return [names, ...records.map((one) => names.map((name) => one[name]))].map((row) => `${row.map(field).join(",")}\r\n`).join("");
}

const FORMS = {
  csv: ["text/csv;charset=utf-8", csv],
  json: ["application/json", (records) => JSON.stringify(records, null, 1)],
};

/** Offers `blob` as a file. */
export function offer(blob, name) {
  const href = URL.createObjectURL(blob);
  el("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
}

/** Offers `records` as the file requests.`form`. */
export function save(records, form) {
  const [type, write] = FORMS[form];
  offer(new Blob([write(records)], { type }), `requests.${form}`);
}
