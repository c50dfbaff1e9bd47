// The requests: newest first, filtered, in pages; and the details of one.

import { ask } from "./access.js";
import { go, OF_REQUESTS, read, readSpan, watch } from "./address.js";
import { byId, el, setText } from "./dom.js";
import { NONE, amount, bytes, clock, count, duration, moment, stamp } from "./format.js";
import { name, say } from "./language.js";
import { save } from "./export.js";
import { onLink } from "./links.js";
import { badge, nextOrder, Table } from "./table.js";
import { Waterfall } from "./waterfall.js";

const PAGE_SIZE = 20; // as in the event stream
const AGAIN_MS = 2000; // interval for fetching pages that the event stream does not contain
const TYPING_MS = 250;
const CHOICES = 100; // more would be too many to choose from
const EXPORTED = 500; // requests in one page of an export, the most that the gateway returns
const OUTCOMES = ["answered", "failed", "refused", "cancelled", "in_flight"];
const CACHE = ["hit", "miss", "shared", "bypass"];
const OFFERED = ["model", "key", "platform", "credential", "error"]; // filters whose choices come from the data

const ENDINGS = ["done", "client_error", "rejected", "rate_limited", "upstream_error", "upstream_timeout", "truncated",
  "client_disconnect", "slow_client", "shutdown", "internal_error", "worker_died"];

const SPARED = new Set(["hit", "shared"]); // cache results without an upstream request

const keyOf = (record) => `${record.id} ${record.started}`;
const statusMood = (record) => (record.status >= 400 ? (record.outcome === "failed" ? "bad" : "warn") : record.status ? "good" : null);
const orNone = (text) => (text === null || text === "" ? NONE : text);

/** Returns the phase of a running request, or the ending of a finished one, with its colour. */
function outcome(record) {
  if (record.ending === null) return [name("phase", record.phase), "live"];
  // Without an upstream request a short time has another meaning.
  const cached = SPARED.has(record.cache) ? ` · ${name("cache", record.cache)}` : "";
  if (record.ending === "done") return [name("ending", "done") + cached, "good"];
  return [name("ending", record.ending), record.outcome === "failed" ? "bad" : "warn"];
}

function tokens(record) {
  if (record.input_tokens === null && record.output_tokens === null) return NONE;
  return `${count(record.input_tokens)} → ${count(record.output_tokens)}`;
}

function openButton(cell, record) {
  if (!cell.firstElementChild) cell.append(el("button", { type: "button", class: "open" }));
  setText(cell.firstElementChild, clock(record.started));
  const label = `${clock(record.started)} ${say("open.request", { id: record.id })}`;
  if (cell.firstElementChild.getAttribute("aria-label") !== label) cell.firstElementChild.setAttribute("aria-label", label);
}

const COLUMNS = [
  { head: "col.started", sort: "started", class: "c-started", show: openButton },
  { head: "col.status", sort: "status", class: "c-status", show: (cell, one) => badge(cell, one.status ? String(one.status) : NONE, statusMood(one)) },
  { head: "col.outcome", class: "c-outcome", show: (cell, one) => badge(cell, ...outcome(one)) },
  { head: "col.model", sort: "model", class: "c-model cut", text: (one) => one.model ?? `${one.method} ${one.path}` },
  { head: "col.key", sort: "key", class: "c-key cut", text: (one) => orNone(one.key) },
  { head: "col.client", class: "c-client cut", text: (one) => orNone(one.client) },
  { head: "col.tokens", sort: "output_tokens", class: "c-tokens number", text: tokens },
  { head: "col.ttft", sort: "time_to_first_token", class: "c-ttft number", text: (one) => duration(one.time_to_first_token) },
  { head: "col.duration", sort: "duration", class: "c-duration number", text: (one) => duration(one.duration) },
];

/** Returns tokens per second while the response was being written. */
function speed(record) {
  const taken = record.duration - (record.time_to_first_token ?? 0);
  if (!record.stream || !record.output_tokens || !(taken > 0)) return NONE;
  return `${amount(record.output_tokens / taken)} tok/s`;
}

