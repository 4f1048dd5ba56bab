// What outlives a reload: the list of cards in localStorage, pictures in IndexedDB.

/** @typedef {import("./types.js").Card} Card */
/** @typedef {"source" | "thumbnail" | "result"} Kind */

const CARDS = "chetko-cards";
const DATABASE = "chetko";
const PICTURES = "pictures";
const OPENING_MS = 3000; // some browsers now and then never answer: then a reload forgets, and nothing waits for it

/** @returns {Card[]} */
export function loadCards() {
  try {
    const cards = JSON.parse(localStorage.getItem(CARDS) ?? "[]");
    return Array.isArray(cards) ? cards : [];
  } catch {
    return []; // forbidden, or written by something else
  }
}

/** @param {Card[]} cards */
export function saveCards(cards) {
  try {
    localStorage.setItem(CARDS, JSON.stringify(cards));
  } catch {
    // Then a reload forgets them; nothing else depends on it.
  }
}

/** @type {Promise<IDBDatabase> | null} */
let opening = null;
/** @type {Map<string, Blob>} what could not be stored, or is needed at once; for as long as the page lives */
const held = new Map();

function database() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(PICTURES);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    setTimeout(() => reject(new Error("IndexedDB does not answer.")), OPENING_MS);
  });
  return opening;
}

/**
 * @template T
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<T>} does
 * @returns {Promise<T>}
 */
async function inStore(mode, does) {
  const transaction = (await database()).transaction(PICTURES, mode);
  const request = does(transaction.objectStore(PICTURES));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}

/**
 * Keeps a picture of a card. Where the browser has no room it is held in memory, and a reload forgets it.
 *
 * @param {string} id
 * @param {Kind} kind
 * @param {Blob} picture
 */
export async function keep(id, kind, picture) {
  const key = `${id}/${kind}`;
  held.set(key, picture);
  try {
    await inStore("readwrite", (store) => store.put(picture, key));
  } catch {
    return;
  }
  if (kind !== "thumbnail") held.delete(key);
}

/**
 * @param {string} id
 * @param {Kind} kind
 * @returns {Promise<Blob | null>}
 */
export async function kept(id, kind) {
  const key = `${id}/${kind}`;
  const here = held.get(key);
  if (here) return here;
  try {
    return (await inStore("readonly", (store) => store.get(key))) ?? null;
  } catch {
    return null;
  }
}

/** @param {string} id */
export async function forget(id) {
  for (const kind of ["source", "thumbnail", "result"]) held.delete(`${id}/${kind}`);
  try {
    await inStore("readwrite", (store) => store.delete(IDBKeyRange.bound(`${id}/`, `${id}/\uffff`)));
  } catch {
    // There is nothing stored, then.
  }
}

/**
 * Removes pictures of cards that are no more, such as those of a page that was closed within `keep`.
 *
 * @param {Card[]} cards
 */
export async function sweep(cards) {
  try {
    const known = new Set(cards.map((card) => card.id));
    const keys = await inStore("readonly", (store) => store.getAllKeys());
    for (const key of keys) {
      const id = String(key).split("/")[0];
      if (!known.has(id)) await forget(id);
    }
  } catch {
    // As above.
  }
}
