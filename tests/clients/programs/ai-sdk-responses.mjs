import { createOpenAI } from "@ai-sdk/openai";
import { stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const model = createOpenAI({
  baseURL: process.env.OPENAI_BASE_URL,
  apiKey: process.env.OPENAI_API_KEY,
}).responses(process.env.MODEL);
const add = tool({
  description: "Add two numbers.",
  inputSchema: z.object({ a: z.number().int(), b: z.number().int() }),
  execute: async ({ a, b }) => a + b,
});
const providerOptions = { openai: { store: false } };
const result = streamText({ model, tools: { add }, stopWhen: stepCountIs(5), prompt: process.env.PROMPT, providerOptions });
console.log(await result.text);
