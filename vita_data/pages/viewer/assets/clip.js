// One clip: all cameras play together at the true times of their images, over plots with the same cursor.
"use strict";

VITA.clip = (() => {
  const {make, load, lastAt, seconds, count} = VITA;
  const AHEAD = 4, MOST_DECODED = 240;
  let now = null; // the clip that is shown

  // A camera: draws the last stored image at or before a time, once it is loaded and decoded.
  function camera(number, at, content, hz, group) {
    const times = content.steps.map((step) => step / hz), images = new Map();
    const canvas = make("canvas", {width: 256, height: 256, role: "img", "aria-label": `camera ${content.name}`});
    const caption = make("figcaption", {}, content.name), badge = make("span", {className: "badge", hidden: true}, "keyframe");
    const element = make("figure", {className: "camera"}, canvas, badge, caption);
    let wanted = -1, drawn = -1;

    function image(index) {
      if (!images.has(index)) {
        const one = {picture: new Image(), ready: false, problem: ""};
        images.set(index, one);
        if (images.size > MOST_DECODED) images.delete(images.keys().next().value);
        load(`images/${number}/${at}/${Math.floor(index / group)}.js`)
          .then((jpegs) => { one.picture.src = "data:image/jpeg;base64," + jpegs[index % group]; return one.picture.decode(); })
          .catch((error) => { one.problem = error.message || "the image cannot be decoded"; })
          .then(() => { one.ready = true; if (index === wanted) paint(); });
      }
      return images.get(index);
    }

    function paint() {
      const one = image(wanted);
      if (!one.ready || drawn === wanted) return;
      drawn = wanted;
      const pen = canvas.getContext("2d");
      if (one.problem) pen.clearRect(0, 0, canvas.width, canvas.height);
      else {
        [canvas.width, canvas.height] = [one.picture.naturalWidth, one.picture.naturalHeight];
        pen.drawImage(one.picture, 0, 0);
      }
      badge.hidden = !(now && now.keyframes.has(content.steps[drawn]));
      caption.replaceChildren(make("b", {}, content.name), " ",
        make("span", {}, `step ${content.steps[drawn]}, ${times[drawn].toFixed(2)} s`),
        content.note ? make("small", {}, content.note) : "",
        one.problem ? make("span", {className: "problem"}, one.problem) : "");
    }

    // Returns whether the image of this time is on the screen.
    function move(time) {
      wanted = lastAt(times, time + 1e-6);
      image(wanted);
      for (let next = wanted + 1; next <= Math.min(wanted + AHEAD, times.length - 1); next++) image(next);
      paint();
      return drawn === wanted;
    }
    return {element, move, times, name: content.name, step: () => content.steps[drawn]};
  }

  async function show(row, box, meta) {
    stop();
    now = null;
    const mine = show.latest = {};
    box.replaceChildren(heading(row, meta), make("p", {className: "explain"}, "Loading…"));
    if (!VITA.list.isHeld(row)) {
      box.replaceChildren(heading(row, meta), make("p", {className: "warning"},
        `Only the first ${count(meta.num_written)} clips of each source were written to this folder, and this is another one. ` +
        "Write more with --num-clips N, or use vita-data view SHARDS --serve."));
      return;
    }
    let clip;
    try {
      clip = await load(`clip/${row.number}.js`);
    } catch (error) {
      if (mine === show.latest) box.replaceChildren(heading(row, meta), make("p", {className: "warning"}, error.message));
      return;
    }
    if (mine !== show.latest) return;
    lay(row, box, meta, clip);
  }

  function lay(row, box, meta, clip) {
    const times = Float64Array.from(clip.steps, (step) => step / clip.hz);
    const ends = [times[0], times[times.length - 1]];
    const timeline = {times, steps: clip.steps, span: ends, shaded: clip.shaded, keyframes: clip.keyframes.map((step) => step / clip.hz)};
    const cameras = clip.cameras.map((one, at) => camera(row.number, at, one, clip.hz, meta.group));
    const plots = clip.plots.map((one) => VITA.plots.plot(one, timeline, seek));
    const bar = transport(timeline, cameras);
    now = {cameras, plots, bar, timeline, time: ends[0], speed: 1, playing: false, keyframes: new Set(clip.keyframes)};
    const sheet = cameras.length ? make("div", {className: "cameras"}, ...cameras.map((one) => one.element)) :
      make("p", {className: "explain"}, "No images are stored for this clip.");
    // The first two plots stand beside a single camera; on a phone they would stand between it and its play button.
    const isNarrow = matchMedia("(max-width: 760px)").matches;
    const numBeside = cameras.length === 1 && !isNarrow ? Math.min(2, plots.length) : 0;
    const stage = make("div", {className: numBeside ? "stage single" : "stage"}, sheet,
      numBeside ? charts(plots.slice(0, numBeside)) : null);
    const group = (kind, title, none) => {
      const found = plots.filter((_, at) => clip.plots[at].kind === kind), left = found.filter((one) => plots.indexOf(one) >= numBeside);
      if (found.length && !left.length) return [];
      return [make("h3", {}, title), left.length ? charts(left) : make("p", {className: "explain"}, none)];
    };
    const facts = make("table", {}, ...clip.facts.map(([name, value]) =>
      make("tr", {}, make("th", {scope: "row"}, name), make("td", {}, value))));
    const measured = plots.length ?
      [...group("action", "Actions", "No actions were stored for this clip."),
        ...group("state", "State", "No state was measured for this clip.")] :
      [make("p", {className: "explain"}, "This clip is video only; it has no actions and no state.")];
    box.replaceChildren(heading(row, meta), stage, bar.element, ...measured,
      make("details", {}, make("summary", {}, "Texts, origin and other facts"), facts));
    box.scrollTop = 0;
    redraw();
  }

  function charts(plots) {
    return make("div", {className: "charts"}, ...plots.map((one) => one.element));
  }

  function heading(row, meta) {
    const about = [meta.sources[row.source].name, row.split, seconds(row.seconds), row.key].join(" · ");
    return make("div", {className: "heading"},
      VITA.list.links(row), make("h2", {}, row.text || "(no instruction)"), make("p", {className: "about"}, about));
  }

  function transport(timeline, cameras) {
    const [start, end] = timeline.span;
    const play = make("button", {id: "play", type: "button"}, "▶ Play");
    const clock = make("output", {id: "clock"});
    const slider = make("input", {id: "seek", type: "range", min: start, max: end > start ? end : start + 1, step: "any",
      value: start, disabled: end <= start, "aria-label": "time in seconds"});
    const speed = make("select", {id: "speed", "aria-label": "speed"},
      ...[0.25, 0.5, 1, 2, 4, 8].map((value) => make("option", {value, selected: value === 1}, `${value}×`)));
    const marks = make("canvas", {className: "marks", "aria-hidden": "true"});
    play.addEventListener("click", toggle);
    slider.addEventListener("input", () => seek(Number(slider.value)));
    speed.addEventListener("change", () => { now.speed = Number(speed.value); });
    const meanings = [...new Map(timeline.shaded.map((one) => [one.meaning, one.is_fault]))];
    const legend = make("p", {className: "explain legend"}, make("i", {className: "mark key"}), "keyframe ",
      cameras.length ? make("i", {className: "mark"}) : "", cameras.length ? "stored image " : "",
      ...meanings.flatMap(([meaning, isFault]) => [make("i", {className: isFault ? "patch fault" : "patch"}), meaning + " "]));

    function draw() {
      const width = marks.clientWidth, scale = devicePixelRatio || 1, pen = marks.getContext("2d");
      if (!width) return;
      [marks.width, marks.height] = [Math.round(width * scale), Math.round(18 * scale)];
      pen.scale(scale, scale);
      const x = (time) => 8 + (time - start) / (end - start || 1) * (width - 16);
      for (const one of timeline.shaded) {
        pen.fillStyle = one.is_fault ? "#f3c9c0" : "#dfe4ea";
        pen.fillRect(x(one.start), 0, Math.max(x(one.stop) - x(one.start), 1), 18);
      }
      pen.fillStyle = "#9aa5b1";
      for (const time of new Set(cameras.flatMap((one) => one.times))) pen.fillRect(x(time) - 0.5, 10, 1, 8);
      pen.fillStyle = "#1c2430";
      for (const time of timeline.keyframes) pen.fillRect(x(time) - 1, 2, 2, 16);
    }
    function move(time, playing) {
      slider.value = time;
      clock.textContent = `${time.toFixed(2)} of ${end.toFixed(2)} s`;
      play.textContent = playing ? "❚❚ Pause" : "▶ Play";
    }
    const element = make("div", {className: "transport"}, play, speed, clock,
      make("div", {className: "track"}, marks, slider), legend);
    return {element, draw, move};
  }

  function redraw() {
    if (!now) return;
    now.bar.draw();
    for (const one of now.plots) one.draw();
    seek(now.time);
  }

  // Moves the cursor; returns whether all images of this time are on the screen.
  function seek(time) {
    if (!now) return false;
    const [start, end] = now.timeline.span;
    now.time = Math.min(Math.max(time, start), end);
    for (const one of now.plots) one.move(now.time);
    now.bar.move(now.time, now.playing);
    return now.cameras.map((one) => one.move(now.time)).every(Boolean);
  }

  function toggle() {
    if (!now) return;
    if (now.playing) { stop(); return; }
    if (now.time >= now.timeline.span[1]) now.time = now.timeline.span[0];
    const mine = now;
    let before = null;
    mine.playing = true;
    function tick(stamp) {
      if (mine !== now || !mine.playing) return;
      // The clock waits for images that are still being loaded.
      const ready = seek(before === null ? mine.time : mine.time + (stamp - before) / 1000 * mine.speed);
      before = ready ? stamp : null;
      if (ready && mine.time >= mine.timeline.span[1]) { stop(); return; }
      requestAnimationFrame(tick);
    }
    requestAnimationFrame(tick);
  }

  function stop() {
    if (!now) return;
    now.playing = false;
    seek(now.time);
  }

  // To the next or previous stored image of any camera, or row where there are no images.
  function step(by) {
    if (!now) return;
    stop();
    const times = now.cameras.length ? [...new Set(now.cameras.flatMap((one) => one.times))].sort((a, b) => a - b) : now.timeline.times;
    const at = lastAt(times, now.time + 1e-6);
    seek(times[Math.min(Math.max(at + by, 0), times.length - 1)]);
  }

  const state = () => now && {time: now.time, playing: now.playing, end: now.timeline.span[1],
    steps: now.cameras.map((one) => one.step())};
  return {show, seek, toggle, stop, step, redraw, state, clear: () => { stop(); now = null; show.latest = {}; }};
})();
