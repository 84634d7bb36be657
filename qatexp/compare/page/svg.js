// Scales, axes and marks of the charts. Colours are CSS variables, so that they follow the scheme.
const Svg = (() => {
  // The namespace's address is taken from the page: no address is written in it, not even this one.
  const NS = document.querySelector("svg").namespaceURI;
  const MARGIN = { top: 14, right: 20, bottom: 46, left: 62 };
  const LOG_FROM = 3; // ratio of the largest to the smallest value from which an axis is logarithmic

  function add(parent, name, attributes = {}, text = null) {
    const element = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== null) element.textContent = text;
    parent.append(element);
    return element;
  }

  function canvas(host, height) {
    const width = Math.max(280, host.clientWidth);
    host.replaceChildren();
    const root = add(host, "svg", { viewBox: `0 0 ${width} ${height}`, height, "aria-hidden": true });
    return { root, width, height };
  }

  function niceTicks(low, high, count = 6) {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((s) => s * power).find((s) => s >= rough);
    const ticks = [];
    for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9; i += 1) ticks.push(i * step);
    return ticks;
  }

  function logTicks(low, high) {
    const steps = high / low < 20 ? [1, 1.5, 2, 3, 5, 7] : [1, 2, 5];
    const ticks = [];
    for (let p = Math.floor(Math.log10(low)); p <= Math.log10(high); p += 1) {
      ticks.push(...steps.map((s) => s * 10 ** p).filter((t) => t >= low && t <= high));
    }
    return ticks;
  }

  /** Limits and kind of an axis for these values, with room at both ends. */
  function span(values, { logarithmic = true } = {}) {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    if (logarithmic && low > 0 && high / low >= LOG_FROM) {
      return { low: low / 1.3, high: high * 1.3, log: true };
    }
    const room = 0.12 * (high - low) || 0.1 * Math.abs(high) || 1;
    return { low: low - room, high: high + room, log: false };
  }

  function scale({ low, high, log }, from, to) {
    const place = log ? Math.log : (value) => value;
    return (value) => from + ((place(value) - place(low)) / (place(high) - place(low))) * (to - from);
  }

  const plain = (value) => String(Number(value.toPrecision(6)));

  /** Draw both axes; returns the scales and the edges of the plot. */
  function axes({ root, width, height }, x, y) {
    const edge = {
      left: MARGIN.left, right: width - MARGIN.right,
      top: MARGIN.top, bottom: height - MARGIN.bottom,
    };
    const [sx, sy] = [scale(x, edge.left, edge.right), scale(y, edge.bottom, edge.top)];
    const fitting = Math.max(4, Math.floor((edge.right - edge.left) / 75));
    const along = x.ticks ?? (x.log ? logTicks(x.low, x.high) : niceTicks(x.low, x.high, fitting));
    for (const tick of along) {
      add(root, "line", { class: "grid", x1: sx(tick), x2: sx(tick), y1: edge.top, y2: edge.bottom });
      const text = { x: sx(tick), y: edge.bottom + 17, "text-anchor": "middle" };
      add(root, "text", text, (x.format ?? plain)(tick));
    }
    for (const tick of niceTicks(y.low, y.high).filter((t) => t <= (y.most ?? Infinity))) {
      add(root, "line", { class: "grid", x1: edge.left, x2: edge.right, y1: sy(tick), y2: sy(tick) });
      const text = { x: edge.left - 8, y: sy(tick) + 4, "text-anchor": "end" };
      add(root, "text", text, plain(tick));
    }
    const middle = (edge.left + edge.right) / 2;
    add(root, "text", { class: "axis", x: middle, y: height - 8, "text-anchor": "middle" }, x.label);
    const centre = (edge.top + edge.bottom) / 2;
    const turned = { x: 13, y: centre, "text-anchor": "middle", transform: `rotate(-90 13 ${centre})` };
    add(root, "text", { class: "axis", ...turned }, y.label);
    return { sx, sy, edge };
  }

  const SHAPES = {
    qat: ["circle", { r: 5.5 }],
    ptq: ["path", { d: "M0-6.2 6.2 0 0 6.2-6.2 0Z" }],
    fp32: ["path", { d: "M-5-5H5V5H-5Z" }],
    control: ["path", { d: "M0-6 6 5H-6Z" }],
    fallen: ["path", { d: "M0 6 6-5H-6Z" }],
  };
  const HOLLOW = ["ptq", "fallen"];

  function shape(parent, kind, colour) {
    const [name, attributes] = SHAPES[kind];
    const element = add(parent, name, { ...attributes, class: "shape" });
    element.style.stroke = colour;
    element.style.fill = HOLLOW.includes(kind) ? "var(--card)" : colour;
    return element;
  }

  /** A point that stands for one or several trials, given by their indices. */
  function mark(parent, kind, { x, y, colour, trials, tip }) {
    const group = add(parent, "g", { class: "mark", transform: `translate(${x} ${y})` });
    add(group, "circle", { class: "hit", r: 10 });
    shape(group, kind, colour);
    Object.assign(group, { trials, tip });
    return group;
  }

  /** Write labels beside points, the first come first, where nothing else is written. */
  function labels(root, edge, wanted, taken) {
    const boxes = [...taken];
    for (const { x, y, text, trials } of wanted) {
      const width = 6.1 * text.length;
      const places = [[9, -8], [-9 - width, -8], [9, 17], [-9 - width, 17], [-width / 2, -14], [-width / 2, 24]];
      const box = places
        .map(([dx, dy]) => [x + dx, y + dy - 9, x + dx + width, y + dy + 3])
        .find((b) => b[0] >= edge.left && b[2] <= edge.right + 16 && b[1] >= 0 && b[3] <= edge.bottom
          && boxes.every((o) => b[2] < o[0] || b[0] > o[2] || b[3] < o[1] || b[1] > o[3]));
      if (box === undefined) continue;
      boxes.push(box);
      add(root, "text", { class: "label", x: box[0], y: box[3] - 3 }, text).trials = trials;
    }
  }

  return { add, canvas, axes, span, scale, shape, mark, labels, niceTicks, plain };
})();
