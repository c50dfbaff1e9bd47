// The three APIs of the gateway: the bodies of their requests, and their responses as deltas.
//
// A conversation is a list of turns: { role: "user", text } or { role: "assistant", text, reasoning, calls }, where a
// call is { id, name, arguments, result }; `result` is null until it is given. Tools are { name, description,
// parameters }. The readers yield deltas: { text }, { reasoning }, { call: { at, id, name, arguments } }, { usage:
// { input, output } }, and throw an ApiFailure for an error within a stream.

export class ApiFailure extends Error {
  constructor(error) {
    super(error?.message ?? String(error));
    this.code = error?.code ?? error?.type ?? null;
  }
}

const clean = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined && value !== null && value !== ""));
const answered = (turn) => turn.calls.filter(({ result }) => result !== null);
const list = (values) => (values.length ? values : undefined);

function json(text) {
  try {
    return JSON.parse(text || "{}");
  } catch {
    return {};
  }
}

// -- chat completions ------------------------------------------------------------------------------------------------

function chatMessages(turns) {
  return turns.flatMap((turn) => {
    if (turn.role === "user") return [{ role: "user", content: turn.text }];
    const calls = answered(turn).map(({ id, name, arguments: text }) => ({ id, type: "function", function: { name, arguments: text || "{}" } }));
    const results = answered(turn).map(({ id, result }) => ({ role: "tool", tool_call_id: id, content: result }));
    return [{ role: "assistant", content: turn.text, ...clean({ tool_calls: list(calls) }) }, ...results];
  });
}

function* chatDelta(delta) {
  if (delta.reasoning_content ?? delta.reasoning) yield { reasoning: delta.reasoning_content ?? delta.reasoning };
  if (delta.content) yield { text: delta.content };
  for (const [position, call] of (delta.tool_calls ?? []).entries()) {
    yield { call: { at: call.index ?? position, id: call.id, name: call.function?.name, arguments: call.function?.arguments } };
  }
}

function* chatUsage(usage) {
  if (usage) yield { usage: { input: usage.prompt_tokens, output: usage.completion_tokens } };
}

const chat = {
  path: "v1/chat/completions",
  body: ({ model, system, turns, tools, stream, thinking }) => ({
    model,
    messages: [...(system ? [{ role: "system", content: system }] : []), ...chatMessages(turns)],
    ...clean({ tools: list(tools.map((tool) => ({ type: "function", function: tool }))) }),
    ...(thinking ? {} : { thinking: { type: "disabled" } }),
    ...(stream ? { stream: true, stream_options: { include_usage: true } } : {}),
  }),
  *whole(response) {
    yield* chatDelta(response.choices?.[0]?.message ?? {});
    yield* chatUsage(response.usage);
  },
  *event(_name, data) {
    if (data.error) throw new ApiFailure(data.error);
    if (data.choices?.length) yield* chatDelta(data.choices[0].delta ?? {});
    yield* chatUsage(data.usage);
  },
};

// -- Messages --------------------------------------------------------------------------------------------------------

function messagesTurns(turns) {
  return turns.flatMap((turn) => {
    if (turn.role === "user") return [{ role: "user", content: turn.text }];
    const calls = answered(turn).map(({ id, name, arguments: text }) => ({ type: "tool_use", id, name, input: json(text) }));
    const results = answered(turn).map(({ id, result }) => ({ type: "tool_result", tool_use_id: id, content: result }));
    const content = [...(turn.text ? [{ type: "text", text: turn.text }] : []), ...calls];
    return [...(content.length ? [{ role: "assistant", content }] : []), ...(results.length ? [{ role: "user", content: results }] : [])];
  });
}

function* messagesBlock(at, block) {
  if (block.type === "text" && block.text) yield { text: block.text };
  if (block.type === "thinking" && block.thinking) yield { reasoning: block.thinking };
  if (block.type === "tool_use") {
    yield { call: { at, id: block.id, name: block.name, arguments: Object.keys(block.input ?? {}).length ? JSON.stringify(block.input) : "" } };
  }
}

