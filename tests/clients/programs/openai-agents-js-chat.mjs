import { Agent, run, setOpenAIAPI, setTracingDisabled, tool } from "@openai/agents";
import { z } from "zod";

setTracingDisabled(true);
setOpenAIAPI("chat_completions");
const add = tool({
  name: "add",
  description: "Add two numbers.",
  parameters: z.object({ a: z.number().int(), b: z.number().int() }),
  execute: ({ a, b }) => String(a + b),
});
const agent = new Agent({ name: "adder", instructions: "Be brief.", model: process.env.MODEL, tools: [add] });
console.log((await run(agent, process.env.PROMPT)).finalOutput);
