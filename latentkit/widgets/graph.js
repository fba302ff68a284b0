// Draws what graph.py computed: nodes by depth from left to right, inputs below, and what became of every node.

const WIDE = 54;
const HIGH = 66;
const HALF = 14; // of a node's height
const KINDS = ["correct", "local", "propagation", "restoration"];
const SIGNS = ["✓", "✗", "↪", "↺"];

function mount(root, view, value, moved) {
  const { nodes, frames, unit } = view;
  const computed = nodes.map((_, i) => i).filter((i) => nodes[i].parents.length);
  const columns = 1 + Math.max(...nodes.map((n) => n.at[0]));
  const rows = 1 + Math.max(...nodes.map((n) => n.at[1]));
  let chosen = null; // until the reader chooses, each frame shows its first mistake
  let frame = frames[0];

  const x = (i) => (nodes[i].at[0] + 0.5) * WIDE;
  const y = (i) => 30 + (nodes[i].at[1] + 0.5) * HIGH;
  // A parent in the same row that is not next to its child is reached over what stands between.
  const way = (p, i) => {
    const level = nodes[p].at[1] === nodes[i].at[1];
    if (!level || x(i) - x(p) <= WIDE) return `M${x(p)} ${y(p)}L${x(i)} ${y(i)}`;
    return `M${x(p)} ${y(p) - HALF}Q${(x(p) + x(i)) / 2} ${y(p) - HALF - 34} ${x(i)} ${y(i) - HALF}`;
  };
  const edges = computed.flatMap((i) => nodes[i].parents.map((p) => ({ p, i, line: h("path", { class: "lk-edge", d: way(p, i) }) })));
  const [width, height] = [columns * WIDE, 30 + rows * HIGH];
  const lines = h("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, ...edges.map((e) => e.line));
  const cells = nodes.map((node, i) => {
    const given = !node.parents.length;
    const cell = h("b", { class: `lk-node${given ? " lk-given" : ""}`, style: `left:${x(i)}px;top:${y(i)}px`, "data-node": i });
    if (!given) cell.addEventListener("click", () => choose(i));
    return cell;
  });
  const plane = h("div", { class: "lk-plane", style: `width:${width}px;height:${height}px`, tabindex: 0, role: "group", "aria-label": "Nodes: the left and right arrow keys choose one" }, lines, ...cells);
  const note = h("p", { class: "lk-note", "aria-live": "polite" });

  function point() {
    const wrong = computed.find((i) => frame.outcome[i] === 1 || frame.outcome[i] === 2);
    const at = chosen ?? wrong ?? computed[computed.length - 1];
    cells.forEach((cell, i) => cell.classList.toggle("lk-here", i === at));
    for (const { p, i, line } of edges) line.classList.toggle("lk-on", i === at);
    root.dataset.node = at;
    note.textContent = frame.notes[at];
    return at;
  }
  function choose(i) {
    chosen = i;
    point();
  }
  plane.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(computed[clamp(computed.indexOf(point()) + step, 0, computed.length - 1)]);
  });

  function paint(index) {
    frame = frames[index];
    cells.forEach((cell, i) => {
      const kind = frame.outcome[i];
      KINDS.forEach((name, k) => cell.classList.toggle(`lk-${name}`, k === kind));
      cell.classList.toggle("lk-seen", Boolean(frame.seen && kind !== null && frame.seen[i]));
      const wrong = frame.said[i] !== frame.truth[i];
      cell.replaceChildren(
        String(frame.said[i]),
        ...(kind ? [h("sup", {}, SIGNS[kind])] : []),
        h("small", {}, nodes[i].name),
        ...(wrong ? [h("em", {}, `right: ${frame.truth[i]}`)] : []),
      );
    });
    point();
    return frame.text;
  }

  const legend = h(
    "p",
    { class: "lk-legend" },
    key("lk-key-correct", "correct"),
    key("lk-key-local", "local: not what the rule makes of its parents", "✗"),
    key("lk-key-propagation", "propagation: the rule, on wrong parents", "↪"),
    key("lk-key-restoration", "restoration: right in spite of them", "↺"),
    ...(frames[0].seen ? [key("lk-key-seen", "whole subgraph seen in training")] : []),
  );
  const run = player(root, frames.map((f) => f.pass), frames.length, paint, moved, unit);
  fill(root, view.title, "A computation graph", run.controls, run.caption, h("div", { class: "lk-scroll" }, plane), note, legend);
  run.show(value);
  return { show: run.show, stop: run.stop };
}

const { render } = widget("lk-graph", mount);
export default { render };
