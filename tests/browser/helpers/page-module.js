// Loads a module of the pages into Node. They are plain ES modules without a package.json beside them, which older Nodes
// would take for CommonJS; a data URL says what they are. For modules that import nothing.

import { readFile } from 'node:fs/promises';

export async function pageModule(path) {
  const text = await readFile(new URL(`../../../static/${path}`, import.meta.url), 'utf8');
  return await import(`data:text/javascript,${encodeURIComponent(text)}`);
}