function* messagesUsage(usage) {
  if (usage) yield { usage: { input: usage.input_tokens, output: usage.output_tokens } };
}

const messages = {
  path: "v1/messages",
  body: ({ model, system, turns, tools, stream, thinking }) => ({
    model,
    max_tokens: 8192,
    ...clean({ system }),
    messages: messagesTurns(turns),
    ...clean({ tools: list(tools.map(({ name, description, parameters }) => clean({ name, description, input_schema: parameters }))) }),
    thinking: thinking ? { type: "enabled", budget_tokens: 4096 } : { type: "disabled" },
    ...(stream ? { stream: true } : {}),
  }),
  *whole(response) {
    for (const [at, block] of (response.content ?? []).entries()) yield* messagesBlock(at, block);
    yield* messagesUsage(response.usage);
  },
  *event(_name, data) {
    if (data.type === "error") throw new ApiFailure(data.error);
    if (data.type === "message_start") yield* messagesUsage(data.message?.usage);
    if (data.type === "message_delta") yield* messagesUsage(data.usage);
    if (data.type === "content_block_start") yield* messagesBlock(data.index, data.content_block);
    if (data.type !== "content_block_delta") return;
    const { type, text, thinking, partial_json: part } = data.delta;
    if (type === "text_delta") yield { text };
    if (type === "thinking_delta") yield { reasoning: thinking };
    if (type === "input_json_delta") yield { call: { at: data.index, arguments: part } };
  },
};

// -- Responses -------------------------------------------------------------------------------------------------------

function responsesInput(turns) {
  return turns.flatMap((turn) => {
    if (turn.role === "user") return [{ role: "user", content: turn.text }];
    const items = answered(turn).flatMap(({ id, name, arguments: text, result }) => [
      { type: "function_call", call_id: id, name, arguments: text || "{}" },
      { type: "function_call_output", call_id: id, output: result },
    ]);
    return [...(turn.text ? [{ role: "assistant", content: turn.text }] : []), ...items];
  });
}

function* responsesItem(at, item) {
  if (item.type === "function_call") yield { call: { at, id: item.call_id, name: item.name, arguments: item.arguments } };
  if (item.type === "message") for (const { text } of item.content ?? []) if (text) yield { text };
  if (item.type === "reasoning") for (const { text } of [...(item.summary ?? []), ...(item.content ?? [])]) if (text) yield { reasoning: text };
}

function* responsesUsage(usage) {
  if (usage) yield { usage: { input: usage.input_tokens, output: usage.output_tokens } };
}

const responses = {
  path: "v1/responses",
  body: ({ model, system, turns, tools, stream, thinking }) => ({
    model,
    ...clean({ instructions: system }),
    input: responsesInput(turns),
    ...clean({ tools: list(tools.map((tool) => ({ type: "function", ...tool }))) }),
    ...(thinking ? { reasoning: { effort: "medium", summary: "auto" } } : { reasoning: { effort: "none" } }),
    store: false,
    ...(stream ? { stream: true } : {}),
  }),
  *whole(response) {
    for (const [at, item] of (response.output ?? []).entries()) yield* responsesItem(at, item);
    yield* responsesUsage(response.usage);
  },
  *event(_name, data) {
    if (data.type === "error") throw new ApiFailure(data.error ?? data);
    if (data.type === "response.failed") throw new ApiFailure(data.response.error);
    if (data.type === "response.output_text.delta") yield { text: data.delta };
    if (/^response\.reasoning(_summary)?_text\.delta$/.test(data.type)) yield { reasoning: data.delta };
    if (data.type === "response.output_item.added" && data.item.type === "function_call") {
      yield* responsesItem(data.output_index, data.item);
    }
    if (data.type === "response.function_call_arguments.delta") yield { call: { at: data.output_index, arguments: data.delta } };
    if (data.type === "response.completed" || data.type === "response.incomplete") yield* responsesUsage(data.response.usage);
  },
};

export const APIS = { chat, messages, responses };
