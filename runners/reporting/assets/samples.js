"use strict";
// The two views, and the table of samples: sorted by a heading, filtered, tokens coloured.
(function () {
  const groups = JSON.parse(document.getElementById("data").textContent);
  const body = document.querySelector("#groups tbody");
  const select = (id) => document.getElementById(id);
  const PAGE = 100;
  const state = { key: "step", down: true, open: new Set(), most: PAGE };
  // What a column shows of a group and those of its completions that the filter leaves.
  const COLUMNS = {
    step: (g) => g.step,
    name: (g) => g.name,
    level: (g) => g.level ?? "–",
    reward: (g) => number(g.reward_mean, 3),
    right: (g, shown) => shown.filter(isRight).length + " of " + shown.length,
    truncated: (g, shown) => shown.filter((c) => c.truncated).length,
    tokens: (g) => number(g.values.tokens, 0),
    diff: (g) => (g.values.diff === null ? "–" : g.values.diff.toExponential(1)),
  };

  const COLOURS = {
    advantage: { legend: ["#e8a06a", "#ffffff", "#7fa8d1"], ends: ["worse", "better"] },
    logprob: { legend: ["#ffffff", "#c3b1e1", "#8e6fc0"], ends: ["certain", "unlikely"] },
    diff: { legend: ["#ffffff", "#f2b8a0", "#d6603a"], ends: ["the same", "apart"] },
  };

  function isRight(c) { return c.correct === null ? c.reward !== null && c.reward > 0 : c.correct; }
  const FILTERS = {
    all: () => true,
    right: (g, c) => isRight(c),
    wrong: (g, c) => !isRight(c),
    truncated: (g, c) => c.truncated,
    "zero-variance": (g) => g.zero_variance,
  };
  function mean(values) { return values.length ? values.reduce((a, b) => a + b, 0) / values.length : null; }

  groups.forEach((g, id) => {
    g.id = id;
    g.source = g.step === null ? g.kind : g.kind + ", step " + g.step;
    const all = g.completions;
    const apart = all.flatMap((c) => c.logprob_diffs).filter((d) => d !== null).map(Math.abs);
    g.values = {
      step: g.step,
      name: isNaN(Number(g.name)) ? g.name : Number(g.name),
      level: g.level,
      reward: g.reward_mean,
      right: mean(all.map((c) => (isRight(c) ? 1 : 0))),
      truncated: all.filter((c) => c.truncated).length,
      tokens: mean(all.map((c) => c.num_tokens).filter((n) => n !== null)),
      diff: apart.length ? apart.reduce((a, b) => Math.max(a, b)) : null,
    };
  });
  // A column that no group has anything for is no column.
  const keys = Object.keys(COLUMNS).filter((key) => groups.some((g) => g.values[key] !== null));
  for (const heading of document.querySelectorAll("#groups th[data-key]")) {
    if (groups.length && !keys.includes(heading.dataset.key)) heading.remove();
  }
  if (groups.length && !keys.includes("step")) Object.assign(state, { key: "name", down: false });

  const limits = {
    advantage: largest((c) => (c.advantage === null ? [] : [c.advantage])),
    logprob: 5,
    diff: largest((c) => c.logprob_diffs.filter((d) => d !== null)),
  };
  function largest(values) {
    let most = 0;
    for (const g of groups) for (const c of g.completions) for (const v of values(c)) most = Math.max(most, Math.abs(v));
    return most || 1;
  }

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }
  function number(value, digits) { return value === null || value === undefined ? "–" : value.toFixed(digits); }
  function mix(from, to, share) {
    const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    const [a, b] = [parts(from), parts(to)];
    return "rgb(" + a.map((v, i) => Math.round(v + (b[i] - v) * share)).join(",") + ")";
  }
  // value from 0 to 1 over the three colours of a legend
  function shade(by, value) {
    const [low, middle, high] = COLOURS[by].legend;
    return value < 0.5 ? mix(low, middle, 2 * value) : mix(middle, high, 2 * value - 1);
  }
  function colourOf(by, c, i) {
    const apart = c.logprob_diffs;
    const logprob = c.rollout_logprobs[i];
    if (logprob === null || logprob === undefined) return null;
    if (by === "advantage") return c.advantage === null ? null : shade(by, 0.5 + c.advantage / limits.advantage / 2);
    if (by === "logprob") return shade(by, Math.min(1, -logprob / limits.logprob));
    if (by === "diff") return apart.length ? shade(by, Math.abs(apart[i]) / limits.diff) : null;
    return null;
  }

  function textOf(c) {
    const by = select("colour").value;
    const box = element("div", "text");
    if (!c.tokens.length) { box.textContent = c.text; return box; }
    const apart = c.logprob_diffs;
    c.tokens.forEach((token, i) => {
      const own = c.rollout_logprobs[i] !== null;
      const span = element("span", own ? "token" : "foreign", token);
      const colour = colourOf(by, c, i);
      if (colour) span.style.backgroundColor = colour;
      if (own) {
        const about = [JSON.stringify(token), "log-prob " + number(c.rollout_logprobs[i], 4)];
        about.push("probability " + number(Math.exp(c.rollout_logprobs[i]), 4), "advantage " + number(c.advantage, 3));
        if (apart.length) about.push("engine - learner " + apart[i].toPrecision(3));
        span.title = about.join("\n");
      }
      box.append(span);
    });
    if (c.num_tokens > c.tokens.length) box.append(element("span", "foreign", " … " + c.num_tokens + " tokens in all"));
    return box;
  }

  function completionOf(c) {
    const row = element("div", "completion");
    const about = element("div", "about");
    const verdict = isRight(c) ? "right" : "wrong";
    about.append(element("span", "badge " + verdict, verdict));
    if (c.truncated) about.append(element("span", "badge cut", "truncated"));
    about.append("reward " + number(c.reward, 3));
    const more = [];
    if (c.advantage !== null) more.push("advantage " + number(c.advantage, 3));
    if (c.num_tokens !== null) more.push(c.num_tokens + " tokens");
    about.append(element("div", "", more.join(", ")));
    row.append(about, textOf(c));
    return row;
  }

  function details(g, completions) {
    const row = element("tr", "completions");
    const cell = element("td");
    cell.colSpan = keys.length + 1;
    const problem = element("div", "problem", g.prompt);
    if (g.ground_truth !== null) problem.append(element("div"), element("b", "", "answer: " + g.ground_truth));
    cell.append(problem, ...completions.map(completionOf));
    if (completions.length < g.size) {
      cell.append(element("div", "caption", completions.length + " of the group's " + g.size + " completions"));
    }
    row.append(cell);
    return row;
  }

  function rowOf(g, completions) {
    const row = element("tr", "group" + (state.open.has(g.id) ? " open" : ""));
    row.dataset.id = g.id;
    row.tabIndex = 0;
    row.append(...keys.map((key) => element("td", "", COLUMNS[key](g, completions))));
    const prompt = element("td", "prompt");
    if (g.zero_variance) prompt.append(element("span", "badge zero", "zero variance"));
    prompt.append(g.prompt);
    row.append(prompt);
    return row;
  }

  function compare(a, b) {
    const [x, y] = [a.values[state.key], b.values[state.key]];
    if (x === null || y === null) return (x === null) - (y === null); // what is missing comes last either way
    const order = typeof x === typeof y ? (x < y ? -1 : x > y ? 1 : 0) : typeof x === "number" ? -1 : 1;
    return (state.down ? -order : order) || a.id - b.id;
  }

  function draw() {
    const wanted = FILTERS[select("filter").value];
    const source = select("source").value;
    const found = groups
      .filter((g) => !source || g.source === source)
      .map((g) => [g, g.completions.filter((c) => wanted(g, c))])
      .filter(([, completions]) => completions.length)
      .sort(([a], [b]) => compare(a, b));
    body.replaceChildren();
    for (const [g, completions] of found.slice(0, state.most)) {
      body.append(rowOf(g, completions));
      if (state.open.has(g.id)) body.append(details(g, completions));
    }
    const count = found.reduce((sum, [, completions]) => sum + completions.length, 0);
    select("shown").textContent = count + " completions in " + found.length + " groups";
    document.getElementById("more")?.remove();
    if (found.length > state.most) {
      const more = element("button", "", "show " + Math.min(PAGE, found.length - state.most) + " more groups");
      more.id = "more";
      more.onclick = () => { state.most += PAGE; draw(); };
      body.closest(".scroll").after(more);
    }
    for (const heading of document.querySelectorAll("#groups th[data-key]")) {
      const sorted = heading.dataset.key === state.key;
      heading.setAttribute("aria-sort", sorted ? (state.down ? "descending" : "ascending") : "none");
    }
    drawLegend();
  }

  function drawLegend() {
    const by = COLOURS[select("colour").value];
    const bar = element("i");
    if (by) bar.style.background = "linear-gradient(to right, " + by.legend.join(", ") + ")";
    select("legend").replaceChildren(...(by ? [element("span", "", by.ends[0]), bar, element("span", "", by.ends[1])] : []));
  }

  function toggle(row) {
    const id = Number(row.dataset.id);
    if (!state.open.delete(id)) state.open.add(id);
    draw();
    document.querySelector('tr[data-id="' + id + '"]')?.focus({ preventScroll: true });
  }
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr.group");
    if (row) toggle(row);
  });
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr.group");
    if (row && (event.key === "Enter" || event.key === " ")) { event.preventDefault(); toggle(row); }
  });
  for (const heading of document.querySelectorAll("#groups th[data-key]")) {
    heading.onclick = () => {
      state.down = state.key === heading.dataset.key ? !state.down : true;
      state.key = heading.dataset.key;
      draw();
    };
  }
  for (const id of ["filter", "source", "colour"]) select(id).onchange = () => { state.most = PAGE; draw(); };

  for (const source of new Set(groups.map((g) => g.source))) select("source").append(new Option(source, source));
  const has = (test) => groups.some((g) => g.completions.some(test));
  const can = {
    advantage: has((c) => c.tokens.length && c.advantage !== null),
    logprob: has((c) => c.tokens.length),
    diff: has((c) => c.logprob_diffs.length),
  };
  for (const option of [...select("colour").options]) {
    if (option.value in can && !can[option.value]) { option.disabled = true; option.textContent += " (not kept)"; }
  }
  select("colour").value = Object.keys(can).find((by) => can[by]) || "none";
  if (groups.length) state.open.add(groups[0].id);

  function view() {
    const name = location.hash === "#samples" ? "samples" : "overview";
    for (const main of document.querySelectorAll(".view")) main.classList.toggle("current", main.id === "view-" + name);
    for (const link of document.querySelectorAll("nav a")) link.classList.toggle("current", link.dataset.view === name);
    window.scrollTo(0, 0);
    window.dispatchEvent(new Event("resize"));
  }
  window.addEventListener("hashchange", view);
  draw();
  view();
})();
