// Draws what scrubber.py computed: one example, pass by pass. No framework, nothing from the network, nothing recomputed:
// moving the slider only picks another frame. Rows share one grid, so that a position is the same column from the input
// down to the map of all passes.

const cellBox = (i, j, w, hgt) => `M${i + (1 - w) / 2},${j + (1 - hgt) / 2}h${w}v${hgt}h${-w}z`;

function mount(root, view, pass, moved) {
  const { frames, tokens, targets, depth, halted_at: haltedAt, names } = view;
  const n = tokens.length;
  const k = frames.length;
  const last = frames[k - 1];
  const judged = targets !== null;
  // Without targets the reference is where the run ends up.
  const good = (f, i) => (judged ? f.right[i] === 1 : f.prediction[i] === last.prediction[i]);
  const frozen = (f, i) => haltedAt[i] > 0 && f.pass >= haltedAt[i];
  const distance = (v) => (v === null ? "not finite" : v);
  const scale = logScale(frames.flatMap((f) => f.residual));

  const grid = h("div", { class: "lk-grid" });
  grid.style.setProperty("--lk-n", n);
  const heading = (text, note) => grid.append(h("div", { class: "lk-heading" }, h("span", {}, h("b", {}, text), ` ${note}`)));
  const resizers = [];

  function row(key, label, texts, widest = texts) {
    const cells = texts.map((text, i) => h("div", { class: "lk-cell", role: "cell", "data-position": i }, h("span", {}, text)));
    const side = h("div", { class: "lk-side" });
    const element = h("div", { class: `lk-row lk-${key}`, role: "row", "data-row": key });
    element.append(h("div", { class: "lk-label", role: "rowheader" }, label), ...cells, side);
    table.append(element);
    // Names too wide for their column are turned on their side.
    const pen = document.createElement("canvas").getContext("2d");
    resizers.push(() => {
      const style = getComputedStyle(cells[0]);
      pen.font = `${style.fontSize} ${style.fontFamily}`;
      const need = Math.ceil(Math.max(...widest.map((text) => pen.measureText(text).width)));
      element.classList.toggle("lk-tall", need > cells[0].clientWidth + 1);
      element.style.setProperty("--lk-need", `${need + 6}px`);
    });
    return { cells, side };
  }

  const table = h("div", { class: "lk-table", role: "table", "aria-label": "Input, target and prediction at each position" });
  grid.append(table);
  row("position", "position", tokens.map((_, i) => String(i)));
  row("input", "input", tokens);
  if (depth) row("depth", "depth", depth.map(String));
  if (judged) row("target", "target", targets);
  const prediction = row("prediction", "model", last.prediction.map((c) => names[c]), [...Object.values(names), ...(targets ?? [])]);

  heading("Distance to the previous state", "(log scale)");
  const bars = tokens.map((_, i) => h("div", { class: "lk-cell lk-bar", "data-position": i }, h("i")));
  const labels = h("div", { class: "lk-side lk-decades" });
  for (let e = scale.bottom; e <= scale.top; e += Math.max(1, Math.ceil(scale.decades / 3))) {
    const label = h("span", {}, decade(e));
    label.style.bottom = percent((e - scale.bottom) / scale.decades);
    labels.append(label);
  }
  const barRow = h("div", { class: "lk-row lk-bars", "data-row": "residual", "aria-hidden": "true" }, h("div", { class: "lk-label" }), ...bars, labels);
  barRow.style.setProperty("--lk-decades", scale.decades);
  grid.append(barRow);

  heading(judged ? "Right at every pass" : "Same as at the last pass", "(click a row to go there)");
  const paths = { good: "", bad: "", frozen: "", stop: "", depth: "" };
  frames.forEach((f, j) => {
    for (let i = 0; i < n; i++) {
      if (good(f, i)) paths.good += cellBox(i, j, 0.92, 0.88);
      else paths.bad += cellBox(i, j, 0.3, 0.26);
      if (haltedAt[i] > 0 && f.pass > haltedAt[i]) paths.frozen += cellBox(i, j, 1, 1);
      if (haltedAt[i] > 0 && f.pass >= haltedAt[i] && !(j > 0 && frames[j - 1].pass >= haltedAt[i])) paths.stop += `M${i + 0.04},${j + 1}h.92`;
    }
  });
  // One step a pass answers a position of depth D at pass D: a staircase over the columns.
  const stair = (d) => frames.filter((f) => f.pass < d).length;
  if (depth) paths.depth = depth.map((d, i) => `${i ? "L" : "M"}${i},${stair(d)}H${i + 1}`).join("");
  const cursor = h("rect", { class: "lk-cursor", x: 0, width: n, height: 1, "vector-effect": "non-scaling-stroke" });
  const map = h(
    "svg",
    { class: "lk-map", viewBox: `0 0 ${n} ${k}`, preserveAspectRatio: "none", role: "img", "aria-label": "Map of all passes by positions" },
    h("rect", { class: "lk-ground", width: n, height: k }),
    ...Object.entries(paths).map(([name, d]) => h("path", { class: `lk-${name}`, d, "vector-effect": "non-scaling-stroke" })),
    cursor,
  );
  const tick = (j, text, kind = "") => {
    const label = h("span", { class: kind }, text);
    label.style.top = percent((j + 0.5) / k);
    return label;
  };
  const height = Math.max(64, Math.min(k * 11, 200));
  const axis = h("div", { class: "lk-label lk-axis", "aria-hidden": "true" });
  const stride = [1, 2, 5, 10, 20, 50, 100].find((s) => k / s <= 5) ?? Math.ceil(k / 5);
  const ticks = frames.map((f, j) => tick(j, f.pass));
  axis.append(...ticks.filter((_, j) => j === 0 || j === k - 1 || ((j + 1) % stride === 0 && k - 1 - j > stride / 2)));
  const here = tick(0, "", "lk-here");
  axis.append(here);
  const means = frames.map((f) => scale.at(f.mean));
  const line = means.map((x, j) => `${j ? "L" : "M"}${x.toFixed(3)},${j + 0.5}`).join("");
  const dot = h("i");
  const spark = h(
    "div",
    { class: "lk-side lk-spark", role: "img", "aria-label": "Mean distance to the previous state, over passes" },
    h("svg", { viewBox: `0 0 1 ${k}`, preserveAspectRatio: "none" }, h("path", { d: line, "vector-effect": "non-scaling-stroke" })),
    dot,
    h("b", {}, "mean distance"),
  );
  const mapRow = h("div", { class: "lk-row lk-overview" }, axis, map, spark);
  mapRow.style.setProperty("--lk-height", `${height}px`);
  grid.append(mapRow);

  const legend = h(
    "p",
    { class: "lk-legend" },
    key("lk-is-good", judged ? "right" : "as at the last pass"),
    key("lk-is-bad", judged ? "wrong" : "will change"),
    key("lk-is-sure", "underline: confidence"),
    ...(haltedAt.some((t) => t > 0) ? [key("lk-is-halted", "halted (faded below)")] : []),
    ...(depth ? [key("lk-is-depth", "pass = depth")] : []),
  );

  function paint(index) {
    const f = frames[index];
    prediction.cells.forEach((cell, i) => {
      const name = names[f.prediction[i]];
      const ok = good(f, i);
      cell.firstChild.textContent = name;
      cell.classList.toggle("lk-is-good", ok);
      cell.classList.toggle("lk-is-bad", !ok);
      cell.style.setProperty("--lk-sure", percent(f.confidence[i] ?? 0));
      const verdict = judged ? `, target ${targets[i]}` : "";
      cell.title = `position ${i}: ${name}${verdict}; confidence ${distance(f.confidence[i])}`;
      const bar = bars[i];
      bar.firstChild.style.height = percent(scale.at(f.residual[i]));
      bar.classList.toggle("lk-is-halted", frozen(f, i));
      bar.classList.toggle("lk-is-broken", f.residual[i] === null);
      bar.title = `position ${i}: distance ${distance(f.residual[i])}${frozen(f, i) ? `, halted after pass ${haltedAt[i]}` : ""}`;
    });
    const count = tokens.filter((_, i) => good(f, i)).length;
    prediction.side.replaceChildren(h("b", {}, count), `/${n}`);
    cursor.setAttribute("y", index);
    ticks.forEach((label, j) => (label.hidden = (Math.abs(j - index) * height) / k < 13));
    here.textContent = f.pass;
    here.style.top = dot.style.top = percent((index + 0.5) / k);
    dot.style.left = percent(means[index]);
    return f.text;
  }

  const run = player(root, frames.map((f) => f.pass), view.passes_run, paint, moved);
  for (const target of [map, spark]) run.pick(target, (_, y) => Math.floor(y * k));
  root.classList.toggle("lk-unjudged", !judged);
  fill(root, view.title, "Predictions over passes", run.controls, run.caption, h("div", { class: "lk-scroll" }, grid), legend);
  const observer = new ResizeObserver(() => resizers.forEach((fit) => fit()));
  observer.observe(grid);
  run.show(pass);
  return { show: run.show, stop: () => (run.stop(), observer.disconnect()) };
}

const { render } = widget("lk-scrubber", mount);
export default { render };
