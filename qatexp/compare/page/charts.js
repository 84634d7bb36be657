// The charts of the page. Each draws into its host; `state` says what is kept and how it is coloured.
const Charts = (() => {
  const { add, canvas, axes, span, scale, mark, labels, niceTicks, plain } = Svg;
  const MIDDLE_DOT = " \u00b7 ";
  const MOST_CONNECTED = 16; // with more trials, no lines lead from ptq to qat
  const PALETTE = 8;

  const trials = DATA.trials;
  const finished = trials.map((_, index) => index).filter((i) => trials[i].deployable !== null);
  const variantOf = (index, name) => trials[index].variants[name];
  const deployed = (index) => variantOf(index, trials[index].deployable);
  const top1 = (index) => deployed(index).deployed_top1;
  const percent = (value) => `${value.toFixed(2)} %`;
  const signed = (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}`;
  const latency = (value) => `${Number(value.toPrecision(3))} ms`;
  const size = (value) => (DATA.unit.bytes > 1000
    ? `${(value / DATA.unit.bytes).toFixed(2)} MB` : `${(value / 1000).toFixed(1)} kB`);

  const COSTS = {
    size: { field: "size_bytes", label: `size of the file, ${DATA.unit.name}`,
            shown: (value) => value / DATA.unit.bytes, fronts: DATA.fronts.size },
    latency: { field: "latency_ms_p50", label: DATA.latencyAxis,
               shown: (value) => value, fronts: DATA.fronts.latency },
  };

  const colourAt = (index) => `var(--c${index % PALETTE})`;

  /** Colours by the values of one setting; variants tell trials apart where nothing else does. */
  function colours(knob) {
    if (knob === null) return { of: () => "var(--c0)", meaning: [] };
    const values = [...new Set(finished.map((i) => trials[i].phrases[knob]))];
    return {
      of: (index) => colourAt(values.indexOf(trials[index].phrases[knob])),
      meaning: values.map((text, i) => ({ text, colour: colourAt(i) })),
    };
  }

  function usable(knob) {
    const values = new Set(finished.map((i) => trials[i].phrases[knob]));
    return values.size > 1 && values.size <= PALETTE;
  }

  function names(indices) {
    const shown = indices.slice(0, 6).map((i) => trials[i].name).join(", ");
    const more = indices.length > 6 ? ", ..." : "";
    return `${indices.length === 1 ? "trial" : "trials"} ${shown}${more}`;
  }

  function describe(indices, name) {
    const [first] = indices;
    const { deployed_top1: accuracy, size_bytes: bytes, latency_ms_p50: time } = variantOf(first, name);
    const text = indices.length === 1 ? `${MIDDLE_DOT}${trials[first].label}` : "";
    return `${names(indices)}${text}\n${name}: ${[percent(accuracy), size(bytes), latency(time)].join(MIDDLE_DOT)}`;
  }

  /** Points at the same place become one, with all their trials. */
  function merged(points) {
    const places = new Map();
    for (const point of points) {
      const key = [point.kind, point.name, Math.round(2 * point.x), Math.round(2 * point.y)].join();
      if (places.has(key)) places.get(key).trials.push(point.trial);
      else places.set(key, { ...point, trials: [point.trial] });
    }
    return [...places.values()];
  }

  function accuracyLimits() {
    const baselines = finished.filter((i) => variantOf(i, "fp32"));
    const shown = [...finished.map(top1), ...baselines.map((i) => variantOf(i, "fp32").deployed_top1)];
    const [low, high] = [Math.min(...shown), Math.max(...shown)];
    const room = Math.max(high - low, 2);
    const near = finished.map((i) => variantOf(i, "ptq")?.deployed_top1).filter((v) => v >= low - room);
    return { low: Math.min(low, ...near) - 0.12 * room, high: Math.max(high, ...near) + 0.16 * room };
  }

  function tradeOff(host, state) {
    const { field, label, shown, fronts } = COSTS[host.dataset.chart];
    const board = canvas(host, 350);
    const costs = finished.flatMap((i) => Object.values(trials[i].variants).map((v) => shown(v[field])));
    const limits = accuracyLimits();
    const { sx, sy, edge } = axes(board, { ...span(costs), label },
      { ...limits, most: 100, label: "top-1 of the deployed file, %" });
    const at = (variant) => [sx(shown(variant[field])), sy(Math.max(variant.deployed_top1, limits.low))];
    for (const front of fronts) {
      const corners = front.map(([cost, accuracy]) => [sx(shown(cost)), sy(accuracy)]).sort((a, b) => a[0] - b[0]);
      const steps = corners.map(([x, y], i) => (i === 0 ? `M${x} ${y}` : `H${x}V${y}`)).join("");
      add(board.root, "path", { class: "front", d: `${steps}H${edge.right}` });
    }
    const points = [];
    for (const trial of finished) {
      for (const name of ["fp32", "control", "ptq", "qat"].filter((n) => variantOf(trial, n))) {
        const variant = variantOf(trial, name);
        const [x, y] = at(variant);
        points.push({ kind: variant.deployed_top1 < limits.low ? "fallen" : name, name, x, y, trial });
      }
      const ends = ["ptq", "qat"].filter((n) => variantOf(trial, n)).map((n) => at(variantOf(trial, n)));
      if (finished.length <= MOST_CONNECTED && ends.length === 2) {
        const link = add(board.root, "path", { class: "link", d: `M${ends[0]}L${ends[1]}` });
        link.style.stroke = state.colours.of(trial);
        link.trials = [trial];
      }
    }
    const places = merged(points);
    for (const y of new Set(places.filter((p) => p.name === "fp32").map((p) => p.y))) {
      add(board.root, "line", { class: "base", x1: edge.left, x2: edge.right, y1: y, y2: y });
    }
    for (const place of places) {
      const isBase = ["fp32", "control"].includes(place.name);
      const colour = isBase ? "var(--fp32)" : variantColour(place, state);
      mark(board.root, place.kind, { ...place, colour, tip: describe(place.trials, place.name) });
    }
    const taken = places.map(({ x, y }) => [x - 6, y - 6, x + 6, y + 6]);
    labels(board.root, edge, frontLabels(places, fronts, sx, sy, shown), taken);
  }

  /** Whether any ptq file is so bad that it lies below the axis. */
  function hasFallen() {
    const { low } = accuracyLimits();
    return finished.some((i) => variantOf(i, "ptq")?.deployed_top1 < low);
  }

  function variantColour({ name, trials: [first] }, state) {
    if (state.colours.meaning.length > 0) return state.colours.of(first);
    return name === "ptq" ? "var(--c4)" : "var(--c0)";
  }

  function frontLabels(places, fronts, sx, sy, shown) {
    if (finished.length === 1) return places.map((place) => ({ ...place, text: place.name }));
    const corners = fronts.flat().map(([cost, accuracy]) => [sx(shown(cost)), sy(accuracy)]);
    const isCorner = ({ x, y }) => corners.some(([a, b]) => Math.hypot(a - x, b - y) < 1);
    return places.filter(isCorner).map((place) => {
      const [first] = place.trials;
      const text = place.trials.length === 1 ? trials[first].label : names(place.trials);
      const whole = { qat: text, ptq: `ptq${MIDDLE_DOT}${names(place.trials)}` };
      return { ...place, text: whole[place.name] ?? place.name };
    });
  }

  /** Series of the trials that are kept: those that differ in this setting and the seed only. */
  function seriesBy(knob, kept) {
    const found = new Map();
    const others = DATA.knobs.map((_, i) => i).filter((i) => i !== knob && DATA.knobs[i].key !== "seed");
    for (const trial of finished.filter((i) => kept.has(i) && trials[i].numbers[knob] !== null)) {
      const phrases = others.map((other) => trials[trial].phrases[other]);
      const text = [...(trials[trial].sweep ? [trials[trial].sweep] : []), ...phrases].join(MIDDLE_DOT);
      const x = trials[trial].numbers[knob];
      if (!found.has(text)) found.set(text, new Map());
      found.get(text).set(x, [...(found.get(text).get(x) ?? []), trial]);
    }
    return found;
  }

  const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

  /** Accuracies by distinct seed: trials that repeat one count once, by their mean. */
  function bySeed(indices) {
    const knob = DATA.knobs.findIndex(({ key }) => key === "seed");
    const found = new Map();
    for (const index of indices) {
      const seed = knob < 0 ? null : trials[index].numbers[knob];
      found.set(seed, [...(found.get(seed) ?? []), top1(index)]);
    }
    return [...found.values()].map(average);
  }

  /** A colour for each series; with more series than colours, one for each value of a setting. */
  function seriesColours(knob) {
    const every = seriesBy(knob, new Set(finished));
    const order = [...every.keys()];
    const shared = DATA.knobs.map((_, i) => i)
      .find((i) => i !== knob && DATA.knobs[i].key !== "seed" && usable(i));
    if (order.length <= PALETTE || shared === undefined) {
      const of = (text) => colourAt(order.indexOf(text));
      return { of, meaning: (isOut) => order.map((text) => ({ text, colour: of(text), isOut: isOut(text) })) };
    }
    const { of, meaning } = colours(shared);
    const first = (text) => [...every.get(text).values()][0][0];
    return { of: (text) => of(first(text)), meaning: () => meaning };
  }

  function lines(host, state, legend) {
    const knob = Number(host.dataset.knob);
    const every = finished.filter((i) => trials[i].numbers[knob] !== null);
    const values = [...new Set(every.map((i) => trials[i].numbers[knob]))].sort((a, b) => a - b);
    const board = canvas(host, 330);
    const ticks = values.length <= 8 ? values : undefined;
    const { sx, sy } = axes(board, { ...span(values), ticks, label: DATA.knobs[knob].key },
      { ...span(every.map(top1), { logarithmic: false }), most: 100, label: "top-1 of the deployed file, %" });
    const palette = seriesColours(knob);
    const shownSeries = seriesBy(knob, state.kept);
    for (const [text, points] of shownSeries) {
      const colour = palette.of(text);
      const path = [...points].sort((a, b) => a[0] - b[0]).map(([x, own]) => {
        const samples = bySeed(own);
        const mean = average(samples);
        return { x: sx(x), y: sy(mean), own, samples, mean, low: Math.min(...samples), high: Math.max(...samples), value: x };
      });
      const line = add(board.root, "path", { class: "series", d: `M${path.map((p) => `${p.x} ${p.y}`).join("L")}` });
      line.style.stroke = colour;
      for (const point of path) {
        if (point.samples.length > 1) {
          const bar = add(board.root, "path", { d: `M${point.x - 4} ${sy(point.low)}h8m-4 0V${sy(point.high)}m-4 0h8`, class: "series" });
          bar.style.stroke = colour;
        }
        const range = point.samples.length > 1
          ? `\nmean ${percent(point.mean)}, ${point.low.toFixed(2)} to ${percent(point.high)} over ${point.samples.length} seeds`
          : `\n${percent(point.mean)}`;
        const tip = `${text || DATA.knobs[knob].name}, ${DATA.knobs[knob].name} ${plain(point.value)}${range}\n${names(point.own)}`;
        mark(board.root, "qat", { x: point.x, y: point.y, colour, trials: point.own, tip });
      }
    }
    legend(palette.meaning((text) => !shownSeries.has(text)));
  }

  /** Rows of labels and points along one axis of accuracy. */
  function rows(host, items, { low, high }, draw) {
    const narrow = host.clientWidth < 560;
    const step = narrow ? 38 : 24;
    const board = canvas(host, 28 + step * items.length + 6);
    const left = narrow ? 8 : Math.min(310, 24 + 6.6 * Math.max(...items.map((i) => i.text.length)));
    const [from, to] = [left + 6, board.width - (narrow ? 62 : 150)];
    const sx = scale({ low, high, log: false }, from, to);
    for (const tick of niceTicks(low, high, Math.max(3, (to - from) / 90))) {
      add(board.root, "line", { class: "grid", x1: sx(tick), x2: sx(tick), y1: 22, y2: board.height });
      add(board.root, "text", { x: sx(tick), y: 14, "text-anchor": "middle" }, plain(tick));
    }
    items.forEach((item, index) => {
      const y = 28 + step * index + (narrow ? 26 : 12);
      const row = add(board.root, "g", {});
      row.trials = item.trials;
      const longest = Math.floor((narrow ? board.width : left - 16) / 6.4);
      const text = item.text.length > longest ? `${item.text.slice(0, longest - 1)}\u2026` : item.text;
      add(row, "text", narrow ? { class: "name", x: 8, y: y - 13 } : { class: "name", x: left - 6, y: y + 4, "text-anchor": "end" }, text);
      draw(row, item, y, sx);
      add(row, "text", { x: to + 12, y: y + 4, class: item.isLoud ? "name" : "" }, narrow ? item.brief ?? item.figure : item.figure);
    });
  }

  function gap(host, state) {
    const both = finished.filter((i) => variantOf(i, "ptq") && variantOf(i, "qat"));
    const pair = (i) => [variantOf(i, "ptq").deployed_top1, variantOf(i, "qat").deployed_top1];
    const items = both.map((i) => ({ trial: i, trials: [i], gain: pair(i)[1] - pair(i)[0],
      text: [trials[i].name, trials[i].label].join(MIDDLE_DOT) })).sort((a, b) => b.gain - a.gain);
    items.forEach((item) => { item.figure = `${signed(item.gain)} points`; item.brief = signed(item.gain); });
    rows(host, items, span(both.flatMap(pair), { logarithmic: false }), (row, item, y, sx) => {
      const [ptq, qat] = pair(item.trial);
      const colour = state.colours.of(item.trial);
      const link = add(row, "path", { class: "series", d: `M${sx(ptq)} ${y}H${sx(qat)}` });
      link.style.stroke = colour;
      for (const [kind, value] of [["ptq", ptq], ["qat", qat]]) {
        mark(row, kind, { x: sx(value), y, colour, trials: [item.trial], tip: describe([item.trial], kind) });
      }
    });
  }

  function parity(host, state) {
    const board = canvas(host, 330);
    const all = finished.flatMap((trial) => ["ptq", "qat"].filter((n) => variantOf(trial, n))
      .map((name) => ({ trial, name, kind: name, variant: variantOf(trial, name) })));
    const apart = ({ variant }) => variant.deployed_top1 - variant.top1;
    const most = 1.25 * Math.max(0.16, ...all.map((p) => Math.abs(apart(p))));
    const { sx, sy, edge } = axes(board,
      { ...span(all.map((p) => p.variant.top1), { logarithmic: false }), label: "top-1 in PyTorch, %" },
      { low: -most, high: most, label: "deployed \u2212 PyTorch, points" });
    const band = { x: edge.left, width: edge.right - edge.left, y: sy(0.1), height: sy(-0.1) - sy(0.1) };
    const area = add(board.root, "rect", band);
    board.root.prepend(area);
    area.style.fill = "color-mix(in srgb, var(--c1) 10%, transparent)";
    add(board.root, "line", { class: "base", x1: edge.left, x2: edge.right, y1: sy(0), y2: sy(0) });
    const places = merged(all.map((p) => ({ ...p, x: sx(p.variant.top1), y: sy(apart(p)) })));
    for (const place of places) {
      const agreement = trials[place.trial].parity;
      const images = place.name === trials[place.trial].deployable && agreement !== null
        ? `\nthe same class on ${percent(100 * agreement)} of the images` : "";
      const tip = `${names(place.trials)}\n${place.name}: PyTorch ${percent(place.variant.top1)}, deployed `
        + `${percent(place.variant.deployed_top1)} (${signed(apart(place))})${images}`;
      mark(board.root, place.kind, { ...place, colour: variantColour(place, state), tip });
    }
  }

  function seeds(host) {
    const items = DATA.groups.map((group) => ({ ...group, text: group.label, isLoud: group.isLarger }));
    const reach = items.flatMap((g) => [...g.top1, g.mean - (g.std ?? 0), g.mean + (g.std ?? 0)]);
    rows(host, items, span(reach, { logarithmic: false }), (row, group, y, sx) => {
      const colour = group.isReference ? "var(--c4)" : "var(--c0)";
      if (group.std !== null) {
        const bar = add(row, "path", { class: "series", d: `M${sx(group.mean - group.std)} ${y}H${sx(group.mean + group.std)}` });
        bar.style.stroke = colour;
      }
      const tick = add(row, "path", { class: "series", d: `M${sx(group.mean)} ${y - 8}v16` });
      tick.style.stroke = "var(--ink)";
      group.trials.forEach((trial, i) => {
        const tip = `${names([trial])}, seed ${group.seeds[i]}\n${percent(group.top1[i])}`;
        const point = mark(row, "qat", { x: sx(group.top1[i]), y, colour, trials: [trial], tip });
        point.querySelector(".shape").style.fillOpacity = 0.45;
      });
    });
  }

  const kinds = { size: tradeOff, latency: tradeOff, lines, gap, parity, seeds };
  const draw = (host, state, legend) => kinds[host.dataset.chart](host, state, legend);
  return { draw, colours, usable, hasFallen, finished, percent, size, latency, signed };
})();
