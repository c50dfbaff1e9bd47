// openai-node against the gateway at BASE_URL; prints what it saw as one JSON line.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "any", maxRetries: 0 });
const messages = [{ role: "user", content: "Hello" }];
const model = "glm-4.6";
const seen = {};

const whole = await client.chat.completions.create({ model, messages });
seen.whole = whole.choices[0].message.content;
seen.usage = whole.usage.completion_tokens;

let text = "";
let finish = null;
for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? "";
  finish = chunk.choices[0]?.finish_reason ?? finish;
}
seen.streamed = text;
seen.finish = finish;

const tools = [
  { type: "function", function: { name: "add", parameters: { type: "object", properties: { a: { type: "integer" } } } } },
];
const final = await client.chat.completions.stream({ model, messages, tools }).finalChatCompletion();
seen.tool = final.choices[0].message.tool_calls[0].function;

seen.models = (await client.models.list()).data.map((one) => one.id);

const failures = { limited: "fault=1302:retry_after=60", invalid: "fault=1210", cut: "itl=1:fault=truncate" };
for (const [name, fault] of Object.entries(failures)) {
  try {
    const stream = await client.chat.completions.create({ model: `${model}:${fault}`, messages, stream: true });
    for await (const _ of stream);
    seen[name] = "no error";
  } catch (error) {
    seen[name] = error.constructor.name;
  }
}

const abort = new AbortController();
const endless = await client.chat.completions.create(
  { model: `${model}:itl=5:tokens=100000`, messages, stream: true },
  { signal: abort.signal },
);
for await (const _ of endless) abort.abort();
console.log(JSON.stringify(seen));
