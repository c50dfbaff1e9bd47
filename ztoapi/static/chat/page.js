// The chat page: settings, conversation, and the request in flight.

import { LANGUAGES } from "./code.js";
import { fetchModels, newTurn, respond } from "./conversation.js";
import { byId, el, setText } from "./dom.js";
import { watchHeader } from "./header.js";
import { say, translate } from "./language.js";
import { TurnView } from "./view.js";

const KEPT = "ztoapi-client-key";
const views = [];
let models = new Map();
let running = null;
let keyState = ["key.needed", {}];

translate();

function keptKey() {
  try {
    return sessionStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}

const key = () => byId("key").value.trim();
const announce = (text) => setText(byId("said"), text);

// -- settings --------------------------------------------------------------------------------------------------------

function showKeyState(name, values = {}) {
  keyState = [name, values];
  setText(byId("key-why"), say(name, values));
}

async function loadModels() {
  let found;
  try {
    found = await fetchModels(key());
  } catch (error) {
    byId("model").disabled = byId("send").disabled = true;
    const isKey = error.status === 401;
    byId("settings").open = true;
    byId("key").setAttribute("aria-invalid", String(isKey && key() !== ""));
    if (isKey && !key()) showKeyState("key.needed");
    else showKeyState(isKey ? "key.refused" : "models.failed", { message: error.message });
    return;
  }
  byId("key").removeAttribute("aria-invalid");
  showKeyState(key() ? "key.kept" : "key.none");
  const chosen = byId("model").value;
  models = new Map(found.map((model) => [model.id, model]));
  byId("model").replaceChildren(...found.map(({ id }) => el("option", {}, id)));
  if (models.has(chosen)) byId("model").value = chosen;
  byId("model").disabled = false;
  byId("send").disabled = running !== null;
}

function keepKey() {
  try {
    sessionStorage.setItem(KEPT, key());
  } catch { /* it holds for this page only */ }
  loadModels();
}

/** Returns the tools, or null if the field has no list of functions. */
function readTools() {
  const text = byId("tools").value.trim();
  let tools = [];
  let fault = null;
  try {
    tools = text ? JSON.parse(text) : [];
    if (!Array.isArray(tools) || !tools.every((tool) => typeof tool?.name === "string")) fault = "[{\"name\": …}]";
  } catch (error) {
    fault = error.message;
  }
  setText(byId("tools-wrong"), fault === null ? "" : say("tools.wrong", { message: fault }));
  byId("tools").setAttribute("aria-invalid", String(fault !== null));
  return fault === null ? tools : null;
}

/** Returns the request with the turns so far, or null if a setting is wrong. */
function currentRequest() {
  const tools = readTools();
  if (tools === null) return null;
  return {
    api: byId("api").value,
    model: byId("model").value,
    system: byId("system").value.trim(),
    turns: views.map(({ turn }) => turn),
    tools,
    stream: byId("stream").checked,
    thinking: byId("thinking").checked,
  };
}

async function copy(language) {
  const request = currentRequest();
  if (request === null) return;
  // Before the first message: the request of the message that is being written.
  if (!request.turns.length || byId("prompt").value.trim()) request.turns.push({ role: "user", text: byId("prompt").value.trim() || "Hello" });
  const button = byId(`copy-${language}`);
  try {
    await navigator.clipboard.writeText(LANGUAGES[language](request));
    announce(say("copied", { language: button.textContent }));
  } catch {
    announce(say("copied.not"));
  }
}

// -- conversation ----------------------------------------------------------------------------------------------------

const isAtEnd = () => document.documentElement.scrollHeight - window.scrollY - window.innerHeight < 80;
const scrollToEnd = () => window.scrollTo(0, document.documentElement.scrollHeight);

function addTurn(turn) {
  const view = new TurnView(turn, { retry, sendResults });
  views.push(view);
  byId("turns").append(view.item);
  scrollToEnd();
  return view;
}

/** Drops `turn` and those after it. */
function dropFrom(turn) {
  const at = views.findIndex((view) => view.turn === turn);
  for (const view of views.splice(at)) view.item.remove();
}

function setRunning(controller) {
  running = controller;
  byId("stop").hidden = controller === null;
  byId("send").disabled = controller !== null || byId("model").disabled;
}

async function ask() {
  const request = currentRequest();
  if (request === null) return;
  const turn = { ...newTurn(), model: request.model, stream: request.stream, pricing: models.get(request.model)?.pricing };
  const view = addTurn(turn);
  setRunning(new AbortController());
  const mine = running;
  await respond(request, turn, {
    key: key(),
    signal: mine.signal,
    onChange: () => {
      const follows = isAtEnd();
      view.change();
      if (follows) requestAnimationFrame(scrollToEnd);
    },
  });
  view.draw();
  if (mine === running) setRunning(null);
  if (turn.error === null) announce(say("said.done"));
  else if (turn.error.code !== "stopped") announce(say("said.failed", { message: turn.error.message }));
  if (isAtEnd()) scrollToEnd();
}

function send(event) {
  event.preventDefault();
  const text = byId("prompt").value.trim();
  if (!text || byId("send").disabled || readTools() === null) return;
  byId("prompt").value = "";
  addTurn({ role: "user", text });
  ask();
}

function retry(turn) {
  if (running !== null || readTools() === null) return;
  dropFrom(turn);
  ask();
}

function sendResults(turn) {
  if (running !== null) return;
  for (const call of turn.calls) call.result ??= "";
  ask();
}

function stop() {
  running?.abort();
  byId("prompt").focus();
}

function startNew() {
  running?.abort();
  setRunning(null);
  for (const view of views.splice(0)) view.item.remove();
  byId("prompt").focus();
}

// -- wiring ----------------------------------------------------------------------------------------------------------

watchHeader(() => {
  showKeyState(...keyState);
  for (const view of views) view.draw();
});
byId("fields").addEventListener("submit", (event) => event.preventDefault());
// On a phone the conversation comes first.
byId("settings").open = !matchMedia("(max-width: 820px)").matches;
byId("composer").addEventListener("submit", send);
byId("prompt").addEventListener("keydown", (event) => {
  // While an input method composes characters, Enter belongs to it.
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
});
byId("stop").addEventListener("click", stop);
byId("new").addEventListener("click", startNew);
byId("key").addEventListener("change", keepKey);
byId("tools").addEventListener("change", readTools);
for (const language of Object.keys(LANGUAGES)) byId(`copy-${language}`).addEventListener("click", () => copy(language));
byId("key").value = keptKey();
loadModels();
