// Draws what depth_memory.py computed: a square for every architecture and task, and the curve of the one that is open.

function mount(root, view, value, moved) {
  const { rows, columns, cells } = view;
  const WIDTH = 600, HEIGHT = 170;
  const name = (i, j) => `${rows[i].id}/${columns[j].id}`;
  const place = (id) => {
    const [row, column] = id.split("/");
    return [rows.findIndex((r) => r.id === row), columns.findIndex((c) => c.id === column)];
  };
  const SIGNS = { "not applicable": "n.a.", "not run": "–", failed: "✗" };
  let here = place(value);

  const squares = rows.map((_, i) => columns.map((_, j) => {
    const c = cells[name(i, j)];
    const measured = c.above !== null;
    const mark = { ok: "", unstable: "~", failed: "✗" }[c.status] ?? "";
    const square = h(
      "div",
      {
        class: `lk-value lk-is-${c.status.replace(" ", "-")}`, role: "gridcell", tabindex: -1, "data-cell": name(i, j),
        title: c.text, "aria-label": c.text,
      },
      measured ? `${mark}${c.above}` : SIGNS[c.status],
    );
    square.style.setProperty("--lk-share", measured ? clamp(c.above, 0, 100) : 0);
    return square;
  }));
  // Not a table element: notebooks and the book have their own ideas of how tables look.
  const head = (role, text, part) => h("div", { class: `lk-${role}${part ? " lk-part" : ""}`, role }, text);
  const parts = (lines, k) => k > 0 && lines[k].kind !== lines[k - 1].kind;
  const grid = h(
    "div",
    { class: "lk-map", role: "grid", "aria-label": "Percent above chance by architecture and task" },
    h("div", { role: "row" }, head("columnheader", ""), ...columns.map((c, j) => head("columnheader", c.title, parts(columns, j)))),
    ...rows.map((r, i) => h("div", { role: "row", class: parts(rows, i) ? "lk-part" : null }, head("rowheader", r.title), ...squares[i])),
  );
  grid.style.setProperty("--lk-cols", columns.length);
  columns.forEach((_, j) => parts(columns, j) && squares.forEach((line) => line[j].classList.add("lk-part")));

  const caption = h("p", { class: "lk-caption", role: "status", "aria-live": "polite" });
  const asks = h("p", { class: "lk-asks" });
  const facts = h("p", { class: "lk-facts" });
  const plot = h("svg", { class: "lk-curves", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const last = h("span", {});
  const axes = h("div", { class: "lk-axes" }, h("span", {}, "up: share right on held-out examples, 0 to 1"), last);
  const y = (score) => (HEIGHT * (1 - score)).toFixed(1);

  function draw() {
    const id = name(...here);
    const c = cells[id];
    root.dataset.cell = id;
    caption.textContent = c.text;
    asks.textContent = `Asked: ${columns[here[1]].text}.`;
    facts.textContent = c.facts;
    squares.forEach((line, i) => line.forEach((square, j) => {
      const open = i === here[0] && j === here[1];
      square.classList.toggle("lk-here", open);
      square.setAttribute("tabindex", open ? 0 : -1);
      square.setAttribute("aria-selected", open);
    }));
    const line = (curve) => curve.map(([step, score], k) => `${k ? "L" : "M"}${((WIDTH * step) / c.steps).toFixed(1)} ${y(score)}`).join("");
    plot.replaceChildren(
      h("line", { class: "lk-chance", x1: 0, x2: WIDTH, y1: y(c.chance), y2: y(c.chance) }),
      ...c.curves.map((curve, seed) => h("path", { class: `lk-seed lk-seed-${seed % 3}`, d: line(curve) })),
    );
    plot.classList.toggle("lk-empty", c.curves.length === 0);
    last.textContent = c.steps ? `training steps, 0 to ${c.steps}` : "no learning curve";
  }
  const go = (i, j, focus) => {
    if (i === here[0] && j === here[1]) return;
    here = [i, j];
    draw();
    if (focus) squares[i][j].focus();
    moved(name(i, j));
  };
  squares.forEach((line, i) => line.forEach((square, j) => square.addEventListener("click", () => go(i, j, true))));
  grid.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    go(clamp(here[0] + step[0], 0, rows.length - 1), clamp(here[1] + step[1], 0, columns.length - 1), true);
  });
  const legend = h(
    "p",
    { class: "lk-legend" },
    h("span", {}, "chance ", h("i", { class: "lk-scale" }), " all right"),
    key("lk-key-unstable", "seeds differ much", "~"), key("lk-key-failed", "training broke down", "✗"),
    key("lk-key-na", "does not apply"), key("lk-key-chance", "chance, in the curves"),
  );
  fill(root, view.title, "The depth-memory map", h("div", { class: "lk-scroll" }, grid), caption, asks, plot, axes, facts, legend);
  draw();
  const show = (id) => {
    here = place(id);
    draw();
  };
  return { show, stop: () => {} };
}

const { render } = widget("lk-depth-memory", mount);
export default { render };
