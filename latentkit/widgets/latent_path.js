// Draws what latent_path.py computed: every path's end point and a short tail, and one chosen path in full.

const TAIL = 4; // points

function mount(root, view, value, moved) {
  const { points, right, labels, passes } = view;
  const k = passes.length;
  const verdict = (i) => (right === null ? "" : right[i] ? " ✓" : " ✗");
  const line = (path) => path.map(([x, y], i) => `${i ? "L" : "M"}${x},${y}`).join("");
  const kind = (i) => (right === null ? "lk-end" : right[i] ? "lk-end lk-right" : "lk-end lk-wrong");
  // Right: a filled dot; wrong: a cross; not judged: a ring.
  const mark = (i) => {
    const [x, y] = points[i][k - 1];
    return right !== null && !right[i]
      ? h("path", { class: kind(i), d: `M${x - 8},${y - 8}l16,16m0,-16l-16,16` })
      : h("circle", { class: kind(i), cx: x, cy: y, r: 8 });
  };
  let chosen = value;

  const tails = h("path", { class: "lk-tails" });
  const heads = h("path", { class: "lk-heads" });
  const future = h("path", { class: "lk-future" });
  const past = h("path", { class: "lk-past" });
  const stations = h("path", { class: "lk-stations" });
  const origin = h("path", { class: "lk-origin" });
  const ring = h("circle", { class: "lk-ring", r: 16 });
  const head = h("circle", { class: "lk-head", r: 9 });
  const picture = h(
    "svg",
    { class: "lk-plane", viewBox: `0 0 ${view.width} ${view.height}`, role: "img", "aria-label": "Paths of the states in the plane of two principal components" },
    tails, heads, ...labels.map((_, i) => mark(i)), future, past, stations, origin, ring, head,
  );
  const select = h("select", { "aria-label": "Path drawn in full" }, ...labels.map((label, i) => h("option", { value: i }, label + verdict(i))));
  const share = (i) => `${view.explained[i] ?? 0}% of the variance`;
  const axes = h("p", { class: "lk-axes" }, h("span", {}, `→ first component: ${share(0)}`), h("span", {}, `↑ second component: ${share(1)}`));
  const legend = h(
    "p",
    { class: "lk-legend" },
    ...(right === null ? [key("lk-ends", "end of a path", "○")] : [key("lk-ends-right", "ends right", "●"), key("lk-ends-wrong", "ends wrong", "✗")]),
    key("lk-now", "others at this pass, with a tail"),
    key("lk-begins", "first point of the chosen path", "■"),
  );

  function paint(index) {
    const from = Math.max(0, index - TAIL + 1);
    const others = points.filter((_, i) => i !== chosen);
    tails.setAttribute("d", others.map((path) => line(path.slice(from, index + 1))).join(""));
    heads.setAttribute("d", others.map((path) => `M${path[index]}h0`).join(""));
    const path = points[chosen];
    future.setAttribute("d", line(path.slice(index)));
    past.setAttribute("d", line(path.slice(0, index + 1)));
    stations.setAttribute("d", path.slice(0, index + 1).map(([x, y]) => `M${x},${y}h0`).join(""));
    origin.setAttribute("d", `M${path[0][0] - 8},${path[0][1] - 8}h16v16h-16z`);
    for (const [circle, [x, y]] of [[ring, path[k - 1]], [head, path[index]]]) {
      circle.setAttribute("cx", x);
      circle.setAttribute("cy", y);
    }
    root.dataset.example = chosen;
    select.value = chosen;
    return `Pass ${passes[index]} of ${passes[k - 1]}: ${view.texts[chosen]}${view.summary ? `; ${view.summary}` : ""}.`;
  }

  const run = player(root, passes, passes[k - 1], paint, () => {});
  const choose = (i) => {
    if (i === chosen) return;
    chosen = i;
    run.draw();
    moved(i);
  };
  select.addEventListener("change", () => choose(Number(select.value)));
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * view.width;
    const y = ((event.clientY - box.top) / box.height) * view.height;
    const here = passes.indexOf(Number(root.dataset.pass));
    const away = points.map((path) => Math.min(...[path[k - 1], path[here]].map(([u, v]) => Math.hypot(u - x, v - y))));
    const nearest = away.indexOf(Math.min(...away));
    if (away[nearest] < 40) choose(nearest);
  });
  fill(root, view.title, "Paths of the states", run.controls, run.caption, h("label", { class: "lk-choice" }, "Path drawn in full: ", select), picture, axes, legend);
  run.show(view.first);
  const show = (i) => {
    chosen = i;
    run.draw();
  };
  return { show, stop: run.stop };
}

const { render } = widget("lk-latent-path", mount);
export default { render };
