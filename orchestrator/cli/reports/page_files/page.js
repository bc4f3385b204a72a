"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const isDark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = [];
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const unpack = text => {
    const binary = atob(text), bytes = new Uint8Array(binary.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
    return new Float32Array(bytes.buffer);
  };
  const short = value => typeof value !== "number" ? String(value) : Number(value.toPrecision(4)).toString();
  const rest = (value, unit) => Math.round(value) ? ` ${Math.round(value)} ${unit}` : "";
  const seconds = s => s < 60 ? `${short(s)} s` : s < 3600 ? `${Math.floor(s / 60)} min${rest(s % 60, "s")}`
    : s < 86400 ? `${Math.floor(s / 3600)} h${rest(s % 3600 / 60, "min")}`
    : `${Math.floor(s / 86400)} d${rest(s % 86400 / 3600, "h")}`;
  const iterationName = name => name || "start";
  const cut = (text, n = 22) => text.length > n ? text.slice(0, n - 1) + "\u2026" : text;

  // A chart is drawn again when the colours or the width of the page change.
  function chart(id, option) {
    const place = document.getElementById(id);
    if (!place) return;
    const make = () => {
      const made = echarts.init(place, null, {renderer: "canvas"});
      made.setOption({animation: false, textStyle: {fontFamily: "system-ui, sans-serif"}, ...option(place.clientWidth)});
      return made;
    };
    drawn.push({place, make, made: null});
  }
  const ink = () => ({
    text: css("--text"), dim: css("--dim"), line: css("--line"), accent: css("--accent"), bad: css("--bad"),
    queue: css("--queue"), idle: css("--idle"), card: css("--card"), low: css("--low"), high: css("--high"), early: css("--early"), late: css("--late"), good: css("--good"),
  });
  const axisStyle = c => ({
    nameTextStyle: {color: c.dim}, axisLabel: {color: c.dim, hideOverlap: true}, axisLine: {onZero: false, lineStyle: {color: c.line}},
    splitLine: {lineStyle: {color: c.line}}, axisTick: {lineStyle: {color: c.line}},
  });
  // Rich text is drawn on the canvas, so that no text becomes HTML.
  const tooltip = (c, formatter) => ({
    renderMode: "richText", confine: true, backgroundColor: c.card, borderColor: c.line, textStyle: {color: c.text, fontSize: 12}, formatter,
  });

  function valueAxis(axis, c, more = {}) {
    const style = axisStyle(c);
    if (axis.categories.length) {
      const few = axis.categories.length < 5;
      return {type: "category", data: axis.categories.map(text => cut(text, few ? 12 : 14)), name: cut(axis.name), ...style,
        axisLabel: {...style.axisLabel, hideOverlap: !few, interval: few ? 0 : "auto", fontSize: few ? 11 : 12}, ...more};
    }
    return {type: axis.log ? "log" : "value", scale: true, name: cut(axis.name), ...style,
      axisLabel: {...style.axisLabel, formatter: short}, ...more};
  }
  const named = where => where === "x" ? {nameLocation: "middle", nameGap: 28} : {nameLocation: "end", nameGap: 10, nameTextStyle: {align: "left", color: css("--dim")}};

  function mix(from, to, part) {
    const numbers = text => [1, 3, 5].map(at => parseInt(text.slice(at, at + 2), 16));
    const [a, b] = [numbers(from), numbers(to)];
    return "#" + a.map((x, i) => Math.round(x + (b[i] - x) * part).toString(16).padStart(2, "0")).join("");
  }

  function experiments() {
    const charts = data.charts;
    if (!charts) return;
    const objective = {...charts.objective, values: unpack(charts.objective.values)};
    const iterations = unpack(charts.iterations);
    const numbers = charts.numbers ? unpack(charts.numbers) : Float32Array.from({length: charts.shown}, (_, i) => i + 1);
    const n = charts.shown;
    const inputs = charts.inputs.map(axis => ({...axis, values: unpack(axis.values)}));

    // Up to six groups of iterations, each with a colour.
    const nIterations = data.iterations.length;
    const nGroups = Math.min(6, nIterations);
    const first = group => Math.ceil(group * nIterations / nGroups);
    const groupOf = index => Math.max(0, Math.min(nGroups - 1, Math.floor(index * nGroups / nIterations)));
    const groupName = group => {
      const [begin, end] = [first(group), first(group + 1) - 1].map(at => iterationName(data.iterations[at][0]));
      return nGroups === 1 ? "experiments" : begin === end ? (begin === "start" ? begin : `iteration ${begin}`) : `iterations ${begin} to ${end}`;
    };
    const counts = new Int32Array(nGroups);
    for (let i = 0; i < n; i++) counts[groupOf(iterations[i])]++;

    // Of dots in the same place only the first is drawn: the chart looks the same and is drawn faster.
    function points(of, isLog, columns, rows) {
      const x = scale(of, isLog, columns), y = scale(objective.values, objective.log, rows);
      const seen = new Uint8Array((columns + 1) * (rows + 1) * nGroups);
      const found = Array.from(counts, count => new Float32Array(2 * count));
      const at = new Int32Array(nGroups);
      for (let i = 0; i < n; i++) {
        const group = groupOf(iterations[i]);
        const cell = (x(i) * (rows + 1) + y(i)) * nGroups + group;
        if (n > 5000 && seen[cell]) continue;
        seen[cell] = 1;
        found[group][at[group]++] = of[i];
        found[group][at[group]++] = objective.values[i];
      }
      return found.map((values, group) => values.subarray(0, at[group]));
    }
    function scale(values, isLog, steps) {
      const on = isLog ? Math.log : value => value;
      let low = Infinity, high = -Infinity;
      for (const value of values) { if (value < low) low = value; if (value > high) high = value; }
      const begin = on(low), factor = steps / (on(high) - begin || 1);
      return i => Number.isNaN(values[i]) ? 0 : Math.floor((on(values[i]) - begin) * factor);
    }
    function scatter(of, c, size, isLog, columns, rows) {
      return points(of, isLog, columns, rows).map((values, group) => ({
        type: "scatter", name: groupName(group), dimensions: ["x", "y"], data: values, large: true, largeThreshold: 2000,
        symbolSize: n > 20000 ? 2 : n > 2000 ? 3 : size, progressive: 0, clip: true,
        itemStyle: {color: nGroups === 1 ? c.accent : mix(c.early, c.late, group / (nGroups - 1)), opacity: n > 2000 ? 0.6 : 0.85},
      }));
    }
    const legend = c => ({type: "scroll", top: 0, right: 8, textStyle: {color: c.dim}, pageTextStyle: {color: c.dim}, icon: "circle", itemWidth: 10});

    chart("convergence", width => {
      const c = ink();
      return {
        grid: {left: 64, right: 20, top: 44, bottom: 48}, legend: {...legend(c), data: ["best so far", ...Array.from(counts, (_, g) => groupName(g))]},
        tooltip: tooltip(c, p => p.seriesType === "line" ? `best so far\n${short(p.value[1])} from evaluation ${p.value[0]}`
          : `evaluation ${p.value[0]}\n${cut(objective.name)} = ${short(p.value[1])}`),
        xAxis: {type: "value", name: "number of evaluated experiments", min: 0, max: charts.n, ...axisStyle(c), ...named("x"), minInterval: 1},
        yAxis: valueAxis({...objective, categories: []}, c, named("y")),
        series: [...scatter(numbers, c, 5, false, 1100, 320),
          {type: "line", name: "best so far", step: "end", data: data.convergence, showSymbol: false, lineStyle: {color: c.bad, width: 2}, itemStyle: {color: c.bad}, z: 5}],
      };
    });

    chart("iterations", width => {
      const c = ink();
      const line = (name, at, color, type) => ({type: "line", name, data: data.iterations.map(row => row[at]), showSymbol: data.iterations.length < 60,
        symbol: "circle", symbolSize: 6, lineStyle: {color, width: 2, type}, itemStyle: {color}});
      return {
        grid: {left: 64, right: 20, top: 44, bottom: 48}, legend: {...legend(c), icon: undefined, itemWidth: 18},
        tooltip: {...tooltip(c, rows => `iteration ${rows[0].name}, ${data.iterations[rows[0].dataIndex][1]} experiments\n` + rows.map(p => `${p.seriesName}: ${short(p.value)}`).join("\n")), trigger: "axis"},
        xAxis: {type: "category", data: data.iterations.map(row => iterationName(row[0])), name: "iteration", ...axisStyle(c), ...named("x")},
        yAxis: valueAxis({...objective, categories: []}, c, named("y")),
        series: [line("median", 3, c.dim, "dashed"), line("best of the iteration", 2, c.accent, "solid"), line("best so far", 4, c.bad, "solid")],
      };
    });

    inputs.forEach((axis, at) => chart(`scatter-${at}`, width => {
      const c = ink();
      return {
        grid: {left: 58, right: 16, top: 34, bottom: 48},
        tooltip: tooltip(c, p => `${cut(axis.name)} = ${axis.categories.length ? cut(axis.categories[p.value[0]] ?? "", 30) : short(p.value[0])}\n${cut(objective.name)} = ${short(p.value[1])}`),
        xAxis: valueAxis(axis, c, named("x")), yAxis: valueAxis({...objective, categories: []}, c, named("y")),
        series: scatter(axis.values, c, 5, axis.log, 360, 240),
      };
    }));

    parallel(inputs, objective, n, nGroups, i => groupOf(iterations[i]));
  }

  const MOST_LINES = 800;
  function parallel(inputs, objective, n, nGroups, groupOf) {
    // A tenth are the best ones, the others an even choice.
    const sign = data.largest ? -1 : 1;
    let chosen = Uint32Array.from({length: n}, (_, i) => i);
    if (n > MOST_LINES) {
      const sorted = Uint32Array.from(chosen).sort((a, b) => sign * (objective.values[a] - objective.values[b]));
      const nBest = Math.round(MOST_LINES / 10), rest = n - nBest, left = MOST_LINES - nBest;
      chosen = Uint32Array.from({length: MOST_LINES}, (_, i) => sorted[i < nBest ? i : nBest + Math.floor((i - nBest) * rest / left)]);
      document.getElementById("parallel-note")?.append(` It shows ${MOST_LINES} experiments: the best ${nBest}, and an even choice of the others.`);
    }
    const axes = [...inputs, {...objective, categories: []}];
    // The best line is drawn last, so that it is on top.
    const ordered = Array.from(chosen).sort((a, b) => sign * (objective.values[b] - objective.values[a]));
    const lines = ordered.map(i => axes.map(axis => Number.isNaN(axis.values[i]) ? "-" : axis.categories.length ? axis.categories[axis.values[i]] : axis.values[i]));
    const place = document.getElementById("parallel");
    if (place) place.style.minWidth = `${axes.length * 82}px`;
    chart("parallel", width => {
      const c = ink();
      // As in the scatter plots: the iteration; where there is one only, how good an experiment is.
      const colour = (i, rank) => nGroups > 1 ? mix(c.early, c.late, groupOf(i) / (nGroups - 1)) : mix(c.idle, c.accent, rank / lines.length);
      const opacity = lines.length > 300 ? 0.3 : 0.55, best = lines.length - 1;
      const style = (i, rank) => rank === best ? {color: c.bad, width: 3, opacity: 1} : {color: colour(i, rank), width: 1, opacity};
      return {
        parallel: {left: 46, right: 60, top: 56, bottom: 24, parallelAxisDefault: {...axisStyle(c), nameGap: 22}},
        parallelAxis: axes.map((axis, dim) => ({
          dim, ...valueAxis(axis, c), name: cut(axis.name, 14), data: axis.categories.length ? axis.categories : undefined,
          axisLabel: {color: c.text, formatter: axis.categories.length ? text => cut(text, 12) : short, textBorderColor: c.card, textBorderWidth: 3},
          areaSelectStyle: {color: c.accent, borderColor: c.accent, opacity: 0.25},
        })),
        series: [{type: "parallel", data: lines.map((value, rank) => ({value, lineStyle: style(ordered[rank], rank)})), progressive: 0,
          inactiveOpacity: 0.02, activeOpacity: 0.9}],
      };
    });
  }

  // The distance of the marks on an axis of time, so that there are at most so many.
  const MARKS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
  function distance(end, most) {
    const days = 86400 * 10 ** Math.floor(Math.log10(Math.max(1, end / most / 86400)));
    return [...MARKS, 2 * days, 5 * days, 10 * days].find(mark => mark >= end / most) ?? end;
  }
  function timeline() {
    const {rows, spans} = data.timeline;
    const place = document.getElementById("timeline");
    if (!place || !spans.length) return;
    place.style.height = `${70 + Math.max(3, rows.length) * 30}px`;
    const end = Math.max(...spans.map(span => span[2]), 0.001);
    const words = {run: "ran", queue: "waited in the queue", idle: "nothing ran"};
    chart("timeline", width => {
      const c = ink();
      const colour = span => span[5] ? c.bad : {run: c.accent, queue: c.queue, idle: c.idle}[span[3]];
      const left = width < 500 ? 92 : 150;
      return {
        grid: {left, right: 20, top: 12, bottom: 46},
        tooltip: tooltip(c, p => { const s = spans[p.dataIndex]; return `${s[4]}\n${words[s[3]]}${s[5] ? ", failed" : ""}: ${seconds(s[2] - s[1])}\n${seconds(s[1])} to ${seconds(s[2])} after the start`; }),
        xAxis: {type: "value", min: 0, max: end, name: "time since the start", ...axisStyle(c), ...named("x"), axisLabel: {color: c.dim, formatter: seconds, hideOverlap: true, showMaxLabel: false}, ...(end > 4 ? {interval: distance(end, width < 500 ? 3 : 7)} : {splitNumber: width < 500 ? 3 : 6})},
        yAxis: {type: "category", data: rows.map(row => cut(row, width < 500 ? 12 : 20)), inverse: true, ...axisStyle(c), splitLine: {show: false}, axisLabel: {color: c.text, interval: 0}},
        series: [{type: "custom", encode: {x: [1, 2], y: 0}, data: spans.map(span => span.slice(0, 3)), progressive: 0,
          renderItem(params, api) {
            const [from, to] = [api.coord([api.value(1), api.value(0)]), api.coord([api.value(2), api.value(0)])];
            const height = api.size([0, 1])[1] * 0.6;
            const shape = echarts.graphic.clipRectByRect({x: from[0], y: from[1] - height / 2, width: Math.max(1.5, to[0] - from[0]), height}, params.coordSys);
            const span = spans[params.dataIndex], isWide = shape && shape.width > 8 + 8 * span[6].length;
            return shape && {type: "rect", shape, style: {fill: colour(span)}, textConfig: {position: "inside"},
              textContent: {style: {text: isWide && span[3] === "run" ? span[6] : "", fill: c.card, fontSize: 11}}};
          }}],
      };
    });
  }

  function tasks() {
    data.tasks.forEach(([step, rows, nColumns, cells], at) => {
      const place = document.getElementById(`tasks-${at}`);
      if (!place) return;
      place.style.height = `${120 + Math.max(2, rows.length) * Math.max(6, Math.min(22, 600 / rows.length))}px`;
      if (nColumns > 40) place.style.minWidth = "640px";
      const isOne = /^\d+$/.test(rows[0] ?? "") && rows.length > 1 && Number(rows[1]) - Number(rows[0]) === nColumns;
      const most = Math.max(...cells.map(cell => cell[2]), 0.001);
      chart(`tasks-${at}`, width => {
        const c = ink();
        const marks = cells.filter(cell => cell[3] !== 0);
        const place = cell => isOne ? `task ${Number(rows[cell[1]]) + cell[0]}` : `task ${cell[0]}` + (rows[cell[1]] ? `, iteration ${rows[cell[1]]}` : "");
        const about = cell => `${place(cell)}\nran ${seconds(cell[2])}` + (cell[4] < 0 ? "" : `\nwaited ${seconds(cell[4])} in the queue`) + (cell[3] < 0 ? "\nfailed" : cell[3] ? `\n${cell[3]} failed experiments` : "");
        return {
          grid: {left: 70, right: 20, top: 44, bottom: 48},
          tooltip: tooltip(c, p => about(p.value)),
          xAxis: {type: "category", data: Array.from({length: nColumns}, (_, i) => String(i)), name: rows.length > 1 && isOne ? "task within the row" : "task", ...axisStyle(c), ...named("x"), splitLine: {show: false}},
          yAxis: {type: "category", data: isOne ? rows : rows.map(iterationName), inverse: true, name: isOne ? "first task" : rows.length > 1 ? "iteration" : "", ...axisStyle(c), nameLocation: "start", splitLine: {show: false}, axisLabel: {color: c.dim, show: rows.length > 1}},
          visualMap: {min: 0, max: most, dimension: 2, seriesIndex: 0, calculable: false, orient: "horizontal", right: 8, top: 0, itemHeight: 100, itemWidth: 10,
            inRange: {color: [c.low, c.high]}, text: [seconds(most), "0 s"], textStyle: {color: c.dim}},
          series: [{type: "heatmap", data: cells, progressive: 0, itemStyle: {borderColor: c.card, borderWidth: cells.length > 3000 ? 0 : 1}},
            {type: "scatter", data: marks, symbolSize: cell => cell[3] < 0 ? 12 : 8, symbol: cell => cell[3] < 0 ? "path://M0 0L2 0L5 3L8 0L10 0L10 2L7 5L10 8L10 10L8 10L5 7L2 10L0 10L0 8L3 5L0 2Z" : "circle", itemStyle: {color: c.bad, borderColor: c.card, borderWidth: 1}}],
        };
      });
    });
  }

  function memory() {
    if (!data.memory.length) return;
    chart("memory", width => {
      const c = ink();
      const colours = data.memory.map((_, at) => at === 0 ? c.accent : mix(c.queue, c.dim, at / data.memory.length));
      return {
        grid: {left: 64, right: 20, top: 44, bottom: 48}, legend: {type: "scroll", top: 0, right: 8, textStyle: {color: c.dim}, pageTextStyle: {color: c.dim}, itemWidth: 18},
        tooltip: tooltip(c, p => { const [, address, task] = data.memory[p.seriesIndex]; return `${cut(address, 30)}, task ${task}\nexperiment ${p.value[0]} of the task: ${short(p.value[1])} MB`; }),
        xAxis: {type: "value", name: "experiment of the task", min: 1, ...axisStyle(c), ...named("x"), minInterval: 1},
        yAxis: {type: "value", name: "MB", min: 0, ...axisStyle(c), ...named("y"), axisLabel: {color: c.dim, formatter: short}},
        series: data.memory.map(([step, , , points], at) => ({type: "line", name: cut(step), data: points, symbol: "circle", symbolSize: 5, showSymbol: points.length < 60,
          lineStyle: {color: colours[at], width: 2}, itemStyle: {color: colours[at]}})),
      };
    });
  }

  experiments();
  timeline();
  tasks();
  memory();

  const redraw = () => drawn.forEach(item => { if (item.made) { item.made.dispose(); item.made = item.make(); } });
  // One after the other, so that the first are seen while the others are drawn.
  function next(at) {
    if (at < drawn.length) {
      drawn[at].made = drawn[at].make();
      setTimeout(next, 0, at + 1);
      return;
    }
    document.documentElement.dataset.drawn = String(drawn.length);
    document.documentElement.dataset.drawnAfter = String(Math.round(performance.now()));
  }
  next(0);
  isDark.addEventListener("change", redraw);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
  if (data.reload) setTimeout(() => location.reload(), 1000 * data.reload);
})();
