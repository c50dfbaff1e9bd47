import Anthropic from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";

const add = betaTool({
  name: "add",
  description: "Add two numbers.",
  inputSchema: {
    type: "object",
    properties: { a: { type: "integer" }, b: { type: "integer" } },
    required: ["a", "b"],
  },
  run: ({ a, b }) => String(a + b),
});
const messages = [{ role: "user", content: process.env.PROMPT }];
const runner = new Anthropic().beta.messages.toolRunner({
  model: process.env.MODEL,
  max_tokens: 4096,
  messages,
  tools: [add],
});
const message = await runner;
console.log(message.content.map((block) => block.text ?? "").join(""));
