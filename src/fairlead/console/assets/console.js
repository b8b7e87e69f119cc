// The one script of the console: charts from the data in the page, the theme, copying, local times, what changed.
(function () {
  "use strict";

  const THIN = "\u202f";
  const root = document.documentElement;
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // Numbers as console/formats.py writes them.
  function significant(value) {
    if (!value) return "0";
    const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
    return value.toLocaleString("en-US", { minimumFractionDigits: Math.min(digits, 12), maximumFractionDigits: Math.min(digits, 12) });
  }
  function scaled(value, units, least) {
    const size = Math.abs(value);
    for (const [factor, unit] of units) if (size >= Math.max(factor, least)) return significant(value / factor) + THIN + unit;
    return size >= 1000 || Number.isInteger(value) ? value.toLocaleString("en-US", { maximumFractionDigits: 0 }) : significant(value);
  }
  const UNITS = {
    seconds(value) {
      const size = Math.abs(value);
      if (!size) return "0" + THIN + "ms";
      if (size < 1e-3) return significant(value * 1e6) + THIN + "µs";
      if (size < 1) return significant(value * 1e3) + THIN + "ms";
      return significant(value) + THIN + "s";
    },
    rate: (value) => scaled(value, [[1e6, "M"], [1e3, "k"]], 1e4) + THIN + "/s",
    count: (value) => scaled(value, [[1e9, "G"], [1e6, "M"], [1e3, "k"]], 1e4),
    percent: (value) => (Math.abs(value) >= 0.01 || !value ? (100 * value).toLocaleString("en-US", { maximumFractionDigits: 1 }) : significant(100 * value)) + THIN + "%",
    bytes: (value) => scaled(value, [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]], 1e3) + THIN + "B",
    money: (value) => significant(value),
    number: (value) => significant(value),
    points: (value) => significant(100 * value) + THIN + "pp",
    times: (value) => significant(value) + THIN + "×",
  };

  // Charts.
  const charts = new Map();
  const MARKS = { deploy: "--t3", alert: "--bad", other: "--soft" };

  function marks(found, area, same) {
    return (plot) => {
      const { ctx, bbox } = plot, ratio = devicePixelRatio || 1;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      ctx.font = 11 * ratio + "px " + css("--sans");
      const rows = [[], [], []], labels = []; // of a row: from where to where something is written in it
      for (const mark of found) {
        const x = Math.round(plot.valToPos(mark.at / 1000, "x", true));
        if (x < bbox.left || x > bbox.left + bbox.width) continue;
        ctx.strokeStyle = ctx.fillStyle = css(MARKS[mark.kind] || MARKS.other);
        ctx.lineWidth = ratio;
        ctx.setLineDash([4 * ratio, 3 * ratio]);
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
        const label = mark.label.length > 24 ? mark.label.slice(0, 23) + "…" : mark.label;
        const wide = ctx.measureText(label).width + 10 * ratio, right = x + wide > bbox.left + bbox.width;
        const from = right ? x - wide : x, row = rows.findIndex((taken) => taken.every(([a, b]) => from >= b || from + wide <= a));
        if (row < 0) continue; // no room: the line alone
        rows[row].push([from, from + wide]);
        labels.push([label, ctx.fillStyle, from, wide, bbox.top + 14 * row * ratio]);
      }
      ctx.textAlign = "left";
      ctx.textBaseline = "alphabetic";
      for (const [label, colour, from, wide, top] of labels) { // over the lines, on a ground of their own
        ctx.fillStyle = css("--card");
        ctx.fillRect(from + 2 * ratio, top + ratio, wide - 4 * ratio, 13 * ratio);
        ctx.fillStyle = colour;
        ctx.fillText(label, from + 5 * ratio, top + 11 * ratio);
      }
      if (Number.isFinite(same)) {
        const y = Math.round(plot.valToPos(same, "y", true));
        ctx.strokeStyle = css("--soft");
        ctx.lineWidth = ratio;
        ctx.setLineDash([]);
        ctx.beginPath();
        ctx.moveTo(bbox.left, y);
        ctx.lineTo(bbox.left + bbox.width, y);
        ctx.stroke();
      }
      if (area && Number.isFinite(area.value)) {
        const y = Math.round(plot.valToPos(area.value, "y", true));
        ctx.strokeStyle = ctx.fillStyle = css("--warn");
        ctx.setLineDash([5 * ratio, 4 * ratio]);
        ctx.beginPath();
        ctx.moveTo(bbox.left, y);
        ctx.lineTo(bbox.left + bbox.width, y);
        ctx.stroke();
        ctx.textAlign = "right";
        ctx.fillText(area.label || "", bbox.left + bbox.width - 4 * ratio, y - 4 * ratio);
      }
      ctx.restore();
    };
  }

  // Where nobody points at the chart its legend says the newest values.
  function newest(plot) {
    if (plot.cursor.idx != null) return;
    let last = plot.data[0].length - 1;
    while (last > 0 && plot.data.slice(1).every((values) => values[last] == null)) last -= 1;
    plot.setLegend({ idx: last }, false);
  }

  function two(number) { return String(number).padStart(2, "0"); }
  function utc(seconds, long) {
    const at = new Date(seconds * 1000);
    const day = at.getUTCFullYear() + "-" + two(at.getUTCMonth() + 1) + "-" + two(at.getUTCDate());
    const time = two(at.getUTCHours()) + ":" + two(at.getUTCMinutes());
    return long ? day + " " + time + ":" + two(at.getUTCSeconds()) + " UTC" : [day.slice(5), time];
  }

  // Values between two that nobody knows: no line leads to them.
  function alone(values) {
    const found = [];
    values.forEach((value, place) => { if (value != null && values[place - 1] == null && values[place + 1] == null) found.push(place); });
    return found.length ? found : null;
  }

  function options(told, width, height) {
    const write = UNITS[told.unit] || UNITS.number;
    const series = told.series.map((one) => {
      const tone = css("--t" + (one.tone || "1"));
      return {
        label: one.label,
        stroke: tone,
        width: one.thin ? 0.8 : 1.6,
        dash: one.dash ? [5, 4] : undefined,
        fill: one.fill ? tone + "22" : undefined,
        paths: one.step ? uPlot.paths.stepped({ align: 1 }) : undefined,
        points: { show: one.thin ? false : one.values.length < 2 ? true : undefined, size: 4, filter: (_, __, shown) => (shown || one.thin ? null : alone(one.values)) },
        spanGaps: false,
        value: (_, value, __, place) => {
          const shown = one.exact && place != null ? one.exact[place] : value;
          return shown == null ? (value == null ? "–" : "no bound") : write(shown);
        },
      };
    });
    const axis = { stroke: css("--soft"), grid: { stroke: css("--grid"), width: 1 }, ticks: { show: false }, font: "11px " + css("--sans") };
    const bands = (told.bands || []).map((pair) => ({ series: [pair[0] + 1, pair[1] + 1], fill: css("--t1") + "22" }));
    return {
      width, height, bands,
      tzDate: (seconds) => new Date(new Date(seconds * 1000).toLocaleString("en-US", { timeZone: "UTC" })),
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      legend: { live: true },
      scales: {
        x: { time: true, range: told.span ? [told.span[0] / 1000, told.span[1] / 1000] : undefined },
        y: { range: (_, low, high) => told.ends ? told.ends : [told.low == null ? Math.min(low ?? 0, 0) : told.low, Math.max((high ?? 0) * 1.08, told.level ? told.level.value * 1.15 : 0) || (told.unit === "percent" ? 0.01 : 1)] },
      },
      axes: [
        { ...axis, space: 72, values: (_, ticks) => {
          let day = "";
          return ticks.map((tick) => {
            const [date, minute] = utc(tick);
            const time = ticks.length > 1 && ticks[1] - ticks[0] < 60 ? utc(tick, true).slice(11, 19) : minute;
            const text = time === "00:00" && ticks.length > 1 && ticks[1] - ticks[0] >= 86400 ? date : date === day ? time : time === "00:00" ? date : day ? time + "\n" + date : time + "\n" + date;
            day = date;
            return text;
          });
        } },
        { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => write(tick).replace(/(\.\d*?)0+(\D|$)/, "$1$2").replace(/\.(\D|$)/, "$1")) },
      ],
      series: [{ label: "time", value: (_, value) => (value == null ? "–" : utc(value, true)) }, ...series],
      hooks: { draw: [marks(told.marks || [], told.level, told.same)], ready: [newest], setCursor: [newest] },
    };
  }

  function draw(place) {
    const told = JSON.parse(place.dataset.chart);
    const some = told.series.some((one) => one.values.some((value) => value != null));
    place.querySelectorAll(".uplot, .gone").forEach((one) => one.remove());
    if (charts.has(place)) { charts.get(place).destroy(); charts.delete(place); }
    if (!some || typeof uPlot === "undefined") {
      const gone = document.createElement("p");
      gone.className = "gone";
      gone.textContent = some ? "The chart could not be loaded." : "Nothing was recorded in this time.";
      place.append(gone);
      return;
    }
    const height = Number(place.dataset.height) || 220;
    const data = [told.x.map((ms) => ms / 1000), ...told.series.map((one) => one.values)];
    charts.set(place, new uPlot(options(told, place.clientWidth || 600, height), data, place));
  }

  const sizes = typeof ResizeObserver === "undefined" ? null : new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const chart = charts.get(target);
      if (chart && Math.abs(chart.width - contentRect.width) > 1 && contentRect.width > 0) chart.setSize({ width: contentRect.width, height: chart.height });
    }
  });

  // Times: local ones beside UTC, and how long ago.
  function since(ms) {
    const size = Math.abs(ms);
    if (size < 1500) return "just now";
    for (const [length, word] of [[86400000, "d"], [3600000, "h"], [60000, "min"], [1000, "s"]])
      if (size >= length) return ms > 0 ? Math.floor(size / length) + " " + word + " ago" : "in " + Math.floor(size / length) + " " + word;
    return "just now";
  }
  function times() {
    document.querySelectorAll("time[datetime]").forEach((one) => {
      const at = new Date(one.dateTime);
      if (!one.dataset.local) {
        one.dataset.local = "1";
        one.title += "\n" + at.toLocaleString() + " here (" + Intl.DateTimeFormat().resolvedOptions().timeZone + ")";
      }
      if ("ago" in one.dataset) {
        const text = since(Date.now() - at.getTime());
        if (one.textContent !== text) one.textContent = text;
      }
    });
  }

  // What is in the page, or came into it.
  function mount(place) {
    for (const [old, chart] of charts) if (!old.isConnected) { chart.destroy(); charts.delete(old); sizes && sizes.unobserve(old); }
    place.querySelectorAll("[data-chart]").forEach((one) => { draw(one); sizes && sizes.observe(one); });
    place.querySelectorAll("[data-copy], [data-theme-toggle]").forEach((one) => { one.hidden = false; });
    times();
  }

  document.addEventListener("click", async (event) => {
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      const said = copy.querySelector("span"), before = said.textContent;
      try { await navigator.clipboard.writeText(copy.parentElement.querySelector("code").textContent); said.textContent = "Copied"; }
      catch (_) { said.textContent = "Not copied"; }
      setTimeout(() => { said.textContent = before; }, 1600);
    }
    if (event.target.closest("[data-theme-toggle]")) {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      try { localStorage.setItem("fairlead-theme", root.dataset.theme); } catch (_) { /* it lasts until the page goes */ }
      [...charts.keys()].forEach(draw);
    }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => [...charts.keys()].forEach(draw));

  // Live: the server says what changed, and those parts of this page are taken anew, in one request.
  const banner = document.querySelector("[data-banner]"), pulse = document.querySelector("[data-pulse]"), swap = document.getElementById("swap");
  const stale = new Set();
  let busy = false, shownAt = new Date();

  function say(text) {
    if (!banner) return;
    banner.hidden = !text;
    banner.textContent = text;
  }
  function state(name, text) {
    if (!pulse) return;
    pulse.dataset.state = name;
    pulse.lastElementChild.textContent = text;
    pulse.title = text;
  }
  function refresh() {
    if (busy || document.hidden || !swap || typeof htmx === "undefined") return;
    const parts = [...document.querySelectorAll("[data-live][id]")].filter((one) =>
      one.dataset.live.split(" ").some((topic) => stale.has(topic)) && !one.querySelector(":popover-open") && !(one.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")));
    stale.clear();
    if (!parts.length) return;
    busy = true;
    swap.setAttribute("hx-select-oob", parts.map((one) => "#" + CSS.escape(one.id)).join(","));
    htmx.trigger(swap, "changed");
  }
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.target !== swap) return;
    busy = false;
    if (event.detail.successful) { shownAt = new Date(); say(""); mount(document); }
    else if (event.detail.xhr.status === 401) say("Your session is over: load the page again to sign in. Shown is how it stood at " + utc(shownAt / 1000, true) + ".");
    else say("Not up to date: the console answers " + (event.detail.xhr.status || "nothing") + ". Shown is how it stood at " + utc(shownAt / 1000, true) + ".");
    if (stale.size) refresh();
  });
  document.addEventListener("htmx:oobAfterSwap", (event) => mount(event.detail.target.isConnected ? event.detail.target : document));
  document.addEventListener("visibilitychange", refresh);

  if (document.body.dataset.events && typeof EventSource !== "undefined" && document.querySelector("[data-live]")) {
    let source;
    const watch = () => {
      source = new EventSource(document.body.dataset.events);
      source.addEventListener("open", () => state("on", "live"));
      source.addEventListener("error", () => {
        state("bad", "not live: trying again");
        if (source.readyState === EventSource.CLOSED) setTimeout(watch, 10000); // refused: the browser gives up
      });
      source.addEventListener("trouble", (event) => { state("bad", "the store does not answer"); say("The store does not answer (" + event.data + "). Shown is how it stood at " + utc(shownAt / 1000, true) + "."); });
      source.addEventListener("changed", (event) => { state("on", "live"); event.data.split(" ").forEach((topic) => stale.add(topic)); refresh(); });
    };
    watch();
    addEventListener("pagehide", () => source.close());
  } else if (pulse) pulse.hidden = true;
  setInterval(times, 10000);
  mount(document);
})();
