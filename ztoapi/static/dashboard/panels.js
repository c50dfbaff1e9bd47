// Everything that is drawn from the statistics, except the requests.

import { ask } from "./access.js";
import { byId, el, setText } from "./dom.js";
import { NONE, amount, brief, bytes, count, duration, durationParts, percent, span } from "./format.js";
import { name, say } from "./language.js";
import { line, link } from "./links.js";
import { Bars, badge, Table } from "./table.js";

const MINUTE = 60; // seconds
const BY_CLIENT = new Set(["client_disconnect", "slow_client", "client_error", "rate_limited"]); // endings
const MUCH_CPU = 0.9; // share of a core above which the worker is the bottleneck
const MANY_ERRORS = 0.05;
const SOME_ERRORS = 0.01;
const LATE = 0.1; // seconds of loop lag that clients notice

// This address serves operators only: the chat needs one of the API.
function chat([url]) {
  byId("chat").hidden = url === undefined;
  if (url !== undefined) {
    byId("chat").href = `${url.replace(/\/\/(0\.0\.0\.0|\[::\]):/, `//${location.hostname}:`)}/chat`;
  }
}

export class Panels {
  constructor() {
    this.latency = put("latency", new Table({ label: "latency", columns: LATENCY, keyOf: (row) => row.name, none: "chart.empty" }));
    this.credentials = put("credentials", new Table({ label: "credentials", columns: CREDENTIALS, keyOf: (one) => `${one.platform} ${one.credential}`, none: "none.credentials" }));
    this.workers = put("workers", new Table({ label: "workers", columns: WORKERS, keyOf: (one) => one.number, none: "none.workers" }));
    this.models = put("models", new Table({ label: "models", columns: MODELS, keyOf: (one) => one.model, none: "none.models" }));
    this.statuses = put("statuses", new Bars({ label: "statuses", none: "none.statuses" }));
    this.ends = put("ends", new Bars({ label: "ends", none: "none.ends" }));
    this.errors = put("errors", new Bars({ label: "errors", none: "none.errors" }));
    this.limits = LIMITS.map(([title, rows]) => group(title, rows));
    byId("limit-groups").append(...this.limits.map((one) => one.element));
  }

  show(stats) {
    setText(byId("version"), stats.version);
    byId("version").hidden = false;
    setText(byId("uptime"), say("uptime", { span: span(stats.uptime) }));
    if (stats.api_urls !== null) {
      chat(stats.api_urls);
    }
    this.figures(stats);
    this.latency.show(["time_to_first_token", "inter_token", "duration", "overhead"].map((word) => ({ name: word, ...stats[word] })));
    this.statuses.show(Object.entries(stats.status).map(([code, value]) => ({
      key: code, name: code, value, text: count(value), filters: { status: code }, mood: code >= "500" ? "bad" : code >= "400" ? "warn" : "good",
    })));
    this.ends.show(sorted(stats.stream_ends).map(([word, value]) => ({
      key: word, name: name("ending", word), value, text: count(value), filters: { ending: word }, mood: word === "done" ? "good" : BY_CLIENT.has(word) ? "warn" : "bad",
    })));
    this.errors.show(sorted(stats.upstream.errors).map(([code, value]) => ({ key: code, name: code, value, text: count(value), filters: { error: code }, mood: "bad" })));
    this.credentials.show(stats.credentials.map((one) => ({ ...one, now: stats.now })));
    this.workers.show(stats.workers);
    this.models.show(stats.models);
    this.limits.forEach((one) => one.show(stats));
  }

  figures({ requests, time_to_first_token: first, overhead, tokens, series }) {
    figure("rate", amount(requests.per_second), "req/s", say("now.rate.more", { total: brief(requests.total) }));
    figure("flight", count(requests.in_flight), "", say("now.flight.more", { streams: count(requests.streams), waiting: count(requests.waiting) }));
    figure("errors", ...percent(requests.error_rate).split("\u202f"),
      [say("now.failed", { failed: brief(requests.failed) }), [say("now.cancelled", { cancelled: brief(requests.cancelled) }), { outcome: "cancelled" }]]);
    byId("now-errors").dataset.mood = requests.error_rate >= MANY_ERRORS ? "bad" : requests.error_rate >= SOME_ERRORS ? "warn" : "";
    const refused = series.refused.slice(-MINUTE).reduce((sum, value) => sum + value, 0);
    figure("refused", count(refused), "", say("now.refused.more", { total: brief(requests.refused) }));
    byId("now-refused").dataset.mood = refused ? "warn" : "";
    figure("ttft", ...durationParts(first.p50), say("now.p99", { value: duration(first.p99) }));
    figure("tokens", amount(tokens.output_per_second), "tok/s", say("now.tokens.more", { input: brief(tokens.input), output: brief(tokens.output) }));
    figure("overhead", ...durationParts(overhead.p50), say("now.p99", { value: duration(overhead.p99) }));
  }
}

