// Task embeddings, as `wsdarts-hub embed` writes them, with the refusals of the command.
"use strict";

wsdarts.embedding = (() => {
  const { Refusal, strictJson, safetensors } = wsdarts;
  const MAX_FILTERS = 1_000_000;
  const MAX_FILE = 8 * MAX_FILTERS + 65_536;
  const MAX_INTEGER = 2 ** 53;
  const DIGEST = /^sha256:[0-9a-f]{64}$/;
  const SETTING = /^[a-z][a-z0-9_]{0,63}$/;
  const ACTIVE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/u;

  const isDigest = (text) => typeof text === "string" && DIGEST.test(text);
  const isLine = (text) =>
    typeof text === "string" &&
    text.trim() !== "" &&
    [...text].length <= 200 &&
    !ACTIVE.test(text);
  const isCount = (value) =>
    strictJson.isInteger(value) && value >= 1 && value <= MAX_INTEGER;
  const hasKeys = (value, keys) =>
    strictJson.isObject(value) && Object.keys(value).sort().join() === keys;

  function setting(name, value) {
    if (SETTING.test(name)) {
      if (isLine(value)) return value;
      if (strictJson.isInteger(value) && -MAX_INTEGER <= value && value <= MAX_INTEGER)
        return Number(value);
      // 10.0 and 10 are equal.
      if (value instanceof strictJson.Real) return value.value === 0 ? 0 : value.value;
    }
    throw new Refusal(
      `setting '${name.slice(0, 80)}' of an embedding is malformed; expected a name of ` +
        "lower-case letters, digits and _, and a finite number or one line of text",
    );
  }

  function space(data) {
    if (!hasKeys(data, "estimator,probe,probe_digest,settings,version") || !strictJson.isObject(data.settings))
      throw new Refusal(
        "an embedding space in JSON has exactly the keys probe, probe_digest, estimator, version " +
          "and settings",
      );
    if (!isLine(data.probe) || !isLine(data.estimator))
      throw new Refusal("probe and estimator of an embedding are lines of 1 to 200 plain characters");
    if (!isDigest(data.probe_digest))
      throw new Refusal("the digest of the probe is malformed; expected 'sha256:' and 64 hex digits");
    if (!isCount(data.version)) throw new Refusal("the estimator has no version; expected 1 or more");
    const names = Object.keys(data.settings).sort();
    if (names.length > 64) throw new Refusal("the settings of an embedding are too many");
    return {
      probe: data.probe,
      probe_digest: data.probe_digest,
      estimator: data.estimator,
      version: Number(data.version),
      settings: names.map((name) => [name, setting(name, data.settings[name])]),
    };
  }

  // Spaces of the gallery, plain JSON, in the form that they are compared in.
  function known(data) {
    const names = Object.keys(data.settings).sort();
    return { ...data, settings: names.map((name) => [name, data.settings[name]]) };
  }

  const identity = (s) =>
    JSON.stringify([s.probe, s.probe_digest, s.estimator, s.version, s.settings]);

  function words(s) {
    const settings = s.settings.map(([name, value]) => `, ${name}=${value}`).join("");
    return `probe ${s.probe} (${s.probe_digest.slice(0, 19)}), estimator ${s.estimator} v${s.version}${settings}`;
  }

  function facts(data, what) {
    if (strictJson.isObject(data) && strictJson.isInteger(data.format) && Number(data.format) !== 1)
      throw new Refusal(
        `${what} has embedding format ${data.format}; this gallery reads 1: update wsdarts-hub ` +
          "and build it again",
      );
    const sound =
      hasKeys(data, "format,space,task") &&
      strictJson.isInteger(data.format) &&
      hasKeys(data.task, "classes,digest,images,name");
    if (!sound)
      throw new Refusal(
        `${what} has no embedding metadata; expected a file as written by \`wsdarts-hub embed\``,
      );
    const { name, digest, images, classes } = data.task;
    const made = space(data.space);
    if (!isDigest(digest)) throw new Refusal("the digest of the task is malformed");
    if (!isLine(name)) throw new Refusal("the task's name is no line of 1 to 200 plain characters");
    if (!isCount(images) || !isCount(classes))
      throw new Refusal("the embedding has no number of images or classes; expected 1 or more");
    return { space: made, name, images: Number(images), classes: Number(classes) };
  }

  // float32, little-endian, one dimension; numbers of other machines' order are not assumed.
  function values(tensor, what) {
    const view = new DataView(tensor.bytes.buffer, tensor.bytes.byteOffset, tensor.bytes.byteLength);
    const found = Float64Array.from({ length: tensor.shape[0] }, (_, i) => view.getFloat32(4 * i, true));
    const bad = found.findIndex((value) => !(value >= 0 && value < Infinity));
    if (bad >= 0)
      throw new Refusal(
        `${what} is ${found[bad]} at filter ${bad}; expected finite numbers >= 0: embed the task again`,
      );
    return found;
  }

  // The embedding in the bytes of a file; `what` is its name in messages.
  function read(bytes, what) {
    if (bytes.length > MAX_FILE)
      throw new Refusal(`${what} has ${bytes.length} bytes; expected at most ${MAX_FILE}`);
    const { tensors, metadata } = safetensors.read(bytes, what);
    const found = facts(metadata, what);
    const names = [...tensors.keys()].sort().join();
    const alike = [...tensors.values()].every((t) => t.dtype === "F32" && t.shape.length === 1);
    if (!alike || (names !== "fisher" && names !== "fisher,standard_error"))
      throw new Refusal(
        `${what} holds ${names || "no tensor"}; expected one float32 tensor 'fisher' of one ` +
          "dimension, and perhaps another 'standard_error'",
      );
    const fisher = tensors.get("fisher");
    if (fisher.shape[0] < 1 || fisher.shape[0] > MAX_FILTERS)
      throw new Refusal(
        `the embedding of ${found.name} has ${fisher.shape[0]} filters; expected 1 to ${MAX_FILTERS}`,
      );
    const numbers = values(fisher, `the embedding of ${found.name}`);
    if (!numbers.some((value) => value > 0))
      throw new Refusal(
        `the embedding of ${found.name} is zero at every filter; the probe saw nothing in the images`,
      );
    const error = tensors.get("standard_error");
    if (error) {
      if (error.shape[0] !== fisher.shape[0])
        throw new Refusal(`the standard error of ${found.name} has another shape than its values`);
      values(error, `the standard error of ${found.name}`);
    }
    return { ...found, values: numbers };
  }

  return { read, known, identity, words, MAX_FILE };
})();
