// Sends a conversation and reads the response: the deltas go to the turn as they arrive.

import { APIS, ApiFailure } from "./apis.js";
import { authorization } from "./authorization.js";
import { EventParser } from "./events.js";

export const here = new URL(".", location.href).href.replace(/\/$/, "");

async function failure(response) {
  const body = await response.json().catch(() => null);
  return new ApiFailure(body?.error ?? { message: `HTTP ${response.status}` });
}

/** Returns the models that the key may use. Throws an ApiFailure, with `status` set. */
export async function fetchModels(key) {
  const response = await fetch(`${here}/v1/models`, { headers: authorization(key), cache: "no-store" });
  if (!response.ok) throw Object.assign(await failure(response), { status: response.status });
  return (await response.json()).data;
}

export const newTurn = () => ({ role: "assistant", text: "", reasoning: "", calls: [], usage: null, error: null, first: null, seconds: null });

function add(turn, delta) {
  if (delta.text) turn.text += delta.text;
  if (delta.reasoning) turn.reasoning += delta.reasoning;
  if (delta.usage) turn.usage = { ...turn.usage, ...Object.fromEntries(Object.entries(delta.usage).filter(([, tokens]) => tokens)) };
  if (!delta.call) return;
  const { at, id, name, arguments: part } = delta.call;
  let call = turn.calls.find((one) => one.at === at);
  if (!call) turn.calls.push((call = { at, id: "", name: "", arguments: "", result: null }));
  call.id = id ?? call.id;
  call.name = name ?? call.name;
  call.arguments += part ?? "";
}

async function* readStream(api, response) {
  const parser = new EventParser();
  for await (const bytes of chunks(response.body.getReader())) {
    for (const { event, data } of parser.feed(bytes)) {
      if (data !== "[DONE]") yield* api.event(event, JSON.parse(data));
    }
  }
}

async function* chunks(reader) {
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    yield value;
  }
}

/**
 * Sends `request` (see apis.js; `api` is its name) and fills `turn`. `onChange` is called after each delta. A response
 * that fails, or that `signal` stops, keeps what has arrived; `turn.error` is then { message, code }.
 */
export async function respond(request, turn, { key, signal, onChange }) {
  const api = APIS[request.api];
  const start = performance.now();
  const since = () => (performance.now() - start) / 1000;
  try {
    const response = await fetch(`${here}/${api.path}`, {
      method: "POST",
      headers: { "content-type": "application/json", ...authorization(key) },
      body: JSON.stringify(api.body(request)),
      signal,
    });
    if (!response.ok) throw await failure(response);
    for await (const delta of request.stream ? readStream(api, response) : api.whole(await response.json())) {
      if (!delta.usage) turn.first ??= since();
      add(turn, delta);
      onChange();
    }
  } catch (error) {
    turn.error = { message: error.message, code: signal.aborted ? "stopped" : (error.code ?? null) };
  }
  turn.seconds = since();
}
