// The command that does what the page just did.

import { queryOf } from "./api.js";

/** @param {string} word as one word of a POSIX shell */
export const quoted = (word) => (/^[\w./@:=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

/**
 * @param {string} origin scheme, host and port of the service
 * @param {{ name: string, choice: import("./types.js").Choice, result: { name: string } | null, tooLarge: boolean }} what
 *   tooLarge: the result is above what one request answers, so the job is waited for
 */
export function curlFor(origin, { name, choice, result, tooLarge }) {
  const address = `${origin}/v1/upscale?${queryOf(choice)}`;
  const to = result?.name ?? "result.png";
  if (!tooLarge) return `curl -F ${quoted(`image=@${name}`)} ${quoted(address)} -o ${quoted(to)}`;
  return [
    `job=$(curl -sS -F ${quoted(`image=@${name}`)} ${quoted(address)} -o /dev/null -w '%header{location}')`,
    `curl -sSN "${origin}$job/events"`, // ends with the job
    `curl -sS "${origin}$job/result" -o ${quoted(to)}`,
  ].join("\n");
}
