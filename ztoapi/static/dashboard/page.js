// Connects the events of the stream to the panels, and handles the buttons of the header.

import { ask, hideForm, showForm, watchForm } from "./access.js";
import { byId, setText } from "./dom.js";
import { watchHeader } from "./header.js";
import { Keys } from "./keys.js";
import { say, translate } from "./language.js";
import { Panels } from "./panels.js";
import { Requests } from "./requests.js";
import { watchSettings } from "./settings.js";
import { EventStream } from "./stream.js";
import { Tools } from "./tools.js";
import { Traffic } from "./traffic.js";
import { Usage } from "./usage.js";

translate();

let stats = null;
let drawing = false;
let paused = false;
let lost = false;
let state = "connecting";
let until = 0; // time of the next attempt, in milliseconds of the page's clock
const announce = (text) => setText(byId("said"), text);
const panels = new Panels();
const requests = new Requests(announce);
const traffic = new Traffic(() => usage.apply());
const keys = new Keys(announce);
const tools = new Tools(announce);
const usage = new Usage(announce, () => traffic.bounds(), (field, names) => requests.addChoices(field, names));

/** Draws at most once per frame, and not at all while the page is hidden. */
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    if (!stats) return;
    panels.show(stats);
    traffic.show(stats);
  });
}

function receive(event, value) {
  if (event === "stats") {
    stats = value;
    requests.offer(value);
    tools.offer(value);
    draw();
  } else if (event === "requests") {
    requests.take(value);
  }
}

const MOODS = { live: "good", waiting: "bad", refused: "bad", paused: "warn", connecting: "" };

function showState() {
  const link = byId("link");
  link.className = `badge ${MOODS[state]}`;
  setText(link, say(`link.${state}`, { seconds: Math.max(Math.ceil((until - performance.now()) / 1000), 0) }));
}

function changed(next, more) {
  // During repeated failures the remaining wait is shown, not each attempt.
  if (next === "connecting" && lost) return;
  if (next === "waiting") {
    until = performance.now() + more * 1000;
    if (!lost) announce(say("said.lost"));
    lost = true;
  } else {
    if (next === "live" && lost) announce(say("said.live"));
    lost = false;
  }
  state = next;
  document.documentElement.dataset.link = next;
  if (next === "refused") showForm(more);
  if (next === "live") {
    hideForm();
    requests.apply({ again: true });
    keys.fetch();
  }
  showState();
}

const stream = new EventStream("dashboard/events", { ask, onEvent: receive, onState: changed });

function pause() {
  paused = !paused;
  requests.paused = traffic.paused = usage.paused = paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  byId("pause").dataset.text = paused ? "resume" : "pause";
  setText(byId("pause"), say(byId("pause").dataset.text));
  if (paused) {
    stream.stop();
    announce(say("said.paused"));
    changed("paused");
  } else {
    stream.start();
  }
}

byId("pause").addEventListener("click", pause);
watchHeader(() => {
  showState();
  requests.draw();
  traffic.translate();
  usage.draw();
  keys.draw();
  draw();
});
watchSettings();
setInterval(() => state === "waiting" && showState(), 1000);
watchForm(() => stream.start());
stream.start();
