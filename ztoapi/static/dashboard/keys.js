// The client keys of the key file: a table, and the dialog that creates one. A new key is shown once.

import { ask } from "./access.js";
import { byId, el, setText } from "./dom.js";
import { NONE, amount, brief, date, percent } from "./format.js";
import { name as word, say } from "./language.js";
import { link } from "./links.js";
import { badge, Table } from "./table.js";

const AGAIN_MS = 60000;
const MOODS = { active: "good", expired: "warn", revoked: "bad" };

const short = (value) => (Number.isInteger(value) ? brief(value) : amount(value));

/** The limits of a key, and its budgets with their used shares. */
function limits({ name, limits }, budgets) {
  const used = budgets.filter((one) => one.key === name).map(({ budget, used, limit }) =>
    [budget, used === null ? short(limit) : say("keys.used", { share: percent(used / limit), limit: short(limit) })]);
  const own = Object.entries(limits).map(([field, value]) => [field, short(value)]);
  return [...new Map([...own, ...used])].map(([field, text]) => `${field.replaceAll("_", " ")}: ${text}`).join(", ") || NONE;
}

export class Keys {
  constructor(announce) {
    Object.assign(this, { announce, page: null });
    this.table = new Table({ label: "keys", columns: this.columns(), keyOf: (one) => one.name, none: "keys.none" });
    byId("keys-table").append(this.table.element);
    this.form = byId("key-form");
    byId("key-new").addEventListener("click", () => this.begin());
    byId("key-close").addEventListener("click", () => byId("key-dialog").close());
    // The key leaves the page with the dialog.
    byId("key-dialog").addEventListener("close", () => (byId("key-secret").value = ""));
    byId("key-copy").addEventListener("click", () => this.copy());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.create();
    });
    setInterval(() => document.hidden || this.page === null || this.fetch(), AGAIN_MS);
  }

  columns() {
    return [
      { head: "keys.name", class: "cut", show: (cell, one) => link(cell, one.name, { key: one.name }) },
      { head: "keys.id", class: "c-more", text: (one) => one.id },
      { head: "keys.state", class: "c-state", show: (cell, one) => badge(cell, word("key", one.state), MOODS[one.state]) },
      { head: "keys.models", class: "cut", text: (one) => one.models?.join(", ") ?? say("keys.all") },
      { head: "keys.expires", class: "", text: (one) => (one.expires ? date(Date.parse(one.expires) / 1000) : say("keys.never")) },
      { head: "keys.limits", class: "cut c-more", text: (one) => limits(one, this.page.budgets) },
      { head: "keys.change", class: "c-change", show: (cell, one) => this.buttons(cell, one) },
    ];
  }

  async fetch() {
    const response = await ask("admin/keys", { cache: "no-store" }).catch(() => null);
    const body = await response?.json().catch(() => null);
    if (response?.ok) this.page = body;
    this.wrong = response?.ok ? "" : body?.error?.message ?? "";
    this.draw();
  }

  draw() {
    setText(byId("keys-wrong"), this.wrong ?? "");
    if (!this.page) return;
    const { file, changes, keys } = this.page;
    byId("key-new").disabled = !(file && changes);
    setText(byId("keys-note"), !file ? say("keys.no_file") : changes ? "" : say("keys.no_admin"));
    this.table.show(keys);
    byId("keys-table").hidden = !file;
    this.table.empty.hidden = keys.length > 0;
  }

  buttons(cell, one) {
    if (!cell.firstElementChild) {
      cell.append(...["rotate", "revoke"].map((action) =>
        el("button", { type: "button", class: "plain", click: () => this.change(action, one.name) })));
    }
    [...cell.children].forEach((button, at) => {
      const action = ["rotate", "revoke"][at];
      button.hidden = one.state === "revoked" || !this.page.changes;
      setText(button, say(`keys.${action}`));
      button.setAttribute("aria-label", say(`keys.${action}.label`, { name: one.name }));
    });
  }

  // -- changes ---------------------------------------------------------------------------------------------------

  /** Sends a change; returns its response, or shows the message of the refusal in `wrong`. */
  async send(path, body, wrong) {
    setText(wrong, "");
    const response = await ask(path, {
      method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" },
    }).catch(() => null);
    const answer = await response?.json().catch(() => null);
    if (response?.ok) return answer;
    setText(wrong, answer?.error?.message ?? say("keys.failed"));
    return null;
  }

  begin() {
    this.form.reset();
    this.show(null);
    byId("key-dialog").showModal();
    this.form.elements.name.focus();
  }

  async create() {
    const fields = Object.fromEntries([...new FormData(this.form)].map(([field, value]) => [field, value.trim()]).filter(([, value]) => value));
    const made = await this.send("admin/keys", fields, byId("key-wrong"));
    if (!made) return;
    this.show(made);
    await this.fetch();
  }

  async change(action, key) {
    if (!confirm(say(`keys.${action}.confirm`, { name: key }))) return;
    const made = await this.send(`admin/keys/${action}`, { name: key }, byId("keys-wrong"));
    if (!made) return;
    await this.fetch();
    if (action === "revoke") {
      this.announce(say("keys.revoked", { name: key }));
      return;
    }
    byId("key-dialog").showModal();
    this.show(made);
  }

  /** Shows a new key, or the form for null. */
  show(made) {
    this.form.hidden = made !== null;
    byId("key-made").hidden = made === null;
    setText(byId("key-wrong"), made?.warnings?.join(" ") ?? "");
    if (made === null) return;
    setText(byId("key-made-name"), say("keys.made", { name: made.name }));
    byId("key-secret").value = made.key;
    byId("key-secret").focus();
    byId("key-secret").select();
  }

  async copy() {
    byId("key-secret").select();
    // Without TLS a browser may have no clipboard; the key is selected.
    const copied = await navigator.clipboard?.writeText(byId("key-secret").value).then(() => true, () => false);
    this.announce(say(copied ? "keys.copied" : "keys.selected"));
  }
}
