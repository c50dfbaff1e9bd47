// The times of one request as bars below each other.

import { el, setText } from "./dom.js";
import { duration } from "./format.js";
import { say } from "./language.js";

/** Returns the parts of a request: a word, and its begin and end in seconds from the start. */
function parts(one) {
  const last = one.stream ? "stream" : "answer";
  const points = [
    ["receive", one.received_after],
    ["prepare", one.sent_after],
    ["wait", one.first_after],
    [last, one.complete_after],
    ["finish", one.duration],
  ].filter(([, at]) => at !== null && at !== undefined);
  let begin = 0;
  return points.map(([word, at]) => {
    const end = Math.min(Math.max(at, begin), one.duration);
    const part = { word, begin, end };
    begin = end;
    return part;
  });
}

export class Waterfall {
  constructor(list) {
    this.list = list;
  }

  show(one) {
    const found = parts(one);
    while (this.list.children.length < found.length) {
      this.list.append(el("li", {}, el("span"), el("b"), el("i", { "aria-hidden": "true" }, el("i"))));
    }
    while (this.list.children.length > found.length) this.list.lastChild.remove();
    found.forEach(({ word, begin, end }, at) => {
      const [name, time, track] = this.list.children[at].children;
      setText(name, say(`time.${word}`));
      setText(time, duration(end - begin));
      const bar = track.firstElementChild;
      bar.className = word;
      bar.style.left = `${(100 * begin) / (one.duration || 1)}%`;
      bar.style.width = `${(100 * (end - begin)) / (one.duration || 1)}%`;
    });
  }
}
