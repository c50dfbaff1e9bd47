import OpenAI from "openai";

const parameters = {
  type: "object",
  properties: { a: { type: "integer" }, b: { type: "integer" } },
  required: ["a", "b"],
};
const add = ({ a, b }) => String(a + b);
const tools = [
  { type: "function", function: { name: "add", description: "Add.", parameters, parse: JSON.parse, function: add } },
];
const messages = [{ role: "user", content: process.env.PROMPT }];
const runner = new OpenAI().chat.completions.runTools({ model: process.env.MODEL, messages, tools, stream: true });
console.log(await runner.finalContent());
