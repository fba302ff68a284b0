// Draws what memory.py computed: for one block at a time, what each memory token attends to; below, what a probe reads
// from the memory after every block. Columns: the memory itself, then the tokens of the block.

function mount(root, view, block, moved) {
  const { frames, memory, answer } = view;
  const k = frames.length;
  const n = frames[0].tokens.length;

  const grid = h("div", { class: "lk-memory-grid" });
  grid.style.setProperty("--lk-f", memory);
  grid.style.setProperty("--lk-n", n);
  const line = (label, cells) => {
    const row = h("div", { class: "lk-line" }, h("div", { class: "lk-label" }, label), ...cells.slice(0, memory), h("div"), ...cells.slice(memory));
    grid.append(row);
    return cells;
  };
  const own = Array.from({ length: memory }, (_, i) => `M${i + 1}`);
  const heads = line("attends to", [...own, ...frames[0].tokens].map((text) => h("div", { class: "lk-token" }, text))).slice(memory);
  const heat = frames[0].weights.map((rows, l) => {
    grid.append(h("p", { class: "lk-layer" }, `layer ${l + 1}`));
    return rows.map((row, i) => line(own[i], row.map(() => h("div", { class: "lk-heat" }))));
  });

  const reading = answer.map((digit) => h("div", { class: "lk-digit", title: `the key has ${digit}` }));
  const lengths = h("span", { class: "lk-lengths" });
  const now = h("div", { class: "lk-now-read" }, h("span", {}, "read from the memory: "), ...reading, h("span", {}, `  key: ${answer.join(" ")}`), lengths);

  const strip = h("div", { class: "lk-strip", role: "img", "aria-label": "Digits read right after every block" });
  const columns = frames.map((f) => h("div", { class: "lk-column", title: f.text }, ...f.right.map((r) => h("i", { class: r ? "lk-yes" : "lk-no" }))));
  strip.append(...columns);

  const legend = h(
    "p",
    { class: "lk-legend" },
    h("span", {}, "attention 0% ", h("i", { class: "lk-scale" }), " 50% and more"),
    key("lk-yes", "digit read right"), key("lk-no", "read wrong"),
  );

  function paint(index) {
    const f = frames[index];
    heads.forEach((cell, i) => (cell.textContent = f.tokens[i]));
    f.weights.forEach((rows, l) => rows.forEach((row, i) => row.forEach((w, j) => {
      const cell = heat[l][i][j];
      cell.style.setProperty("--lk-share", Math.min(100, 2 * w));
      cell.title = `layer ${l + 1}, ${own[i]} to ${j < memory ? own[j] : f.tokens[j - memory]}: ${w}%`;
    })));
    reading.forEach((cell, i) => {
      cell.textContent = f.read[i];
      cell.classList.toggle("lk-is-good", f.right[i] === 1);
      cell.classList.toggle("lk-is-bad", f.right[i] === 0);
    });
    lengths.textContent = `  length of the memory: ${f.norms.map((x) => x ?? "not finite").join(", ")}`;
    columns.forEach((column, i) => column.classList.toggle("lk-here", i === index));
    return f.text;
  }

  const run = player(root, frames.map((f) => f.pass), k, paint, moved, "block");
  run.pick(strip, (x) => Math.floor(x * k));
  fill(
    root, view.title, "A working memory, block by block", run.controls, run.caption,
    h("div", { class: "lk-scroll" }, grid), now,
    h("p", { class: "lk-layer" }, "after every block, digit by digit (click to go there)"), strip, legend,
  );
  run.show(block);
  return { show: run.show, stop: run.stop };
}

const { render } = widget("lk-memory", mount);
export default { render };
