"use strict";
(() => {
  const root = document.documentElement;
  const data = JSON.parse(document.getElementById("for-charts").textContent);
  const charts = [];
  const color = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const percent = (value, digits = 1) => `${(100 * value).toFixed(digits)} %`;
  const shown = (tag, value) =>
    value === null ? "–" : tag === "accuracy" ? percent(value, 2) : Number(value.toPrecision(4)).toString();

  // Several runs have a color each, and dashes for training; one run has a color for each curve.
  const palette = ["#4f7bf0", "#e0762b", "#2a9d78", "#c04a8b", "#8a63c9", "#a8892c", "#3aa0c9", "#b9855b"];

  function lines(tag) {
    const runs = Object.entries(data.curves);
    const found = [];
    runs.forEach(([run, curves], number) => {
      for (const curve of ["train", "eval"]) {
        const points = (curves[curve] || {})[tag];
        if (!points || !points.length) continue;
        const name = curve === "eval" ? "validation" : "training";
        const own = runs.length > 1 || run ? palette[number % palette.length] : color(curve);
        const isShort = points.length <= 30;
        found.push({
          isValidation: curve === "eval",
          label: run ? `${run}, ${name}` : name,
          data: points.map(([x, y]) => ({ x, y })),
          borderColor: own,
          backgroundColor: own,
          borderWidth: 2,
          borderDash: run && curve === "train" ? [4, 4] : [],
          pointRadius: isShort ? 2.5 : 0,
          pointHitRadius: 12,
          tension: 0.25,
        });
      }
    });
    return found;
  }

  function options(xTitle) {
    const grid = { color: color("line") };
    const ticks = { color: color("quiet") };
    return {
      animation: false,
      maintainAspectRatio: false,
      interaction: { mode: "nearest", axis: "x", intersect: false },
      scales: {
        x: { type: "linear", grid: { display: false }, ticks: { ...ticks, maxRotation: 0, maxTicksLimit: 7 },
             title: { display: true, text: xTitle, color: color("quiet") } },
        y: { grid, ticks: { ...ticks, maxTicksLimit: 6 } },
      },
      plugins: { legend: { labels: { color: color("text"), usePointStyle: true, pointStyle: "line" } } },
    };
  }

  function drawCurve(figure) {
    const tag = figure.dataset.tag;
    const datasets = lines(tag);
    figure.hidden = !datasets.length;
    if (figure.hidden) return;
    const all = options("step");
    all.scales.x.max = Math.max(...datasets.map(({ data: points }) => points[points.length - 1].x));
    if (tag === "accuracy") all.scales.y.ticks.callback = (value) => `${Math.round(1000 * value) / 10} %`;
    all.plugins.legend.display = datasets.length > 1;
    // Of a run that has both, only the solid line is in the legend.
    const both = datasets.some(({ isValidation }) => isValidation);
    const isCompared = !("" in data.curves);
    all.plugins.legend.labels.filter = (item) =>
      !isCompared || !both || datasets[item.datasetIndex].isValidation;
    all.plugins.tooltip = {
      callbacks: {
        title: (items) => `step ${items[0].parsed.x.toLocaleString("en")}`,
        label: (item) => ` ${item.dataset.label} ${shown(tag, item.parsed.y)}`,
      },
    };
    charts.push(new Chart(figure.querySelector("canvas"), { type: "line", data: { datasets }, options: all }));
  }

  function drawReliability(figure) {
    const bins = data.bins;
    const all = options("score");
    all.scales.x = { ...all.scales.x, type: "linear", min: 0, max: 1, offset: false,
                     ticks: { ...all.scales.x.ticks, stepSize: 0.2, callback: (v) => percent(v, 0) } };
    all.scales.y = { ...all.scales.y, min: 0, max: 1, ticks: { ...all.scales.y.ticks, callback: (v) => percent(v, 0) },
                     title: { display: true, text: "accuracy", color: color("quiet") } };
    all.plugins.legend.display = false;
    all.plugins.tooltip = {
      filter: (item) => item.datasetIndex === 0,
      callbacks: {
        title: (items) => items.map((item) => {
          const bin = bins[item.dataIndex];
          return `score ${percent(bin.low, 0)} to ${percent(bin.high, 0)}`;
        }).join(),
        label: (item) => {
          const bin = bins[item.dataIndex];
          return bin.num_examples
            ? ` ${percent(bin.accuracy)} correct at a mean score of ${percent(bin.confidence)}; ${bin.num_examples} images`
            : " no images";
        },
      },
    };
    const bars = {
      type: "bar", label: "accuracy", order: 2, barPercentage: 1, categoryPercentage: 0.94, grouped: false,
      data: bins.map((bin) => ({ x: (bin.low + bin.high) / 2, y: bin.accuracy })),
      backgroundColor: `${color("train")}b0`, borderRadius: 4,
    };
    const line = {
      type: "line", label: "perfect calibration", order: 1, data: [{ x: 0, y: 0 }, { x: 1, y: 1 }],
      borderColor: color("eval"), backgroundColor: color("eval"), borderWidth: 2, borderDash: [6, 4], pointRadius: 0,
    };
    charts.push(new Chart(figure.querySelector("canvas"), { data: { datasets: [bars, line] }, options: all }));
  }

  function draw() {
    while (charts.length) charts.pop().destroy();
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    document.querySelectorAll("figure[data-tag]").forEach(drawCurve);
    const reliability = document.getElementById("reliability");
    if (reliability) drawReliability(reliability);
  }

  function watchMatrix(matrix) {
    const readout = document.getElementById("readout");
    const heads = [...matrix.querySelectorAll("thead th")];
    const rows = [...matrix.querySelectorAll("tbody tr")];
    const cell = (row, column) => rows[row] && rows[row].querySelector(`[data-column="${column}"]`);
    let at = null;
    function show(row, column) {
      const here = cell(row, column);
      if (!here) return;
      matrix.querySelectorAll(".on").forEach((element) => element.classList.remove("on"));
      const label = rows[row].querySelector("th");
      [here, label, heads[column]].forEach((element) => element.classList.add("on"));
      at = [row, column];
      const count = here.textContent.trim() || "0";
      const total = rows[row].dataset.total;
            readout.textContent =
        `${label.textContent.trim()}: ${count} of ${total} predicted as ${heads[column].textContent.trim()}` +
        (Number(total) ? ` (${percent(Number(count.replaceAll(",", "")) / Number(total))})` : "");
      here.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
    }
    for (const event of ["pointerover", "click"]) {
      matrix.addEventListener(event, ({ target }) => {
        const here = target.closest("td[data-row]");
        if (here) show(Number(here.dataset.row), Number(here.dataset.column));
      });
    }
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    matrix.addEventListener("keydown", (event) => {
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      if (at) show(at[0] + move[0], at[1] + move[1]);
      else show(0, 0);
    });
  }

  function watchTheme(button) {
    const next = { "": "dark", dark: "light", light: "" };
    const labels = { "": "as the system's", dark: "dark", light: "light" };
    button.addEventListener("click", () => {
      const theme = next[root.dataset.theme || ""];
      if (theme) root.dataset.theme = theme;
      else delete root.dataset.theme;
      button.setAttribute("aria-label", `Colors: ${labels[theme]}`);
      draw();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }

  draw();
  const matrix = document.getElementById("matrix");
  if (matrix) watchMatrix(matrix);
  watchTheme(document.getElementById("theme"));
  addEventListener("beforeprint", draw);
})();
