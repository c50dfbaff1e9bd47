// The request of the page as a command or a program. The key is a placeholder, so that a copy contains no secret.

import { APIS } from "./apis.js";
import { here } from "./conversation.js";

const KEY = "YOUR_KEY";
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** JSON as a Python literal: the names of three constants differ. */
function python(value, indent = "") {
  const inner = `${indent}    `;
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return value.length ? `[\n${value.map((one) => `${inner}${python(one, inner)},\n`).join("")}${indent}]` : "[]";
  const members = Object.entries(value).map(([name, one]) => `${inner}${JSON.stringify(name)}: ${python(one, inner)},\n`);
  return members.length ? `{\n${members.join("")}${indent}}` : "{}";
}

const CALLS = {
  chat: { python: "openai", node: "openai", call: "chat.completions.create", base: "/v1" },
  responses: { python: "openai", node: "openai", call: "responses.create", base: "/v1" },
  messages: { python: "anthropic", node: "@anthropic-ai/sdk", call: "messages.create", base: "" },
};

/** OpenAI's Python SDK refuses fields that it does not know as arguments; they go into extra_body. */
const FOREIGN = { chat: ["thinking"], responses: [], messages: [] };

function curl(request) {
  const api = APIS[request.api];
  const body = JSON.stringify(api.body(request), null, 2);
  const stream = request.stream ? " -N" : "";
  return `curl${stream} ${here}/${api.path} \\\n  -H 'Authorization: Bearer ${KEY}' -H 'Content-Type: application/json' \\\n  -d ${quoted(body)}\n`;
}

function pythonProgram(request) {
  const { python: library, call, base } = CALLS[request.api];
  const body = APIS[request.api].body(request);
  const foreign = FOREIGN[request.api].filter((name) => name in body);
  const own = Object.entries(body).filter(([name]) => !foreign.includes(name));
  if (foreign.length) own.push(["extra_body", Object.fromEntries(foreign.map((name) => [name, body[name]]))]);
  const client = library === "openai" ? "OpenAI" : "Anthropic";
  const lines = own.map(([name, value]) => `    ${name}=${python(value, "    ")},\n`).join("");
  const end = request.stream ? "for event in response:\n    print(event)\n" : "print(response)\n";
  return `from ${library} import ${client}\n\nclient = ${client}(base_url="${here}${base}", api_key="${KEY}")\nresponse = client.${call}(\n${lines})\n${end}`;
}

function node(request) {
  const { node: library, call, base } = CALLS[request.api];
  const client = library === "openai" ? "OpenAI" : "Anthropic";
  const body = JSON.stringify(APIS[request.api].body(request), null, 2);
  const end = request.stream ? "for await (const event of response) console.log(event);\n" : "console.log(response);\n";
  return `import ${client} from "${library}";\n\nconst client = new ${client}({ baseURL: "${here}${base}", apiKey: "${KEY}" });\nconst response = await client.${call}(${body});\n${end}`;
}

export const LANGUAGES = { curl, python: pythonProgram, node };