const sorted = (counts) => Object.entries(counts).sort((one, other) => other[1] - one[1]);

function put(id, part) {
  byId(id).append(part.element);
  return part;
}

/** The requests behind a figure, if there are any to show; those behind a median are sorted by it. */
const BEHIND = {
  errors: { outcome: "failed" }, refused: { outcome: "refused" }, rate: {}, flight: { outcome: "in_flight" },
  ttft: { sort: "-time_to_first_token" }, tokens: { sort: "-output_tokens" },
};

function figure(id, value, unit, more) {
  const box = byId(`now-${id}`);
  if (id in BEHIND) link(box.querySelector("b"), value, BEHIND[id]);
  else setText(box.querySelector("b"), value);
  setText(box.querySelector("i"), unit ?? "");
  line(box.querySelector("small"), Array.isArray(more) ? more : more.split(" · "));
}

// -- tables ----------------------------------------------------------------------------------------------------------

const SLOWEST = { time_to_first_token: "-time_to_first_token", duration: "-duration" };

const LATENCY = [
  { head: "col.what", class: "c-what", show: (cell, one) => {
    if (one.name in SLOWEST) link(cell, name("latency", one.name), { sort: SLOWEST[one.name] });
    else setText(cell, name("latency", one.name));
  } },
  ...["average", "p50", "p95", "p99", "maximum"].map((word) => (
    { head: `col.${word}`, class: `number c-${word}`, text: (one) => duration(one[word]) })),
];

const STATE_MOODS = { ok: "good", cooling: "warn", disabled: "bad" };

function stateText(one) {
  const state = name("state", one.state);
  return one.until === null ? state : say("state.until", { state, span: span(one.until - one.now) });
}

/** A button that puts a credential back into service in all workers, hidden while it is. */
function reset(cell, one) {
  const label = `${one.platform}/${one.credential}`;
  if (!cell.firstElementChild) {
    cell.append(el("button", { type: "button", click: () => {
      if (!confirm(say("credential.confirm", { name: label }))) return;
      ask("admin/credentials/reset", { method: "POST", body: JSON.stringify({ credential: label }) })
        .then((response) => setText(byId("said"), say(response.ok ? "credential.done" : "credential.failed", { name: label })))
        .catch(() => setText(byId("said"), say("credential.failed", { name: label })));
    } }));
  }
  const button = cell.firstElementChild;
  button.hidden = one.state === "ok" && !one.models;
  button.setAttribute("aria-label", say("credential.label", { name: label }));
  setText(button, say("credential.reset"));
}

const ofCredential = ({ platform, credential }) => ({ platform, credential });

const CREDENTIALS = [
  { head: "col.credential", class: "cut", show: (cell, one) => link(cell, `${one.platform} / ${one.credential}`, ofCredential(one)) },
  { head: "col.state", class: "c-state", show: (cell, one) => badge(cell, stateText(one), STATE_MOODS[one.state] ?? "") },
  { head: "col.in_flight", class: "number c-more", show: (cell, one) => link(cell, count(one.in_flight), { ...ofCredential(one), outcome: "in_flight" }) },
  { head: "col.requests", class: "number", show: (cell, one) => link(cell, count(one.requests), ofCredential(one)) },
  { head: "col.failed", class: "number", show: (cell, one) => link(cell, count(one.failed), { ...ofCredential(one), outcome: "failed" }) },
  { head: "col.latency", class: "number c-more", text: (one) => duration(one.latency) },
  { head: "col.reset", class: "c-reset", show: reset },
];

