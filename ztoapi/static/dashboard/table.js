// Tables and lists whose rows keep their elements while values change, so that focus, selection and scroll are kept.

import { el, setText } from "./dom.js";
import { say } from "./language.js";
import { link } from "./links.js";

const ROWS = 8; // that fit without scrolling

/** Makes `box` focusable while it may need scrolling, for keyboard users. */
function scrollable(box, may) {
  if (may) box.tabIndex = 0;
  else box.removeAttribute("tabindex");
}

/** Makes the children of `parent` match `records`, in this order, by key; `make(key)` and `update(node, record)`. */
export function reconcile(parent, nodes, records, keyOf, make, update) {
  const keys = new Set(records.map(keyOf));
  for (const [key, node] of nodes) {
    if (!keys.has(key)) {
      node.remove();
      nodes.delete(key);
    }
  }
  let place = parent.firstElementChild;
  for (const record of records) {
    const key = keyOf(record);
    let node = nodes.get(key);
    if (!node) nodes.set(key, (node = make(key)));
    update(node, record);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
}

/**
 * A table. A column has a `head` (a key), a `class`, and `show(cell, record)`, or `text(record)` for cells of plain
 * text. The first column is the row's heading. `none` is the key of the text for an empty table. The heading of a column
 * with a `sort` is a button that calls `onSort` with it.
 */
export class Table {
  constructor({ label, columns, keyOf, none, onOpen = null, onSort = null }) {
    Object.assign(this, { columns, keyOf, onOpen, onSort, nodes: new Map() });
    this.body = el("tbody");
    this.empty = el("p", { class: "empty", "data-text": none }, say(none));
    this.heads = columns.map((column) => this.head(column));
    this.table = el("table", {}, el("thead", {}, el("tr", {}, this.heads)), this.body);
    this.element = el("div", { class: "table", role: "group", "data-label": label, "aria-label": say(label) }, this.table, this.empty);
  }

  head(column) {
    const { head, class: name } = column;
    if (!this.onSort || !column.sort) return el("th", { scope: "col", class: name, "data-text": head }, say(head));
    const button = el("button", { type: "button", class: "sort", "data-text": head, click: () => this.onSort(column.sort) }, say(head));
    return el("th", { scope: "col", class: name }, button);
  }

  /** Marks the column of `order`: the name of its `sort`, with a "-" in front if the values descend. */
  showOrder(order) {
    this.columns.forEach(({ sort }, at) => {
      if (sort && order === sort) this.heads[at].setAttribute("aria-sort", "ascending");
      else if (sort && order === `-${sort}`) this.heads[at].setAttribute("aria-sort", "descending");
      else this.heads[at].removeAttribute("aria-sort");
    });
  }

  show(records) {
    this.records = new Map(records.map((record) => [this.keyOf(record), record]));
    reconcile(this.body, this.nodes, records, this.keyOf, (key) => this.row(key), (row, record) => this.fill(row, record));
    scrollable(this.element, records.length > ROWS && !this.onOpen);
    this.table.hidden = records.length === 0;
    this.empty.hidden = records.length > 0;
  }

  row(key) {
    const cells = this.columns.map((column, at) => el(at ? "td" : "th", { class: column.class, scope: at ? null : "row" }));
    if (!this.onOpen) return el("tr", {}, cells);
    return el("tr", { class: "opens", click: () => this.onOpen(this.records.get(key)) }, cells);
  }

  fill(row, record) {
    this.columns.forEach((column, at) => {
      const cell = row.children[at];
      if (column.show) column.show(cell, record);
      else setText(cell, column.text(record));
    });
  }
}

/** Returns the order after a click on a heading: descending, ascending, none. */
export const nextOrder = (order, sort) => (order === `-${sort}` ? sort : order === sort ? null : `-${sort}`);

/** Names with numbers, and bars relative to the largest. */
export class Bars {
  constructor({ label, none }) {
    this.nodes = new Map();
    this.list = el("ul", { class: "bars" });
    this.empty = el("p", { class: "empty", "data-text": none }, say(none));
    this.element = el("div", { class: "table", role: "group", "data-label": label, "aria-label": say(label) }, this.list, this.empty);
  }

  /** `items` have a `key`, a `name`, a `value`, its `text`, the `filters` of its requests, and optionally a `mood`. */
  show(items) {
    const max = Math.max(1, ...items.map((item) => item.value));
    reconcile(this.list, this.nodes, items, (item) => item.key,
      () => el("li", {}, el("span"), el("b"), el("i", { "aria-hidden": "true" })),
      (node, item) => {
        link(node.children[0], item.name, item.filters);
        setText(node.children[1], item.text);
        node.children[2].className = item.mood ?? "";
        node.children[2].style.transform = `scaleX(${(item.value / max).toFixed(4)})`;
      });
    scrollable(this.element, items.length > ROWS);
    this.list.hidden = items.length === 0;
    this.empty.hidden = items.length > 0;
  }
}

/** Sets the only child of a cell: a word in a colour, or plain text for a null colour. */
export function badge(cell, text, mood) {
  if (!cell.firstElementChild) cell.append(el("span"));
  const node = cell.firstElementChild;
  const className = mood === null ? "" : `badge ${mood}`.trim();
  if (node.className !== className) node.className = className;
  setText(node, text);
}
