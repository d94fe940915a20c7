// The report's script: everything it shows comes from the compressed blocks of this page, as text, never as markup.
"use strict";

const PAGE_ROWS = 200;
const byId = (id) => document.getElementById(id);

async function inflated(id) {
  const bytes = Uint8Array.from(atob(byId(id).textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Plotly takes a few tags for formatting: names are shown as they are.
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const natural = new Intl.Collator("en", { numeric: true }).compare;
const colorOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A table whose first `texts` columns are text and the others figures.
function table(heads, rows, attributes = {}, texts = 1) {
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col", class: "text" }, text)));
  const body = rows.map((cells) =>
    element("tr", {}, ...cells.map((cell, at) => element("td", at < texts ? { class: "text" } : {}, cell === null ? "–" : String(cell))))
  );
  return element("table", attributes, element("thead", {}, head), element("tbody", {}, ...body));
}

const pairs = (name, entries) => table([name, "value"], entries, { class: "pairs" }, 2);

// Leaderboard

class Board {
  constructor(board) {
    this.columns = board.columns;
    this.rows = board.rows.map((row, at) => ({ ...row, at }));
    this.hidden = new Set(this.columns.filter((column) => column.hidden).map((column) => column.label));
    const accuracy = this.columns.findIndex((column) => column.label === "accuracy %");
    this.sort = accuracy < 0 ? null : { at: accuracy, down: true };
    this.limit = PAGE_ROWS;
    const backends = [...new Set(this.rows.map((row) => row.backend))].sort();
    byId("filter-backend").append(...backends.map((name) => element("option", { value: name }, name)));
    byId("filter-backend").addEventListener("change", () => this.draw());
    byId("filter-architecture").addEventListener("input", () => this.draw());
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("more").addEventListener("click", () => { this.limit += 5 * PAGE_ROWS; this.draw(); });
    byId("columns").append(...this.columns.slice(2).map((column) => this.choice(column)));
    this.draw();
  }

  choice(column) {
    const box = element("input", { type: "checkbox", checked: !this.hidden.has(column.label) });
    box.addEventListener("change", () => {
      if (box.checked) this.hidden.delete(column.label); else this.hidden.add(column.label);
      this.draw();
    });
    return element("label", {}, box, " ", column.label);
  }

  found() {
    const backend = byId("filter-backend").value;
    const part = byId("filter-architecture").value.trim().toLowerCase();
    const rows = this.rows.filter((row) =>
      (!backend || row.backend === backend) && row.architecture.toLowerCase().includes(part));
    if (!this.sort) return rows;
    const { at, down } = this.sort;
    const sign = down ? -1 : 1;
    return rows.sort((one, other) => {
      const [a, b] = [one.values[at], other.values[at]];
      if (a === null || b === null) return (a === null) - (b === null);  // what was not measured comes last
      return sign * (typeof a === "number" ? a - b : natural(a, b));
    });
  }

  head(column, at) {
    const sorted = this.sort && this.sort.at === at ? (this.sort.down ? "descending" : "ascending") : "none";
    const arrow = { ascending: " ▲", descending: " ▼", none: "" }[sorted];
    const press = () => {
      const first = column.figure && !column.lower;
      this.sort = { at, down: sorted === "none" ? first : sorted === "ascending" };
      this.draw();
      byId("board").querySelectorAll("thead button")[this.shown().findIndex(([, place]) => place === at)].focus();
    };
    const button = element("button", { type: "button", onclick: press }, column.label + arrow);
    return element("th", { scope: "col", "aria-sort": sorted, class: column.figure ? null : "text" }, button);
  }

  shown() {
    return this.columns.map((column, at) => [column, at]).filter(([column]) => !this.hidden.has(column.label));
  }

  draw() {
    const columns = this.shown();
    const rows = this.found();
    const [head, body] = [byId("board").tHead, byId("board").tBodies[0]];
    head.replaceChildren(element("tr", {}, ...columns.map(([column, at]) => this.head(column, at))));
    body.replaceChildren(...rows.slice(0, this.limit).map((row) => element("tr", {}, ...columns.map(([column, at]) => {
      const [text, best, remark] = row.cells[at];
      if (at === 1) return element("td", { class: "text" }, element("a", { href: `#row-${row.at}` }, text));
      const children = at ? [text + (best ? "*" : "") + remark]
        : [element("span", { class: "swatch", style: `background:${report.colors[row.backend]}`, "aria-hidden": "true" }), text];
      return element("td", { class: best ? "best" : column.figure ? null : "text" }, ...children);
    }))));
    byId("shown").textContent = `${Math.min(rows.length, this.limit)} of ${this.rows.length} rows`;
    byId("more").hidden = rows.length <= this.limit;
  }
}

// Charts

// Equal networks in several frameworks lie on each other: the first are wider, so that all can be seen.
function trace(chart, one, place) {
  const backends = [...new Set(chart.series.map((other) => other.backend))];
  const wider = Math.min(backends.length - 1 - backends.indexOf(one.backend), 3);
  const symbol = one.backend === "published" ? "x" : report.markers[(chart.kind === "line" ? one.style : place) % report.markers.length];
  const numbers = chart.kind === "dots" ? one.x : one.y;
  const ends = one.low && one.low.some((value) => value !== null) ? {
    type: "data", symmetric: false, thickness: 1.2, width: 3,
    array: one.high.map((value, at) => value === null ? 0 : value - numbers[at]),
    arrayminus: one.low.map((value, at) => value === null ? 0 : numbers[at] - value),
  } : undefined;
  const names = (one.names ?? one.x.map(() => one.label)).map(plain);
  return {
    name: plain(one.label), type: "scatter", mode: chart.kind === "line" ? "lines+markers" : "markers",
    x: one.x.map((value) => typeof value === "string" ? plain(value) : value),
    y: one.y.map((value) => typeof value === "string" ? plain(value) : value),
    [chart.kind === "dots" ? "error_x" : "error_y"]: ends,
    text: names.map((name, at) => [name, figure(chart.x, one.x[at]), figure(chart.y, one.y[at]), interval(one, at), `n = ${one.n[at]}`]
      .filter(Boolean).join("<br>")),
    hovertemplate: "%{text}<extra></extra>",
    line: { color: report.colors[one.backend], dash: report.dashes[one.style % report.dashes.length], width: 1.5 + 1.5 * wider },
    marker: { color: report.colors[one.backend], size: chart.kind === "points" ? 8 + 4 * wider : 8,
      symbol: chart.kind === "points" && one.backend !== "published" ? `${symbol}-open` : symbol, line: { width: 2 } },
  };
}

// Every tick of a logarithmic axis says its whole number: plotly would write 2 for 200.
const scale = (axis) => axis.log ? { type: "log", tickformat: ",~f" } : {};
const figure = (axis, value) => plain(axis.label ? `${axis.label}: ${rounded(value)}` : value);
const interval = (one, at) => one.low && one.low[at] !== null ? `${rounded(one.low[at])} to ${rounded(one.high[at])}` : "";

function layout(chart, height) {
  const [text, line] = [colorOf("--text"), colorOf("--line")];
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: text, size: 14 }, height,
    margin: { l: 60, r: 20, t: 20, b: 60 }, hovermode: "closest", legend: { orientation: "h", y: -0.2 },
    xaxis: { ...axis, title: { text: plain(chart.x.label) }, ...scale(chart.x) },
    yaxis: { ...axis, title: { text: plain(chart.y.label) }, ...scale(chart.y),
      autorange: chart.kind === "dots" ? "reversed" : true },
  };
}

// Only what works on this page alone: plotly also has a button that sends the chart to its makers.
const SETTINGS = { displaylogo: false, responsive: true, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };

class Charts {
  constructor(charts) {
    this.charts = charts;
    const groups = new Map();
    charts.forEach((chart, at) => {
      if (!groups.has(chart.group)) groups.set(chart.group, element("optgroup", { label: chart.group }));
      groups.get(chart.group).append(element("option", { value: at }, chart.title));
    });
    byId("chart-choice").append(...groups.values());
    byId("chart-choice").value = "0";
    byId("chart-choice").addEventListener("change", () => this.draw());
    const backends = Object.keys(report.colors);
    this.boxes = new Map(backends.map((name) => [name, element("input", { type: "checkbox", checked: true, onchange: () => this.draw() })]));
    byId("chart-backends").append(...backends.map((name) => element("label", {}, this.boxes.get(name), " ",
      element("span", { class: "swatch", style: `background:${report.colors[name]}`, "aria-hidden": "true" }), name)));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    if (charts.length) this.draw(); else byId("charts").hidden = true;
  }

  draw() {
    const chart = this.charts[Number(byId("chart-choice").value)];
    const series = chart.series.filter((one) => this.boxes.get(one.backend).checked);
    const names = new Set(chart.kind === "dots" ? series.flatMap((one) => one.y) : []);
    const traces = series.map((one, at) => trace(chart, one, at)).sort((one, other) => other.line.width - one.line.width);
    if (chart.front) {
      traces.push({ x: chart.front.map(([x]) => x), y: chart.front.map(([, y]) => y), type: "scatter", mode: "lines",
        line: { shape: "hv", color: colorOf("--soft"), width: 1 }, hoverinfo: "skip", name: "Pareto front" });
    }
    const height = Math.max(byId("chart").clientWidth < 500 ? 380 : 480, 140 + 26 * names.size);
    Plotly.react("chart", traces, layout(chart, height), SETTINGS);
    byId("chart-caption").textContent = `${chart.title}: ${chart.caption}`;
    const rows = series.flatMap((one) => one.x.map((x, at) =>
      [one.names ? one.names[at] : one.label, x, one.y[at], one.low?.[at] ?? null, one.high?.[at] ?? null, one.n[at]]));
    byId("chart-figures").querySelector("div").replaceChildren(
      table(["what", chart.x.label || "network", chart.y.label || "network", "low", "high", "n"], rows.map((row) => row.map(rounded))));
  }
}

const rounded = (value) => typeof value === "number" ? Number(value.toPrecision(5)) : value;

// One row's trials

class Detail {
  constructor(details, board) {
    this.all = details;
    this.board = board;
    this.row = new Map(details.rows.flatMap((row, at) => row.trials.map((trial) => [details.key[trial], [at, trial]])));
    addEventListener("hashchange", () => this.follow());
    byId("detail").addEventListener("close", () => {
      if (/^#(row|trial)-/.test(location.hash)) history.replaceState(null, "", location.pathname + location.search);
    });
    this.follow();
  }

  follow() {
    const [, kind, name] = /^#(row|trial)-(.+)$/.exec(location.hash) ?? [];
    if (kind === "row" && this.all.rows[name]) this.open(Number(name), this.all.rows[name].trials[0]);
    if (kind === "trial" && this.row.has(name)) this.open(...this.row.get(name));
  }

  open(at, trial) {
    const row = this.all.rows[at];
    const one = this.board.rows[at];
    byId("detail-title").textContent = `${one.backend} ${one.architecture}`;
    const seeds = row.trials.map((number) => element("button", {
      type: "button", "aria-pressed": String(number === trial),
      onclick: () => { history.replaceState(null, "", `#trial-${this.all.key[number]}`); this.open(at, number); },
    }, `seed ${this.all.columns.seed[number]}`));
    const status = element("p", { role: "status", class: "sr" });
    const copy = element("button", { type: "button", id: "copy", onclick: () => copied(row.command, status) }, "Copy");
    const again = row.command === null ? []
      : [element("h3", {}, "Run it again"), element("pre", { id: "command", tabindex: "0" }, row.command), copy, status];
    byId("detail-body").replaceChildren(
      element("div", { class: "seeds", role: "group", "aria-label": "Trials" }, ...seeds), ...this.trial(trial),
      element("h3", {}, "Specification"), pairs("setting", Object.entries(row.spec)), ...again,
    );
    if (!byId("detail").open) byId("detail").showModal();
    this.curve(trial);
  }

  trial(at) {
    const columns = this.all.columns;
    const parts = [];
    if (columns.error?.[at]) parts.push(element("p", { class: "note error" }, `${columns.status[at]}: ${columns.error[at]}`));
    if (this.all.curve[at] && Object.keys(this.all.curve[at]).length) {
      parts.push(element("h3", {}, "Learning curve"), element("div", { id: "curve", role: "img", "aria-label": "validation accuracy and training loss by epoch" }));
    }
    if (this.all.confusion[at]) parts.push(element("h3", {}, "What was taken for what"), confusion(this.all.confusion[at]));
    const figures = Object.entries(columns).filter(([name, values]) => name !== "error" && values[at] !== null && values[at] !== undefined)
      .map(([name, values]) => [name, Array.isArray(values[at]) ? values[at].join(", ") : values[at]]);
    parts.push(element("h3", {}, "Figures"), pairs("figure", [["key", this.all.key[at]], ...figures]));
    const warnings = this.all.warnings[at];
    if (warnings.length) parts.push(element("h3", {}, "Warnings"), element("ul", {}, ...warnings.map((text) => element("li", {}, text))));
    const environment = Object.entries(this.all.environments[this.all.environment[at]]);
    parts.push(element("h3", {}, "Environment"), pairs("what", environment));
    return parts;
  }

  curve(at) {
    const history = this.all.curve[at];
    if (!byId("curve")) return;
    const epochs = Object.values(history)[0].map((_, place) => place + 1);
    const line = (name, label, color, axis) => ({ x: epochs, y: history[name], name: label, mode: "lines+markers", yaxis: axis,
      line: { color, dash: axis ? "dash" : "solid" } });
    const chart = { kind: "line", x: { label: "epoch" }, y: { label: "validation accuracy" } };
    const traces = [line("val_accuracy", "validation accuracy", colorOf("--link")), line("train_loss", "training loss", colorOf("--soft"), "y2")]
      .filter((one) => one.y && one.y.some((value) => value !== null));
    const second = { title: { text: "training loss" }, overlaying: "y", side: "right", showgrid: false, automargin: true, rangemode: "tozero" };
    const margin = { l: 60, r: 60, t: 20, b: 60 };
    Plotly.newPlot("curve", traces, { ...layout(chart, 320), margin, yaxis2: second }, SETTINGS);
  }
}

function confusion(counts) {
  const classes = Math.round(Math.sqrt(counts.length));
  const numbers = [...Array(classes).keys()];
  const rows = numbers.map((label) => [label, ...counts.slice(label * classes, (label + 1) * classes)]);
  const made = table(["label ↓ answer →", ...numbers.map(String)], rows, { class: "confusion" });
  made.querySelectorAll("tbody tr").forEach((line, label) => line.children[label + 1].classList.add("best"));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Confusion matrix" }, made);
}

async function copied(text, status) {
  try {
    await navigator.clipboard.writeText(text);
    status.textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(byId("command"));  // where the browser does not let a page copy, the reader can
    status.textContent = "Selected: copy it with your keyboard.";
  }
}

let report;

async function start() {
  report = JSON.parse(await inflated("data"));
  new Board(report.board);
  byId("environments").append(...report.details.environments.map((one) => pairs("what", Object.entries(one))));
  const script = element("script");
  script.textContent = await inflated("plotly");
  document.head.append(script);
  new Charts(report.charts);
  new Detail(report.details, report.board);
  document.documentElement.dataset.ready = "true";
}

start();
