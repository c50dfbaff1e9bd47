// Metrics and profiles. A link cannot send the admin key, so both are fetched: metrics open in a tab, a profile is saved.

import { ask } from "./access.js";
import { byId, el, setText } from "./dom.js";
import { offer } from "./export.js";
import { say } from "./language.js";

const ATTEMPTS = 60; // each may reach another worker than the one to profile
const OTHER_WORKER = 421;
const ENDINGS = { flamegraph: "html", speedscope: "speedscope.json", collapsed: "txt" };

async function openMetrics(announce) {
  const response = await ask("metrics", { headers: { accept: "text/plain" }, cache: "no-store" }).catch(() => null);
  if (!response?.ok) {
    announce(say("tools.failed"));
    return;
  }
  const blob = new Blob([await response.text()], { type: "text/plain;charset=utf-8" });
  const href = URL.createObjectURL(blob);
  if (!open(href, "_blank")) offer(blob, "metrics.txt");
  setTimeout(() => URL.revokeObjectURL(href), 60000);
}

/** Returns the response of the worker: the kernel chooses the worker of a connection, and the others close theirs. */
async function reach(url) {
  for (let attempt = 1; ; attempt += 1) {
    const response = await ask(url, { cache: "no-store" });
    if (response.status !== OTHER_WORKER || attempt === ATTEMPTS) return response;
  }
}

async function record(form, said) {
  const { worker, seconds, format } = Object.fromEntries(new FormData(form));
  setText(said, say("profile.running", { worker, seconds }));
  form.elements.start.disabled = true;
  try {
    const response = await reach(`debug/pprof/profile?${new URLSearchParams({ worker, seconds, format })}`);
    if (!response.ok) throw new Error((await response.json()).error.message);
    offer(await response.blob(), `worker-${worker}.${ENDINGS[format]}`);
    setText(said, say("profile.saved"));
  } catch (error) {
    setText(said, say("profile.failed", { reason: error.message }));
  } finally {
    form.elements.start.disabled = false;
  }
}

export class Tools {
  constructor(announce) {
    this.form = byId("profile-form");
    byId("metrics").addEventListener("click", () => openMetrics(announce));
    byId("profile-open").addEventListener("click", () => this.open());
    byId("profile-close").addEventListener("click", () => byId("profile").close());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      record(this.form, byId("profile-said"));
    });
  }

  /** The workers of the statistics, which the form offers. */
  offer({ workers }) {
    this.workers = workers;
  }

  open() {
    const numbers = (this.workers ?? []).filter((one) => one.alive).map((one) => String(one.number));
    this.form.elements.worker.replaceChildren(...numbers.map((number) => el("option", { value: number }, number)));
    setText(byId("profile-said"), "");
    byId("profile").showModal();
  }
}
