// Zoom of the maps of tasks: by buttons, Ctrl and the wheel, two fingers or keys. Marks and names
// keep their size. Where few enough tasks are in view, each has its name and a line to its nearest.
"use strict";

wsdarts.taskMap = (() => {
  const STEP = 1.6; // of a button or a key
  const MOST = 25; // times the size of the whole map
  const SHIFT = 0.2; // of the view, by an arrow key
  const MOVED = 5; // units of the map from which on a press is no click
  const DURATION = 200; // milliseconds of a button's zoom
  const GAP = 12; // between a mark's middle and its name
  const LINE = 15; // height of a name
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const maps = [];

  function svg(tag, attributes, ...children) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const overlap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

  // A mark with its place on the whole map.
  function readMark(node) {
    const shape = node.querySelector("circle, rect");
    const value = (name) => Number(shape.getAttribute(name));
    const [x, y] =
      shape.tagName === "circle"
        ? [value("cx"), value("cy")]
        : [value("x") + value("width") / 2, value("y") + value("height") / 2];
    const nearest = node.dataset.n === undefined ? null : Number(node.dataset.n);
    const name = node.dataset.r.split("@")[0];
    const short = name.length > 28 ? `${name.slice(0, 27)}…` : name;
    return { node, x, y, nearest, tie: node.dataset.tie, short };
  }

  // One map: its view is a scale and the point of the whole map in the middle.
  class TaskMap {
    constructor(drawn) {
      this.drawn = drawn;
      this.plane = drawn.querySelector(".plane");
      this.width = Number(this.plane.getAttribute("width"));
      this.height = Number(this.plane.getAttribute("height"));
      this.marks = [...this.plane.querySelectorAll("a")].map(readMark);
      this.added = svg("g", {});
      this.plane.prepend(this.added);
      this.many = drawn.classList.contains("many");
      this.mostNamed = Number(drawn.dataset.most);
      this.bar = drawn.querySelector(".scale");
      this.barText = drawn.querySelector(".scale + text");
      this.whole = [this.bar.getAttribute("d"), this.barText.textContent];
      this.reset();
    }

    reset() {
      this.see(1, this.width / 2, this.height / 2);
    }

    // Show a scale and a middle, as far as the map reaches.
    see(scale, x, y) {
      this.scale = scale < 1.001 ? 1 : Math.min(scale, MOST);
      const [half, tall] = [this.width / 2 / this.scale, this.height / 2 / this.scale];
      this.x = clamp(x, half, this.width - half);
      this.y = clamp(y, tall, this.height - tall);
      this.draw();
    }

    // Zoom such that a point of the plane stays where it is.
    zoom(factor, [px, py]) {
      const scale = clamp(this.scale * factor, 1, MOST);
      const change = 1 / this.scale - 1 / scale;
      this.see(scale, this.x + (px - this.width / 2) * change, this.y + (py - this.height / 2) * change);
    }

    move(dx, dy) {
      this.see(this.scale, this.x - dx / this.scale, this.y - dy / this.scale);
    }

    // Where a mark is in the plane.
    place({ x, y }) {
      return [(x - this.x) * this.scale + this.width / 2, (y - this.y) * this.scale + this.height / 2];
    }

    // The place of the mark that is nearest to the middle: buttons zoom there, to where something is.
    middleMark() {
      const middle = [this.width / 2, this.height / 2];
      const away = ([x, y]) => Math.hypot(x - middle[0], y - middle[1]);
      const places = this.seen.map((i) => this.place(this.marks[i]));
      return places.reduce((best, place) => (away(place) < away(best) ? place : best), places[0] ?? middle);
    }

    inView([x, y]) {
      return x >= 0 && y >= 0 && x <= this.width && y <= this.height;
    }

    // Whether it is the one for this width of the screen.
    get shown() {
      return this.drawn.getClientRects().length > 0;
    }

    draw() {
      const places = this.marks.map((mark) => this.place(mark));
      this.marks.forEach(({ node, x, y }, i) => {
        if (this.scale === 1) node.removeAttribute("transform");
        else node.setAttribute("transform", `translate(${places[i][0] - x} ${places[i][1] - y})`);
      });
      const fits = (i) => !this.marks[i].node.classList.contains("out");
      this.seen = [...places.keys()].filter((i) => this.inView(places[i]) && fits(i));
      this.named = this.seen.length <= this.mostNamed;
      const own = this.named && (this.many || this.scale > 1);
      this.drawn.classList.toggle("zoomed", this.scale > 1);
      this.drawn.classList.toggle("own", own);
      this.added.replaceChildren();
      for (const text of this.plane.querySelectorAll("text.added")) text.remove();
      if (own && this.shown) {
        this.drawLines(places);
        this.drawNames(places);
      }
      this.drawBar();
      this.told?.();
    }

    drawLines(places) {
      const drawn = new Set();
      for (const i of this.seen) {
        const { nearest, tie } = this.marks[i];
        const key = [i, nearest].sort((a, b) => a - b).join(" ");
        if (nearest === null || drawn.has(key)) continue;
        drawn.add(key);
        const d = `M${places[i].join(" ")}L${places[nearest].join(" ")}`;
        this.added.append(svg("path", { d, class: `tie ${tie} added` }));
      }
    }

    // Names beside their marks, where they cover neither a mark nor another name.
    drawNames(places) {
      const size = 8;
      const taken = places.map(([x, y]) => ({ left: x - size, right: x + size, top: y - size, bottom: y + size }));
      const texts = this.seen.map((i) => {
        const text = svg("text", { class: "added" }, this.marks[i].short);
        this.marks[i].node.append(text);
        return text;
      });
      const widths = texts.map((text) => text.getComputedTextLength());
      const line = Math.max(LINE, parseFloat(getComputedStyle(this.drawn).fontSize) + 2);
      this.seen.forEach((i, at) => {
        const found = this.room(places[i], widths[at], line, taken);
        if (!found) {
          texts[at].remove();
          return;
        }
        taken.push(found);
        const { x, y } = this.marks[i]; // the mark itself was moved
        texts[at].setAttribute("x", found.left - places[i][0] + x);
        texts[at].setAttribute("y", found.bottom - 3 - places[i][1] + y);
      });
    }

    room([x, y], width, line, taken) {
      const boxes = [
        [x + GAP, y - line / 2],
        [x - GAP - width, y - line / 2],
        [x - width / 2, y - GAP - line],
        [x - width / 2, y + GAP],
      ].map(([left, top]) => ({ left, top, right: left + width, bottom: top + line }));
      return boxes.find(
        (box) =>
          this.inView([box.left, box.top]) &&
          this.inView([box.right, box.bottom]) &&
          !taken.some((other) => overlap(box, other)),
      );
    }

    // The bar of the scale: as long as a round distance.
    drawBar() {
      let [d, text] = this.whole;
      if (this.scale > 1) {
        const unit = Number(this.drawn.dataset.unit) * this.scale;
        const longest = this.width / 4 / unit;
        const power = 10 ** Math.floor(Math.log10(longest));
        const length = power * [5, 2, 1].find((digit) => digit * power <= longest);
        d = d.replace(/h[\d.]+/, `h${unit * length}`);
        text = `distance ${Number(length.toPrecision(1))}`;
      }
      this.bar.setAttribute("d", d);
      this.barText.textContent = text;
    }

    // A place on the screen as one of the plane.
    at(event) {
      const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(
        this.drawn.getScreenCTM().inverse(),
      );
      return [x, y];
    }
  }

  // Zoom to a scale in small steps, unless the reader prefers no motion.
  function glide(map, scale) {
    const target = clamp(scale, 1, MOST);
    const from = map.scale;
    const begun = performance.now();
    const gliding = { target };
    const fixed = map.middleMark();
    map.gliding = gliding;
    const step = (now) => {
      if (map.gliding !== gliding) return; // another one has begun
      const part = still.matches ? 1 : clamp((now - begun) / DURATION, 0, 1);
      map.zoom((from * (target / from) ** part) / map.scale, fixed);
      if (part < 1) requestAnimationFrame(step);
      else map.gliding = null;
    };
    if (still.matches) step(begun);
    else requestAnimationFrame(step);
  }

  // The same by a factor, of the scale that an earlier press leads to.
  function glideBy(map, factor) {
    glide(map, (map.gliding?.target ?? map.scale) * factor);
  }

  function controls(map, tell) {
    const group = wsdarts.element("div", { class: "zoom", role: "group", "aria-label": "Zoom of the map" });
    const add = (text, label, keys, act) => {
      const made = wsdarts.element("button", { type: "button", "aria-label": label, title: `${label} (${keys})` }, text);
      made.addEventListener("click", act);
      group.append(made);
      return made;
    };
    add("+", "Zoom in", "+", () => glideBy(map, STEP));
    const less = add("−", "Zoom out", "−", () => glideBy(map, 1 / STEP));
    const whole = add("Whole map", "Whole map", "0", () => glide(map, 1));
    map.told = () => {
      for (const button of [less, whole]) button.setAttribute("aria-disabled", String(map.scale === 1));
      tell(map);
    };
    return group;
  }

  function followKeys(map, place) {
    const shift = (x, y) => map.move(x * SHIFT * map.width, y * SHIFT * map.height);
    const acts = {
      "+": () => glideBy(map, STEP),
      "=": () => glideBy(map, STEP),
      "-": () => glideBy(map, 1 / STEP),
      0: () => glide(map, 1),
      ArrowLeft: () => shift(1, 0),
      ArrowRight: () => shift(-1, 0),
      ArrowUp: () => shift(0, 1),
      ArrowDown: () => shift(0, -1),
    };
    place.addEventListener("keydown", (event) => {
      const arrow = event.key.startsWith("Arrow");
      if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in acts)) return;
      if (arrow && map.scale === 1) return; // the page scrolls
      event.preventDefault();
      acts[event.key]();
    });
    // What the keyboard comes to has to be seen.
    map.plane.addEventListener("focusin", ({ target }) => {
      const mark = map.marks.find(({ node }) => node === target.closest("a"));
      if (mark && !map.inView(map.place(mark))) map.see(map.scale, mark.x, mark.y);
    });
  }

  function followPointers(map) {
    const { drawn } = map;
    const held = new Map();
    let moved = 0;
    const middle = (points) => [0, 1].map((axis) => points.reduce((sum, p) => sum + p[axis], 0) / points.length);
    const apart = ([a, b]) => (b ? Math.hypot(a[0] - b[0], a[1] - b[1]) : 0);

    drawn.addEventListener(
      "wheel",
      (event) => {
        const factor = Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.004));
        if (!event.ctrlKey || (factor < 1 && map.scale === 1)) return; // the page scrolls or zooms
        event.preventDefault();
        map.gliding = null;
        map.zoom(clamp(factor, 1 / STEP, STEP), map.at(event));
      },
      { passive: false },
    );
    drawn.addEventListener("dragstart", (event) => event.preventDefault());
    drawn.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      if (held.size === 0) moved = 0;
      held.set(event.pointerId, map.at(event));
    });
    addEventListener("pointermove", (event) => {
      if (!held.has(event.pointerId)) return;
      const before = [...held.values()];
      const [x, y] = held.get(event.pointerId);
      held.set(event.pointerId, map.at(event));
      const after = [...held.values()];
      const [to, from] = [middle(after), middle(before)];
      moved += Math.hypot(map.at(event)[0] - x, map.at(event)[1] - y);
      if (moved < MOVED) return;
      map.gliding = null;
      drawn.classList.toggle("dragged", map.scale > 1);
      map.move(to[0] - from[0], to[1] - from[1]);
      if (after.length === 2 && apart(before) > 0) map.zoom(apart(after) / apart(before), to);
    });
    for (const end of ["pointerup", "pointercancel"])
      addEventListener(end, ({ pointerId }) => {
        held.delete(pointerId);
        if (held.size === 0) drawn.classList.remove("dragged");
      });
    // The end of a drag is no click on the mark below it.
    drawn.addEventListener(
      "click",
      (event) => {
        if (moved >= MOVED && event.detail > 0) event.preventDefault();
      },
      true,
    );
  }

  function words(map) {
    const [seen, all] = [map.seen.length, map.marks.length].map((n) => n.toLocaleString("en"));
    if (map.many && !map.named)
      return map.scale === 1
        ? "Zoom in for names and nearest tasks."
        : `${seen} of ${all} tasks in view; zoom in further for names and nearest tasks.`;
    if (map.scale === 1 && !map.many) return "";
    const styles = map.many ? map.drawn.closest(".map-panel").dataset.lines : ""; // else the caption has them
    return `${seen} of ${all} tasks in view; a line joins each with its nearest${styles}.`;
  }

  function enable(drawn, told) {
    const map = new TaskMap(drawn);
    if (map.marks.length < 2) return;
    const around = wsdarts.element("div", { class: "zoomable" });
    const tell = () => {
      if (map.shown) told.textContent = words(map);
    };
    drawn.replaceWith(around);
    around.append(drawn, controls(map, tell));
    followKeys(map, around);
    followPointers(map);
    maps.push(map);
    map.draw();
  }

  // Draw the maps again: other marks fit the filters, or the screen has another width.
  function update() {
    for (const map of maps) map.draw();
  }

  function start() {
    for (const figure of document.querySelectorAll(".map-panel")) {
      const told = wsdarts.element("p", { class: "soft", "aria-live": "polite" });
      for (const drawn of figure.querySelectorAll(".map")) enable(drawn, told);
      figure.querySelector("figcaption").append(told);
    }
    addEventListener("resize", update);
  }

  return { start, update };
})();
wsdarts.taskMap.start();
