// Renders openapi.json: operations with their fields, responses, and commands to copy.

import { byId, el, setText } from "./dom.js";

const WRITTEN_FOR = "http://127.0.0.1:9090"; // the address in the samples of openapi.json
const here = new URL(".", location.href).href.replace(/\/$/, "");
let document_;
let language = 0;

/** Text with `code` in it. */
function prose(text) {
  return (text ?? "").split("`").map((piece, at) => (at % 2 ? el("code", {}, piece) : piece));
}

function resolve(node) {
  if (!node?.$ref) return node ?? {};
  return node.$ref.slice(2).split("/").reduce((value, key) => value[key], document_);
}

function kindOf(schema) {
  const whole = resolve(schema);
  if (whole.const !== undefined) return JSON.stringify(whole.const);
  if (whole.enum) return whole.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (whole.contentSchema) return `JSON of ${whole.contentSchema.$ref.split("/").pop()}`;
  if (whole.anyOf) return whole.anyOf.map(kindOf).join(" | ");
  const types = [whole.type ?? "any"].flat();
  return types.map((type) => (type === "array" ? `${kindOf(whole.items)}[]` : type)).join(" | ");
}

/** The objects within a schema whose fields are worth showing. */
function inner(schema) {
  const whole = resolve(schema);
  if (whole.properties) return [whole];
  if (whole.items ?? whole.contentSchema) return inner(whole.items ?? whole.contentSchema);
  return (whole.anyOf ?? []).flatMap(inner);
}

function bounds(schema) {
  const whole = resolve(schema);
  const words = [];
  if (whole.minimum !== undefined && whole.maximum !== undefined) words.push(`${whole.minimum} to ${whole.maximum}`);
  else if (whole.minimum !== undefined) words.push(`at least ${whole.minimum}`);
  if (whole.maxLength) words.push(`at most ${whole.maxLength} characters`);
  if (whole.maxItems) words.push(`at most ${whole.maxItems}`);
  return words.join(", ");
}

function field(name, schema, required, description) {
  const whole = resolve(schema);
  const item = el("li", {}, el("b", {}, name), el("span", { class: "kind" }, kindOf(schema)));
  if (bounds(schema)) item.append(el("span", { class: "kind" }, bounds(schema)));
  if (required) item.append(el("span", { class: "badge warn" }, "required"));
  const words = description ?? whole.description;
  if (words) item.append(el("p", {}, prose(words)));
  const parts = inner(schema);
  if (parts.length) item.append(el("details", {}, el("summary", {}, `Fields of ${name}`), parts.map(fields)));
  return item;
}

function fields(schema) {
  const whole = resolve(schema);
  const names = Object.entries(whole.properties ?? {});
  return el("ul", { class: "fields" }, names.map(([name, one]) => field(name, one, whole.required?.includes(name))));
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // The clipboard is not available on pages loaded from another machine without TLS.
    const area = el("textarea", { class: "unseen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  setText(button, "Copied");
  setText(byId("said"), "Copied");
  setTimeout(() => setText(button, "Copy"), 1500);
}

function codeBox(title, text) {
  const pre = el("pre", { tabindex: "0", role: "group", "aria-label": title }, text);
  const button = el("button", { type: "button", class: "plain", click: () => copy(pre.textContent, button) }, "Copy");
  return { pre, box: el("div", { class: "card code" }, el("header", {}, el("span", {}, title), el("div", { class: "grow" }), button), pre) };
}

function samplesOf(operation) {
  const samples = operation["x-codeSamples"] ?? [];
  if (!samples.length) return null;
  const { pre, box } = codeBox("Request", "");
  const buttons = samples.map((sample, at) =>
    el("button", { type: "button", class: "plain sample", click: () => choose(at) }, sample.label));
  const header = box.firstChild;
  header.firstChild.replaceWith(el("div", { role: "group", "aria-label": "Language" }, buttons));
  box.show = () => {
    setText(pre, samples[language].source.replaceAll(WRITTEN_FOR, here));
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === language)));
  };
  box.classList.add("samples");
  box.show();
  return box;
}

function choose(at) {
  language = at;
  document.querySelectorAll(".samples").forEach((box) => box.show());
}

