// The flame graph of the profile that the page contains. "./dom.js" precedes this file in the same script.

const ROW = 22; // pixels
const NARROWEST = 2; // pixels; narrower frames are drawn only after zooming in
const LISTED = 60;
const profile = JSON.parse(byId("profile").textContent);
const functions = profile.frames.map(([name, file, line]) => ({ name, file, line, self: 0, total: 0 }));

const root = { of: { name: "all", file: "", line: 0 }, parent: null, depth: 0, value: 0, self: 0, children: new Map() };
let deepest = 0;
for (const [stack, count] of profile.stacks) {
  root.value += count;
  let node = root;
  for (const number of stack) {
    let child = node.children.get(number);
    if (!child) {
      child = { of: functions[number], parent: node, depth: node.depth + 1, value: 0, self: 0, children: new Map() };
      node.children.set(number, child);
      deepest = Math.max(deepest, child.depth);
    }
    child.value += count;
    node = child;
  }
  node.self += count;
  for (const number of new Set(stack)) functions[number].total += count;
  if (stack.length) functions[stack.at(-1)].self += count;
}

let top = root; // the frame over the whole width
let active = root;
let blocks = new Map();

const share = (value) => (root.value ? `${((100 * value) / root.value).toFixed(1)}%` : "0%");
const sorted = (node) => [...node.children.values()].sort((a, b) => b.value - a.value || (a.of.name < b.of.name ? -1 : 1));
const query = () => byId("search").value.trim().toLowerCase();
const fits = (node, text) => text !== "" && node.of.name.toLowerCase().includes(text);

function colour(node) {
  let sum = 0;
  for (const letter of node.of.name) sum = (sum * 31 + letter.codePointAt(0)) % 9973;
  if (node.of.name.startsWith("ztoapi.")) return `own${sum % 3}`;
  return node.of.file ? `other${sum % 2}` : "none";
}

function words(node) {
  const { name, file, line } = node.of;
  const place = file ? ` · ${file}:${line}` : "";
  return `${name} · ${share(node.value)} of the time, ${share(node.self)} in itself, ${node.value} samples${place}`;
}

function choose(node, focus) {
  if (blocks.has(active)) blocks.get(active).tabIndex = -1;
  active = node;
  const block = blocks.get(node);
  if (block) {
    block.tabIndex = 0;
    if (focus) block.focus();
  }
  setText(byId("detail"), words(node));
}

function draw() {
  const graph = byId("graph");
  const width = graph.clientWidth;
  const focused = graph.contains(document.activeElement);
  const text = query();
  blocks = new Map();
  const place = (node, left, part) => {
    if (part * width < NARROWEST) return;
    const above = node.depth < top.depth;
    const block = el("button", {
      type: "button", tabindex: "-1", title: words(node), "aria-label": words(node),
      class: ["block", colour(node), above && "above", fits(node, text) && "hit"].filter(Boolean).join(" "),
      click: () => show(node), focus: () => node !== active && choose(node, false),
      mouseenter: () => setText(byId("detail"), words(node)),
    }, part * width > 30 ? node.of.name.split(".").slice(-2).join(".") : "");
    block.style.left = `${100 * left}%`;
    block.style.width = `${100 * part}%`;
    block.style.top = `${ROW * node.depth}px`;
    blocks.set(node, block);
    if (above) return;
    let at = left;
    for (const child of sorted(node)) {
      const share_ = (part * child.value) / node.value;
      place(child, at, share_);
      at += share_;
    }
  };
  for (let node = top.parent; node; node = node.parent) place(node, 0, 1);
  place(top, 0, 1);
  graph.style.height = `${ROW * (deepest + 1)}px`;
  graph.replaceChildren(...[...blocks].sort(([a], [b]) => a.depth - b.depth).map(([, block]) => block));
  byId("reset").disabled = top === root;
  choose(blocks.has(active) ? active : top, focused);
}

function show(node) {
  top = node;
  active = node;
  draw();
}

function search() {
  const text = query();
  let matches = 0;
  const look = (node) => {
    if (fits(node, text)) matches += node.value;
    else node.children.forEach(look);
  };
  look(root);
  setText(byId("matched"), text ? `${share(matches)} of the time` : "");
  draw();
}

function move(key) {
  const near = [...(active.parent ? sorted(active.parent) : [root])].filter((node) => blocks.has(node));
  if (key === "ArrowUp") return active.parent;
  if (key === "ArrowDown") return sorted(active)[0];
  return near[near.indexOf(active) + (key === "ArrowRight" ? 1 : -1)];
}

byId("graph").addEventListener("keydown", (event) => {
  if (!event.key.startsWith("Arrow")) return;
  event.preventDefault();
  const next = move(event.key);
  if (next && blocks.has(next)) choose(next, true);
});
document.addEventListener("keydown", (event) => {
  const typing = event.target === byId("search");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    byId("search").focus();
  } else if (event.key === "Escape") {
    if (typing) byId("search").value = "";
    else top = root;
    search();
  }
});
byId("search").addEventListener("input", search);
byId("reset").addEventListener("click", () => show(root));
addEventListener("resize", draw);

setText(byId("title"), profile.title);
setText(
  byId("facts"),
  `${root.value} samples, ${profile.cpu.toFixed(2)} s of CPU time in ${profile.wall.toFixed(1)} s: ` +
    `${((100 * profile.cpu) / profile.wall).toFixed(0)}% of a core`,
);
byId("empty").hidden = root.value > 0;
byId("functions").append(
  ...functions.filter((one) => one.total).sort((a, b) => b.self - a.self || b.total - a.total).slice(0, LISTED).map((one) =>
    el("tr", {},
      el("td", {}, one.name, one.file ? el("span", { class: "quiet" }, ` ${one.file}:${one.line}`) : null),
      el("td", { class: "number" }, share(one.self)),
      el("td", { class: "number" }, share(one.total)),
    )),
);
draw();
