
"use strict";
// Draws the page from its data. Whatever came from a path or from ICA becomes text, and never markup.
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const { copy, jobs, totals } = data;
  const LANES = 60, FAILURES = 20, FILES = 100, LISTED = 20;
  const COPIED = "COPIED";

  // --- text and elements ---------------------------------------------------------------------------------------------

  // Characters that cannot be seen, or that turn the order of what follows, are shown by their code.
  const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
  const shown = (text) =>
    String(text).replace(HIDDEN, (one) => "\\u" + one.charCodeAt(0).toString(16).padStart(4, "0"));

  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children.filter((each) => each !== null && each !== undefined).map(
      (each) => (each instanceof Node ? each : document.createTextNode(shown(each)))));
    return element;
  }
  const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) =>
    fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
  const path = (text) => el("span", { class: "path" }, text);
  // A path in few lines: its name, if that is told apart, and the end of its folder. The whole is in its title.
  function short(uri, at = 0) {
    const folder = el("span", { class: "folder" }, el("bdi", { dir: "ltr" }, at ? uri.slice(0, at) : uri));
    return el("span", { class: "path", title: shown(uri) }, at ? el("b", {}, uri.slice(at)) : null, folder);
  }
  const id = (text) => (text ? el("span", { class: "id" }, text) : null);
  const number = (value) => value.toLocaleString("en");
  const counted = (count, one, many) => `${number(count)} ${count === 1 ? one : many || one + "s"}`;

  function lasting(ms) {
    if (ms < 60000) return `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)} s`;
    const minutes = Math.round(ms / 60000);
    if (minutes < 60) return `${Math.floor(ms / 60000)} min ${Math.floor((ms % 60000) / 1000)} s`;
    return minutes < 2880 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${(minutes / 1440).toFixed(1)} d`;
  }

  function bytes(count) {
    const units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let unit = 0, value = count;
    while (value >= 999.5 && unit < units.length - 1) { value /= 1000; unit += 1; }
    return `${unit ? value.toPrecision(3) : value} ${units[unit]}`;
  }

  function button(words, act) {
    const made = el("button", { type: "button" }, words);
    made.addEventListener("click", act);
    return made;
  }

  // A list in pages: `draw(first, last)` draws some of it, `length()` says how long it is.
  function paged(nav, size, length, draw) {
    let page = 0;
    const where = el("span");
    const go = (to) => {
      page = Math.max(0, Math.min(to, Math.ceil(length() / size) - 1));
      show();
    };
    const first = button("« First", () => go(0)), back = button("‹ Back", () => go(page - 1));
    const next = button("Next ›", () => go(page + 1)), last = button("Last »", () => go(Infinity));
    nav.append(first, back, where, next, last);
    function show() {
      const all = length(), begin = page * size, end = Math.min(begin + size, all);
      first.disabled = back.disabled = page === 0;
      next.disabled = last.disabled = end >= all;
      where.textContent = all ? `${number(begin + 1)} to ${number(end)} of ${number(all)}` : "none";
      nav.hidden = all <= size;
      draw(begin, end);
    }
    return { show, restart: () => go(0) };
  }

  // --- summary -------------------------------------------------------------------------------------------------------

  const settled = copy.settled_at ? Date.parse(copy.settled_at) - Date.parse(copy.submitted_at) : null;
  const sources = totals.files + totals.folders;
  const kinds = [counted(totals.files, "file")];
  if (totals.folders) kinds.push(counted(totals.folders, "whole folder"));

  function summary() {
    const tiles = [
      [`${number(totals.copied)} of ${number(sources)}`, `${totals.folders ? "sources" : "files"} copied`],
      [`${number(copy.passed)} of ${number(copy.jobs)}`, "jobs passed"],
      [number(totals.attempts), "attempts"],
    ];
    if (!sources) tiles.splice(0, 3, tiles[1]);
    if (totals.bytes) tiles.splice(1, 0, [bytes(totals.bytes), "copied"]);
    if (settled !== null) tiles.push([lasting(settled), "from submission to settlement"]);
    byId("tiles").append(...tiles.map(([value, of]) => el("div", { class: "tile" }, el("b", {}, value), el("span", {}, of))));
    const facts = [
      ["Submitted", copy.submitted_at.replace("T", " ")],
      ["Settled", copy.settled_at && copy.settled_at.replace("T", " ")],
      ["Cancelled", copy.cancelled_at && copy.cancelled_at.replace("T", " ")],
      ["Redrive of", copy.redrive_of && id(copy.redrive_of)],
      ["Tags", Object.entries(copy.tags).map(([key, value]) => `${key} = ${value}`).join(", ")],
      ["Sources", sources ? kinds.join(" and ") : null],
      ["ICA jobs", sources ? number(totals.ica_jobs) : null],
      ["Manifest", path(copy.manifest)],
      ["Result (JSON)", path(copy.result)],
      ["Files (CSV)", copy.table ? path(copy.table) : null],
    ];
    for (const [term, value] of facts) if (value) byId("facts").append(el("dt", {}, term), el("dd", {}, value));
    const cut = byId("cut");
    if (!copy.table) {
      cut.append("The files and jobs of this copy could not be written here in the time that there is. Its result says how it ended: ", path(copy.result));
    } else if (totals.listed_sources < sources) {
      cut.append(`This page lists ${number(totals.listed_sources)} of ${kinds.join(" and ")}, and ${number(totals.listed_jobs)} of ${counted(copy.jobs, "job")}. All of them are in the table: `, path(copy.table));
    }
    cut.hidden = !cut.hasChildNodes();
  }

  // --- timeline ------------------------------------------------------------------------------------------------------

  const KINDS = [
    ["wait", "waits for its turn"], ["pause", "is paused"], ["busy", "waits for its folder, where another copy is"],
    ["later", "waits for ICA, which limits calls or fails"], ["launch", "is launched"],
    ["ok", "ICA copies: succeeded"], ["part", "copied in part"], ["bad", "failed"], ["stop", "stopped or not started"],
  ];
  const PASSING = { SUCCEEDED: "ok", ALL_THERE: "ok", PARTIALLY_SUCCEEDED: "part", STOPPED: "stop", STOPPING: "stop", REFUSED: "stop" };

  const WAITING = { PAUSED: "pause", FOLDER_BUSY: "busy", THROTTLED: "later", ICA_UNAVAILABLE: "later", LOOKED_UP_ANEW: "later", OUTAGE: "later", BATCH_TOO_LARGE: "later" };
  const IS_WAITING = new Set(["wait", "pause", "busy", "later"]);

  // What a job did: [kind, from, to, attempt's index]; the moments that are not known are left out.
  // Until "queued" it waited for its turn, or was paused; from then on for whatever else held it.
  function spans(job) {
    const found = [];
    const add = (kind, from, to, index) => { if (from !== null && to !== null && to >= from) found.push([kind, from, to, index]); };
    let before = 0;
    job.attempts.forEach(([outcome, queued, claimed, running, ended, , , heldFor], index) => {
      const cause = WAITING[heldFor] || "wait", begun = claimed ?? running ?? ended, turn = queued ?? begun;
      if (turn > before) add(cause === "pause" ? cause : "wait", before, turn, index);
      add(cause === "pause" ? "wait" : cause, turn, begun, index);
      before = ended ?? before;
      add("launch", claimed, running ?? ended, index);
      add(PASSING[outcome] || "bad", running ?? ended, ended, index);
    });
    const last = job.attempts.length ? job.attempts[job.attempts.length - 1][4] : null;
    if (job.status !== "PASSED" && job.ended !== null && (last === null || last < job.ended)) {
      add("wait", last ?? job.queued, job.ended, job.attempts.length);
    }
    return found;
  }
  const ended = (job) => job.ended ?? (job.attempts.length ? job.attempts[job.attempts.length - 1][4] : 0) ?? 0;

  const ORDERS = {
    "ended last": (one, other) => ended(other) - ended(one),
    "most attempts": (one, other) => other.attempts.length - one.attempts.length || ended(other) - ended(one),
    "not passed first": (one, other) => (one.status === "PASSED") - (other.status === "PASSED") || ended(other) - ended(one),
    "as in the table": (one, other) => one.number - other.number,
  };
  let order = [];

  function about(job, span) {
    const [kind, from, to, index] = span || [null, null, null, job.attempts.length - 1];
    const lines = [`Job ${job.number}: ${shown(job.to)}`, `${job.status}, ${counted(job.sources, "source")}, ${counted(job.attempts.length, "attempt")}`];
    if (kind) {
      const what = KINDS.find(([name]) => name === kind)[1];
      lines.push(`${what} for ${lasting(to - from)}, ${lasting(from)} after submission`);
    }
    const attempt = job.attempts[index];
    if (attempt) {
      lines.push(`Attempt ${index + 1}: ${shown(attempt[0])}${attempt[5] ? `, ICA job ${shown(attempt[5])}` : ""}`);
      if (attempt[6]) lines.push(shown(attempt[6]));
    }
    return lines.join("\n");
  }

  function tip(event) {
    const target = event.target.closest && event.target.closest("[data-job]");
    const box = byId("tip");
    box.hidden = !target;
    if (!target) return;
    const job = jobs[target.dataset.job];
    box.textContent = about(job, event.target.dataset.span ? spans(job)[event.target.dataset.span] : null);
    const { offsetWidth: width, offsetHeight: height } = box;
    box.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    box.style.top = `${event.clientY + 18 + height > innerHeight ? Math.max(4, event.clientY - height - 12) : event.clientY + 18}px`;
  }

  const until = jobs.reduce((most, job) => Math.max(most, ended(job)), Math.max(1000, settled || 0));

  const STEPS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400, 172800, 604800, 2592000];

  // Where a moment lies on a line from one x to another, and the marks of such a line.
  function scale(from, to, left, right) {
    const x = (at) => left + ((at - from) / (to - from)) * (right - left);
    const marks = (top, bottom) => {
      const most = Math.max(2, (right - left) / 110);
      const step = 1000 * (STEPS.find((each) => (to - from) / each / 1000 <= most) || 31536000);
      const found = [];
      for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
        const words = at ? lasting(at).replace(/ min 0 s$/, " min").replace(/ h 0 min$/, " h") : "0";
        const anchor = x(at) - left < 20 ? "start" : right - x(at) < 20 ? "end" : "middle";
        found.push(svg("path", { class: "grid", d: `M${x(at).toFixed(1)} ${top}V${bottom}` }));
        found.push(svg("text", { x: x(at).toFixed(1), y: top - 4, "text-anchor": anchor }, words));
      }
      return found;
    };
    return { x, marks };
  }

  // How many jobs waited, were launched and ran at each moment: for more jobs than there is room for lanes.
  function overview() {
    const box = byId("overview"), width = box.clientWidth, height = 110, bins = 240;
    const layers = [["launch", "run", "wait"], new Float64Array(bins + 1), new Float64Array(bins + 1), new Float64Array(bins + 1)];
    const layerOf = { launch: 1, ...Object.fromEntries([...IS_WAITING].map((kind) => [kind, 3])) };
    for (const job of jobs) for (const [kind, from, to] of spans(job)) {
      const layer = layers[layerOf[kind] || 2];
      layer[Math.min(bins, Math.ceil((from / until) * bins))] += 1;
      layer[Math.min(bins, Math.ceil((to / until) * bins))] -= 1;
    }
    let most = 1;
    const heights = Array.from({ length: bins }, () => [0, 0, 0]);
    const open = [0, 0, 0];
    for (let bin = 0; bin < bins; bin++) {
      for (let layer = 0; layer < 3; layer++) heights[bin][layer] = open[layer] += layers[layer + 1][bin];
      most = Math.max(most, open[0] + open[1] + open[2]);
    }
    const drawing = svg("svg", { width, height: height + 20 });
    const below = new Float64Array(bins);
    layers[0].forEach((kind, layer) => {
      let up = "", down = "";
      for (let bin = 0; bin < bins; bin++) {
        const x = ((bin / bins) * (width - 4)).toFixed(1), next = (((bin + 1) / bins) * (width - 4)).toFixed(1);
        const y = (at) => (20 + height - (at / most) * height).toFixed(1);
        down = `L${next} ${y(below[bin])}L${x} ${y(below[bin])}` + down;
        below[bin] += heights[bin][layer];
        up += `L${x} ${y(below[bin])}L${next} ${y(below[bin])}`;
      }
      drawing.append(svg("path", { class: kind, d: `M${up.slice(1)}${down}Z` }));
    });
    drawing.append(...scale(0, until, 0, width - 4).marks(16, height + 20));
    const words = `How many of all jobs waited, were launched and were copied at each moment: up to ${number(most)} at once`;
    box.replaceChildren(el("p", { class: "soft" }, words), drawing);
  }

  function lanes(begin, end) {
    const box = byId("lanes"), width = box.clientWidth, row = 13, top = 20;
    const left = width > 700 ? 230 : 90, letters = Math.floor(left / 6.7);
    const bottom = top + (end - begin) * row;
    const drawn = order.slice(begin, end).flatMap((index) => spans(jobs[index]));
    const isPart = jobs.length > LANES && drawn.length > 0; // then a line is as long as what these jobs took
    const first = isPart ? drawn.reduce((least, [, from]) => Math.min(least, from), Infinity) : 0;
    const last = isPart ? drawn.reduce((most, [, , to]) => Math.max(most, to), first + 1000) : until;
    const line = scale(first, last, left, width - 4);
    const drawing = svg("svg", { width, height: bottom + 4 }, ...line.marks(top, bottom));
    for (let lane = begin; lane < end; lane++) {
      const job = jobs[order[lane]], y = top + (lane - begin) * row;
      const name = job.to.replace(/^icav2:\/\/[^/]*/, ""), short = name.length > letters ? "…" + name.slice(1 - letters) : name;
      drawing.append(svg("g", { class: "lane", "data-job": order[lane] },
        svg("rect", { class: "hit", x: 0, y, width, height: row }),
        svg("text", { x: left - 8, y: y + 10, "text-anchor": "end" }, short),
        ...spans(job).map(([kind, from, to], index) => {
          const thin = IS_WAITING.has(kind);
          return svg("rect", {
            class: kind, "data-span": index, x: line.x(from).toFixed(1), y: y + (thin ? 4 : 1),
            width: Math.max(1.5, line.x(to) - line.x(from)).toFixed(1), height: thin ? row - 8 : row - 3,
          });
        })));
    }
    box.replaceChildren(drawing);
  }

  function timeline() {
    if (!jobs.length) return;
    byId("timeline").hidden = false;
    byId("legend").append(...KINDS.map(([kind, words]) => el("span", {}, svg("svg", {}, svg("rect", { class: kind, width: 12, height: 12 })), words)));
    byId("order").append(...Object.keys(ORDERS).map((each) => el("option", {}, each)));
    const pages = paged(byId("lane-pages"), LANES, () => order.length, lanes);
    const sort = () => {
      order = jobs.map((_, index) => index).sort((one, other) => ORDERS[byId("order").value](jobs[one], jobs[other]));
      pages.restart();
    };
    byId("order").addEventListener("change", sort);
    for (const name of ["mousemove", "mouseleave"]) byId("lanes").addEventListener(name, tip);
    const draw = () => { if (jobs.length > LANES) overview(); };
    let width = innerWidth;
    addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); pages.show(); } });
    draw();
    sort();
  }

  // --- failures ------------------------------------------------------------------------------------------------------

  const failed = jobs.filter((job) => job.status !== "PASSED");

  function failure(job) {
    const lost = rowsOf(job).filter((row) => row.outcome !== COPIED);
    const box = el("article", { class: "failure", "data-status": job.status },
      el("h3", {}, `Job ${job.number}, ${job.status}: `, path(job.to)),
      el("blockquote", {}, job.reason || "no reason is known"),
      el("p", {}, el("b", {}, "What to do: "), job.advice));
    if (job.attempts.length) {
      box.append(el("details", {}, el("summary", {}, counted(job.attempts.length, "attempt")), el("ul", {}, ...job.attempts.map(
        ([outcome, , , , at, ica, reason]) => el("li", {}, outcome, at === null ? null : `, ${lasting(at)} after submission`, ica ? ", ICA job " : null, id(ica), reason ? `: ${reason}` : null)))));
    }
    if (lost.length) {
      box.append(el("p", {}, `${counted(lost.length, "source")} of ${number(job.sources)} not copied:`),
        el("ul", {}, ...lost.slice(0, LISTED).map((row) => el("li", {}, path(row.source), ` ${row.outcome}`, row.reason && row.reason !== job.reason ? `: ${row.reason}` : null))));
    }
    if (lost.length > LISTED) box.append(button(`All ${number(lost.length)} of them, in the list of files`, () => search(`job:${job.number}`)));
    return box;
  }

  function failures() {
    byId("failures").hidden = !failed.length;
    paged(byId("failed-pages"), FAILURES, () => failed.length,
      (begin, end) => byId("failed").replaceChildren(...failed.slice(begin, end).map(failure))).show();
  }

  // --- files ---------------------------------------------------------------------------------------------------------

  function rowsOf(job) {
    const last = job.attempts.length - 1;
    return job.files.map((file, at) => {
      const [name, outcome, tries, index, reason] = typeof file === "string" ? [file, COPIED, last + 1, last, null] : file;
      const attempt = index === null ? null : job.attempts[index];
      return { job, source: job.from + name, outcome, tries, ica: attempt && attempt[5], reason, size: job.sizes ? job.sizes[at] : null };
    });
  }
  const COLUMNS = [
    ["Job", (row) => row.job.number], ["Outcome", (row) => row.outcome], ["Source", (row) => row.source],
    ["Destination", (row) => row.job.to], ["Size", (row) => row.size ?? -1], ["Attempts", (row) => row.tries ?? -1], ["ICA job", (row) => row.ica || ""],
  ];
  let rows = [], found = [], sorted = { column: 0, up: true }, pages = null;

  const textOf = (row) => (row.text ??= `${row.source}\n${row.job.to}\n${row.outcome}\n${row.ica || ""}\n${row.reason || ""}`.toLowerCase());

  function select() {
    const outcome = byId("outcome").value;
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = words.map((word) => /^job:0*(\d+)$/.exec(word)).filter(Boolean).map((match) => Number(match[1]));
    const text = words.filter((word) => !/^job:\d+$/.test(word));
    found = rows.filter((row) => (!outcome || row.outcome === outcome) && wanted.every((each) => row.job.number === each)
      && text.every((word) => textOf(row).includes(word)));
    const key = COLUMNS[sorted.column][1], way = sorted.up ? 1 : -1;
    found.sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      return a < b ? -way : a > b ? way : 0;
    });
    byId("count").textContent = found.length === rows.length ? counted(rows.length, "source") : `${number(found.length)} of ${counted(rows.length, "source")}`;
    pages.restart();
  }

  function search(words) {
    byId("search").value = words;
    byId("outcome").value = "";
    select();
    byId("files").scrollIntoView();
  }

  function draw(begin, end) {
    byId("rows").replaceChildren(...found.slice(begin, end).map((row) => el("tr", {},
      el("td", {}, number(row.job.number)),
      el("td", {}, el("span", { class: row.outcome === COPIED ? "outcome good" : "outcome" }, row.outcome)),
      el("td", {}, short(row.source, row.source.lastIndexOf("/", row.source.length - 2) + 1), row.reason ? el("div", { class: "soft" }, row.reason) : null),
      el("td", {}, short(row.job.to)),
      row.size === null ? el("td") : el("td", { title: `${number(row.size)} bytes` }, bytes(row.size)),
      el("td", {}, row.tries === null ? "" : number(row.tries)),
      el("td", {}, id(row.ica)))));
  }

  function headings() {
    byId("columns").replaceChildren(...COLUMNS.map(([name], column) => {
      const isSorted = column === sorted.column;
      const mark = isSorted ? (sorted.up ? " ▲" : " ▼") : "";
      return el("th", { scope: "col", "aria-sort": isSorted ? (sorted.up ? "ascending" : "descending") : "none" }, button(name + mark, () => {
        sorted = { column, up: isSorted ? !sorted.up : true };
        headings();
        select();
      }));
    }));
  }

  function files() {
    for (const job of jobs) rows.push(...rowsOf(job));
    if (!rows.length) return;
    byId("files").hidden = false;
    const outcomes = new Map();
    for (const row of rows) outcomes.set(row.outcome, (outcomes.get(row.outcome) || 0) + 1);
    byId("outcome").append(el("option", { value: "" }, "all"), ...[...outcomes].sort().map(
      ([outcome, count]) => el("option", { value: outcome }, `${outcome} (${number(count)})`)));
    pages = paged(byId("file-pages"), FILES, () => found.length, draw);
    let due = null;
    byId("search").addEventListener("input", () => { clearTimeout(due); due = setTimeout(select, 120); });
    byId("outcome").addEventListener("change", select);
    headings();
    select();
  }

  summary();
  failures();
  timeline();
  files();
})();
