// Saves the requests that the filters select as a file.

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

/** Offers `records` as the file requests.`form`. */
export function save(records, form) {
  const [type, write] = FORMS[form];
  const href = URL.createObjectURL(new Blob([write(records)], { type }));
  el("a", { href, download: `requests.${form}` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
}
