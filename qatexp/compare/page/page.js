// What the page does: filter, sort, choose a trial, copy its command.
(() => {
  const one = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const trials = DATA.trials;
  const state = { kept: new Set(trials.keys()), chosen: null, colours: Charts.colours(null) };
  const table = one("#trials");
  const rows = table ? [...table.tBodies[0].rows] : [];
  const trialOf = (row) => Number(row.dataset.trial);
  const values = trials.map((trial) => ({ ...DATA.common, ...trial.values }));

  // Charts

  function swatch(host, { text, colour, kind = "fp32", isOut = false }) {
    const item = document.createElement("span");
    const icon = Svg.add(item, "svg", { viewBox: "-8 -8 16 16", "aria-hidden": true });
    Svg.shape(icon, kind, colour);
    item.append(text);
    item.style.opacity = isOut ? 0.35 : 1;
    host.append(item);
  }

  function draw() {
    for (const host of all(".chart")) {
      const key = host.parentElement.querySelector(".series-legend");
      Charts.draw(host, state, (items) => {
        key.replaceChildren();
        items.slice(0, 16).forEach((item) => item.text && swatch(key, item));
        if (items.length > 16) key.append(`and ${items.length - 16} more: point at a line`);
      });
    }
    paint();
  }

  /** Dim what the filter leaves out, and mark what is chosen. */
  function paint() {
    const isOut = (own) => own.every((index) => !state.kept.has(index));
    for (const element of all(".chart svg *")) {
      if (element.trials === undefined) continue;
      element.classList.toggle("out", isOut(element.trials));
      const isChosen = element.trials.includes(state.chosen);
      element.classList.toggle("chosen", isChosen);
      if (!element.classList.contains("mark")) continue;
      element.querySelector(".halo")?.remove();
      if (isChosen) Svg.add(element, "circle", { class: "halo", r: 10 });
    }
    for (const row of rows) {
      row.classList.toggle("out", !state.kept.has(trialOf(row)));
      row.classList.toggle("chosen", trialOf(row) === state.chosen);
    }
  }

  function colourBy(knob) {
    state.colours = Charts.colours(knob);
    const key = one("#colours");
    key?.replaceChildren();
    state.colours.meaning.forEach((item) => swatch(key, { ...item, kind: "qat" }));
    draw();
  }

  // Filter

  function filter() {
    const text = one("#where").value.trim();
    const said = one("#said");
    let kept = null;
    try {
      const node = text && Where.parse(text, Where.resolver(DATA.vocabulary));
      kept = new Set([...trials.keys()].filter((index) => !text || Where.holds(node, values[index])));
    } catch (problem) {
      said.textContent = problem.message;
    }
    one("#where").setAttribute("aria-invalid", kept === null);
    said.classList.toggle("wrong", kept === null);
    if (kept === null) return;
    said.textContent = said.dataset.hint;
    state.kept = kept;
    one("#count").textContent = `${kept.size} of ${trials.length} trials`;
    draw();
  }

  // Table

  const collator = new Intl.Collator("en", { numeric: true });

  function sort(heading) {
    const column = heading.cellIndex;
    const isNumber = heading.classList.contains("number");
    const wasDown = heading.getAttribute("aria-sort") === "descending";
    const wasUp = heading.getAttribute("aria-sort") === "ascending";
    const direction = wasDown || (!wasUp && !isNumber) ? 1 : -1;
    const text = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const number = (row) => Number.parseFloat(text(row).replaceAll(",", ""));
    const compared = (a, b) => {
      if (!isNumber) return direction * collator.compare(text(a), text(b));
      const [left, right] = [number(a), number(b)];
      if (Number.isNaN(left) || Number.isNaN(right)) return Number.isNaN(left) - Number.isNaN(right);
      return direction * (left - right);
    };
    rows.sort(compared);
    table.tBodies[0].append(...rows);
    table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  }

  // The chosen trial

  function choose(index) {
    state.chosen = index;
    const { name, label, deployable, variants, command, folder } = trials[index];
    const figures = deployable === null ? [] : [
      `${deployable} ${Charts.percent(variants[deployable].deployed_top1)}`,
      Charts.size(variants[deployable].size_bytes),
      Charts.latency(variants[deployable].latency_ms_p50),
    ];
    one("#what").textContent = [`trial ${name}`, label, ...figures].join(" \u00b7 ");
    one("#what").title = folder ? `in ${folder}` : "";
    one("#command").textContent = command ?? "its folder holds no .hydra/hydra.yaml: no command is known";
    one("#copy").disabled = command === null;
    paint();
  }

  function move(step) {
    const order = rows.map(trialOf).filter((index) => state.kept.has(index));
    if (order.length === 0) return;
    const at = order.indexOf(state.chosen);
    choose(order[at === -1 ? 0 : (at + step + order.length) % order.length]);
  }

  async function copy(button) {
    const source = one(`#${button.dataset.copy}`);
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      getSelection().selectAllChildren(source);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  // Events

  function showTip(event) {
    const tip = one("#tip");
    const found = event.target.closest?.(".mark");
    tip.style.visibility = found ? "visible" : "hidden";
    if (!found) return;
    tip.textContent = found.tip;
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const above = event.clientY - tip.offsetHeight - 12;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${above > 8 ? above : event.clientY + 18}px`;
  }

  document.addEventListener("pointermove", showTip);
  document.addEventListener("pointerleave", showTip);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button) return copy(button);
    const heading = event.target.closest("#trials th");
    if (heading) return sort(heading);
    const found = event.target.closest(".mark");
    if (found) {
      const own = found.trials.filter((index) => state.kept.has(index));
      const at = own.indexOf(state.chosen); // a click on the chosen point goes on to the next one there
      return own.length > 0 && choose(own[(at + 1) % own.length]);
    }
    const holder = event.target.closest("[data-trial]");
    return holder && choose(Number(holder.dataset.trial));
  });
  document.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step === undefined || !event.target.closest(".chart")) return;
    event.preventDefault();
    move(step);
  });
  one("#where").addEventListener("input", filter);
  one("#filter").addEventListener("submit", (event) => event.preventDefault());
  one("#clear").addEventListener("click", () => { one("#where").value = ""; filter(); });
  one("#hide").addEventListener("change", (event) => document.body.classList.toggle("hides", event.target.checked));
  const choice = one("#colour");
  choice?.addEventListener("change", () => colourBy(Number(choice.value)));
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });

  if (one("#fallen")) one("#fallen").hidden = !Charts.hasFallen();
  const isSeed = (index) => Number(DATA.knobs[index].key === "seed");
  const usable = DATA.knobs.map((_, index) => index).filter(Charts.usable)
    .sort((a, b) => isSeed(a) - isSeed(b));
  if (choice) choice.parentElement.hidden = usable.length === 0; // one trial is left, or all have values of their own
  choice?.replaceChildren(...usable.map((index) => new Option(DATA.knobs[index].name, index)));
  colourBy(usable[0] ?? null);
  filter();
})();
