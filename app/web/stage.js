// The viewer: two pictures in one place, with a divider, side by side or in turn; zoom, pan and a loupe.

import { TEXT, locale } from "./i18n.js";
import { Looking } from "./view.js";

/** @typedef {import("./types.js").Area} Area */
/** @typedef {import("./types.js").Layer} Layer */
/** @typedef {"slider" | "side" | "blink"} Mode */
/** @typedef {{ layer: Layer, label: () => string }} Side */

const GRIP = 28; // css pixels on either side of the divider that take hold of it
const BLINK_MS = 900;
const LOUPE = 150; // css pixels: edge of one of its two panes
const PAN_STEP = 80; // css pixels per arrow key

const still = matchMedia("(prefers-reduced-motion: reduce)");

const find = (/** @type {string} */ selector) => {
  const found = document.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`The page has no ${selector}.`);
  return found;
};

/** A picture as the canvas shows it, kept as long as neither view nor picture changes. */
class Sheet {
  /** Whether the picture has changed since. */
  stale = false;
  /** @type {OffscreenCanvas | null} */
  #canvas = null;
  #shown = "";

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Layer} layer
   * @param {import("./types.js").View} view
   * @param {string} key of the view
   * @param {Area} area
   * @param {Area} clip the part of it that is to be seen
   */
  copy(context, layer, view, key, area, clip) {
    this.#canvas ??= new OffscreenCanvas(area.width, area.height);
    if (this.stale || key !== this.#shown) {
      Object.assign(this.#canvas, { width: area.width, height: area.height }); // which clears it, too
      layer.draw(contextOf(this.#canvas), view, area, area);
      this.#shown = key;
      this.stale = false;
    }
    const { left, top, width, height } = clip;
    context.drawImage(this.#canvas, left - area.left, top - area.top, width, height, left, top, width, height);
  }

  clear() {
    if (this.#canvas) Object.assign(this.#canvas, { width: 0, height: 0 }); // its memory goes now, not some time later
    this.#canvas = null;
    this.#shown = "";
    this.stale = false;
  }
}

export class Stage {
  root = find("#stage");
  box = find("#view");
  canvas = /** @type {HTMLCanvasElement} */ (find("#canvas"));
  slider = /** @type {HTMLInputElement} */ (find("#slider"));
  loupe = /** @type {HTMLCanvasElement} */ (find("#loupe"));
  dialog = /** @type {HTMLDialogElement} */ (find("#full"));
  looking = new Looking();
  /** @type {Side | null} */
  left = null;
  /** @type {Side | null} */
  right = null;
  /** @type {Mode} */
  mode = "slider";
  /** 0..1 of the area's width. */
  split = 0.5;
  blinkLeft = false;
  magnifying = false;
  #asked = 0;
  #blinking = 0;
  #moving = 0;
  /** @type {Map<number, { x: number, y: number }>} */
  #pointers = new Map();
  /** @type {"split" | "pan" | "pinch" | null} */
  #drag = null;
  #moved = 0;
  /** @type {{ x: number, y: number } | null} in canvas pixels */
  #lens = null;
  #home = document.createComment("stage");
  #sheets = { left: new Sheet(), right: new Sheet() };
  /** The view that was drawn last, as text, and where the divider stood. */
  #seen = "";
  #cut = -1;

  constructor() {
    this.context = contextOf(this.canvas);
    this.root.before(this.#home);
    new ResizeObserver(() => this.#measure()).observe(this.box);
    // The ratio changes with the browser's zoom and between screens.
    matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener("change", () => this.#measure());
    this.#listen();
    this.#measure();
  }

  /**
   * Shows a pair, or one picture. What was shown before is closed.
   *
   * @param {Side | null} left
   * @param {Side} right
   * @param {{ keepView?: boolean, zoom?: number, x?: number, y?: number }} [how] x, y: 0..1 of the picture
   */
  show(left, right, how = {}) {
    this.#stopMoving();
    for (const side of [this.left, this.right]) {
      if (side && side.layer !== left?.layer && side.layer !== right.layer) side.layer.close();
    }
    this.left = left;
    this.right = right;
    this.#seen = "";
    for (const [side, sheet] of /** @type {const} */ ([[left, this.#sheets.left], [right, this.#sheets.right]])) {
      sheet.clear();
      if (!side) continue;
      side.layer.onmore = () => {
        sheet.stale = true;
        this.draw();
      };
    }
    const { width, height } = right.layer;
    const same = this.looking.width === width && this.looking.height === height;
    const stays = how.keepView && same;
    if (!stays) this.looking.open(width, height);
    if (how.zoom && !stays) {
      this.looking.zoomTo(how.zoom);
      this.looking.x = width * (how.x ?? 0.5);
      this.looking.y = height * (how.y ?? 0.5);
      this.looking.pan(0, 0);
    }
    this.split = left ? 0.5 : 0;
    this.setMode(left ? this.mode : "slider");
    this.renewTexts();
  }

  /** Moves the divider once from side to side: the first thing that a visitor sees. */
  demonstrate() {
    if (still.matches || !this.left) return;
    const began = performance.now();
    const step = () => {
      const time = (performance.now() - began) / 3600;
      if (time >= 1) return this.#stopMoving();
      // From the middle to the left, to the right, and back.
      this.split = 0.5 - 0.38 * Math.sin(2 * Math.PI * easeInOut(time));
      this.draw();
      this.#moving = requestAnimationFrame(step);
    };
    this.#moving = requestAnimationFrame(step);
  }

  #stopMoving() {
    cancelAnimationFrame(this.#moving);
    if (this.#moving) {
      this.#placeSlider();
      this.#rest();
    }
    this.#moving = 0;
  }

  /** The divider has come to rest: what was held to move it quickly is not needed any more. */
  #rest() {
    this.#sheets.left.clear();
    this.#sheets.right.clear();
  }

  /** @param {Mode} mode */
  setMode(mode) {
    this.mode = mode;
    clearInterval(this.#blinking);
    this.#blinking = 0;
    this.blinkLeft = false;
    if (mode === "blink" && !still.matches) this.#blinkOn();
    for (const button of this.root.querySelectorAll("[data-mode]")) {
      const wanted = button instanceof HTMLElement ? button.dataset.mode : "";
      button.setAttribute("aria-pressed", String(wanted === mode));
      if (button instanceof HTMLButtonElement) button.disabled = !this.left && wanted !== "slider";
    }
    this.#measure();
  }

  #blinkOn() {
    this.#blinking = window.setInterval(() => {
      this.blinkLeft = !this.blinkLeft;
      this.#renewTags();
      this.draw();
    }, BLINK_MS);
  }

  renewTexts() {
    this.#renewTags();
    this.#placeSlider();
    const names = [this.left, this.right].flatMap((side) => (side ? [side.label()] : []));
    this.canvas.setAttribute("aria-label", TEXT().stage.picture({ names: names.join(", ") }));
    this.draw();
  }

  #renewTags() {
    const [left, right] = [find("#tag-left"), find("#tag-right")];
    const blink = this.mode === "blink";
    left.textContent = this.left?.label() ?? "";
    right.textContent = this.right?.label() ?? "";
    left.hidden = !this.left || (blink && !this.blinkLeft);
    right.hidden = !this.right || (blink && this.blinkLeft);
  }

  #placeSlider() {
    this.slider.value = String(Math.round(this.split * 100));
    this.slider.setAttribute("aria-valuetext", TEXT().stage.percent({ value: Math.round(this.split * 100) }));
  }

  #measure() {
    const ratio = devicePixelRatio || 1;
    const width = Math.round(this.box.clientWidth * ratio);
    const height = Math.round(this.box.clientHeight * ratio);
    if (!width || !height) return;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const [area] = this.areas();
    this.looking.resize(area.width, area.height);
    this.slider.hidden = this.mode !== "slider" || !this.left;
    find("#handle").hidden = this.slider.hidden;
    this.root.dataset.shown = this.mode;
    this.#renewTags();
    this.draw();
  }

  /** Where the pictures are drawn: one area, or two side by side (one above the other where the canvas is high). */
  areas() {
    const { width, height } = this.canvas;
    if (this.mode !== "side" || !this.left) return [{ left: 0, top: 0, width, height }];
    const gap = Math.round(2 * (devicePixelRatio || 1));
    if (width >= height) {
      const half = Math.floor((width - gap) / 2);
      return [
        { left: 0, top: 0, width: half, height },
        { left: width - half, top: 0, width: half, height },
      ];
    }
    const half = Math.floor((height - gap) / 2);
    return [
      { left: 0, top: 0, width, height: half },
      { left: 0, top: height - half, width, height: half },
    ];
  }

  /** Draws with the browser's next frame. */
  draw() {
    if (this.#asked) return;
    this.#asked = requestAnimationFrame(() => {
      this.#asked = 0;
      this.#drawNow();
    });
  }

  #drawNow() {
    const { context, canvas, left, right } = this;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!right) return;
    const [first, second] = this.areas();
    const view = this.looking.viewOf(first);
    if (this.mode === "side" && left && second) {
      left.layer.draw(context, view, first, first);
      right.layer.draw(context, view, second, second);
    } else if (this.mode === "blink" && left) {
      (this.blinkLeft ? left : right).layer.draw(context, view, first, first);
    } else {
      const cut = Math.round(first.width * this.split);
      const seen = [view.x, view.y, view.zoom, first.width, first.height].join();
      const divided = seen === this.#seen && cut !== this.#cut;
      this.#seen = seen;
      this.#cut = cut;
      for (const [side, sheet, clip] of /** @type {const} */ ([
        [left, this.#sheets.left, { ...first, width: cut }],
        [right, this.#sheets.right, { ...first, left: cut, width: first.width - cut }],
      ])) {
        if (!side || clip.width <= 0) continue;
        // While only the divider moves, each picture is drawn once and then copied: scaling is what takes the time. Not
        // when a tile has come: after a zoom they come one by one, and all of both pictures would be drawn for each.
        if (divided && left) sheet.copy(context, side.layer, view, seen, first, clip);
        else side.layer.draw(context, view, first, clip);
      }
    }
    this.root.style.setProperty("--split", `${this.split * 100}%`);
    const zoom = Math.round(this.looking.zoom * 100);
    find("#zoom").textContent = `${zoom.toLocaleString(locale())} %`;
    this.root.dataset.pans = String(this.looking.hides);
    this.#drawLoupe(first, view);
  }

  /**
   * The same spot of both pictures, enlarged.
   *
   * @param {Area} area
   * @param {import("./types.js").View} view
   */
  #drawLoupe(area, view) {
    const { loupe, left, right } = this;
    loupe.hidden = !this.magnifying || !right;
    if (loupe.hidden || !right) return;
    const ratio = devicePixelRatio || 1;
    const edge = Math.round(LOUPE * ratio);
    const panes = left ? 2 : 1;
    const width = panes * edge + (panes - 1) * 2;
    if (loupe.width !== width || loupe.height !== edge) Object.assign(loupe, { width, height: edge });
    const at = this.#lens ?? { x: area.left + area.width / 2, y: area.top + area.height / 2 };
    let inX = at.x - area.left;
    let inY = at.y - area.top;
    const second = this.areas()[1];
    if (second && inX > area.width) inX = at.x - second.left;
    if (second && inY > area.height) inY = at.y - second.top;
    const zoom = Math.min(16, Math.max(2, Math.ceil(this.looking.zoom * 3)));
    const lens = {
      x: view.x + inX / view.zoom - edge / 2 / zoom,
      y: view.y + inY / view.zoom - edge / 2 / zoom,
      zoom,
    };
    const context = contextOf(loupe);
    context.clearRect(0, 0, width, edge);
    [left, right].flatMap((side) => (side ? [side] : [])).forEach((side, number) => {
      const pane = { left: number * (edge + 2), top: 0, width: edge, height: edge };
      side.layer.draw(context, lens, pane, pane);
    });
    const [cssWidth, cssEdge] = [width / ratio, LOUPE];
    const [x, y] = [at.x / ratio, at.y / ratio];
    const above = y - cssEdge - 24 > 0 ? y - cssEdge - 24 : y + 24;
    loupe.style.width = `${cssWidth}px`;
    loupe.style.height = `${cssEdge}px`;
    loupe.style.left = `${Math.max(8, Math.min(this.box.clientWidth - cssWidth - 8, x - cssWidth / 2))}px`;
    loupe.style.top = `${Math.max(8, Math.min(this.box.clientHeight - cssEdge - 8, above))}px`;
  }

  get full() {
    return this.dialog.open;
  }

  toggleFull() {
    if (this.full) {
      this.dialog.close();
      return;
    }
    this.dialog.append(this.root);
    this.dialog.showModal();
    this.box.focus();
    this.#fullChanged();
  }

  #fullChanged() {
    find("#expand").setAttribute("aria-pressed", String(this.full));
    this.#measure();
  }

  /** @param {boolean} on */
  setLoupe(on) {
    this.magnifying = on;
    find("#magnify").setAttribute("aria-pressed", String(on));
    this.draw();
  }

  /**
   * Of an event, in canvas pixels from the box's upper left.
   *
   * @param {MouseEvent} event
   */
  #place(event) {
    const ratio = devicePixelRatio || 1;
    const { left, top } = this.box.getBoundingClientRect();
    return { x: (event.clientX - left) * ratio, y: (event.clientY - top) * ratio };
  }

  /**
   * From the middle of the area that holds the point.
   *
   * @param {{ x: number, y: number }} at
   */
  #fromMiddle(at) {
    const inside = (/** @type {Area} */ area) => at.x < area.left + area.width && at.y < area.top + area.height;
    const areas = this.areas();
    const area = areas.find(inside) ?? areas[0];
    return { x: at.x - area.left - area.width / 2, y: at.y - area.top - area.height / 2 };
  }

  #listen() {
    const { box, slider, root } = this;
    slider.addEventListener("input", () => {
      this.#touched();
      this.split = Number(slider.value) / 100;
      this.#placeSlider();
      this.draw();
    });
    box.addEventListener("pointerdown", (event) => this.#down(event));
    box.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of /** @type {const} */ (["pointerup", "pointercancel"])) {
      box.addEventListener(end, (event) => this.#up(event));
    }
    box.addEventListener("pointerleave", () => {
      if (!this.#pointers.size) this.#lens = null;
      if (this.magnifying) this.draw();
    });
    box.addEventListener("dblclick", (event) => {
      const at = this.#fromMiddle(this.#place(event));
      if (this.looking.fitted && this.looking.zoom < 1) this.looking.zoomTo(1, at.x, at.y);
      else if (this.looking.fitted) this.looking.zoomTo(this.looking.zoom * 2, at.x, at.y);
      else this.looking.showAll();
      this.draw();
    });
    box.addEventListener(
      "wheel",
      (event) => {
        // In the page a wheel scrolls, unless the picture was clicked or the fingers pinch.
        if (!event.ctrlKey && !this.full && !box.contains(document.activeElement)) return;
        event.preventDefault();
        this.#touched();
        const at = this.#fromMiddle(this.#place(event));
        const pixels = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * 20 : event.deltaY;
        this.looking.zoomTo(this.looking.zoom * Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.0022)), at.x, at.y);
        this.draw();
      },
      { passive: false },
    );
    root.addEventListener("keydown", (event) => this.#key(event));
    for (const button of root.querySelectorAll("[data-mode]")) {
      button.addEventListener("click", () => {
        this.#touched();
        this.setMode(/** @type {Mode} */ (/** @type {HTMLElement} */ (button).dataset.mode));
      });
    }
    const act = (/** @type {string} */ id, /** @type {() => void} */ does) =>
      find(id).addEventListener("click", () => {
        this.#touched();
        does();
        this.draw();
      });
    act("#zoom-in", () => this.looking.step(1));
    act("#zoom-out", () => this.looking.step(-1));
    act("#zoom-fit", () => this.looking.showAll());
    act("#zoom-one", () => this.looking.zoomTo(1));
    act("#magnify", () => this.setLoupe(!this.magnifying));
    act("#expand", () => this.toggleFull());
    this.dialog.addEventListener("close", () => {
      this.#home.after(root);
      this.#fullChanged();
      find("#expand").focus();
    });
  }

  #touched() {
    this.#stopMoving();
  }

  /** @param {PointerEvent} event */
  #down(event) {
    if (event.button > 0) return;
    this.#touched();
    const at = this.#place(event);
    this.#pointers.set(event.pointerId, at);
    this.box.setPointerCapture(event.pointerId);
    this.#moved = 0;
    if (this.#pointers.size === 2) {
      this.#drag = "pinch";
      return;
    }
    const fromDivider = Math.abs(at.x - this.canvas.width * this.split) / (devicePixelRatio || 1);
    const divides = this.mode === "slider" && this.left !== null;
    // A picture that is seen whole has nowhere to go: all of it is the divider's handle.
    this.#drag = divides && (fromDivider < GRIP || !this.looking.hides) ? "split" : "pan";
    if (this.#drag === "split" && event.pointerType === "mouse") this.#splitAt(at.x);
    this.#lens = at;
    this.draw();
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const at = this.#place(event);
    const before = this.#pointers.get(event.pointerId);
    if (event.pointerType === "mouse" || before) this.#lens = at;
    if (this.magnifying) this.draw();
    if (!before) return;
    this.#moved += Math.abs(at.x - before.x) + Math.abs(at.y - before.y);
    if (this.#drag === "split") this.#splitAt(at.x);
    if (this.#drag === "pan") this.looking.pan(at.x - before.x, at.y - before.y);
    if (this.#drag === "pinch") this.#pinch(event.pointerId, before, at);
    this.#pointers.set(event.pointerId, at);
    this.draw();
  }

  /**
   * @param {number} id of the finger that moved
   * @param {{ x: number, y: number }} before
   * @param {{ x: number, y: number }} at
   */
  #pinch(id, before, at) {
    const other = [...this.#pointers].find(([each]) => each !== id)?.[1];
    if (!other) return;
    const distance = (/** @type {{ x: number, y: number }} */ one) => Math.hypot(one.x - other.x, one.y - other.y);
    const middle = this.#fromMiddle({ x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 });
    this.looking.pan((at.x - before.x) / 2, (at.y - before.y) / 2);
    this.looking.zoomTo((this.looking.zoom * distance(at)) / Math.max(1, distance(before)), middle.x, middle.y);
  }

  /** @param {PointerEvent} event */
  #up(event) {
    if (!this.#pointers.delete(event.pointerId)) return;
    if (this.mode === "blink" && this.#moved < 6) this.#blinkByHand();
    if (this.#drag === "split") this.#rest();
    if (this.#pointers.size === 1) this.#drag = "pan";
    else this.#drag = null;
    if (event.pointerType !== "mouse") this.#lens = null;
    this.draw();
  }

  #blinkByHand() {
    clearInterval(this.#blinking);
    this.#blinking = 0;
    this.blinkLeft = !this.blinkLeft;
    this.#renewTags();
    this.draw();
  }

  /** @param {number} x canvas pixels */
  #splitAt(x) {
    this.split = Math.min(1, Math.max(0, x / this.canvas.width));
    this.#placeSlider();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = PAN_STEP * (devicePixelRatio || 1);
    /** @type {Record<string, () => void>} */
    const keys = {
      "+": () => this.looking.step(1),
      "=": () => this.looking.step(1),
      "-": () => this.looking.step(-1),
      0: () => this.looking.showAll(),
      1: () => this.looking.zoomTo(1),
    };
    if (event.target === this.box) {
      Object.assign(keys, {
        ArrowLeft: () => this.looking.pan(step, 0),
        ArrowRight: () => this.looking.pan(-step, 0),
        ArrowUp: () => this.looking.pan(0, step),
        ArrowDown: () => this.looking.pan(0, -step),
        " ": () => this.mode === "blink" && this.#blinkByHand(),
      });
    }
    // By the key's place where the layout has no such letter (Cyrillic): L, F.
    if (event.code === "KeyL") keys[event.key] = () => this.setLoupe(!this.magnifying);
    if (event.code === "KeyF") keys[event.key] = () => this.toggleFull();
    const does = keys[event.key];
    if (!does) return;
    event.preventDefault();
    this.#touched();
    does();
    this.draw();
  }
}

/** @param {HTMLCanvasElement | OffscreenCanvas} canvas */
function contextOf(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("This browser gives no canvas.");
  return /** @type {CanvasRenderingContext2D} */ (context); // the other kind draws just the same
}

/** @param {number} time 0..1 */
const easeInOut = (time) => (time < 0.5 ? 2 * time * time : 1 - 2 * (1 - time) ** 2);
