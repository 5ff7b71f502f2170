// Safetensors files, with every check of docs/format.md.
"use strict";

wsdarts.safetensors = (() => {
  const { Refusal, strictJson } = wsdarts;
  const MAX_HEADER = 4 * 2 ** 20;
  const MAX_TENSORS = 32_768;
  const MAX_SIZE = 2 ** 48;
  const ITEM = { F64: 8, F32: 4, F16: 2, I64: 8, I32: 4, U8: 1, BOOL: 1 };

  function json(bytes, what) {
    if (bytes.length > MAX_HEADER) throw new Refusal(`${what} is too long`);
    try {
      const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
      return strictJson.parse(text);
    } catch (problem) {
      throw new Refusal(
        `${what} is not valid JSON (${problem.message}); it is damaged or was not written by ` +
          "wsdarts-hub: fetch or make it again",
      );
    }
  }

  // The header's length with its own eight bytes.
  function headerLength(bytes, what) {
    if (bytes.length < 8)
      throw new Refusal(`${what} has ${bytes.length} bytes and is no safetensors file; fetch it again`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
    const length = 8n + view.getBigUint64(0, true);
    if (length > BigInt(bytes.length))
      throw new Refusal(
        `${what} is truncated or damaged: its header claims ${length} bytes of a file of ` +
          `${bytes.length}; fetch it again`,
      );
    if (length - 8n > BigInt(MAX_HEADER))
      throw new Refusal(`the header of ${what} claims ${length} bytes; expected at most ${MAX_HEADER}`);
    return Number(length);
  }

  function metadata(found, what) {
    if (found === undefined || found === null) return null;
    if (!strictJson.isObject(found) || !Object.values(found).every((v) => typeof v === "string"))
      throw new Refusal(`the metadata of ${what} is malformed; expected texts by name`);
    if (!("wsdarts" in found)) return null;
    return json(new TextEncoder().encode(found.wsdarts), `the metadata of ${what}`);
  }

  const natural = (values) =>
    Array.isArray(values) && values.every((v) => typeof v === "number" && v >= 0 && v < MAX_SIZE);

  function record(name, entry, what) {
    const sound =
      [...name].length > 0 &&
      [...name].length <= 256 &&
      strictJson.isObject(entry) &&
      Object.keys(entry).sort().join() === "data_offsets,dtype,shape" &&
      typeof entry.dtype === "string" &&
      Object.hasOwn(ITEM, entry.dtype) &&
      natural(entry.shape) &&
      natural(entry.data_offsets) &&
      entry.shape.length <= 8 &&
      entry.data_offsets.length === 2;
    if (!sound)
      throw new Refusal(`${what}: the header entry of tensor '${name.slice(0, 256)}' is malformed`);
    const [begin, end] = entry.data_offsets;
    const items = entry.shape.reduce((product, side) => product * BigInt(side), 1n);
    if (BigInt(end - begin) !== items * BigInt(ITEM[entry.dtype]))
      throw new Refusal(
        `${what}: tensor '${name}' of type ${entry.dtype} and shape [${entry.shape.join(", ")}] ` +
          `cannot lie in ${end - begin} bytes; the file is damaged: fetch it again`,
      );
    return { dtype: entry.dtype, shape: entry.shape, begin, end };
  }

  // Tensors by name, each with type, shape and its bytes; and the metadata.
  function read(bytes, what) {
    const length = headerLength(bytes, what);
    const raw = json(bytes.subarray(8, length), `the header of ${what}`);
    if (!strictJson.isObject(raw))
      throw new Refusal(`the header of ${what} is no JSON object; fetch the file again`);
    const { __metadata__: own, ...entries } = raw;
    const data = metadata(own, what);
    const names = Object.keys(entries);
    if (names.length > MAX_TENSORS)
      throw new Refusal(`${what} has ${names.length} tensors; expected at most ${MAX_TENSORS}`);
    const records = names.map((name) => [name, record(name, entries[name], what)]);
    const spans = records.map(([, r]) => [r.begin, r.end]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    let end = 0;
    for (const span of [...spans, [bytes.length - length, 0]]) {
      if (span[0] !== end)
        throw new Refusal(
          `${what} is truncated or damaged: its tensors do not lie end to end in its ` +
            `${bytes.length - length} bytes of data; fetch it again`,
        );
      end = span[1];
    }
    const tensors = new Map(
      records.map(([name, r]) => [
        name,
        { ...r, bytes: bytes.subarray(length + r.begin, length + r.end) },
      ]),
    );
    return { tensors, metadata: data };
  }

  return { read };
})();
