import OpenAI from "openai";

const parameters = {
  type: "object",
  properties: { a: { type: "integer" }, b: { type: "integer" } },
  required: ["a", "b"],
};
const tools = [{ type: "function", name: "add", description: "Add.", parameters, strict: false }];
const client = new OpenAI();
const input = [{ role: "user", content: process.env.PROMPT }];
let response;
for (;;) {
  response = await client.responses.stream({ model: process.env.MODEL, input, tools, store: false }).finalResponse();
  const calls = response.output.filter((item) => item.type === "function_call");
  if (!calls.length) break;
  input.push(...response.output);
  for (const call of calls) {
    const { a, b } = JSON.parse(call.arguments);
    input.push({ type: "function_call_output", call_id: call.call_id, output: String(a + b) });
  }
}
console.log(response.output_text);
