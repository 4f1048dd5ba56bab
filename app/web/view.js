// The arithmetic of looking: fit, zoom about a point, pan, and where a picture's pixels lie on the canvas.
// All sizes are canvas pixels or the picture's own pixels; at zoom 1 one is the other, so nothing is ever resampled there.

/** @typedef {import("./types.js").Area} Area */

export const LARGEST = 8; // 800 %
const STEPS = [1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 3, 4, 6, 8];

/** Which part of a picture is seen, and how large. */
export class Looking {
  /** Of the picture, in its pixels. */
  width = 1;
  height = 1;
  /** Of the area on the canvas, in canvas pixels. */
  areaWidth = 1;
  areaHeight = 1;
  /** The picture's point in the middle of the area. */
  x = 0;
  y = 0;
  zoom = 1;
  /** Whether the zoom follows the area's size. */
  fitted = true;

  /** The zoom at which all is seen; small pictures grow by whole numbers, so that their pixels stay squares. */
  get fit() {
    const ratio = Math.min(this.areaWidth / this.width, this.areaHeight / this.height);
    return ratio < 1 ? ratio : Math.min(LARGEST, Math.floor(ratio));
  }

  /** Whether any part lies outside the area. */
  get hides() {
    return this.width * this.zoom > this.areaWidth + 0.5 || this.height * this.zoom > this.areaHeight + 0.5;
  }

  /**
   * Another picture: seen whole.
   *
   * @param {number} width
   * @param {number} height
   */
  open(width, height) {
    Object.assign(this, { width, height });
    this.showAll();
  }

  /**
   * @param {number} width
   * @param {number} height
   */
  resize(width, height) {
    this.areaWidth = Math.max(1, width);
    this.areaHeight = Math.max(1, height);
    if (this.fitted) this.showAll();
    else this.#keepInside();
  }

  showAll() {
    Object.assign(this, { zoom: this.fit, x: this.width / 2, y: this.height / 2, fitted: true });
  }

  /**
   * Zooms so that the picture's point under (left, top), counted from the area's middle, stays where it is.
   *
   * @param {number} zoom
   * @param {number} left
   * @param {number} top
   */
  zoomTo(zoom, left = 0, top = 0) {
    const wanted = Math.min(LARGEST, Math.max(Math.min(this.fit, 1), zoom));
    this.x += left / this.zoom - left / wanted;
    this.y += top / this.zoom - top / wanted;
    this.zoom = wanted;
    this.fitted = Math.abs(wanted - this.fit) < 1e-9;
    this.#keepInside();
  }

  /**
   * The next of the usual zooms.
   *
   * @param {1 | -1} direction
   */
  step(direction) {
    const steps = [...STEPS, this.fit].sort((a, b) => a - b);
    const next =
      direction > 0 ? steps.find((each) => each > this.zoom * 1.01) : steps.findLast((each) => each < this.zoom * 0.99);
    if (next !== undefined) this.zoomTo(next);
  }

  /**
   * Moves the picture by canvas pixels.
   *
   * @param {number} left
   * @param {number} top
   */
  pan(left, top) {
    this.x -= left / this.zoom;
    this.y -= top / this.zoom;
    this.#keepInside();
  }

  /**
   * The view for drawing into an area of this size; at whole canvas pixels.
   *
   * @param {Area} area
   * @returns {import("./types.js").View}
   */
  viewOf(area) {
    const snapped = (/** @type {number} */ at) => Math.round(at * this.zoom) / this.zoom;
    return {
      x: snapped(this.x - area.width / 2 / this.zoom),
      y: snapped(this.y - area.height / 2 / this.zoom),
      zoom: this.zoom,
    };
  }

  /** What is seen, in the picture's pixels. */
  seen() {
    const width = Math.min(this.width, this.areaWidth / this.zoom);
    const height = Math.min(this.height, this.areaHeight / this.zoom);
    return { left: this.x - width / 2, top: this.y - height / 2, width, height };
  }

  #keepInside() {
    this.x = inside(this.x, this.width, this.areaWidth / this.zoom);
    this.y = inside(this.y, this.height, this.areaHeight / this.zoom);
  }
}

/**
 * @param {number} middle
 * @param {number} length of the picture
 * @param {number} seen length that the area shows
 */
function inside(middle, length, seen) {
  return seen >= length ? length / 2 : Math.min(length - seen / 2, Math.max(seen / 2, middle));
}
