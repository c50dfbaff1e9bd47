// Reads server-sent events from the bytes of a response.

/** Turns bytes into events: { event, data }. Events without data, such as comments, are left out. */
export class EventParser {
  constructor() {
    this.text = new TextDecoder();
    this.rest = "";
  }

  feed(bytes) {
    const text = this.rest + this.text.decode(bytes, { stream: true });
    // A CR at the end may be the first half of a line end.
    const whole = text.endsWith("\r") ? text.length - 1 : text.length;
    const blocks = text.slice(0, whole).replace(/\r\n?/g, "\n").split("\n\n");
    this.rest = blocks.pop() + text.slice(whole);
    return blocks.map(readEvent).filter(({ data }) => data !== null);
  }
}

function readEvent(block) {
  const event = { event: "message", data: null };
  for (const line of block.split("\n")) {
    const [, field, value] = /^(\w*): ?(.*)$/s.exec(line) ?? [];
    if (field === "event") event.event = value;
    else if (field === "data") event.data = event.data === null ? value : `${event.data}\n${value}`;
  }
  return event;
}
