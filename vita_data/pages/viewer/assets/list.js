// The list: rows arrive chunk by chunk; only those in view are elements, so that a million rows scroll like ten.
"use strict";

VITA.list = (() => {
  const {make, count, seconds} = VITA;
  const ROW_PX = 68, MOST_PX = 8e6;
  const box = document.getElementById("list"), holder = document.getElementById("rows");
  const filter = document.getElementById("filter"), source = document.getElementById("source");
  const kind = document.getElementById("kind"), sort = document.getElementById("sort");
  let meta, clips = [], lost = [], byKey = new Map(), shown = [], current = null;

  const orders = {
    stored: null,
    text: (a, b) => a.sortText < b.sortText ? -1 : a.sortText > b.sortText ? 1 : a.number - b.number,
    longest: (a, b) => b.seconds - a.seconds || a.number - b.number,
    shortest: (a, b) => a.seconds - b.seconds || a.number - b.number,
    episode: (a, b) => a.episode < b.episode ? -1 : a.episode > b.episode ? 1 : a.number - b.number,
  };

  function begin(found) {
    meta = found;
    source.append(make("option", {value: ""}, `All ${meta.sources.length} sources`),
      ...meta.sources.map((one, at) => make("option", {value: String(at)}, one.name)));
    source.hidden = meta.sources.length < 2;
    fillKinds();
    source.addEventListener("change", fillKinds);
    for (const input of [source, kind, sort]) input.addEventListener("change", update);
    filter.addEventListener("input", update);
    box.addEventListener("scroll", draw, {passive: true});
    addEventListener("resize", draw);
  }

  // What is listed: stored clips, or one reason of loss with its meaning and its number, the most frequent first.
  function fillKinds() {
    const chosen = kind.value || "clips", among = meta.sources.filter((_, at) => !source.value || at === +source.value);
    const total = (of) => among.reduce((sum, one) => sum + of(one), 0);
    const codes = Object.keys(meta.meanings).map((code) => [code, total((one) => one.drops[code] || 0)])
      .filter(([, num]) => num).sort((a, b) => b[1] - a[1]);
    const failed = total((one) => one.num_failed);
    const options = [
      ["clips", `Stored clips (${count(total((one) => one.num_clips))})`],
      ["lost", `Not stored (${count(total((one) => one.num_lost))})`],
      ...codes.map(([code, num]) => ["dropped " + code, `Dropped: ${code}, ${meta.meanings[code]} (${count(num)})`]),
      ...(failed ? [["failed", `Failed: could not be read (${count(failed)})`]] : []),
    ];
    kind.replaceChildren(...options.map(([value, text]) => make("option", {value}, text)));
    kind.value = options.some(([value]) => value === chosen) ? chosen : "clips";
  }

  function addClips(chunk) {
    const name = meta.sources[chunk.source].name;
    chunk.keys.forEach((key, at) => {
      const text = chunk.instructions[at], episode = chunk.episodes[at];
      const row = {
        number: chunk.first + at, source: chunk.source, split: chunk.split, key, episode, text,
        seconds: chunk.seconds[at], cameras: chunk.num_cameras[at], sortText: text.toLowerCase(),
        words: `${text}\n${episode}\n${key}\n${name} ${chunk.split}`.toLowerCase(), kind: "clips",
        hash: "#clip=" + encodeURIComponent(key),
      };
      clips.push(row);
      byKey.set(row.hash, row);
    });
  }

  function addLost(chunk) {
    const name = meta.sources[chunk.source].name;
    chunk.episodes.forEach((episode, at) => {
      const reason = chunk.reasons[at], outcome = chunk.outcomes[at], detail = chunk.details[at];
      const row = {
        number: chunk.first + at, source: chunk.source, episode, part: chunk.parts[at], outcome, reason, detail,
        kind: outcome === "failed" ? "failed" : "dropped " + reason, seconds: 0, sortText: episode.toLowerCase(),
        words: `${episode}\n${chunk.parts[at]}\n${reason} ${meta.meanings[reason] || ""}\n${detail}\n${name}`.toLowerCase(),
        hash: `#lost=${encodeURIComponent(name)}/${encodeURIComponent(episode)}`,
      };
      lost.push(row);
      byKey.set(row.hash, row);
    });
  }

  // People type addresses: a key or id is found escaped, as links have it, and as `vita-data episodes` prints it.
  function find(hash) {
    const [, kind, text] = hash.match(/^#(clip|lost)=(.*)$/s) || [];
    if (byKey.has(hash) || !kind) return byKey.get(hash);
    const slash = kind === "lost" ? text.indexOf("/") : -1, head = text.slice(0, slash + 1), id = text.slice(slash + 1);
    return byKey.get(`#${kind}=${head}${encodeURIComponent(unescaped(id))}`) ||
      byKey.get(`#${kind}=${head}${encodeURIComponent(id)}`);
  }

  // A percent sign may be the id's own, beside escapes that the browser added.
  function unescaped(text) {
    return text.replace(/(%[0-9a-f]{2})+/gi, (run) => {
      try {
        return decodeURIComponent(run);
      } catch {
        return run;
      }
    });
  }

  function update() {
    box.scrollTop = 0;
    refresh();
  }

  function refresh() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean), wanted = kind.value;
    const rows = wanted === "clips" ? clips : lost;
    const from = source.value === "" ? null : +source.value;
    shown = rows.filter((row) => (from === null || row.source === from) &&
      (wanted === "clips" || wanted === "lost" || row.kind === wanted) && words.every((word) => row.words.includes(word)));
    if (orders[sort.value]) shown.sort(orders[sort.value]);
    tell();
    draw();
  }

  function tell() {
    const expected = meta.sources.reduce((sum, one) => sum + (kind.value === "clips" ? one.num_clips : one.num_lost), 0);
    const held = kind.value === "clips" ? clips.length : lost.length;
    const loading = held < expected ? `, ${count(held)} loaded so far` : "";
    document.getElementById("count").textContent = `${count(shown.length)} of ${count(expected)}${loading}`;
  }

  // Browsers limit the height of an element, so that very long lists scroll in proportion.
  function first() {
    const room = Math.min(shown.length * ROW_PX, MOST_PX) - box.clientHeight;
    const rows = shown.length - box.clientHeight / ROW_PX;
    return room > 0 ? Math.max(0, box.scrollTop / room * rows) : 0;
  }

  function draw() {
    holder.style.height = Math.min(shown.length * ROW_PX, MOST_PX) + "px";
    const start = first(), from = Math.floor(start), visible = Math.ceil(box.clientHeight / ROW_PX) + 1;
    const rows = shown.slice(from, from + visible).map((row, at) => {
      const element = item(row);
      element.style.top = box.scrollTop + (from + at - start) * ROW_PX + "px";
      return element;
    });
    if (!shown.length) rows.push(make("p", {className: "empty"}, "Nothing matches."));
    holder.replaceChildren(...rows);
  }

  const made = new Map(); // number -> element, so that pictures do not flicker while scrolling
  function item(row) {
    const known = made.get(row.hash);
    const element = known || (row.key ? clipItem(row) : lostItem(row));
    if (made.size > 400) made.clear();
    made.set(row.hash, element);
    element.classList.toggle("current", row === current);
    return element;
  }

  function clipItem(row) {
    const about = [meta.sources.length > 1 ? meta.sources[row.source].name : null, seconds(row.seconds), row.split,
      row.cameras === 1 ? "1 camera" : row.cameras ? `${row.cameras} cameras` : "no images"].filter(Boolean).join(" · ");
    const held = isHeld(row);
    const picture = row.cameras && held ? make("img", {src: `data/thumb/${row.number}.jpg`, alt: "", loading: "lazy"}) :
      make("span", {className: "blank"}, held ? "no image" : "not written");
    return make("a", {href: row.hash, className: "row", title: row.text}, picture,
      make("span", {className: "words"}, make("b", {}, row.text || "(no instruction)"), make("small", {}, about)));
  }

  function lostItem(row) {
    const why = row.outcome === "failed" ? "failed" : row.reason, most = meta.sources.length > 1 ? 20 : 34;
    const source = meta.sources.length > 1 ? meta.sources[row.source].name + " · " : "";
    // Long names of episodes differ at their ends.
    const name = row.episode.length > most ? "…" + row.episode.slice(-most) : row.episode;
    return make("a", {href: row.hash, className: "row", title: row.episode},
      make("span", {className: "blank lost"}, why),
      make("span", {className: "words"}, make("b", {}, row.detail || meta.meanings[row.reason] || "no details"),
        make("small", {}, source + name)));
  }

  // Whether the files of a clip exist: an export may hold only the first of each source.
  function isHeld(row) {
    return meta.num_written === null || row.number - meta.sources[row.source].first_clip < meta.num_written;
  }

  // A link may name an episode of another source or kind than is listed; the list then turns to it.
  function turnTo(row) {
    if (source.value !== "" && +source.value !== row.source) source.value = "";
    fillKinds();
    if (kind.value !== row.kind && !(kind.value === "lost" && row.kind !== "clips")) kind.value = row.kind;
    refresh();
  }

  function select(row) {
    current = row;
    if (row && !shown.includes(row)) turnTo(row);
    const at = shown.indexOf(row), from = first(), most = box.clientHeight / ROW_PX - 1;
    if (at >= 0 && (at < from || at > from + most)) {
      const room = Math.min(shown.length * ROW_PX, MOST_PX) - box.clientHeight;
      box.scrollTop = Math.max(0, at - most / 2) / (shown.length - most - 1) * room;
    }
    draw();
  }

  function beside(row, by) {
    const at = shown.indexOf(row);
    return at < 0 ? null : shown[at + by] || null;
  }

  // The links above an episode, stored or not.
  function links(row) {
    const step = (by, text, label) => {
      const other = beside(row, by);
      return make("a", {className: other ? "button" : "button off", href: (other || row).hash, "aria-label": label}, text);
    };
    return make("nav", {}, make("a", {className: "button back", href: "#"}, "All episodes"),
      step(-1, "‹ Previous", "previous episode"), step(1, "Next ›", "next episode"),
      make("a", {className: "button", href: row.hash, title: "the address of this episode"}, "Link"));
  }

  return {begin, addClips, addLost, refresh, select, links, isHeld, find,
    visible: () => shown, total: () => clips.length + lost.length};
})();
