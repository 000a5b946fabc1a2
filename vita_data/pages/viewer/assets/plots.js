// Plots of a clip's actions and state over time, with one cursor; dragging over a plot moves it.
"use strict";

VITA.plots = (() => {
  const {make, lastAt, number} = VITA;
  // Colours that colour-blind readers can distinguish (Okabe and Ito, "Color Universal Design", 2008).
  const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#a0a000"];
  const HEIGHT = 150, LEFT = 52, RIGHT = 10, TOP = 8, BOTTOM = 22;

  function roundStep(least) {
    const power = 10 ** Math.floor(Math.log10(least));
    return power * [1, 2, 5, 10].find((factor) => factor * power >= least * (1 - 1e-9));
  }

  function ticks(low, high, wanted) {
    const step = roundStep((high - low) / wanted), found = [];
    for (let at = Math.ceil(low / step - 1e-9); at <= Math.floor(high / step + 1e-9); at++)
      found.push(Number((at * step).toPrecision(12)));
    return found;
  }

  function limits(columns) {
    let low = Infinity, high = -Infinity;
    for (const values of columns)
      for (const value of values)
        if (Number.isFinite(value)) { low = Math.min(low, value); high = Math.max(high, value); }
    if (low > high) return [0, 1];
    const largest = Math.max(Math.abs(low), Math.abs(high));
    // A constant needs a margin, or rounding noise would fill the plot.
    const margin = high - low <= Math.max(1e-6 * largest, 1e-12) ? (largest || 1) * 0.1 : (high - low) * 0.06;
    return [low - margin, high + margin];
  }

  // One plot; `timeline` has times [rows], steps, span [first, last], shaded ranges and the times of keyframes.
  function plot(content, timeline, seek) {
    const all = VITA.floats(content.values), rows = timeline.times.length;
    const columns = content.names.map((_, at) => all.subarray(at * rows, (at + 1) * rows));
    const [low, high] = limits([...columns, content.always]);
    const canvas = make("canvas", {className: "plot", role: "img",
      "aria-label": `${content.kind}: ${content.title} (${content.unit}) over time (s)`});
    const values = content.names.map(() => make("output", {}));
    const legend = make("div", {className: "legend"}, ...content.names.map((name, at) => {
      const swatch = make("i", {});
      swatch.style.background = COLOURS[at % COLOURS.length];
      return make("span", {}, swatch, name + " ", values[at]);
    }));
    const cursor = make("div", {className: "cursor"});
    const frame = make("div", {className: "frame"}, canvas, cursor);
    const element = make("figure", {className: "chart"}, make("figcaption", {}, content.title, make("small", {}, ` ${content.unit}`)),
      frame, legend);
    let width = 0;
    const x = (time) => LEFT + (time - timeline.span[0]) / (timeline.span[1] - timeline.span[0] || 1) * (width - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - BOTTOM - TOP);

    function draw() {
      width = frame.clientWidth;
      if (!width) return;
      const scale = devicePixelRatio || 1, pen = canvas.getContext("2d");
      [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(HEIGHT * scale)];
      pen.scale(scale, scale);
      for (const one of timeline.shaded) {
        pen.fillStyle = one.is_fault ? "#f3c9c0" : "#dfe4ea";
        pen.fillRect(x(one.start), TOP, Math.max(x(one.stop) - x(one.start), 1), HEIGHT - TOP - BOTTOM);
      }
      drawAxes(pen);
      columns.forEach((column, at) => drawLine(pen, column, COLOURS[at % COLOURS.length]));
    }

    function drawAxes(pen) {
      pen.font = "11px system-ui, sans-serif";
      pen.lineWidth = 1;
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      for (const value of ticks(low, high, 5)) {
        pen.strokeStyle = value ? "#e7ebf0" : "#9aa5b1";
        pen.beginPath(); pen.moveTo(LEFT, y(value)); pen.lineTo(width - RIGHT, y(value)); pen.stroke();
        pen.fillStyle = "#3a4452";
        pen.fillText(number(value, 3), LEFT - 5, y(value));
      }
      pen.textAlign = "center";
      pen.textBaseline = "top";
      for (const time of ticks(timeline.span[0], timeline.span[1] || 1, Math.max(2, width / 80)))
        pen.fillText(`${number(time, 4)} s`, Math.min(x(time), width - 14), HEIGHT - BOTTOM + 6);
      pen.strokeStyle = "#667";
      pen.beginPath();
      for (const time of timeline.keyframes) { pen.moveTo(x(time), HEIGHT - BOTTOM); pen.lineTo(x(time), HEIGHT - BOTTOM - 5); }
      pen.moveTo(LEFT, HEIGHT - BOTTOM); pen.lineTo(width - RIGHT, HEIGHT - BOTTOM);
      pen.stroke();
    }

    // Where many rows fall on one pixel, its lowest and highest values are drawn, so that no peak disappears.
    function drawLine(pen, column, colour) {
      pen.strokeStyle = colour;
      pen.lineWidth = 1.5;
      pen.beginPath();
      const dense = rows > 3 * width;
      let pixel = -1, least = 0, most = 0;
      const flush = () => { pen.lineTo(pixel, y(least)); pen.lineTo(pixel, y(most)); };
      for (let row = 0; row < rows; row++) {
        const left = x(timeline.times[row]), value = column[row];
        const jumps = row === 0 || timeline.steps[row] - timeline.steps[row - 1] > 1;
        if (dense && !jumps && Math.round(left) === pixel) {
          least = Math.min(least, value); most = Math.max(most, value);
          continue;
        }
        if (dense && row) flush();
        if (dense) { pixel = Math.round(left); least = most = value; }
        if (jumps) { pen.moveTo(left, y(value)); pen.lineTo(left + 0.1, y(value)); } else pen.lineTo(left, y(value));
      }
      if (dense) flush();
      pen.stroke();
    }

    function move(time) {
      if (width) cursor.style.transform = `translateX(${x(time)}px)`;
      const row = lastAt(timeline.times, time + 1e-6);
      values.forEach((value, at) => { value.textContent = number(columns[at][row]); });
    }

    function point(event) {
      if (event.type === "pointermove" && !(event.buttons & 1)) return;
      if (event.type === "pointerdown") frame.setPointerCapture(event.pointerId);
      const share = (event.clientX - frame.getBoundingClientRect().left - LEFT) / (width - LEFT - RIGHT);
      seek(timeline.span[0] + Math.min(Math.max(share, 0), 1) * (timeline.span[1] - timeline.span[0]));
    }
    frame.addEventListener("pointerdown", point);
    frame.addEventListener("pointermove", point);
    return {element, draw, move};
  }

  return {plot};
})();
