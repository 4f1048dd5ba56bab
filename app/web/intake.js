// Where pictures come from: the file chooser, a drop anywhere on the page (folders too), the clipboard.

const PICTURE = /\.(png|apng|jpe?g|jfif|webp|avif|tiff?|bmp|gif|mpo|hei[cf])$/i;

/** @param {File} file by what the browser says, else by its name; the service looks at its bytes */
export const mayBePicture = (file) => (file.type ? file.type.startsWith("image/") : false) || PICTURE.test(file.name);

/**
 * @param {HTMLElement} zone shows that a drop would be taken
 * @param {HTMLInputElement} chooser
 * @param {(files: File[]) => void} take
 */
export function listen(zone, chooser, take) {
  chooser.addEventListener("change", () => {
    take([...(chooser.files ?? [])]);
    chooser.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(files);
  });
  const mark = (/** @type {boolean} */ over) => zone.classList.toggle("over", over);
  // The whole window takes a drop: a miss by an inch must not make the browser leave the page.
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) mark(false);
  });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    mark(false);
    if (event.dataTransfer) take(await filesOf(event.dataTransfer));
  });
}

/**
 * All files of a drop; of folders those that look like pictures.
 *
 * @param {DataTransfer} transfer
 */
async function filesOf(transfer) {
  const entries = [...transfer.items].map((item) => (item.kind === "file" ? item.webkitGetAsEntry?.() : null));
  if (!entries.some((entry) => entry?.isDirectory)) return [...transfer.files];
  /** @type {File[]} */
  const found = [];
  for (const entry of entries) if (entry) await collect(entry, found, true);
  return found;
}

/**
 * @param {FileSystemEntry} entry
 * @param {File[]} found
 * @param {boolean} named whether the user chose this very file
 */
async function collect(entry, found, named) {
  if (entry.isFile) {
    const file = await fileOf(/** @type {FileSystemFileEntry} */ (entry));
    if (file && (named || (mayBePicture(file) && !file.name.startsWith(".")))) found.push(file);
    return;
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  for (;;) {
    // A reader gives a hundred at a time, and nothing at the end.
    const some = await entriesOf(reader);
    if (!some.length) return;
    for (const each of some.sort((a, b) => a.name.localeCompare(b.name))) await collect(each, found, false);
  }
}

/** @param {FileSystemFileEntry} entry @returns {Promise<File | null>} null for what cannot be read */
const fileOf = (entry) => new Promise((resolve) => entry.file(resolve, () => resolve(null)));

/** @param {FileSystemDirectoryReader} reader @returns {Promise<FileSystemEntry[]>} */
const entriesOf = (reader) => new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
