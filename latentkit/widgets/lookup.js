// Draws what lookup.py computed: the sequence on top, a row of shades for every head, and bars of bits.

function mount(root, view, value, moved) {
  const { tokens, heads, frames, most_bits: most } = view;
  const places = frames.map((f) => f.place);
  const written = new Map(frames.map((f) => [f.place, f]));
  let index = Math.max(0, places.indexOf(value));

  const slider = h("input", { type: "range", class: "lk-slider", min: 0, max: frames.length - 1, step: 1, "aria-label": "Position" });
  const readout = h("output", { class: "lk-readout" });
  const caption = h("p", { class: "lk-caption", role: "status", "aria-live": "polite" });

  const grid = h("div", { class: "lk-grid" });
  grid.style.setProperty("--lk-cols", tokens.length);
  const row = (name, cells) => {
    grid.append(h("span", { class: "lk-head" }, name), ...cells);
    return cells;
  };
  const reads = row("reads", tokens.map((t, i) => h("b", { class: `lk-token${written.has(i) ? " lk-pick" : ""}`, title: `position ${i}` }, t)));
  const shades = heads.map((name) => row(name, tokens.map(() => h("i", { class: "lk-shade" }))));
  const says = row("writes", tokens.map((_, i) => {
    const f = written.get(i);
    return h("b", { class: `lk-token${f ? (f.right ? " lk-right" : " lk-wrong") : ""}` }, f ? f.says : "");
  }));

  const names = Object.keys(frames[0].bits);
  const bars = names.map((name) => {
    const fill_ = h("i", {});
    const number = h("span", { class: "lk-number" });
    return { name, fill_, number, line: h("div", { class: "lk-bits" }, h("span", {}, name), h("div", { class: "lk-track" }, fill_), number) };
  });
  const top = most ?? Math.max(1, ...frames.flatMap((f) => Object.values(f.bits)));

  function draw() {
    const f = frames[index];
    root.dataset.place = f.place;
    slider.value = index;
    slider.style.setProperty("--lk-done", percent(frames.length > 1 ? index / (frames.length - 1) : 1));
    slider.setAttribute("aria-valuetext", `position ${f.place}`);
    readout.replaceChildren("letter ", h("b", {}, index + 1), ` / ${frames.length}`);
    caption.textContent = f.text;
    f.weights.forEach((weights, k) => {
      weights.forEach((w, i) => {
        shades[k][i].style.opacity = w.toFixed(3);
        shades[k][i].setAttribute("title", `${heads[k]} on ${tokens[i]} at ${i}: ${w}`);
      });
    });
    reads.forEach((cell, i) => {
      cell.classList.toggle("lk-here", i === f.place);
      cell.classList.toggle("lk-later", i > f.place);
    });
    says.forEach((cell, i) => cell.classList.toggle("lk-later", i > f.place));
    for (const { name, fill_, number } of bars) {
      fill_.style.width = percent(clamp(f.bits[name] / top, 0, 1));
      number.textContent = `${f.bits[name].toFixed(1)}${most ? ` of ${most}` : ""} bits`;
    }
  }
  const go = (i) => {
    if (i === index) return;
    index = i;
    draw();
    moved(places[i]);
  };
  slider.addEventListener("input", () => go(Number(slider.value)));
  for (const cells of [reads, says]) cells.forEach((cell, i) => written.has(i) && cell.addEventListener("click", () => go(places.indexOf(i))));

  const legend = h(
    "p",
    { class: "lk-legend" },
    key("lk-key-here", "reads this now"),
    key("lk-key-shade", "the darker, the more the head looks there"),
    key("lk-key-right", "right", "a"),
    key("lk-key-wrong", "wrong", "a"),
  );
  fill(root, view.title, "Where attention looks", h("div", { class: "lk-controls" }, slider, readout), caption, h("div", { class: "lk-scroll" }, grid), ...bars.map((b) => b.line), legend);
  draw();
  const show = (place) => {
    index = Math.max(0, places.indexOf(place));
    draw();
  };
  return { show, stop: () => {} };
}

const { render } = widget("lk-lookup", mount);
export default { render };
