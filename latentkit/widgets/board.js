// Draws what board.py computed: the cells on the left, and beside them two curves over the passes.

// A curve over passes 1..T in a box of its own; points are [pass, height in 0..1]. Returns the element, its plot, and move(pass).
function curve(title, note, points, total, ticks, halted, flagged) {
  const x = (pass) => (total > 1 ? (pass - 1) / (total - 1) : 0.5);
  const line = points.map(([pass, y], i) => `${i ? "L" : "M"}${x(pass).toFixed(4)},${(1 - y).toFixed(4)}`).join("");
  const stop = halted === null ? "" : `M${x(halted)},0V1`;
  const stroke = (name, d) => h("path", { class: name, d, "vector-effect": "non-scaling-stroke" });
  const dot = h("i", { class: "lk-dot" });
  const plot = h(
    "div",
    { class: "lk-plot", role: "img", "aria-label": `${title} over passes` },
    h("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none" }, stroke("lk-stop", stop), stroke("lk-line", line)),
    dot,
  );
  for (const [y, text] of ticks) {
    const tick = h("span", { class: "lk-tick", "aria-hidden": "true" }, text);
    tick.style.bottom = percent(y);
    plot.append(tick);
  }
  if (flagged && halted !== null) {
    const flag = h("span", { class: "lk-flag", "aria-hidden": "true" }, `■ halts: ${halted}`);
    flag.style[x(halted) > 0.6 ? "right" : "left"] = percent(x(halted) > 0.6 ? 1 - x(halted) : x(halted));
    plot.append(flag);
  }
  const heights = new Map(points);
  const move = (pass) => {
    dot.style.left = percent(x(pass));
    dot.style.bottom = percent(heights.get(pass));
  };
  return { element: h("div", {}, h("p", { class: "lk-name" }, h("b", {}, title), ` ${note}`), plot), plot, move, x };
}

function mount(root, view, pass, moved) {
  const { kind, cols, box, labels, names, targets, frames, residuals, passes_run: total, halted_at: halted, open_word: word } = view;
  const judged = targets !== null;
  const maze = kind === "maze";
  const open = labels.filter((label) => label === "").length;
  const passes = frames.map((f) => f.pass);

  const squares = labels.map((label, i) => {
    const column = i % cols;
    const row = (i - column) / cols;
    const classes = ["lk-square", label && "lk-fixed", maze && label && `lk-${label}`];
    if (box) classes.push(column % box[1] === 0 && column && "lk-left", row % box[0] === 0 && row && "lk-top");
    const text = maze ? { start: "S", goal: "G" }[label] ?? "" : label;
    return h("div", { class: classes.filter(Boolean).join(" "), role: "cell", "data-cell": i }, h("span", {}, text));
  });
  const cells = h("div", { class: `lk-cells lk-${kind}`, role: "table", "aria-label": maze ? "Maze" : "Board" });
  cells.style.setProperty("--lk-cols", cols);
  for (let i = 0; i < squares.length; i += cols) cells.append(h("div", { role: "row" }, ...squares.slice(i, i + cols)));

  const scale = logScale(residuals);
  const distances = curve(
    "Distance to the previous state", "(log scale)", residuals.map((r, i) => [i + 1, scale.at(r)]), total,
    [[0, decade(scale.bottom)], [1, decade(scale.top)]], halted, true,
  );
  const most = judged ? open : Math.max(1, ...frames.map((f) => f.changed.length));
  const counts = curve(
    judged ? `${word[0].toUpperCase()}${word.slice(1)} right` : "Cells that changed", "",
    frames.map((f) => [f.pass, most ? (judged ? f.right : f.changed.length) / most : 1]), total, [[0, 0], [1, most]], halted, false,
  );
  const curves = [counts, distances];
  const count = h("p", { class: "lk-count" });
  const chips = h("p", { class: "lk-chips" });
  const axis = h("p", { class: "lk-axis", "aria-hidden": "true" }, h("span", {}, "pass 1"), h("span", {}, total));
  const side = h("div", { class: "lk-beside" }, h("div", {}, count, chips), ...curves.map((c) => c.element), axis);

  const legend = h(
    "p",
    { class: "lk-legend" },
    ...(maze ? [key("lk-is-right", "on the path", "●")] : [key("lk-is-given", "given", "5")]),
    ...(judged && !maze ? [key("lk-is-right", "right", "5")] : []),
    key("lk-is-bad", judged ? (maze ? "wrong (○ missed)" : "wrong") : "contradicts the puzzle"),
    key("lk-is-changed", "changed since the frame before"),
    key("lk-is-unsure", "small, pale: unsure", maze ? "●" : "5"),
  );

  function paint(index) {
    const f = frames[index];
    const wrong = new Set(f.wrong);
    const changed = new Set(f.changed);
    const least = maze ? 0.5 : 1 / names.length;
    squares.forEach((square, i) => {
      const answer = names[f.prediction[i]];
      const fixed = labels[i] !== "";
      const bad = wrong.has(i);
      square.classList.toggle("lk-is-bad", bad);
      square.classList.toggle("lk-right", judged && !bad && !fixed);
      square.classList.toggle("lk-changed", changed.has(i));
      square.classList.toggle("lk-on", maze && f.prediction[i] === 1);
      // From the confidence of a guess, 0, to certainty, 1.
      square.style.setProperty("--lk-sure", fixed ? 1 : clamp(((f.confidence[i] ?? 0) - least) / (1 - least), 0, 1).toFixed(2));
      if (!fixed) square.firstChild.textContent = maze ? (f.prediction[i] === 1 ? "●" : bad ? "○" : "") : answer;
      const verdict = judged ? `, target ${names[targets[i]]}` : "";
      const place = `row ${Math.floor(i / cols) + 1}, column ${(i % cols) + 1}${fixed ? ` (${maze ? "" : "given "}${labels[i]})` : ""}`;
      square.title = `${place}: ${answer}${verdict}; confidence ${f.confidence[i] ?? "not finite"}`;
    });
    root.classList.toggle("lk-halting", halted !== null && f.pass >= halted);
    count.replaceChildren(
      ...(judged ? [h("b", {}, f.right), ` of ${open} ${word} right`] : [h("b", {}, f.changed.length), " cells changed"]),
    );
    chips.replaceChildren(
      ...(judged && f.wrong.length === 0 ? [h("span", { class: "lk-chip lk-is-good" }, "✓ solved")] : []),
      ...(root.classList.contains("lk-halting") ? [h("span", { class: "lk-chip" }, `■ would halt at pass ${halted}`)] : []),
    );
    for (const c of curves) c.move(f.pass);
    return f.text;
  }

  root.classList.toggle("lk-judged", judged);
  const run = player(root, passes, total, paint, moved);
  for (const c of curves) {
    run.pick(c.plot, (x) => passes.reduce((best, p, i) => (Math.abs(c.x(p) - x) < Math.abs(c.x(passes[best]) - x) ? i : best), 0));
  }
  fill(root, view.title, "A puzzle over passes", run.controls, run.caption, h("div", { class: "lk-desk" }, cells, side), legend);
  run.show(pass);
  return { show: run.show, stop: run.stop };
}

const { render } = widget("lk-board", mount);
export default { render };
