// JSON as wsdarts-hub reads it: no key twice, no number out of range, no unpaired surrogate, at
// most 32 levels. Floats come out as Real, so that 1.0 can be told from 1, as Python does.
"use strict";

wsdarts.strictJson = (() => {
  const MAX_DEPTH = 32;
  const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?/y;
  const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
  const LONE = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/;
  const SPACE = /[ \t\n\r]*/y;
  const WORDS = new Map([["true", true], ["false", false], ["null", null]]);
  const LIMIT = 2n ** 63n;

  class Real {
    constructor(value) {
      this.value = value;
    }
  }

  // Raises SyntaxError where Python's reader raises.
  function parse(text) {
    let at = 0;
    const fail = (why) => {
      throw new SyntaxError(`${why} at character ${at}`);
    };
    const skip = () => {
      SPACE.lastIndex = at;
      at += SPACE.exec(text)[0].length;
    };
    const take = (pattern) => {
      pattern.lastIndex = at;
      const found = pattern.exec(text);
      if (found) at += found[0].length;
      return found;
    };

    function string() {
      const found = take(STRING);
      if (!found) fail("a text is malformed");
      const value = JSON.parse(found[0]);
      if (LONE.test(value)) fail("an unpaired surrogate");
      return value;
    }

    function number() {
      const found = take(NUMBER);
      if (!found) fail("no JSON value");
      if (found[1] === undefined && found[2] === undefined) {
        const value = BigInt(found[0]);
        if (value >= LIMIT || value <= -LIMIT) fail("an integer has more than 63 bits");
        return Number.isSafeInteger(Number(value)) ? Number(value) : value;
      }
      if (!Number.isFinite(Number(found[0]))) fail("a number is too large");
      return new Real(Number(found[0]));
    }

    // What stands between commas, up to the closing character.
    function members(close, read) {
      at += 1;
      skip();
      if (text[at] === close) {
        at += 1;
        return;
      }
      for (;;) {
        read();
        skip();
        if (text[at] === close) break;
        if (text[at] !== ",") fail("a comma is missing");
        at += 1;
        skip();
      }
      at += 1;
    }

    function object(depth) {
      const found = Object.create(null);
      members("}", () => {
        if (text[at] !== '"') fail("a key is missing");
        const key = string();
        if (key in found) fail("a key stands twice in one object");
        skip();
        if (text[at] !== ":") fail("a colon is missing");
        at += 1;
        found[key] = value(depth + 1);
      });
      return found;
    }

    function array(depth) {
      const found = [];
      members("]", () => found.push(value(depth + 1)));
      return found;
    }

    function value(depth) {
      if (depth > MAX_DEPTH) fail(`nested deeper than ${MAX_DEPTH} levels`);
      skip();
      if (text[at] === "{") return object(depth);
      if (text[at] === "[") return array(depth);
      if (text[at] === '"') return string();
      for (const [word, meaning] of WORDS) {
        if (text.startsWith(word, at)) {
          at += word.length;
          return meaning;
        }
      }
      return number();
    }

    const result = value(1);
    skip();
    if (at !== text.length) fail("extra data");
    return result;
  }

  const isObject = (value) =>
    value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof Real);
  const isInteger = (value) => typeof value === "number" || typeof value === "bigint";

  return { parse, Real, isObject, isInteger };
})();
