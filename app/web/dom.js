// Making and finding elements.

/** @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`The page has no #${id}.`);
  return found;
}

/** @param {string} id */
export const inputById = (id) => /** @type {HTMLInputElement} */ (byId(id));

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [name] its class
 * @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, name = "", ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} name of a symbol in index.html */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/**
 * @param {string} symbol
 * @param {string} label
 * @param {() => void} does
 * @param {string} [name] its class
 */
export function button(symbol, label, does, name = "quiet") {
  const node = make("button", name, icon(symbol), make("span", "", label));
  node.type = "button";
  node.addEventListener("click", does);
  return node;
}

/** Saves a file as if its link had been clicked. @param {Blob} file @param {string} name */
export function save(file, name) {
  const link = make("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Tells those who cannot see the page; the same words twice are told twice. @param {string} words */
export function announce(words) {
  const region = byId("announcer");
  region.replaceChildren(make("span", "", words));
}
