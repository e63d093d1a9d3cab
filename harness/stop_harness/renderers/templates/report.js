"use strict";
// Draws the trials: filter, sort, one page of rows, details on demand. Every text goes in as a text node.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const trials = data.trials;
  const PAGE = 100, PRINTED = 1000;
  const byId = (id) => document.getElementById(id);
  const open = new Set();
  // What opens without script stands in the page; here it opens under the rows of the table instead.
  const details = new Map();
  for (const trial of document.querySelectorAll("#details > details")) details.set(trial.id, trial.lastElementChild);
  byId("details").remove();
  let shown = trials, page = 0, sort = { key: null, down: false }, printing = false;

  const make = (tag, properties = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (value === undefined || value === false) continue;
      element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };
  const seconds = (value) => {
    if (value >= 0 && value < 0.0005) return "<0.001 s";
    const digits = Math.abs(value) < 0.01 ? 3 : Math.abs(value) < 1 ? 2 : 1;
    return value.toFixed(digits) + " s";
  };
  const words = (name) => name.replaceAll("_", " ");
  const number = (value) => value.toLocaleString("en");

  const order = Object.keys(data.outcomes);
  trials.forEach((trial, index) => {
    trial.index = index;
    trial.text = [trial.id, trial.scenario, trial.reason, trial.cause, data.outcomes[trial.outcome], trial.derived ? "derived" : ""].join("\n").toLowerCase();
  });
  const columns = [
    { label: "Status", value: (trial) => ["fail", "inconclusive", "pass"].indexOf(trial.status) },
    { label: "Scenario", value: (trial) => trial.index },
    { label: "Stop timeout", value: (trial) => trial.timeout, number: true },
    { label: "Outcome", value: (trial) => order.indexOf(trial.outcome) },
    { label: "Shutdown", value: (trial) => trial.duration, number: true },
    { label: "Exit code", value: (trial) => trial.exit, number: true },
    { label: "Why", value: null },
  ];

  function head() {
    const row = make("tr", { role: "row" });
    for (const column of columns) {
      const th = make("th", { role: "columnheader", scope: "col", class: column.number && "number" });
      if (column.value) {
        const button = make("button", { type: "button" }, column.label);
        button.addEventListener("click", () => {
          sort = { key: column, down: sort.key === column && !sort.down };
          update();
        });
        // Browsers leave buttons out where they repeat the head of a table on the next sheet of paper.
        th.append(button, make("span", { class: "printed", "aria-hidden": "true" }, column.label));
      } else {
        th.append(column.label);
      }
      column.th = th;
      row.append(th);
    }
    byId("trials").tHead.replaceChildren(row);
  }

  function update() {
    const text = byId("search").value.trim().toLowerCase();
    const outcome = byId("outcome").value, status = byId("status").value;
    shown = trials.filter((trial) =>
      (!outcome || trial.outcome === outcome) && (!status || trial.status === status) && trial.text.includes(text));
    if (sort.key) {
      const value = sort.key.value, sign = sort.down ? -1 : 1;
      // Unknown values stand last in both directions.
      shown.sort((a, b) => {
        const x = value(a), y = value(b);
        if (x === null || y === null) return (x === null) - (y === null) || a.index - b.index;
        return sign * (x - y) || a.index - b.index;
      });
    }
    for (const column of columns) {
      if (column === sort.key) column.th.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
      else column.th.removeAttribute("aria-sort");
    }
    page = 0;
    draw();
  }

  function draw() {
    const size = printing ? PRINTED : PAGE;
    const pages = Math.max(1, Math.ceil(shown.length / size));
    page = Math.min(page, pages - 1);
    const rows = [];
    for (const trial of shown.slice(page * size, (page + 1) * size)) {
      rows.push(row(trial));
      if (open.has(trial.id)) rows.push(detailRow(trial));
    }
    byId("trials").tBodies[0].replaceChildren(...rows);
    byId("count").textContent = shown.length === trials.length
      ? `${number(trials.length)} trial${trials.length === 1 ? "" : "s"}`
      : `${number(shown.length)} of ${number(trials.length)} trials`;
    const nav = byId("pages");
    nav.hidden = pages === 1;
    const turn = (label, by, disabled) => {
      const button = make("button", { type: "button", disabled }, label);
      button.addEventListener("click", () => { page += by; draw(); byId("trials-title").scrollIntoView(); });
      return button;
    };
    const last = Math.min((page + 1) * size, shown.length);
    nav.replaceChildren(
      turn("Previous", -1, page === 0), turn("Next", 1, page === pages - 1),
      `${number(page * size + 1)} to ${number(last)} of ${number(shown.length)}`);
  }

  function row(trial) {
    const expanded = open.has(trial.id);
    const toggle = make("button", { type: "button", class: "toggle", "aria-expanded": String(expanded) }, trial.scenario);
    const tr = make("tr", { role: "row", class: "trial", id: trial.id });
    toggle.addEventListener("click", () => {
      const now = !open.has(trial.id);
      if (now) { open.add(trial.id); tr.after(detailRow(trial)); }
      else { open.delete(trial.id); tr.nextElementSibling.remove(); }
      toggle.setAttribute("aria-expanded", String(now));
    });
    const cell = (label, content, name) => make("td", { role: "cell", "data-label": label, class: name }, content);
    const after = trial.after ? ` after ${trial.after} s` : "";
    const repetition = trial.repetition > 1 ? ` #${trial.repetition}` : "";
    const outcome = make("span", {});
    outcome.append(swatch(trial.outcome), data.outcomes[trial.outcome] + (trial.derived ? " (derived)" : ""));
    const status = make("td", { role: "cell", "data-label": "Status", class: `verdict ${trial.status}` },
      make("span", { "aria-hidden": "true" }, data.marks[trial.status]), " " + trial.status);
    tr.append(
      status,
      make("th", { role: "rowheader", scope: "row", "data-label": "Scenario" }, toggle, repetition),
      cell("Stop timeout", (trial.own ? "each its own" : `${trial.timeout} s`) + after, "number"),
      cell("Outcome", outcome),
      cell("Shutdown", trial.duration === null ? "–" : seconds(trial.duration), "number"),
      cell("Exit code", trial.exit === null ? "–" : String(trial.exit), "number"),
      cell("Why", make("span", {}, trial.reason + " ", trial.cause ? make("span", { class: "muted" }, trial.cause) : "")));
    return tr;
  }

  function swatch(outcome) {
    const element = make("i", { class: "swatch" });
    element.style.background = colours[outcome];
    return element;
  }

  function detailRow(trial) {
    const body = details.get(trial.id) ?? make("p", { class: "muted" }, "The details of this trial are in results.json.");
    return make("tr", { role: "row", class: "details" }, make("td", { role: "cell", colspan: columns.length }, body));
  }

  const colours = {};
  for (const item of document.querySelectorAll("[data-colour]")) colours[item.dataset.outcome] = item.dataset.colour;

  function follow() {
    let id;
    try { id = decodeURIComponent(location.hash.slice(1)); } catch { return; }
    const trial = trials.find((item) => item.id === id);
    if (!trial) return;
    if (!shown.includes(trial)) {
      byId("search").value = byId("outcome").value = byId("status").value = "";
      update();
    }
    open.add(id);
    page = Math.floor(shown.indexOf(trial) / PAGE);
    draw();
    byId(id).classList.add("target");
    byId(id).scrollIntoView();
  }

  function theme() {
    const button = byId("theme"), root = document.documentElement;
    const dark = () => root.dataset.theme ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    const label = () => { button.textContent = dark() ? "Light" : "Dark"; };
    button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; label(); });
    button.hidden = false;
    label();
  }

  theme();
  head();
  byId("filters").hidden = byId("trials").hidden = trials.length === 0;
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["search", "outcome", "status"]) byId(id).addEventListener("input", update);
  addEventListener("hashchange", follow);
  // On paper nothing can be opened: the cures are printed with what they are for.
  let opened = [];
  const printed = ".mend details:not([open]), details.key:not([open])";
  addEventListener("beforeprint", () => {
    printing = true;
    draw();
    opened = [...document.querySelectorAll(printed)];
    for (const element of opened) element.open = true;
  });
  addEventListener("afterprint", () => {
    printing = false;
    draw();
    for (const element of opened) element.open = false;
  });
  update();
  follow();
})();
