// Draws what surface.py computed: passes to the right, restarts upwards, a number in every cell.

function mount(root, view, value, moved) {
  const { passes, restarts, bands } = view;
  const names = Object.keys(bands);
  const cost = (i, j) => passes[i] * restarts[j];
  const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : word === "pass" ? "es" : "s"}`;
  let band = value;
  let here = null; // [i, j] in the keyboard's hands

  const select = h("select", {}, ...names.map((name) => h("option", {}, name)));
  const caption = h("p", { class: "lk-caption", role: "status", "aria-live": "polite" });
  const squares = passes.map((_, i) => restarts.map((_, j) => h("div", { class: "lk-value", role: "gridcell", tabindex: -1, "data-cell": `${i},${j}` })));
  // Not a table element: notebooks and the book have their own ideas of how tables look.
  const head = (role, text) => h("div", { class: `lk-${role}`, role }, String(text));
  const rows = restarts.map((r, j) => h("div", { role: "row" }, head("rowheader", r), ...passes.map((_, i) => squares[i][j])));
  const grid = h(
    "div",
    { class: "lk-surface-grid", role: "grid", "aria-label": "Percent right by restarts and passes" },
    ...rows.reverse(),
    h("div", { role: "row" }, head("columnheader", ""), ...passes.map((p) => head("columnheader", p))),
  );
  grid.style.setProperty("--lk-cols", passes.length);

  const at = (i, j) => bands[band].cells[i][j];
  const each = (f) => squares.forEach((column, i) => column.forEach((square, j) => f(square, i, j)));

  function sentence(i, j) {
    const cell = at(i, j);
    const spent = cost(i, j);
    const where = `${plural(passes[i], "pass")} × ${plural(restarts[j], "restart")} (${plural(spent, "pass")} a puzzle)`;
    if (cell === null) return `${band}, ${where}: not measured.`;
    const text = `${band}, ${where}: ${cell[0]}% of ${plural(bands[band].number, "puzzle")} right, 95% interval ${cell[1]} to ${cell[2]}.`;
    let best = [i, j];
    each((_, a, b) => cost(a, b) === spent && at(a, b) !== null && at(a, b)[0] > at(...best)[0] && (best = [a, b]));
    if (best[0] !== i) return `${text} Best at this price: ${passes[best[0]]} × ${restarts[best[1]]}, ${at(...best)[0]}%.`;
    const rivals = squares.flat().length > 1 && squares.some((column, a) => column.some((_, b) => a !== i && cost(a, b) === spent && at(a, b)));
    return rivals ? `${text} The best at this price.` : text;
  }

  function point(i, j) {
    caption.textContent = sentence(i, j);
    each((square, a, b) => {
      square.classList.toggle("lk-same", cost(a, b) === cost(i, j));
      square.classList.toggle("lk-here", a === i && b === j);
    });
    root.dataset.cell = `${i},${j}`;
  }

  function hold(i, j) {
    here = [i, j];
    each((square, a, b) => square.setAttribute("tabindex", a === i && b === j ? 0 : -1));
    point(i, j);
  }

  function draw() {
    root.dataset.band = band;
    select.value = band;
    let best = [0, 0];
    each((square, i, j) => {
      const cell = at(i, j);
      square.textContent = cell === null ? "–" : cell[0] === 100 ? "100" : cell[0].toFixed(1);
      square.style.setProperty("--lk-share", cell === null ? 0 : cell[0]);
      if ((cell?.[0] ?? -1) > (at(...best)?.[0] ?? -1)) best = [i, j];
    });
    hold(...(here ?? best));
  }

  each((square, i, j) => {
    square.addEventListener("focus", () => hold(i, j));
    square.addEventListener("pointerenter", () => point(i, j));
    square.addEventListener("pointerleave", () => point(...here));
    square.addEventListener("click", () => square.focus());
  });
  grid.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step) return;
    event.preventDefault();
    squares[clamp(here[0] + step[0], 0, passes.length - 1)][clamp(here[1] + step[1], 0, restarts.length - 1)].focus();
  });
  select.addEventListener("change", () => {
    band = select.value;
    draw();
    moved(band);
  });
  const choice = h("label", { class: "lk-choice" }, "Shown: ", select);
  choice.hidden = names.length === 1;
  const legend = h(
    "p",
    { class: "lk-legend" },
    h("span", {}, "0% ", h("i", { class: "lk-scale" }), " 100% right"),
    key("lk-key-here", "this cell"), key("lk-key-same", "same price: passes × restarts"),
  );
  const frame = h(
    "div",
    { class: "lk-frame" },
    h("span", { class: "lk-up" }, "restarts"), grid, h("span", { class: "lk-along" }, "passes"),
  );
  fill(root, view.title, "Depth against breadth", choice, caption, frame, legend);
  draw();
  const show = (name) => {
    band = name;
    draw();
  };
  return { show, stop: () => {} };
}

const { render } = widget("lk-surface", mount);
export default { render };
