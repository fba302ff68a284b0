// Draws what surprise.py computed: a bar of surprise for every token, the gates below, a pointer that says it in words.

const HEIGHT = 120;
const ROW = 12;

function mount(root, view, value, moved) {
  const { tokens, memories, medians, gates, marks } = view;
  const n = tokens.length;
  const names = Object.keys(memories);
  const rows = Object.keys(gates);
  let memory = names[0];
  let here = value;

  const select = h("select", {}, ...names.map((name) => h("option", {}, name)));
  const slider = h("input", { type: "range", class: "lk-slider", min: 0, max: n - 1, step: 1, "aria-label": "Token" });
  const readout = h("output", { class: "lk-readout" });
  const caption = h("p", { class: "lk-caption", role: "status", "aria-live": "polite" });
  const bars = h("path", { class: "lk-bars" });
  const marked = h("path", { class: "lk-bars lk-marked" });
  const pointer = h("rect", { class: "lk-pointer", y: 0, width: 1, height: HEIGHT + rows.length * ROW });
  const strips = rows.map((name, r) => {
    const top = Math.max(...gates[name], 1e-9);
    return gates[name].map((g, i) =>
      h("rect", { class: "lk-gate", x: i, y: HEIGHT + r * ROW + 3, width: 1, height: ROW - 3, style: `opacity:${(g / top).toFixed(3)}` }),
    );
  });
  const picture = h(
    "svg",
    { class: "lk-strip", viewBox: `0 0 ${n} ${HEIGHT + rows.length * ROW}`, preserveAspectRatio: "none", role: "img", "aria-label": "Surprise of every token" },
    pointer, bars, marked, ...strips.flat(),
  );
  picture.style.height = `${HEIGHT + rows.length * ROW}px`;
  const labels = h("div", { class: "lk-labels" }, h("span", { style: `height:${HEIGHT}px` }, "surprise"), ...rows.map((name) => h("span", { style: `height:${ROW}px` }, name)));
  const bar = (i, top) => {
    const height = (memories[memory][i] / top) * (HEIGHT - 6);
    return `M${i + 0.5},${HEIGHT}v${-height.toFixed(2)}`;
  };

  function draw() {
    const series = memories[memory];
    const top = Math.max(...series, 1e-9);
    const all = series.map((_, i) => i);
    bars.setAttribute("d", all.filter((i) => !(i in marks)).map((i) => bar(i, top)).join(""));
    marked.setAttribute("d", all.filter((i) => i in marks).map((i) => bar(i, top)).join(""));
    pointer.setAttribute("x", here);
    root.dataset.token = here;
    slider.value = here;
    slider.style.setProperty("--lk-done", percent(n > 1 ? here / (n - 1) : 1));
    slider.setAttribute("aria-valuetext", `token ${here + 1} of ${n}`);
    readout.replaceChildren("token ", h("b", {}, here + 1), ` / ${n}`);
    select.value = memory;
    const before = tokens.slice(Math.max(0, here - 4), here).join(" ");
    const times = medians[memory] > 0 ? ` (${(series[here] / medians[memory]).toPrecision(2)} × the median)` : "";
    const said = rows.map((name) => `, ${name} ${gates[name][here]}`).join("");
    const mark = here in marks ? ` ${marks[here]}.` : "";
    caption.textContent = `${here ? `… ${before} ` : ""}[${tokens[here]}]: surprise ${series[here]}${times}${said}.${mark}`;
  }

  const go = (i) => {
    if (i === here) return;
    here = i;
    draw();
    moved(i);
  };
  const pick = (event) => {
    const box = picture.getBoundingClientRect();
    go(clamp(Math.floor(((event.clientX - box.left) / box.width) * n), 0, n - 1));
  };
  slider.addEventListener("input", () => go(Number(slider.value)));
  picture.addEventListener("click", pick);
  picture.addEventListener("pointermove", (event) => event.buttons === 1 && event.pointerType === "mouse" && pick(event));
  select.addEventListener("change", () => {
    memory = select.value;
    draw();
  });
  const choice = h("label", { class: "lk-choice" }, "Memory: ", select);
  choice.hidden = names.length === 1;
  const legend = h(
    "p",
    { class: "lk-legend" },
    ...(Object.keys(marks).length ? [key("lk-key-marked", "worth a look")] : []),
    ...(rows.length ? [h("span", {}, "gates: the darker, the nearer to the row's largest value")] : []),
  );
  fill(root, view.title, "Surprise of every token", choice, h("div", { class: "lk-controls" }, slider, readout), caption, h("div", { class: "lk-plot" }, labels, picture), legend);
  draw();
  const show = (i) => {
    here = i;
    draw();
  };
  return { show, stop: () => {} };
}

const { render } = widget("lk-surprise", mount);
export default { render };
