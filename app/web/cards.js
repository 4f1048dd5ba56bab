// One card per picture: what it is, how far it is, and what can be done with it.

import { announce, button, byId, icon, make } from "./dom.js";
import { TEXT, bytesText, numberText, problemText, secondsText } from "./i18n.js";
import { outputSize } from "./options.js";
import { kept } from "./store.js";
import { ended } from "./work.js";

/** @typedef {import("./types.js").Card} Card */

/**
 * What cards can have done to them.
 *
 * @typedef {object} Actions
 * @property {(card: Card) => void} look
 * @property {(card: Card) => void} cancel
 * @property {(card: Card) => void} again with the options as they are chosen now
 * @property {(card: Card) => void} retry with its own options
 * @property {(card: Card) => void} remove
 * @property {(card: Card) => void} download
 * @property {(card: Card) => string} describe its options
 */

/** @typedef {{ root: HTMLElement, thumbnail: HTMLElement, words: HTMLElement, bar: HTMLProgressElement, status: HTMLElement, actions: HTMLElement, shown: string, address: string | null }} Parts */

export class Cards {
  /** @type {Map<string, Parts>} */
  #parts = new Map();
  /** @type {string | null} id of the card in the viewer */
  looked = null;

  /** @param {Actions} actions */
  constructor(actions) {
    this.actions = actions;
    this.list = byId("cards");
  }

  /** @param {Card[]} cards the first on top */
  renderAll(cards) {
    const present = new Set(cards.map((card) => card.id));
    for (const [id, { root, address }] of this.#parts) {
      if (present.has(id)) continue;
      root.remove();
      if (address) URL.revokeObjectURL(address);
      this.#parts.delete(id);
    }
    cards.forEach((card, number) => {
      const { root } = this.render(card);
      if (this.list.children[number] !== root) this.list.insertBefore(root, this.list.children[number] ?? null);
    });
  }

  /** Everything is written anew: the language changed. @param {Card[]} cards */
  renewTexts(cards) {
    for (const parts of this.#parts.values()) parts.shown = "";
    this.renderAll(cards);
  }

  /** @param {Card} card */
  render(card) {
    const parts = this.#parts.get(card.id) ?? this.#build(card);
    const words = TEXT().card;
    parts.root.dataset.state = card.state;
    parts.root.classList.toggle("looked", card.id === this.looked);
    parts.words.textContent = facts(card, this.actions.describe(card));
    parts.status.textContent = statusText(card);
    const bar = !ended(card);
    parts.bar.hidden = !bar;
    if (card.progress === null || (card.state === "sending" && card.progress === 1)) parts.bar.removeAttribute("value");
    else parts.bar.value = card.progress;
    parts.bar.setAttribute("aria-label", words.progress({ name: card.name }));
    // Buttons only when they change: the one that has the focus must not vanish under the finger.
    const shown = `${card.state}/${card.id === this.looked}`;
    if (parts.shown !== shown) {
      if (parts.shown && parts.shown.split("/")[0] !== card.state && ended(card)) announce(`${card.name}: ${statusText(card)}`);
      parts.shown = shown;
      const focused = parts.actions.contains(document.activeElement);
      parts.actions.replaceChildren(...this.#buttons(card));
      if (focused) parts.actions.querySelector("button")?.focus();
    }
    if (!parts.address) void this.#thumbnail(card, parts);
    return parts;
  }

  /** @param {Card} card */
  #build(card) {
    const thumbnail = make("button", "thumbnail", icon("picture"));
    thumbnail.type = "button";
    thumbnail.addEventListener("click", () => this.actions.look(card));
    const name = make("h3", "", card.name);
    name.title = card.name;
    /** @type {Parts} */
    const parts = {
      root: make("li", "card"),
      thumbnail,
      words: make("p", "facts"),
      bar: make("progress"),
      status: make("p", "status"),
      actions: make("div", "actions"),
      shown: "",
      address: null,
    };
    parts.bar.max = 1;
    parts.root.append(thumbnail, make("div", "body", name, parts.words, parts.bar, parts.status), parts.actions);
    this.#parts.set(card.id, parts);
    return parts;
  }

  /** @param {Card} card */
  #buttons(card) {
    const words = TEXT().card;
    const { actions } = this;
    const parts = this.#parts.get(card.id);
    if (parts) {
      const look = card.state === "succeeded" ? words.look({ name: card.name }) : card.name;
      parts.thumbnail.setAttribute("aria-label", look);
      parts.thumbnail.toggleAttribute("disabled", card.state !== "succeeded");
    }
    const remove = button("remove", words.remove, () => actions.remove(card));
    if (!ended(card)) return [button("cancel", words.cancel, () => actions.cancel(card))];
    if (card.state === "succeeded") {
      return [button("download", words.download, () => actions.download(card), "primary small"), remove];
    }
    return [button("again", words.retry, () => actions.retry(card)), remove];
  }

  /** @param {Card} card @param {Parts} parts */
  async #thumbnail(card, parts) {
    const blob = await kept(card.id, "thumbnail");
    if (!blob || parts.address || !this.#parts.has(card.id)) return;
    parts.address = URL.createObjectURL(blob);
    const image = make("img");
    image.alt = "";
    image.src = parts.address;
    parts.thumbnail.replaceChildren(image);
  }
}

/**
 * Such as "480 × 325 → 1920 × 1300 · 76 kB · Fast · 4×".
 *
 * @param {Card} card
 * @param {string} description
 */
function facts(card, description) {
  const parts = [];
  if (card.width && card.height) {
    const source = { width: card.width, height: card.height };
    const target = card.result?.width ? card.result : outputSize(source, card.choice);
    parts.push(`${size(source)} → ${size(target)}`);
  } else if (card.result?.width) {
    parts.push(`→ ${size(card.result)}`);
  }
  parts.push(bytesText(card.result?.bytes ?? card.bytes), description);
  return parts.join(" · ");
}

/** @param {{ width: number, height: number }} of */
const size = ({ width, height }) => `${width}\u00a0×\u00a0${height}`;

/** @param {Card} card */
export function statusText(card) {
  const words = TEXT().card;
  const left = card.job?.seconds_left;
  const time = left ? ` ${words.left({ time: secondsText(Math.ceil(left)) })}` : "";
  switch (card.state) {
    case "waiting": {
      const pause = Math.ceil(((card.resumes ?? 0) - Date.now()) / 1000);
      return pause > 0 ? words.pausing({ time: secondsText(pause) }) : words.waiting;
    }
    case "sending":
      return card.progress === 1 ? words.working : words.sending({ percent: numberText((card.progress ?? 0) * 100) });
    case "queued":
      return card.job?.position ? words.queued({ count: card.job.position }) : words.queuedNext;
    case "preparing":
      return words.preparing;
    case "running": {
      const strips = card.job?.strips;
      return (strips && strips.total > 1 ? words.strips(strips) : words.working) + time;
    }
    case "assembling":
      return words.assembling + time;
    case "succeeded": {
      const notices = card.notices.map((notice) => TEXT().notices[notice] ?? notice);
      return [card.seconds === null ? words.done : words.doneIn({ time: secondsText(card.seconds) }), ...notices].join(" ");
    }
    case "cancelled":
      return words.cancelled;
    case "expired":
      return words.expired;
    case "failed":
      return problemText(card.problem ?? {});
  }
}
