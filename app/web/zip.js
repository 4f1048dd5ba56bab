// A ZIP of files as they are: pictures are compressed already. Names in UTF-8; up to 4 GB, the format's old limit.

const LARGEST = 0xffffffff;
const UTF8 = 0x0800;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? 0xedb88320 ^ (sum >>> 1) : sum >>> 1;
  return sum >>> 0;
});

/** All of it would pass the format's limit. */
export class ZipTooLargeError extends Error {}

/** @param {Blob} file */
async function checksum(file) {
  let sum = 0xffffffff;
  const reader = file.stream().getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return (sum ^ 0xffffffff) >>> 0;
    for (let at = 0; at < value.length; at++) sum = TABLE[(sum ^ value[at]) & 255] ^ (sum >>> 8);
  }
}

/**
 * @param {[number, number][]} fields value and its bytes, little-endian
 */
function record(fields) {
  const bytes = new DataView(new ArrayBuffer(fields.reduce((sum, [, size]) => sum + size, 0)));
  let at = 0;
  for (const [value, size] of fields) {
    if (size === 2) bytes.setUint16(at, value, true);
    else bytes.setUint32(at, value, true);
    at += size;
  }
  return bytes.buffer;
}

/**
 * @param {Date} moment
 * @returns {[number, number][]} as DOS counts, two seconds at a time
 */
function dosTime(moment) {
  const time = (moment.getHours() << 11) | (moment.getMinutes() << 5) | (moment.getSeconds() >> 1);
  const date = ((moment.getFullYear() - 1980) << 9) | ((moment.getMonth() + 1) << 5) | moment.getDate();
  return [
    [time, 2],
    [date, 2],
  ];
}

/**
 * Every name once: `cat.png`, `cat (2).png`, ...
 *
 * @param {string[]} names
 */
export function distinct(names) {
  /** @type {Set<string>} */
  const taken = new Set();
  return names.map((name) => {
    const dot = name.lastIndexOf(".");
    const [stem, ending] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
    let free = name;
    for (let number = 2; taken.has(free.toLowerCase()); number++) free = `${stem} (${number})${ending}`;
    taken.add(free.toLowerCase());
    return free;
  });
}

/**
 * Packs files under their names, which must be distinct. The bytes stay where the browser keeps blobs, which for large ones is
 * its disk. Throws ZipTooLargeError.
 *
 * @param {{ name: string, file: Blob }[]} entries
 * @param {Date} [moment]
 */
export async function zip(entries, moment = new Date()) {
  if (entries.reduce((sum, { file }) => sum + file.size + 512, 0) > LARGEST) throw new ZipTooLargeError();
  /** @type {BlobPart[]} */
  const parts = [];
  /** @type {BlobPart[]} */
  const directory = [];
  let offset = 0;
  let directorySize = 0;
  for (const { name, file } of entries) {
    const label = new TextEncoder().encode(name);
    /** @type {[number, number][]} */
    const common = [
      [20, 2], // version that can read it
      [UTF8, 2],
      [0, 2], // stored
      ...dosTime(moment),
      [await checksum(file), 4],
      [file.size, 4],
      [file.size, 4],
      [label.length, 2],
      [0, 2],
    ];
    const head = record([[0x04034b50, 4], ...common]);
    const entry = record([[0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]]);
    parts.push(head, label, file);
    directory.push(entry, label);
    offset += head.byteLength + label.length + file.size;
    directorySize += entry.byteLength + label.length;
  }
  const end = record([
    [0x06054b50, 4],
    [0, 2],
    [0, 2],
    [entries.length, 2],
    [entries.length, 2],
    [directorySize, 4],
    [offset, 4],
    [0, 2],
  ]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