function exampleOf(response) {
  return Object.entries(response.content ?? {}).filter(([, body]) => body.example !== undefined).map(([type, body]) => {
    const text = typeof body.example === "string" ? body.example.trim() : JSON.stringify(body.example, null, 2);
    return codeBox(`200 · ${type}`, text).box;
  });
}

function responseItem(status, node) {
  const response = resolve(node);
  const mood = status.startsWith("2") ? "good" : status.startsWith("4") ? "warn" : "bad";
  const item = el("li", {}, el("span", { class: `badge ${mood}` }, status), el("p", {}, prose(response.description)));
  for (const [type, body] of Object.entries(response.content ?? {})) {
    const parts = inner(body.schema);
    const words = el("p", {}, prose(resolve(body.schema).description));
    if (parts.length) item.append(el("details", {}, el("summary", {}, `Body (${type})`), words, parts.map(fields)));
  }
  const names = Object.entries(response.headers ?? {});
  if (names.length) {
    const list = names.map(([name, one]) => field(name, resolve(one).schema, false, resolve(one).description));
    item.append(el("details", {}, el("summary", {}, "Header fields"), el("ul", { class: "fields" }, list)));
  }
  return item;
}

function access(operation) {
  const names = (operation.security ?? []).flatMap((one) => Object.keys(one));
  const schemes = names.map((name) => document_.components.securitySchemes[name]);
  if (!schemes.length) return "No key is needed.";
  return schemes.map((one) => one.description).join(" Or: ");
}

function operationSection(path, method, operation) {
  const parameters = (operation.parameters ?? []).map(resolve);
  const body = operation.requestBody?.content["application/json"];
  const left = el("div", {},
    el("p", { class: "lead" }, prose(operation.description)),
    el("h3", {}, "Access"), el("p", { class: "quiet" }, prose(access(operation))),
    parameters.length ? [el("h3", {}, "Parameters"), el("ul", { class: "fields" }, parameters.map((one) =>
      field(one.name, one.schema, one.required, `${one.description ?? ""} (in ${one.in})`)))] : null,
    body ? [el("h3", {}, "Body"), el("p", { class: "quiet" }, prose(resolve(body.schema).description)), fields(body.schema)] : null,
    el("h3", {}, "Responses"),
    el("ul", { class: "responses" }, Object.entries(operation.responses).map(([status, one]) => responseItem(status, one))));
  const right = el("div", { class: "beside" }, samplesOf(operation), exampleOf(resolve(operation.responses["200"])));
  return el("section", { id: operation.operationId, "aria-labelledby": `${operation.operationId}-title` },
    el("h2", { id: `${operation.operationId}-title` }, operation.summary),
    el("p", { class: "route" }, el("span", { class: `method ${method}` }, method.toUpperCase()), el("code", {}, path)),
    el("div", { class: "two" }, left, right));
}

function render() {
  const info = document_.info;
  setText(byId("version"), info.version);
  byId("version").hidden = false;
  const main = byId("main");
  main.replaceChildren(el("section", { id: "about" }, el("h2", {}, info.summary), el("p", { class: "lead" }, prose(info.description)),
    el("p", { class: "lead" }, "Base URL of clients: ", el("code", {}, `${here}/v1`))));
  for (const tag of document_.tags) {
    byId("nav").append(el("h2", {}, tag.name));
    for (const [path, methods] of Object.entries(document_.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (!operation.tags.includes(tag.name)) continue;
        byId("nav").append(el("a", { href: `#${operation.operationId}` }, operation.summary));
        main.append(operationSection(path, method, operation));
      }
    }
  }
  if (location.hash) byId(location.hash.slice(1))?.scrollIntoView();
}

const theme = byId("theme");
setText(theme, `Theme: ${window.ztoapiTheme.get()}`);
theme.addEventListener("click", () => setText(theme, `Theme: ${window.ztoapiTheme.next()}`));

try {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`status ${response.status}`);
  document_ = await response.json();
  render();
} catch (error) {
  setText(byId("state") ?? byId("main"), `Cannot load openapi.json (${error.message}). Reload the page to try again.`);
}

// The pages exist unless the dashboard is disabled.
const index = await fetch("./", { headers: { accept: "application/json" } }).then((response) => response.json()).catch(() => ({}));
for (const page of ["chat", "dashboard"]) byId(page).hidden = !(page in index);
