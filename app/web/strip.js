// A labelled strip of pictures of the same spot: shown, two of them chosen for the viewer, and saved as one PNG.

import { sharePicture } from "./api.js";
import { button, icon, make, save } from "./dom.js";
import { TEXT } from "./i18n.js";
import { BitmapLayer } from "./layers.js";
import { copyLink } from "./share.js";

/** @typedef {import("./types.js").Panel} Panel */

const LABEL = 26; // pixels of the saved picture: the line above a panel
const CAPTION = 22; // and the one below
const GAP = 8;

/** A bitmap that its strip closes, not the viewer. */
class BorrowedLayer extends BitmapLayer {
  close() {
    this.onmore = null;
  }
}

export class Strip {
  /** @type {Panel[]} */
  panels = [];
  /** @type {number[]} indexes of the two that are in the viewer, left and right */
  picked = [];
  /** @type {(left: import("./stage.js").Side, right: import("./stage.js").Side, byUser: boolean) => void} two to look at */
  onpick = () => undefined;

  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place;
  }

  clear() {
    for (const { image } of this.panels) image.close();
    this.panels = [];
    this.picked = [];
    this.place.replaceChildren();
  }

  /** @param {Panel} panel */
  add(panel) {
    this.panels.push(panel);
    const number = this.panels.length - 1;
    const canvas = make("canvas");
    canvas.width = panel.image.width;
    canvas.height = panel.image.height;
    canvas.getContext("2d")?.drawImage(panel.image, 0, 0);
    canvas.setAttribute("aria-hidden", "true");
    const choose = make("button", "panel-button", canvas, make("strong", "", panel.label), make("span", "caption", panel.caption));
    choose.type = "button";
    choose.setAttribute("aria-pressed", "false");
    choose.addEventListener("click", () => this.pick(number, true));
    this.place.append(make("li", "", choose));
  }

  /**
   * Puts a panel on the right of the viewer; the one that was there goes left.
   *
   * @param {number} number
   * @param {boolean} [byUser]
   */
  pick(number, byUser = false) {
    const last = this.picked[this.picked.length - 1];
    if (last === number) return;
    this.picked = last === undefined ? [number] : [last, number];
    this.#mark();
    if (this.picked.length < 2) return;
    const [left, right] = this.picked.map((each) => {
      const { image, label } = this.panels[each];
      return { layer: new BorrowedLayer({ width: image.width, height: image.height, levels: [image] }), label: () => label };
    });
    this.onpick(left, right, byUser);
  }

  #mark() {
    [...this.place.querySelectorAll("button")].forEach((node, number) => {
      const at = this.picked.indexOf(number);
      node.setAttribute("aria-pressed", String(at >= 0));
      node.dataset.side = at < 0 ? "" : at === this.picked.length - 1 ? "right" : "left";
    });
  }

  /** The whole strip as one picture at 1:1 pixels. @returns {Promise<Blob>} */
  async asPicture() {
    const width = this.panels.reduce((sum, { image }) => sum + image.width + GAP, GAP);
    const height = LABEL + Math.max(...this.panels.map(({ image }) => image.height)) + CAPTION + GAP;
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    if (!context) throw new Error("This browser gives no canvas.");
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, width, height);
    context.textBaseline = "middle";
    let left = GAP;
    for (const { image, label, caption } of this.panels) {
      context.fillStyle = "#14201c";
      context.font = "600 14px system-ui, sans-serif";
      context.fillText(label, left, LABEL / 2, image.width);
      context.drawImage(image, left, LABEL);
      context.fillStyle = "#51605a";
      context.font = "12px system-ui, sans-serif";
      context.fillText(caption, left, LABEL + image.height + CAPTION / 2 + 2, image.width);
      left += image.width + GAP;
    }
    return canvas.convertToBlob({ type: "image/png" });
  }

  /**
   * Buttons that save the strip, copy it, make a link to it, or hand it to other programs, as far as the browser can.
   *
   * @param {string} name of the file
   * @param {(words: string) => void} say
   * @param {string | null} [job] whose result it shows: the link then ends with that
   */
  buttons(name, say, job = null) {
    const words = TEXT().strip;
    const nodes = [button("download", words.save, async () => save(await this.asPicture(), name))];
    if ("ClipboardItem" in window && navigator.clipboard) {
      nodes.push(
        button("copy", words.copy, async () => {
          try {
            await navigator.clipboard.write([new ClipboardItem({ "image/png": this.asPicture() })]);
            say(words.copied);
          } catch {
            say(words.notCopied);
          }
        }),
      );
    }
    nodes.push(
      button("share", TEXT().stage.share, () => void copyLink(async () => sharePicture(await this.asPicture(), name, job), say)),
    );
    if (navigator.canShare?.({ files: [new File([""], name, { type: "image/png" })] })) {
      nodes.push(
        button("send", words.share, async () => {
          const files = [new File([await this.asPicture()], name, { type: "image/png" })];
          await navigator.share({ files }).catch(() => undefined); // the user changed their mind
        }),
      );
    }
    return nodes;
  }
}

/** Something to look at while a panel is under way. @param {string} label */
export const pendingPanel = (label) => make("li", "pending", icon("wait"), make("strong", "", label));
