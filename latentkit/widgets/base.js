// What the scripts of all widgets share. Each draws what Python computed; no framework, nothing from the network.

const SVG = new Set(["svg", "path", "rect", "circle", "line"]);

function h(tag, attributes = {}, ...children) {
  const element = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const percent = (x) => `${(100 * x).toFixed(2)}%`;
const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
const key = (mark, text, sign = "") => h("span", {}, h("i", { class: `lk-key ${mark}` }, sign), text);

// A log scale over whole decades that holds every finite, positive distance; at most six of them, the largest.
function logScale(values) {
  const logs = values.filter((v) => v > 0).map(Math.log10);
  const top = logs.length ? Math.ceil(Math.max(...logs) - 1e-9) : 0;
  const low = logs.length ? Math.floor(Math.min(...logs) + 1e-9) : -1;
  const bottom = Math.min(top - 1, Math.max(low, top - 6));
  const at = (v) => (v === null ? 1 : v > 0 ? clamp((Math.log10(v) - bottom) / (top - bottom), 0, 1) : 0);
  return { at, top, bottom, decades: top - bottom };
}

const decade = (e) => (e >= -3 && e <= 3 ? String(Number(`1e${e}`)) : `1e${e}`);

// Title, controls and a sentence on top; then what a widget draws.
function fill(root, title, label, ...children) {
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", title || label);
  root.append(...(title ? [h("p", { class: "lk-title" }, title)] : []), ...children);
  // JupyterLab would otherwise take the arrow keys for its own; it looks at the focused element, then at those around it.
  for (const element of root.querySelectorAll("button, input, select, [tabindex]")) element.dataset.lmSuppressShortcuts = "true";
}

// Play button, slider and sentence over the kept `passes` of `total`. paint(index) draws one and returns the sentence;
// moved(pass) is called when the reader, not the program, goes to another pass. `unit` is what a pass is called here.
function player(root, passes, total, paint, moved, unit = "pass") {
  const k = passes.length;
  let index = 0;
  let timer = null;
  const icon = h("path");
  const play = h("button", { type: "button", class: "lk-play" }, h("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, icon));
  const slider = h("input", {
    type: "range", class: "lk-slider", min: 0, max: k - 1, step: 1, "aria-label": unit[0].toUpperCase() + unit.slice(1), ...(k === 1 && { disabled: "" }),
  });
  const readout = h("output", { class: "lk-readout" });
  const caption = h("p", { class: "lk-caption", role: "status", "aria-live": "polite" });

  function draw() {
    root.dataset.pass = passes[index];
    slider.value = index;
    slider.style.setProperty("--lk-done", percent(k > 1 ? index / (k - 1) : 1));
    slider.setAttribute("aria-valuetext", `${unit} ${passes[index]} of ${total}`);
    readout.replaceChildren(`${unit} `, h("b", {}, passes[index]), ` / ${total}`);
    caption.textContent = paint(index);
    const playing = timer !== null;
    icon.setAttribute("d", playing ? "M2 1h3v10H2zM7 1h3v10H7z" : "M2.5 .5v11l9-5.5z");
    play.setAttribute("aria-label", playing ? "Pause" : "Play");
    // A sentence a tick would talk over itself.
    caption.setAttribute("aria-live", playing ? "off" : "polite");
  }

  const show = (pass) => {
    index = Math.max(0, passes.indexOf(pass));
    draw();
  };
  const go = (j) => {
    if (j === index) return;
    index = j;
    draw();
    moved(passes[j]);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    draw();
  };
  const start = () => {
    if (index === k - 1) go(0);
    timer = setInterval(() => (index === k - 1 || !root.isConnected ? stop() : go(index + 1)), clamp(9000 / k, 150, 700));
    draw();
  };
  const jump = (j) => {
    if (timer !== null) stop();
    go(clamp(j, 0, k - 1));
  };
  // Click, or drag with the mouse: at(x, y), in shares of the element's box, says which index that is.
  const pick = (element, at) => {
    const to = (event) => {
      const box = element.getBoundingClientRect();
      jump(at((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height));
    };
    element.addEventListener("click", to);
    // Dragging with a finger scrolls the page instead.
    element.addEventListener("pointermove", (event) => event.buttons === 1 && event.pointerType === "mouse" && to(event));
  };
  play.addEventListener("click", () => (timer === null ? start() : stop()));
  slider.addEventListener("input", () => jump(Number(slider.value)));
  return { controls: h("div", { class: "lk-controls" }, play, slider, readout), caption, show, stop, draw, pick };
}

// mount(root, view, value, moved) fills an empty element and returns {show, stop}: show(value) follows the program,
// moved(value) reports the reader.
function widget(name, mount) {
  const begin = (root, ...rest) => {
    root.classList.add("lk-widget", name);
    return mount(root, ...rest);
  };
  // Published page: every widget of this kind that still shows its table becomes the real thing.
  for (const root of document.querySelectorAll(`.${name}[data-waiting]`)) {
    const view = JSON.parse(root.querySelector("script").textContent);
    root.removeAttribute("data-waiting");
    root.replaceChildren(root.querySelector("style"));
    begin(root, view, view.start, () => {});
  }
  // Live: one view of a widget whose `value` Python may move too.
  function render({ model, el }) {
    const root = h("div");
    el.append(root);
    const shown = begin(root, model.get("view"), model.get("value"), (value) => {
      model.set("value", value);
      model.save_changes();
    });
    const follow = () => shown.show(model.get("value"));
    model.on("change:value", follow);
    return () => {
      model.off("change:value", follow);
      shown.stop();
    };
  }
  return { render };
}