/** A share of one core, with a bar. */
function cpu(cell, one) {
  if (!cell.firstElementChild) cell.append(el("span"), el("i", { class: "meter", "aria-hidden": "true" }, el("i")));
  setText(cell.firstElementChild, one.alive ? percent(one.cpu) : NONE);
  const bar = cell.lastElementChild.firstElementChild;
  bar.style.transform = `scaleX(${one.alive ? Math.min(one.cpu, 1).toFixed(3) : 0})`;
  bar.className = one.cpu >= MUCH_CPU ? "bad" : "";
}

const workerName = (one) => say(one.alive ? "worker.pid" : "worker.gone", { number: one.number, pid: one.pid });

const WORKERS = [
  { head: "col.worker", class: "cut", text: workerName },
  { head: "col.cpu", class: "number c-cpu", show: cpu },
  { head: "col.memory", class: "number", text: (one) => bytes(one.memory_bytes) },
  { head: "col.files", class: "number c-more", text: (one) => count(one.open_files) },
  { head: "col.in_flight", class: "number c-more", text: (one) => count(one.in_flight) },
  { head: "col.lag", class: "number", show: (cell, one) => {
    setText(cell, duration(one.loop_lag_p99));
    cell.classList.toggle("bad", one.loop_lag_p99 >= LATE);
  } },
];

const MODELS = [
  { head: "col.model", class: "cut", show: (cell, one) => link(cell, one.model, { model: one.model }) },
  { head: "col.requests", class: "number", show: (cell, one) => link(cell, count(one.requests), { model: one.model }) },
  { head: "col.failed", class: "number", show: (cell, one) => link(cell, count(one.failed), { model: one.model, outcome: "failed" }) },
  { head: "col.refused", class: "number c-more", show: (cell, one) => link(cell, count(one.refused), { model: one.model, outcome: "refused" }) },
  { head: "col.output", class: "number", show: (cell, one) => link(cell, count(one.output_tokens), { model: one.model, sort: "-output_tokens" }) },
];

// -- limits and connections ------------------------------------------------------------------------------------------

const LIMITS = [
  ["rate", [
    ["granted", (stats) => count(stats.rate_limits.granted)],
    ["denied", (stats) => count(stats.rate_limits.denied), { ending: "rate_limited" }]]],
  ["admission", [
    ["waiting", (stats) => count(stats.admission.waiting), { outcome: "in_flight" }],
    ["refused", (stats) => count(stats.admission.refused), { error: "overloaded" }]]],
  ["upstream", [
    ["busy", (stats) => count(stats.upstream.busy), { outcome: "in_flight" }],
    ["idle", (stats) => count(stats.upstream.idle)],
    ["retries", (stats) => count(stats.upstream.retries), { attempts: 2 }]]],
  ["stalls", [
    ["by_upstream", (stats) => count(stats.stalls.upstream)],
    ["by_client", (stats) => count(stats.stalls.client)]]],
  ["tokens", [
    ["cached", (stats) => count(stats.tokens.cached)],
    ["reasoning", (stats) => count(stats.tokens.reasoning)]]],
  ["network", [
    ["connections", (stats) => count(stats.requests.connections)],
    ["in", (stats) => bytes(stats.network.bytes_in)],
    ["out", (stats) => bytes(stats.network.bytes_out)]]],
  ["cache", [
    ["state", ({ cache }) => (cache ? null : say("limits.off"))],
    ["hit", ({ cache }) => cache && count(cache.hit), { cache: "hit" }],
    ["miss", ({ cache }) => cache && count(cache.miss), { cache: "miss" }],
    ["shared", ({ cache }) => cache && count(cache.shared), { cache: "shared" }],
    ["bypass", ({ cache }) => cache && count(cache.bypass), { cache: "bypass" }],
    ["held", ({ cache }) => cache && say("limits.entries", { count: count(cache.entries), size: bytes(cache.bytes) })]]],
];

/** A heading with names and values, of which some lead to requests; a null value omits its line. */
function group(title, rows) {
  const values = rows.map(() => el("dd"));
  const lines = rows.map(([word], at) => el("div", {}, el("dt", { "data-text": `limits.${word}` }, say(`limits.${word}`)), values[at]));
  const element = el("div", {}, el("h3", { "data-text": `limits.${title}` }, say(`limits.${title}`)), el("dl", {}, lines));
  const show = (stats) => rows.forEach(([, text, filters], at) => {
    const value = text(stats);
    lines[at].hidden = value === null;
    if (filters && value !== null) link(values[at], value, filters);
    else setText(values[at], value ?? "");
  });
  return { element, show };
}
