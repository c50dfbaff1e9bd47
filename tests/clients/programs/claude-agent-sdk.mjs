import { query } from "@anthropic-ai/claude-agent-sdk";

const options = { model: process.env.MODEL, settingSources: [], allowedTools: ["Read", "Edit", "Bash"] };
for await (const message of query({ prompt: process.env.PROMPT, options }))
  if (message.type === "result") console.log(message.result);
