// The command that does what the page just did.

import { queryOf } from "./api.js";

/** @param {string} word as one word of a POSIX shell */
export const quoted = (word) => (/^[\w./@:=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

/**
 * Gives the very bytes that the page got: in one request where that is answered with the picture, else by a job that is
 * waited for.
 *
 * @param {string} origin scheme, host and port of the service
 * @param {object} what
 * @param {string} what.name of the file to send
 * @param {import("./types.js").Choice} what.choice
 * @param {{ name: string } | null} what.result null while its name is not known: then the service gives it
 * @param {boolean} what.asJob whether the service may make a job of it
 * @param {boolean} what.needsKey
 */
export function curlFor(origin, { name, choice, result, asJob, needsKey }) {
  const key = needsKey ? ['-H "X-API-Key: $CHETKO_KEY"'] : [];
  const picture = `-F ${quoted(`image=@${formQuoted(name)}`)}`;
  const address = quoted(`${origin}/v1/upscale?${queryOf(choice)}`);
  const to = result ? ["-o", quoted(result.name)] : ["-OJ"];
  if (!asJob) return ["curl", ...key, picture, address, ...to].join(" ");
  const wanted = ["curl -fsS", ...key, "-H 'Prefer: respond-async'", picture, address].join(" ");
  const job = (/** @type {string} */ what) => `"${origin}$job/${what}"`;
  return [
    `job=$(${wanted} -o /dev/null -w '%header{location}') &&`,
    ["curl -fsSN", ...key, job("events"), "> /dev/null &&"].join(" "), // ends with the job
    ["curl -fsS", ...key, job("result"), ...to].join(" "),
  ].join("\n");
}

/** What curl reads as the end of a file's name in -F stands in quotes. @param {string} name */
const formQuoted = (name) => (/[;,"]/.test(name) ? `"${name.replaceAll(/["\\]/g, "\\$&")}"` : name);
