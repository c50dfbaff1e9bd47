// The admin key: kept for this tab, sent with every request; the page prompts for it when the gateway requires it.

import { authorization } from "./authorization.js";
import { byId, setText } from "./dom.js";
import { translate } from "./language.js";

const KEPT = "ztoapi-admin-key";
const figures = byId("figures");
const form = byId("access");
let key = null;

function read() {
  try {
    return sessionStorage.getItem(KEPT);
  } catch {
    return key;
  }
}

function keep(value) {
  key = value;
  try {
    if (value === null) sessionStorage.removeItem(KEPT);
    else sessionStorage.setItem(KEPT, value);
  } catch { /* it holds for this page only */ }
}

/** fetch() with the key, if there is one. */
export function ask(url, options = {}) {
  const key = read();
  return fetch(url, key === null ? options : { ...options, headers: { ...options.headers, ...authorization(key) } });
}

/** Shows the form for the refusal `response`. After 403 no key would help, and the message names the remedy. */
export async function showForm(response) {
  const closed = response.status === 403;
  const hasKey = read() !== null;
  if (!closed) keep(null);
  byId("access-why").dataset.text = closed ? "access.closed" : hasKey ? "access.wrong" : "access.needed";
  byId("access-go").dataset.text = closed ? "access.again" : "access.open";
  byId("access-key").hidden = closed;
  byId("key").disabled = closed;
  byId("key").setAttribute("aria-invalid", String(hasKey && !closed));
  byId("access-said").hidden = !closed;
  if (closed) {
    const body = await response.json().catch(() => null);
    setText(byId("access-said"), body?.error?.message ?? "403");
  }
  translate(form);
  form.hidden = false;
  figures.hidden = true;
  (closed ? byId("access-go") : byId("key")).focus();
}

/** `onKey` is called when a key was entered. */
export function watchForm(onKey) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!byId("key").disabled) keep(byId("key").value.trim());
    byId("key").value = "";
    onKey();
  });
}

export function hideForm() {
  if (form.hidden) return;
  const inside = form.contains(document.activeElement);
  form.hidden = true;
  figures.hidden = false;
  if (inside) byId("main").focus();
}
