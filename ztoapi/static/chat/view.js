// Draws the turns. A turn that grows is drawn again in place, at most once per frame.

import { el, setText } from "./dom.js";
import { amount, count, duration } from "./format.js";
import { say } from "./language.js";

/** Text as paragraphs and, between lines of three backticks, code. */
function prose(text) {
  return text.split(/^```/m).map((piece, at) => {
    if (at % 2 === 0) return piece.trim() ? el("p", {}, piece.trim()) : null;
    return el("pre", { tabindex: "0" }, el("code", {}, piece.replace(/^[^\n]*\n/, "")));
  });
}

function cost(turn, pricing) {
  const { input, output } = turn.usage ?? {};
  if (!pricing?.prompt || !pricing.completion || !input) return null;
  return say("figure.cost", { value: (input * pricing.prompt + (output ?? 0) * pricing.completion).toPrecision(2) });
}

function figures(turn, pricing) {
  const { input, output } = turn.usage ?? {};
  const speaking = turn.seconds - turn.first;
  return [
    turn.first === null ? null : say("figure.ttft", { value: duration(turn.first) }),
    say("figure.total", { value: duration(turn.seconds) }),
    input || output ? say("figure.tokens", { input: count(input), output: count(output) }) : null,
    output > 1 && turn.stream && speaking > 0 ? say("figure.speed", { value: amount(output / speaking) }) : null,
    cost(turn, pricing),
  ].filter(Boolean);
}

/** One turn of the conversation. `actions` has `retry()` and `sendResults()`; `pricing` is that of the model. */
export class TurnView {
  constructor(turn, actions) {
    this.turn = turn;
    this.actions = actions;
    this.body = el("div", { class: "body" });
    this.calls = el("div", { class: "calls" });
    this.foot = el("footer", { class: "quiet" });
    this.item = el("li", { class: turn.role }, el("h2", {}), this.body, this.calls, this.foot);
    this.drawing = false;
    this.draw();
  }

  /** Draws in the next frame. */
  change() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      this.draw();
    });
  }

  draw() {
    const { turn } = this;
    setText(this.item.firstChild, turn.role === "user" ? say("you") : turn.model);
    const reasoning = turn.reasoning
      ? el("details", { open: this.body.querySelector("details")?.open ?? true }, el("summary", {}, say("reasoning")), el("p", {}, turn.reasoning))
      : null;
    const isEmpty = turn.role === "assistant" && !turn.text && !turn.reasoning && !turn.calls.length && turn.seconds === null;
    this.body.replaceChildren(
      ...[reasoning, ...prose(turn.text), isEmpty ? el("p", { class: "quiet" }, say("waiting")) : null].filter(Boolean),
    );
    if (turn.role === "assistant") {
      this.drawCalls();
      this.drawFoot();
    }
  }

  drawCalls() {
    const { turn } = this;
    const isDone = turn.seconds !== null && !turn.error;
    // A field in which a person writes is not drawn again.
    if (isDone && this.calls.querySelector("textarea")) return;
    const nodes = turn.calls.map((call) =>
      el("section", { class: "call" },
        el("h3", {}, say("call.of", { name: call.name })),
        el("pre", { tabindex: "0", "aria-label": say("call.arguments") }, el("code", {}, call.arguments)),
        isDone ? this.resultField(call) : null));
    if (isDone && nodes.length) nodes.push(el("button", { type: "button", click: () => this.actions.sendResults(turn) }, say("call.send")));
    this.calls.replaceChildren(...nodes);
  }

  resultField(call) {
    const field = el("textarea", { rows: "2", input: (event) => (call.result = event.target.value) });
    field.value = call.result ?? "";
    return el("label", {}, el("span", {}, say("call.result", { name: call.name })), field);
  }

  drawFoot() {
    const { turn } = this;
    if (turn.seconds === null) return;
    const { error } = turn;
    const message = error?.code === "stopped" ? say("stopped") : error && [error.code, error.message].filter(Boolean).join(": ");
    this.foot.replaceChildren(
      ...[
        message ? el("p", { class: error.code === "stopped" ? "warn" : "bad" }, message) : null,
        el("span", {}, figures(turn, turn.pricing).join(" · ")),
        el("button", { type: "button", class: "plain", click: () => this.actions.retry(turn) }, say("retry")),
      ].filter(Boolean),
    );
  }
}