const DETAILS = {
  id: (one) => one.id,
  started: (one) => moment(one.started),
  request: (one) => `${one.method} ${one.path}`,
  status: (one) => (one.status ? String(one.status) : NONE),
  ending: (one) => outcome(one)[0],
  error_code: (one) => orNone(one.error_code),
  upstream_code: (one) => orNone(one.upstream_code),
  model: (one) => orNone(one.model),
  platform: (one) => orNone(one.platform),
  credential: (one) => orNone(one.credential),
  attempts: (one) => count(one.attempts),
  cache: (one) => (one.cache === null ? NONE : name("cache", one.cache)),
  key: (one) => orNone(one.key),
  client: (one) => orNone(one.client),
  peer: (one) => orNone(one.peer),
  user_agent: (one) => orNone(one.user_agent),
  kind: (one) => say(one.stream ? "detail.stream" : "detail.whole"),
  time_to_first_token: (one) => duration(one.time_to_first_token),
  duration: (one) => duration(one.duration),
  input_tokens: (one) => count(one.input_tokens),
  output_tokens: (one) => count(one.output_tokens),
  speed,
  bytes_in: (one) => bytes(one.bytes_in),
  bytes_out: (one) => bytes(one.bytes_out),
};

export class Requests {
  constructor(announce) {
    this.announce = announce;
    this.page = 1;
    this.found = { requests: [], total: 0 };
    this.opened = null;
    this.choices = new Map(OFFERED.map((field) => [field, new Set()]));
    this.waterfall = new Waterfall(byId("waterfall"));
    this.asking = null;
    this.paused = false;
    this.table = new Table({
      label: "requests", columns: COLUMNS, keyOf, none: "table.none", onOpen: (record) => this.open(record),
      onSort: (field) => go({ sort: nextOrder(this.order, field), page: null }),
    });
    byId("requests-table").append(this.table.element);
    this.form = byId("filter");
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", (event) => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.filter({ replace: event.target.name === "q" }), TYPING_MS);
    });
    this.form.addEventListener("reset", () => go(Object.fromEntries([...OF_REQUESTS, "from", "to"].map((name) => [name, null]))));
    byId("newer").addEventListener("click", () => this.turn(this.page - 1));
    byId("older").addEventListener("click", () => this.turn(this.page + 1));
    this.details = Object.keys(DETAILS).map((key) => [key, el("dd")]);
    byId("detail-list").append(...this.details.flatMap(([key, value]) =>
      [el("dt", { "data-text": `detail.${key}` }, say(`detail.${key}`)), value]));
    byId("detail-close").addEventListener("click", () => byId("detail").close());
    byId("detail").addEventListener("close", () => {
      this.opened = null;
      go({ request: null });
    });
    // A click outside the box targets the element around it.
    byId("detail").addEventListener("click", (event) => event.target === byId("detail") && byId("detail").close());
    this.addOptions(byId("filter-ending"), ENDINGS, (word) => name("ending", word));
    this.addOptions(byId("filter-outcome"), OUTCOMES, (word) => name("outcome", word));
    this.addOptions(byId("filter-cache"), CACHE, (word) => name("cache", word));
    for (const form of ["csv", "json"]) byId(`export-${form}`).addEventListener("click", () => this.export(form));
    onLink((parameters) => this.choose(parameters));
    watch(() => this.apply());
    this.fill(read());
    setInterval(() => this.isLive() || this.paused || document.hidden || this.fetch(), AGAIN_MS);
  }

  // -- the list -------------------------------------------------------------------------------------------------

  filters() {
    return [...new FormData(this.form)].filter(([, value]) => value.trim() !== "");
  }

  /** Returns the parameters that select and sort: the filters, the span of the charts and the order. */
  question() {
    const { sort } = read();
    const [from, to] = readSpan() ?? [];
    return [...this.filters(), ...Object.entries({ from, to, sort }).filter(([, value]) => value !== undefined)];
  }

  /** Whether the event stream contains the current page. */
  isLive() {
    return this.page === 1 && this.question().length === 0;
  }

  /** Takes over the state of the address. With `again` the gateway has been away, or had refused a request. */
  async apply({ again = false } = {}) {
    const { page = "1", sort = null, request = null } = read();
    this.fill(read());
    this.page = Math.max(Number.parseInt(page, 10) || 1, 1);
    this.order = sort;
    const asked = JSON.stringify([this.question(), this.page]);
    if (asked !== this.asked || again) {
      this.asked = asked;
      await this.load();
    }
    await this.openNamed(request);
  }

  /** From the event stream: the newest page of all requests. */
  take(found) {
    this.newest = found;
    if (this.isLive()) this.receive(found);
  }

  /** Rows do not move while one is pointed at or has the focus. */
  isHeld() {
    const body = this.table.body;
    return body.contains(document.activeElement) || (matchMedia("(hover: hover)").matches && body.matches(":hover"));
  }

  receive(found, { turned = false } = {}) {
    const held = !turned && this.isHeld();
    byId("held").classList.toggle("unheld", !held);
    this.follow(found);
    this.offerFrom(found.requests);
    if (held) return;
    this.found = found;
    this.draw();
  }

  draw() {
    const { requests, total } = this.found;
    const span = readSpan();
    const words = span ? "table.old" : this.question().length ? "table.nothing" : "table.none";
    this.table.empty.dataset.text = words;
    setText(this.table.empty, say(words));
    this.table.show(requests);
    const first = (this.page - 1) * PAGE_SIZE;
    const range = { first: count(first + 1), last: count(first + requests.length), total: count(total) };
    setText(byId("range"), requests.length ? say("page.range", range) : say("page.zero"));
    byId("newer").disabled = this.page === 1;
    byId("older").disabled = first + requests.length >= total;
    byId("clear").disabled = this.question().length === 0;
    byId("requests-span").hidden = !span;
    setText(byId("requests-span"), span ? say("table.span", { from: stamp(span[0]), to: stamp(span[1]) }) : "");
    this.table.showOrder(this.order ?? null);
    this.nameOptions(byId("filter-ending"), (word) => name("ending", word));
    this.nameOptions(byId("filter-outcome"), (word) => name("outcome", word));
    this.nameOptions(byId("filter-cache"), (word) => name("cache", word));
    if (this.opened) this.detail(this.opened); // the language may have changed
  }

  /** Updates the opened request until it has ended, on whichever page it is. */
  async follow(found) {
    const one = this.opened;
    if (!one || one.ending !== null) return;
    const same = (record) => keyOf(record) === keyOf(one);
    const record = found.requests.find(same) ?? (await this.look({ q: one.id }).catch(() => null))?.requests.find(same);
    if (record && this.opened === one) this.detail(record);
  }

  async look(question, signal) {
    const response = await ask(`dashboard/requests?${new URLSearchParams(question)}`, { signal, cache: "no-store" });
    if (!response.ok) throw new Error(String(response.status));
    return response.json();
  }

  turn(page) {
    go({ page: page > 1 ? page : null });
  }

  /** Puts the values of the form into the address. */
  filter(how) {
    clearTimeout(this.typing);
    const names = [...this.form.elements].map((control) => control.name).filter(Boolean);
    go({ page: null, ...Object.fromEntries(names.map((name) => [name, null])), ...Object.fromEntries(this.filters()) }, how);
  }

  /** Shows another page or selection. */
  async load() {
    clearTimeout(this.typing);
    // A response to the question before would replace the list.
    this.asking?.abort();
    this.asking = null;
    if (this.isLive() && this.newest && !this.paused) this.receive(this.newest, { turned: true });
    else if (!this.isLive() || this.paused) await this.fetch({ turned: true });
    if (this.question().length) this.announce(say("said.found", { count: count(this.found.total) }));
  }

  async fetch({ turned = false } = {}) {
    if (this.asking && !turned) return;
    this.asking?.abort();
    const mine = (this.asking = new AbortController());
    const question = [...this.question(), ["page", this.page], ["page_size", PAGE_SIZE]];
    try {
      const page = await this.look(question, mine.signal);
      if (mine === this.asking) this.receive(page, { turned });
      setText(byId("requests-wrong"), "");
    } catch (error) {
      // The event stream shows an unreachable gateway; this handles a refused query.
      if (/^\d+$/.test(error.message)) setText(byId("requests-wrong"), say("table.failed", { reason: error.message }));
    } finally {
      if (mine === this.asking) this.asking = null;
    }
  }

  // -- the filters -----------------------------------------------------------------------------------------------

  /** Fills in the models and credentials of the statistics, without "other". */
  offer({ models, credentials, upstream }) {
    this.addChoices("model", models.map((one) => one.model).filter((model) => model !== "other"));
    this.addChoices("platform", credentials.map((one) => one.platform));
    this.addChoices("credential", credentials.map((one) => one.credential));
    this.addChoices("error", Object.keys(upstream.errors));
  }

  /** Fills in the keys, of which there are no statistics. */
  offerFrom(records) {
    this.addChoices("key", records.map((one) => one.key).filter((key) => key));
  }

  addChoices(field, values) {
    const known = this.choices.get(field);
    const room = [...new Set(values)].filter((value) => !known.has(value)).slice(0, Math.max(CHOICES - known.size, 0));
    room.forEach((value) => known.add(value));
    this.addOptions(byId(`filter-${field}`), room, (value) => value);
  }

  /** Sets the filters to exactly these; the value of one may be new. */
  fill(filters) {
    for (const control of this.form.elements) {
      if (!control.name) continue;
      const value = filters[control.name] ?? "";
      // Typing goes on while a search is applied.
      if (control.value.trim() === value) continue;
      const field = control.name;
      if (control.options && ![...control.options].some((option) => option.value === value)) {
        this.choices.get(field)?.add(value);
        this.addOptions(control, [value], (text) => text);
      }
      control.value = value;
    }
  }

  /** Shows the requests behind a counter. */
  choose(parameters) {
    go(parameters);
    byId("requests-title").scrollIntoView({ block: "start" });
    this.form.elements.q.focus({ preventScroll: true });
  }

  async export(form) {
    const found = [];
    for (let page = 1, total = 1; found.length < total; page += 1) {
      const part = await this.look([...this.question(), ["page", page], ["page_size", EXPORTED]]).catch(() => null);
      if (!part?.requests.length) break;
      found.push(...part.requests);
      total = part.total;
    }
    save(found, form);
    this.announce(say("export.done", { count: count(found.length) }));
  }

  addOptions(select, values, nameOf) {
    select.append(...values.map((value) => el("option", { value }, nameOf(value))));
  }

  nameOptions(select, nameOf) {
    for (const option of select.options) if (option.value) setText(option, nameOf(option.value));
  }

  // -- one request -----------------------------------------------------------------------------------------------

  open(record) {
    this.detail(record);
    byId("detail").showModal();
    go({ request: record.id });
  }

  /** Opens the request of the address, or closes the one that is open. */
  async openNamed(id) {
    if (id === (this.opened?.id ?? null)) return;
    if (id === null) {
      byId("detail").close();
      return;
    }
    const same = (record) => record.id === id;
    const record = this.found.requests.find(same) ?? (await this.look({ q: id }).catch(() => null))?.requests.find(same);
    if (read().request !== id) return;
    if (record) {
      this.detail(record);
      if (!byId("detail").open) byId("detail").showModal();
    } else {
      this.announce(say("said.gone", { id }));
      go({ request: null }, { replace: true });
    }
  }

  detail(record) {
    this.opened = record;
    for (const [key, value] of this.details) setText(value, DETAILS[key](record));
    setText(byId("detail-message"), record.error_message ?? "");
    byId("detail-message").hidden = !record.error_message;
    this.waterfall.show(record);
  }
}
