// The live half of the page: charts that answer a pointer, a table that filters. Data is put into text nodes, never into markup.
"use strict";
(() => {
  const audit = JSON.parse(document.getElementById("audit-data").textContent);
  const $ = (id) => document.getElementById(id);
  const make = (tag, text, properties) => {
    const node = Object.assign(document.createElement(tag), properties || {});
    if (text !== undefined && text !== null) node.textContent = String(text);
    return node;
  };
  document.documentElement.classList.add("scripts");

  // Tooltips
  const tip = make("div", null, { className: "tip", hidden: true });
  document.body.append(tip);
  const told = (value) => (typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(3) : value);
  const tooltip = (_handler, event, _item, value) => {
    tip.hidden = value === null || value === undefined || value === "";
    if (tip.hidden) return;
    const list = make("dl");
    const facts = typeof value === "object" ? value : { "": value };
    for (const [name, text] of Object.entries(facts))
      if (text !== null && text !== undefined) list.append(make("dt", name), make("dd", told(text)));
    tip.replaceChildren(list);
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const top = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8);
    Object.assign(tip.style, { left: `${Math.max(4, left)}px`, top: `${Math.max(4, top)}px` });
  };

  // Charts: drawn again by Vega when they come into view; the still picture stays for print and where that fails.
  const isMap = (spec) => Boolean(spec.layer && spec.layer[0].data && spec.layer[0].data.name === "dots");
  const colours = (spec) => {
    const style = getComputedStyle(document.documentElement);
    const named = (text) => style.getPropertyValue(text.slice(4, -1)).trim();
    const walk = (value) => {
      if (typeof value === "string")
        return value === "currentColor" ? named("var(--ink)") : /^var\(--\w+\)$/.test(value) ? named(value) : value;
      if (Array.isArray(value)) return value.map(walk);
      if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, walk(v)]));
      return value;
    };
    return walk(spec);
  };
  const embed = async (box) => {
    const original = audit.specs[Number(box.dataset.chart)];
    const map = isMap(original);
    let spec = structuredClone(original);
    const still = box.querySelector("svg").viewBox.baseVal;
    spec.width = Math.min(still.width, box.clientWidth);
    if (map) {
      apart(spec, spec.width / original.width);
      spec.layer[0].data = { name: "dots", values: dots() };
      spec.layer[0].encoding.color = mapColour();
    }
    if (map) { const values = spec.layer[0].data; spec.layer[0].data = null; spec = colours(spec); spec.layer[0].data = values; }
    const place = make("div", null, { className: "live" });
    const errors = 1; // a chart without an interval is no reason to fill the console
    const options = { ast: true, logLevel: errors, actions: false, renderer: map ? "canvas" : "svg", tooltip, defaultStyle: false, mode: "vega-lite" };
    const result = await vegaEmbed(place, spec, options);
    // One picture with one name, as the still one: its numbers are in the table below it.
    place.querySelectorAll("*").forEach((node) => [...node.attributes].forEach(({ name }) => /^(role|aria-)/.test(name) && node.removeAttribute(name)));
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", box.querySelector("svg").getAttribute("aria-label"));
    box.querySelector(".live")?.remove();
    box.append(place);
    box.classList.add("on");
    if (!map) return;
    // Not by an encoding: that would make eight thousand tooltips for the one that is read.
    const dot = (item) => (item && item.datum && item.datum.row !== undefined ? item.datum : null);
    result.view.addEventListener("mousemove", (event, item) => {
      const found = dot(item);
      tooltip(null, event, item, found && Object.fromEntries(["label", "iteration", "quality", "difficulty", "side"].map((name) => [name, found[name]])));
    });
    result.view.addEventListener("click", (_event, item) => dot(item) && pick(dot(item)));
  };
  const dots = () => {
    const columns = audit.dots;
    const labels = new Map(columns.labels);
    return columns.x.map((x, i) => ({
      x, y: columns.y[i], cluster: columns.cluster[i], label: labels.get(columns.cluster[i]), group: columns.cluster[i] % 7,
      iteration: columns.iteration[i], quality: columns.quality[i], difficulty: columns.difficulty[i], side: columns.side[i], row: columns.row[i],
    }));
  };
  // In a narrow window fewer names fit: of two that would lie over one another the larger cluster's stays.
  const apart = (spec, scale) => {
    if (scale >= 1) return;
    const span = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
    const [left, right] = span(audit.dots.x), [low, high] = span(audit.dots.y);
    const wide = (name) => 6.5 * name.label.length, [width, height] = [spec.width, spec.height];
    const kept = [];
    for (const name of spec.layer[1].data.values) {
      const clear = (other) => Math.abs(name.x - other.x) / (right - left || 1) * width > (wide(name) + wide(other)) / 2 ||
        Math.abs(name.y - other.y) / (high - low || 1) * height > 14;
      if (kept.every(clear)) kept.push(name);
    }
    spec.layer[1].data.values = spec.layer[2].data.values = kept;
  };
  const mapColour = () => {
    const chosen = document.querySelector("#map-colour input:checked");
    const name = chosen ? chosen.value : "cluster";
    const hues = [1, 2, 3, 4, 5, 6, 7].map((number) => `var(--s${number})`);
    if (name === "cluster") return { field: "group", type: "nominal", legend: null, scale: { domain: [0, 1, 2, 3, 4, 5, 6], range: hues } };
    if (name === "side") return { field: "side", type: "nominal", title: null, scale: { domain: ["against", "subject"], range: ["var(--s7)", "var(--s2)"] } };
    return { field: name, type: name === "iteration" ? "ordinal" : "quantitative", scale: { scheme: "cividis" } };
  };
  const again = () => document.querySelectorAll(".chart.on").forEach((box) => isMap(audit.specs[box.dataset.chart]) && embed(box));
  if (window.vegaEmbed) {
    const watch = new IntersectionObserver((entries) => {
      for (const entry of entries)
        if (entry.isIntersecting) { watch.unobserve(entry.target); embed(entry.target).catch((error) => console.warn(`chart: ${error.message}`)); }
    }, { rootMargin: "120px" });
    document.querySelectorAll("[data-chart]").forEach((box) => watch.observe(box));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
    document.querySelectorAll("#map-colour input").forEach((input) => input.addEventListener("change", again));
  }

  // Rows
  const body = $("body");
  const state = { words: "", chosen: {}, only: null, name: "", sort: null, down: false, places: [], shown: 0 };
  const STEP = 25;
  const TEXTS = ["prompt", "completion"];
  // Identifiers are searched and shown when a row is unfolded; a column of them tells nothing.
  const visible = audit.columns.map((_name, column) => column).filter((column) => audit.columns[column] !== "task_id");
  const at = (name) => audit.columns.indexOf(name);
  const show = (value) => (value === null ? "–" : typeof value === "number" && !Number.isInteger(value) ? value.toPrecision(3) : String(value));
  const haystack = [];
  const text = (place) => (haystack[place] ??= audit.rows[place].map((value) => (value === null ? "" : String(value))).join("\n").toLowerCase());
  const fits = (place) =>
    state.words.split(/\s+/).every((word) => text(place).includes(word)) &&
    Object.entries(state.chosen).every(([column, value]) => show(audit.rows[place][column]) === value);
  const order = (a, b) => {
    const [x, y] = [audit.rows[a][state.sort], audit.rows[b][state.sort]];
    if (x === null || y === null) return (x === null) - (y === null);
    const sign = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return state.down ? -sign : sign;
  };
  const line = (place) => {
    const row = make("tr");
    visible.forEach((column) => {
      const [value, name] = [audit.rows[place][column], audit.columns[column]];
      const cell = make("td");
      if (name === "row_id") {
        const button = make("button", String(value).slice(0, 12), { type: "button", title: String(value) });
        button.setAttribute("aria-expanded", "false");
        button.addEventListener("click", () => unfold(row, place, button));
        cell.append(button);
      } else if (TEXTS.includes(name)) {
        cell.className = "text";
        const clip = make("div", value === null ? "–" : value.slice(0, 400), { className: "clip", dir: "auto" });
        cell.append(clip);
      } else {
        cell.textContent = show(value);
        if (typeof value === "number") cell.className = "n";
        cell.dataset.name = name.replaceAll("_", " ");
      }
      row.append(cell);
    });
    return row;
  };
  const unfold = (row, place, button) => {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) { row.nextElementSibling.remove(); return; }
    const cell = make("td", null, { colSpan: visible.length });
    const facts = audit.columns.map((name, column) => [name, audit.rows[place][column]]).filter(([name, value]) => value !== null && !TEXTS.includes(name));
    cell.append(make("p", facts.map(([name, value]) => `${name.replaceAll("_", " ")} ${show(value)}`).join(" · "), { className: "beside" }));
    for (const name of TEXTS) {
      const value = at(name) < 0 ? null : audit.rows[place][at(name)];
      if (value === null) continue;
      cell.append(make("h4", name), make("p", value, { className: "said", dir: "auto", tabIndex: 0 }));
    }
    const opened = make("tr", null, { className: "open" });
    opened.append(cell);
    row.after(opened);
  };
  const more = () => {
    const next = state.places.slice(state.shown, state.shown + STEP);
    body.append(...next.map(line));
    state.shown += next.length;
    $("more").hidden = state.shown >= state.places.length;
  };
  const filter = () => {
    const all = state.only || audit.rows.map((_row, place) => place);
    state.places = all.filter(fits);
    if (state.sort !== null) state.places.sort(order);
    body.replaceChildren();
    state.shown = 0;
    more();
    const cut = audit.cut < 4000 ? ` Texts are cut at ${audit.cut} characters, so that the page stays small.` : "";
    $("shown").textContent = `${state.places.length.toLocaleString("en")} of ${audit.rows.length.toLocaleString("en")} rows.${cut}`;
    pill();
  };
  const pill = () => {
    $("pill").replaceChildren();
    if (!state.only) return;
    const button = make("button", `only ${state.name} ✕`, { type: "button", title: "Show all rows again" });
    button.addEventListener("click", () => { only(null, ""); });
    $("pill").append(button);
  };
  const only = (places, name) => { Object.assign(state, { only: places, name }); filter(); };
  const pick = (dot) => {
    if (!body) return;
    if (dot.row >= 0) only([dot.row], "this row");
    else only(audit.rows.map((_row, place) => place).filter((place) => audit.rows[place][at("cluster")] === dot.cluster), `cluster ${dot.label}`);
    $("rows").scrollIntoView();
  };
  const choices = () => {
    for (const name of ["side", "iteration", "decision", "reason", "cluster"]) {
      const column = at(name);
      const values = column < 0 ? [] : [...new Set(audit.rows.map((row) => show(row[column])))];
      if (values.length < 2 || values.length > 60) continue;
      const select = make("select", null, { name });
      select.append(make("option", "all", { value: "" }), ...values.sort((a, b) => a.localeCompare(b, "en", { numeric: true })).map((value) => make("option", value, { value: `=${value}` })));
      select.addEventListener("change", () => {
        if (select.value) state.chosen[column] = select.value.slice(1);
        else delete state.chosen[column];
        filter();
      });
      const label = make("label", `${name} `);
      label.append(select);
      $("filters").append(label);
    }
  };
  const heads = () => visible.forEach((column) => {
    const name = audit.columns[column];
    const cell = make("th", null, { scope: "col" });
    const button = make("button", name.replaceAll("_", " "), { type: "button", title: "Sort" });
    button.addEventListener("click", () => {
      state.down = state.sort === column && !state.down;
      state.sort = column;
      $("heads").querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      filter();
    });
    cell.append(button);
    $("heads").append(cell);
  });
  if (body) {
    heads();
    choices();
    filter();
    $("more").addEventListener("click", more);
    $("search").addEventListener("input", () => { state.words = $("search").value.trim().toLowerCase(); filter(); });
    document.querySelectorAll("article[data-warning]").forEach((card) => {
      card.classList.add("live");
      card.addEventListener("click", (event) => {
        if (event.target.closest("summary, pre, button:not([data-warning]), a") || getSelection().toString()) return;
        const place = Number(card.dataset.warning);
        only(audit.warned[place], audit.codes[place]);
        $("rows").scrollIntoView();
        $("search").focus({ preventScroll: true });
      });
    });
  }
  document.querySelectorAll("[data-copy]").forEach((button) => button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try { await navigator.clipboard.writeText(code.textContent); button.textContent = "Copied"; }
    catch { getSelection().selectAllChildren(code); button.textContent = "Selected"; }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }));
})();
