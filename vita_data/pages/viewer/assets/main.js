// The page: loads the list, follows the address (#clip=KEY, #lost=SOURCE/EPISODE), and shows what it names.
"use strict";

(async () => {
  const {make, load, count, list, clip} = VITA;
  const box = document.getElementById("detail"), isNarrow = matchMedia("(max-width: 760px)");
  let meta, complete = false;

  function fill() {
    const lost = meta.sources.reduce((sum, one) => sum + one.num_lost, 0);
    const clips = meta.sources.reduce((sum, one) => sum + one.num_clips, 0);
    const names = meta.sources.length === 1 ? meta.sources[0].title : `${meta.sources.length} sources`;
    document.getElementById("summary").textContent = `${names} · ${count(clips)} clips · ${count(lost)} raw episodes not stored`;
    const closed = meta.sources.filter((one) => !one.redistributable).map((one) => one.name);
    const limited = meta.sources.filter((one) => one.limit !== null).map((one) => one.name);
    const partial = meta.num_written !== null && meta.sources.some((one) => one.num_clips > meta.num_written);
    const licence = closed.length ? `The licence of ${closed.join(", ")} forbids redistribution: share neither the shards nor this page.` : "";
    const words = [
      partial ? `The first ${count(meta.num_written)} clips of each source can be opened here; the list has all of them.` : "",
      limited.length ? `Only a part was built (--limit): ${limited.join(", ")}.` : "",
    ].filter(Boolean);
    const notice = document.getElementById("notice");
    notice.replaceChildren(make("span", {className: "licence"}, licence), " ", make("span", {}, words.join(" ")));
    notice.classList.toggle("closed", Boolean(licence));
    notice.hidden = !licence && !words.length;
  }

  // A narrow window would break a setting after its hyphens.
  function unbroken(words) {
    return words.split(/(--set \S+)/).map((part) => part.startsWith("--set ") ? make("code", {}, part) : part);
  }

  async function showLost(row) {
    clip.clear();
    const meaning = row.outcome === "failed" ? "could not be read" : meta.meanings[row.reason] || "";
    const facts = [["outcome", row.outcome], ["reason", `${row.reason}${row.reason && meaning ? ": " : ""}${meaning}`],
      ["what was found", row.detail || "–"], ["source", meta.sources[row.source].name], ["raw file", row.part]];
    const kept = meta.sources[row.source].kept_by[row.reason];
    if (row.outcome === "dropped") {
      facts.push(["to keep it", ...(kept ? ["build into another folder with ", ...unbroken(kept)] :
        ["no setting of this source keeps such an episode"])]);
    }
    const pictures = make("div", {className: "cameras raw"});
    box.replaceChildren(
      make("div", {className: "heading"}, list.links(row),
        make("h2", {}, row.outcome === "failed" ? "Failed: could not be read" : `Dropped: ${meaning || row.reason}`),
        make("p", {className: "about"}, `episode ${row.episode}`)),
      pictures,
      make("table", {className: "facts"}, ...facts.map(([name, ...value]) =>
        make("tr", {}, make("th", {scope: "row"}, name), make("td", {}, ...value)))));
    if (!meta.sources_with_raw.includes(row.source)) {
      pictures.append(make("p", {className: "explain"}, "Dropped episodes have no images in the shards. " +
        "Give the download with --raw DIR to see some of theirs here."));
      return;
    }
    const wait = make("p", {className: "explain"}, "Reading the download…");
    pictures.append(wait);
    try {
      const found = await load(`raw/${row.number}.js`);
      wait.remove();
      pictures.append(...found.pictures.map((one) => make("figure", {className: "camera small"},
        make("img", {src: "data:image/jpeg;base64," + one.jpeg, alt: one.caption}), make("figcaption", {}, one.caption))));
      if (found.note) pictures.append(make("p", {className: "explain"}, found.note));
    } catch (error) {
      wait.textContent = meta.num_written === null ? error.message :
        "The pictures of this episode were not written to this folder; use a larger --num-clips, or --serve.";
    }
  }

  function route() {
    const hash = location.hash;
    document.body.classList.toggle("opened", hash.length > 1);
    if (hash.length <= 1 && isNarrow.matches) {
      clip.clear();
      list.select(null);
      return;
    }
    const row = hash.length > 1 ? list.find(hash) : list.visible()[0];
    if (route.shown && route.shown === row) { clip.redraw(); return; }
    route.shown = row;
    if (!row) {
      const words = !complete ? "Loading…" : hash.length > 1 ? "No episode has this address." : "Nothing was stored.";
      box.replaceChildren(make("p", {className: "explain"}, words));
      return;
    }
    document.title = `${row.text || row.episode} (${meta.sources[row.source].name})`;
    list.select(row);
    if (row.key) clip.show(row, box, meta);
    else showLost(row);
  }

  function keys(event) {
    if (event.target.closest("input:not([type=range]), select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && !event.target.closest("button, a, summary")) clip.toggle();
    else if (event.key === "ArrowRight") clip.step(1);
    else if (event.key === "ArrowLeft") clip.step(-1);
    else return;
    event.preventDefault();
  }

  function report(error) {
    document.getElementById("summary").textContent = error.message;
    document.body.classList.add("broken");
  }

  // The first pieces are shown at once; the others follow while the page is in use. What the address names comes first.
  async function loadList() {
    const clips = [...Array(meta.num_clip_chunks).keys()].map((at) => ["addClips", `clips/${at}.js`]);
    const lost = [...Array(meta.num_lost_chunks).keys()].map((at) => ["addLost", `lost/${at}.js`]);
    let drawn = 0;
    for (const [add, name] of location.hash.startsWith("#lost=") ? [...lost, ...clips] : [...clips, ...lost]) {
      list[add](await load(name));
      if (performance.now() - drawn < 400) continue;
      list.refresh();
      if (!route.shown) route();
      drawn = performance.now();
    }
    complete = true;
    list.refresh();
    if (!route.shown) route();
    document.body.classList.add("complete");
  }

  addEventListener("hashchange", route);
  addEventListener("keydown", keys);
  addEventListener("resize", clip.redraw);
  isNarrow.addEventListener("change", route);
  try {
    meta = await load("meta.js");
    fill();
    list.begin(meta);
    await loadList();
  } catch (error) {
    report(error);
  }
})();
