// Loading: every piece of data is a script that calls VITA.take(name, value), so that the page also works from a disk.
"use strict";

const VITA = (() => {
  const MOST_KEPT = 300;
  const waiting = new Map();
  const kept = new Map(); // name -> promise of its value, the least recently used first

  function settle(name, how, value) {
    const one = waiting.get(name);
    if (!one) return;
    waiting.delete(name);
    one.script.remove();
    one[how](value);
  }

  function take(name, value) { settle(name, "resolve", value); }
  function fail(name, message) { settle(name, "reject", new Error(message)); }

  function load(name) {
    const known = kept.get(name);
    if (known) {
      kept.delete(name);
      kept.set(name, known);
      return known;
    }
    const promise = new Promise((resolve, reject) => {
      const script = document.createElement("script");
      waiting.set(name, {script, resolve, reject});
      script.onerror = () => fail(name, "cannot be loaded: is the server still running, or was the folder moved?");
      script.src = "data/" + name;
      document.head.append(script);
    });
    kept.set(name, promise);
    promise.catch(() => kept.delete(name)); // a later try asks again
    while (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
    return promise;
  }

  // Base64 of little-endian float32.
  function floats(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer), found = new Float32Array(bytes.length / 4);
    for (let at = 0; at < found.length; at++) found[at] = view.getFloat32(at * 4, true);
    return found;
  }

  // Elements are made of plain text only; nothing from a dataset is ever parsed as HTML.
  function make(name, properties = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(properties)) {
      if (key in element) element[key] = value;
      else element.setAttribute(key, value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  // The last index with values[index] <= wanted, 0 if there is none; values ascend.
  function lastAt(values, wanted) {
    let low = 0, high = values.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (values[middle] <= wanted) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  function number(value, digits = 4) {
    if (!Number.isFinite(value)) return "–";
    const text = value.toPrecision(digits);
    return /e/.test(text) ? Number(text).toExponential() : String(Number(text));
  }

  function seconds(value) {
    return value >= 60 ? `${Math.floor(value / 60)} min ${(value % 60).toFixed(0)} s` : `${value.toFixed(1)} s`;
  }

  return {take, fail, load, floats, make, lastAt, number, seconds, count: (value) => value.toLocaleString("en")};
})();
