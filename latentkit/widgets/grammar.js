// Draws what grammar.py computed: the tree, its latents as buttons, and a row for every target.

function mount(root, view, value, moved) {
  const { s, symbols, marks, frames } = view;
  const top = symbols.length - 1;
  const n = symbols[0].length;
  let index = value;

  const tree = h("div", { class: "lk-tree" });
  tree.style.setProperty("--lk-cols", n);
  tree.style.setProperty("--lk-rows", symbols.length);
  const lines = h("svg", { class: "lk-lines", viewBox: `0 0 ${n} ${symbols.length}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  tree.append(lines);
  const centre = (level, place) => [(place + 0.5) * s ** level, top - level + 0.5];
  const edges = new Map();
  const nodes = symbols.map((row, level) => row.map((name, place) => {
    const at = frames.findIndex((f) => f.level === level && f.place === place);
    const right = at < 0 ? null : frames[at].right;
    const classes = `lk-node${level === 0 ? " lk-leaf" : ""}${right === true ? " lk-found" : right === false ? " lk-lost" : ""}`;
    const node = at < 0
      ? h("span", { class: classes }, name)
      : h("button", { type: "button", class: classes, "aria-label": `${name}, level ${level}, place ${place + 1}` }, name);
    node.style.gridRow = top - level + 1;
    node.style.gridColumn = `${place * s ** level + 1} / span ${s ** level}`;
    tree.append(node);
    if (at >= 0) node.addEventListener("click", () => go(at));
    if (level < top) {
      const [x1, y1] = centre(level, place);
      const [x2, y2] = centre(level + 1, Math.floor(place / s));
      const line = h("line", { x1, y1, x2, y2 });
      lines.append(line);
      edges.set(`${level},${place}`, line);
    }
    return node;
  }));

  const caption = h("p", { class: "lk-caption", role: "status", "aria-live": "polite" });
  const body = h("tbody");
  const heads = ["target", "here", "rules between", "factor", "sentences needed"].map((name) => h("th", { scope: "col" }, name));
  const rows = h("table", { class: "lk-targets" }, h("thead", {}, h("tr", {}, ...heads)), body);

  function draw() {
    const f = frames[index];
    root.dataset.node = index;
    caption.textContent = f.text;
    for (const row of nodes) for (const node of row) node.classList.remove("lk-here", "lk-tuple", "lk-own", "lk-tokens", "lk-root");
    for (const row of nodes) for (const node of row) if (node.tagName === "BUTTON") node.setAttribute("aria-pressed", "false");
    for (const line of edges.values()) line.classList.remove("lk-path");
    const here = nodes[f.level][f.place];
    here.classList.add("lk-here");
    here.setAttribute("aria-pressed", "true");
    for (const [level, place] of f.tuple) nodes[level][place].classList.add("lk-tuple");
    for (const { target } of f.rows) for (const [level, place] of f.lit[target]) nodes[level][place].classList.add(`lk-${target}`);
    // From the tuple up to the grandparent and down to its cousin.
    const path = [...f.tuple, [f.level, f.place], f.cousin, ...f.lit.own];
    for (const [level, place] of path) edges.get(`${level},${place}`)?.classList.add("lk-path");
    body.replaceChildren(...f.rows.map((r) => h(
      "tr", {},
      h("th", { scope: "row" }, key(`lk-mark lk-${r.target}`, marks[r.target])),
      h("td", {}, r.what),
      h("td", {}, r.rules),
      h("td", {}, `${view.m}`, h("sup", {}, r.rules), ` = ${r.factor.toLocaleString("en")}`),
      h("td", {}, r.needs === null ? "∞" : r.needs.toLocaleString("en")),
    )));
  }
  const go = (i) => {
    if (i === index) return;
    index = i;
    draw();
    moved(i);
  };

  const judged = frames.some((f) => f.right !== null);
  const legend = h(
    "p",
    { class: "lk-legend" },
    key("lk-mark lk-here", "the latent"),
    key("lk-mark lk-tuple", "its tuple"),
    ...(judged ? [key("lk-mark lk-lost", "the clustering is wrong")] : []),
  );
  fill(root, view.title, "A sentence and its latents", caption, h("div", { class: "lk-scroll" }, tree), rows, legend);
  draw();
  const show = (i) => {
    index = i;
    draw();
  };
  return { show, stop: () => {} };
}

const { render } = widget("lk-grammar", mount);
export default { render };
