// Data that pages load from files beside them. A page from a disk may not fetch a file, but may
// load it as a script: each such file calls wsdarts.receive(key, data).
"use strict";

const wsdarts = (() => {
  const arrived = new Map();

  // Text that may be shown to whoever asked for something that cannot be done.
  class Refusal extends Error {}

  function receive(key, data) {
    arrived.set(key, data);
  }

  // The data of a file, by the key that it calls receive with.
  function load(file, key) {
    if (arrived.has(key)) return Promise.resolve(arrived.get(key));
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.onload = () =>
        arrived.has(key)
          ? resolve(arrived.get(key))
          : reject(new Refusal(`${file} is not a data file of this gallery; build it again`));
      script.onerror = () => reject(new Refusal(`this gallery has no ${file}`));
      script.src = file;
      document.head.append(script);
    });
  }

  // The same, which is not kept: large files that are read once.
  async function take(file, key) {
    const data = await load(file, key);
    arrived.delete(key);
    return data;
  }

  // Bytes of base64 text.
  function bytes(text) {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  }

  // Numbers of four bytes, little-endian, as base64 text.
  function floats(text) {
    const raw = bytes(text);
    const view = new DataView(raw.buffer);
    return Float32Array.from({ length: raw.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  }

  // An element with attributes and children; children are nodes or text, never markup.
  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  return { Refusal, receive, load, take, bytes, floats, element };
})();
