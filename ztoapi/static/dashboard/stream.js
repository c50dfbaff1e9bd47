// Server-sent events over fetch(), because an EventSource cannot send a key. Reconnects by itself.

import { EventParser } from "./events.js";

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15000;
const SILENCE_MS = 10000; // the server sends once a second; after this time without data the connection is dead

/**
 * `ask` is fetch() with credentials; `onEvent(event, data)` gets the JSON of each event; `onState` gets "connecting",
 * "live", "waiting" (and the seconds until the next attempt) or "refused" (and the response).
 */
export class EventStream {
  constructor(url, { ask, onEvent, onState }) {
    Object.assign(this, { url, ask, onEvent, onState });
    this.wait = FIRST_WAIT_MS;
    this.running = null;
    this.timer = 0;
    window.addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
  }

  start() {
    this.stop();
    this.wait = FIRST_WAIT_MS;
    this.connect();
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.running?.abort();
    this.running = null;
  }

  /** Reconnects at once. */
  hurry() {
    if (this.timer) this.start();
  }

  async connect() {
    this.timer = 0;
    const mine = (this.running = new AbortController());
    this.live = false;
    this.onState("connecting");
    try {
      const response = await this.ask(this.url, { signal: mine.signal, cache: "no-store" });
      if (response.status === 401 || response.status === 403) {
        if (mine === this.running) this.onState("refused", response);
        return;
      }
      if (response.ok) await this.read(response.body.getReader(), mine);
    } catch {
      // A lost, refused or stopped connection is handled in the same way.
    }
    if (mine === this.running) this.later();
  }

  async read(reader, mine) {
    const parser = new EventParser();
    for (;;) {
      const silence = setTimeout(() => mine.abort(), SILENCE_MS);
      const { value, done } = await reader.read().finally(() => clearTimeout(silence));
      if (done || mine !== this.running) return;
      for (const { event, data } of parser.feed(value)) {
        if (!this.live) this.onState("live");
        this.live = true;
        this.wait = FIRST_WAIT_MS;
        this.onEvent(event, JSON.parse(data));
      }
    }
  }

  later() {
    // Random, so that pages that lost the same gateway do not all reconnect at once.
    const spread = this.wait * (0.75 + Math.random() / 2);
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
    this.timer = setTimeout(() => this.connect(), spread);
    this.onState("waiting", spread / 1000);
  }
}
