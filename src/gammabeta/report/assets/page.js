// Names come from a file that may be hostile: they reach the page as text (textContent) and in no other way.
"use strict";
(() => {
  const report = JSON.parse(document.getElementById("data").textContent);
  const spec = document.getElementById("spec").textContent;
  const drift = report.kind === "drift";
  const kinds = new Map(report.kinds.map((kind) => [kind.key, kind]));
  const PAGE = 100, OPEN = 12;
  const at = (id) => document.getElementById(id);

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children.filter((child) => child !== null));
    return made;
  }

  const rounded = (value) => number(value === null ? null : Math.round(value * 1e4) / 1e4);
  const few = (share) => (share === null ? "–" : `${number(100 * share, 3)} %`);
  const whole = (count) => count.toLocaleString("en-US");
  const tidy = (text) => text.replace("-", "−");

  function number(value, digits = 5, short = false) {
    if (value === null) return "–";
    if (digits === 17) return tidy(String(value)); // the fewest digits that read back the same
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-4 || size >= 1e9)) {
      const [mantissa, exponent] = value.toExponential(Math.min(digits, short ? 4 : 16) - 1).split("e");
      return tidy(`${Number(mantissa)}e`) + tidy(exponent.replace("+", ""));
    }
    return tidy(value.toLocaleString("en-US", { maximumSignificantDigits: Math.min(digits, 16) }));
  }

  // Digits that tell a column's values apart: more where they are large beside their range.
  function digits(column) {
    const { min, max } = drift ? column.first : column;
    const size = Math.max(Math.abs(min), Math.abs(max)), range = max - min;
    return range > 0 && size > range ? 5 + Math.min(10, Math.ceil(Math.log10(size / range))) : 5;
  }

  const near = (y) => (Math.abs(y - Math.round(y)) < 1e-9 && Math.abs(y) > 0.5 ? Math.round(y) : y); // so that 1 is 1
  const image = ([center, scale, shift], x) => (x - center) * scale + shift;

  // What the table's columns are: a title, what is shown (`own`: in the column's own digits), what is sorted by (the
  // greatest first), and the least width of screen that it is shown on.
  const fields = drift ? [
    { key: "difference", title: "Difference", hint: "(mean₂ − mean₁) / std₁", of: (c) => c.difference, by: (c) => c.size },
    { key: "ratio", title: "Std ratio", hint: "std₂ / std₁", of: (c) => c.ratio, by: (c) => c.ratio && Math.abs(Math.log(c.ratio)), width: "middle" },
    { key: "outside", title: "Outside", hint: "share of the second's values outside the first's range", of: (c) => c.outside, show: few, width: "middle" },
    { key: "mean", title: "Mean before", own: true, of: (c) => c.first.mean, width: "wide" },
    { key: "mean2", title: "Mean now", own: true, of: (c) => c.second.mean, width: "wide" },
    { key: "missing", title: "Missing now", of: (c) => c.second.missing / Math.max(1, report.files[1].rows), show: few, width: "wide" },
  ] : [
    { key: "mean", title: "Mean", own: true, of: (c) => c.mean, width: "middle" },
    { key: "std", title: "Std", of: (c) => c.std, width: "middle" },
    { key: "min", title: "Min", own: true, of: (c) => c.min, width: "wide" },
    { key: "max", title: "Max", own: true, of: (c) => c.max, width: "wide" },
    { key: "skewness", title: "Skewness", of: (c) => c.skewness, show: rounded, by: (c) => c.skewness && Math.abs(c.skewness), width: "wide" },
    { key: "kurtosis", title: "Kurtosis", hint: "in excess of the normal distribution's 3", of: (c) => c.kurtosis, show: rounded, width: "wide" },
    { key: "missing", title: "Missing", of: (c) => c.missing / Math.max(1, report.files[0].rows), show: few, width: "wide" },
  ];
  const orders = [
    { key: "place", title: "place in the file", by: (c) => c.place, up: true },
    { key: "name", title: "name", by: (c) => c.name, up: true },
    { key: "watch", title: "what to watch", by: (c) => c.weight },
    ...fields.map((field) => ({ ...field, title: field.title.toLowerCase(), by: field.by ?? field.of })),
  ];

  report.columns.forEach((column, place) => Object.assign(column, { place, id: `c${place}` }));
  const opened = new Set();
  const state = { order: drift ? "difference" : "watch", up: false, search: "", filter: "", shown: PAGE };
  let selected = [];

  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);

  function select() {
    const order = orders.find((one) => one.key === state.order);
    const wanted = state.search.toLowerCase();
    const fits = (column) => column.name.toLowerCase().includes(wanted) && (!state.filter || (state.filter === "*"
      ? column.findings.length > 0 : column.findings.some((finding) => finding.kind === state.filter)));
    const none = (value) => value === null || Number.isNaN(value);
    selected = report.columns.filter(fits).map((column) => [order.by(column), column]);
    selected.sort(([a, first], [b, second]) => none(a) - none(b) || (none(a) ? 0 : compare(a, b) * (state.up ? 1 : -1)) || first.place - second.place);
    selected = selected.map(([, column]) => column);
    state.shown = PAGE;
    render();
  }

  function render() {
    at("rows").replaceChildren(...selected.slice(0, state.shown).flatMap(row));
    const left = selected.length - state.shown;
    at("more").hidden = left <= 0;
    at("more").textContent = `Show ${Math.min(PAGE, left)} more of ${whole(left)}`;
    at("shown").textContent = `${whole(selected.length)} of ${whole(report.columns.length)} columns`;
    for (const head of at("head").children) {
      if (head.dataset.key === state.order) head.setAttribute("aria-sort", state.up ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    }
    at("sort").value = state.order;
  }

  function row(column) {
    const title = element("button", { type: "button", class: "title", "aria-expanded": opened.has(column), "aria-controls": column.id },
      element("bdi", { title: column.name }, column.name || "(no name)"));
    title.addEventListener("click", () => toggle(column));
    const p = digits(column);
    const cells = fields.map((field) => {
      const value = field.of(column);
      const cell = element("td", { class: field.width ?? "" }, field.show ? field.show(value) : number(value, field.own ? Math.min(p, 7) - (Math.abs(value) < 0.01) : 4, true));
      if (typeof value === "number") cell.title = String(value);
      return cell;
    });
    const chips = column.findings.map((finding) => {
      const kind = kinds.get(finding.kind);
      return element("span", { class: `chip w${kind.weight}`, title: finding.text }, kind.title);
    });
    const head = element("tr", { class: "row", "data-place": column.place },
      element("th", { scope: "row" }, title, element("span", { class: "type" }, column.type)),
      element("td", { class: "left" }, spark(column)), ...cells, element("td", { class: "left" }, ...chips));
    return opened.has(column) ? [head, detail(column)] : [head];
  }

  const drawn = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  function spark(column) {
    const { counts, other } = column.histogram;
    const filled = (list) => list.some((count) => count > 0);
    const picture = drawn("svg", { class: "spark", viewBox: `0 0 ${counts.length} 24`, preserveAspectRatio: "none", "aria-hidden": "true" });
    const heights = (list) => { const most = Math.max(...list) || 1; return list.map((count) => (count ? Math.max(1, 23 * count / most) : 0)); };
    if (filled(counts)) picture.append(drawn("path", { d: heights(counts).map((h, i) => `M${i} 24v${-h}h1v${h}z`).join("") }));
    if (other && filled(other)) picture.append(drawn("path", { class: "second", d: `M0 24${heights(other).map((h, i) => `L${i} ${24 - h}H${i + 1}`).join("")}V24` }));
    return picture;
  }

  function toggle(column, force) {
    const open = force ?? !opened.has(column);
    if (open) opened.add(column); else opened.delete(column);
    const head = at("rows").querySelector(`[data-place="${column.place}"]`);
    if (!head) return;
    head.querySelector(".title").setAttribute("aria-expanded", open);
    const below = at(column.id);
    if (open && !below) head.after(detail(column));
    if (!open && below) below.remove();
  }

  function detail(column) {
    const findings = element("ul", {}, ...column.findings.map((finding) => {
      const kind = kinds.get(finding.kind);
      return element("li", {}, element("b", { class: `w${kind.weight}` }, `${kind.title}: `), finding.text);
    }));
    const chart = element("div", { class: "chart" });
    const empty = !(drift ? column.first.count || column.second.count : column.count);
    const panel = empty ? element("p", { class: "note" }, "There is nothing to draw.") : element("div", { class: "panel" },
      element("div", {}, drift ? legend() : null, chart, ...notes(column).map((text) => element("p", { class: "note" }, text))),
      element("div", {}, values(column), facts(column)));
    const made = element("tr", { class: "open", id: column.id }, element("td", { colspan: [...at("head").children].filter((head) => head.offsetParent).length }, findings, panel));
    chart.column = column;
    if (!empty) watcher.observe(chart);
    return made;
  }

  function legend() {
    const [a, b] = report.files.map((file) => element("bdi", {}, file.name));
    return element("p", { class: "note legend" }, element("span", {}, element("i", { class: "a" }), a), element("span", {}, element("i", { class: "b" }), b));
  }

  function notes(column) {
    const beyond = ({ below, above }) => [below && `${whole(below)} below`, above && `${whole(above)} above`].filter(Boolean).join(" and ");
    const own = beyond(column.histogram);
    const told = own ? [`Outside the picture${drift ? ", of the first file" : ""}: ${own}.`] : [];
    if (drift && beyond(column.histogram.others)) told.push(`Outside the picture, of the second file: ${beyond(column.histogram.others)}.`);
    return told;
  }

  function table(caption, heads, rows) {
    return element("table", { class: "values" }, element("caption", {}, caption),
      element("thead", {}, element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)))),
      element("tbody", {}, ...rows.map(([name, ...cells]) => element("tr", {}, element("th", { scope: "row" }, name), ...cells.map((cell) => element("td", {}, cell))))));
  }

  function values(column) {
    const p = digits(column);
    if (drift) {
      const lines = [["count", "count"], ["missing", "missing"], ["mean", "mean"], ["std", "std"], ["min", "min"], ["max", "max"]];
      return table("Both files, finite values", ["", "first", "second"], lines.map(([title, key]) => [title, number(column.first[key], p), number(column.second[key], p)]));
    }
    const names = ["1 %", "5 %", "25 %", "median", "75 %", "95 %", "99 %"];
    const lines = [["min", column.min], ...names.map((name, i) => [name, column.quantiles[i]]), ["max", column.max], ["mean", column.mean]];
    const error = column.quantile_error ? `quantiles ± ${number(column.quantile_error, 2)}` : "exact";
    return table(`The same values on three axes (${error})`, ["", "raw", "standardized", "min-max"], lines.map(([name, x]) => [name, number(x, p),
      ...[column.standard, column.minmax].map((map) => (x === null ? "–" : number(image(map, x), 4)))]));
  }

  function facts(column) {
    const told = drift ? [
      ["mean difference", `${number(column.difference)} standard deviations`], ["std ratio", number(column.ratio)],
      ["outside the first's range", few(column.outside)], ["type", column.types.join(" → ")],
    ] : [
      ["mean", number(column.mean, 17)], ["standard deviation", number(column.std, 17)],
      ["skewness", rounded(column.skewness)], ["excess kurtosis", rounded(column.kurtosis)],
      ["values", whole(column.count)], ["missing", whole(column.missing)],
      ["infinite", column.plus_infinity + column.minus_infinity ? `${whole(column.plus_infinity)} × +∞, ${whole(column.minus_infinity)} × −∞` : "0"],
      ["middle 98 % of min-max", few(column.middle_share)],
      ["float32 digits at the mean", column.float32_digits === null ? "–" : number(Math.max(0, column.float32_digits), 2)],
      ...(column.distinct === null ? [] : [["different values", `${column.order ? "" : "about "}${whole(column.distinct)}`]]),
    ];
    return element("dl", { class: "facts-list" }, ...told.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
  }

  // A chart is drawn when it comes near the screen, and anew when its width or the colours change.
  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) { watcher.unobserve(target); sizes.observe(target); }
  }, { rootMargin: "300px" });
  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) if (target.clientWidth && target.clientWidth !== target.width) draw(target);
  });

  // Ticks as numbers of few digits, and as many as tell neighbours apart; where floats no longer can, one tick.
  function ticks({ axis, scale }, [low, high]) {
    const size = Math.max(Math.abs(low), Math.abs(high));
    if (!(high - low > size * 1e-13)) Object.assign(scale, { domain: [low - (size || 1), low + (size || 1)] });
    if (!(high - low > size * 1e-13)) Object.assign(axis, { values: [low], format: ".4~g" });
    else if (high - low < 1e-290) Object.assign(axis, { values: [low, high], format: ".2~e" }); // Vega's would be endless
    else if (size >= 1e6 || size < 1e-3) axis.format = `.${Math.min(15, Math.ceil(Math.log10(10 * size / (high - low))))}~e`;
  }

  function draw(chart) {
    const { column } = chart, made = JSON.parse(spec), style = getComputedStyle(document.documentElement);
    const { start, width, counts, other, values, others } = column.histogram;
    const domain = [start, start + width * counts.length];
    const share = (list, total) => list.map((count) => 100 * count / Math.max(1, total));
    const heights = drift ? share(counts, values) : counts, seconds = other && share(other, others.values);
    made.data.values = counts.map((_, i) => ({ from: start + width * i, to: start + width * (i + 1), n: heights[i], m: seconds ? seconds[i] : 0 }));
    if (drift) made.data.values.push({ from: domain[1], to: domain[1], n: 0, m: seconds.at(-1) }); // the last step's end
    const ends = [domain, domain.map((x) => image(column.standard, x)), domain.map((x) => near(image(column.minmax, x)))];
    made.layer.forEach(({ encoding: { x } }, i) => Object.assign(x.scale, { domain: ends[i] }) && ticks(x, ends[i]));
    const [ink, soft, line] = ["--ink", "--soft", "--line"].map((name) => style.getPropertyValue(name).trim());
    Object.assign(made.config.axis, { labelColor: soft, titleColor: ink, domainColor: soft, tickColor: soft, gridColor: line });
    made.layer[0].layer.forEach(({ name, mark }) => { mark.color = style.getPropertyValue(`--${name}`).trim(); });
    made.width = chart.width = chart.clientWidth;
    window.vegaEmbed(chart, made, { renderer: "svg", actions: false, ast: true }).then(() => { chart.dataset.drawn = "true"; });
  }

  function build() {
    const heads = [["name", "Column", "left"], [null, "Shape", "left shape"],
      ...fields.map((field) => [field.key, field.title, `number ${field.width ?? ""}`, field.hint]), ["watch", "To watch", "left words"]];
    at("head").replaceChildren(...heads.map(([key, title, where, hint]) => {
      const head = element("th", { scope: "col", class: where, ...(hint ? { title: hint } : {}) });
      if (!key) { head.append(title); return head; }
      head.dataset.key = key;
      const button = element("button", { type: "button" }, title);
      button.addEventListener("click", () => order(key));
      head.append(button);
      return head;
    }));
    at("sort").replaceChildren(...orders.map(({ key, title }) => element("option", { value: key }, title)));
    at("sort").addEventListener("change", (event) => order(event.target.value));
    at("search").addEventListener("input", (event) => { state.search = event.target.value; select(); });
    at("filter").addEventListener("change", (event) => { state.filter = event.target.value; select(); });
    at("more").addEventListener("click", () => { state.shown += PAGE; render(); });
    document.querySelector(".tools").addEventListener("submit", (event) => event.preventDefault());
    document.querySelectorAll("button.kind").forEach((button) => button.addEventListener("click", () => {
      state.filter = at("filter").value = button.dataset.kind;
      select();
      at("columns-title").scrollIntoView();
    }));
    document.querySelectorAll("button.name").forEach((button) => button.addEventListener("click", () => show(report.columns[button.dataset.column])));
    for (const width of ["40rem", "60rem"]) matchMedia(`(max-width: ${width})`).addEventListener("change", render);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.querySelectorAll(".chart[data-drawn]").forEach(draw));
  }

  function order(key) {
    const same = state.order === key;
    state.up = same ? !state.up : Boolean(orders.find((one) => one.key === key).up);
    state.order = key;
    select();
  }

  function show(column) {
    Object.assign(state, { search: "", filter: "" });
    at("search").value = at("filter").value = "";
    select();
    state.shown = Math.max(state.shown, selected.indexOf(column) + 1);
    render();
    toggle(column, true);
    const title = at("rows").querySelector(`[data-place="${column.place}"] .title`);
    title.scrollIntoView({ block: "start" });
    title.focus();
  }

  build();
  const remarkable = report.columns.filter((column) => column.weight >= 100).sort((a, b) => b.weight - a.weight);
  for (const column of remarkable.slice(0, OPEN)) opened.add(column);
  select();
  if (!remarkable.length && selected.length) toggle(selected[0], true);
})();
