import json
import os

from openai import OpenAI

TOOL = {
    "type": "function",
    "name": "add",
    "description": "Add two numbers.",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
}
client = OpenAI()
items = [{"role": "user", "content": os.environ["PROMPT"]}]
while True:
    with client.responses.stream(model=os.environ["MODEL"], input=items, tools=[TOOL], store=False) as stream:
        for _ in stream:
            pass
        response = stream.get_final_response()
    calls = [item for item in response.output if item.type == "function_call"]
    if not calls:
        break
    items += [item.model_dump(exclude_none=True) for item in response.output]
    for call in calls:
        result = str(sum(json.loads(call.arguments).values()))
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": result})
print(response.output_text)
