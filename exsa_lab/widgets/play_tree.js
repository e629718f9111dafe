// The tokens tried in a playground, by id: { id, parent, token, text, bits }. 0 is the end of the prompt. Knows nothing
// of the page.

/** The nodes from the first token to this one. */
export function pathTo(nodes, id) {
  const path = [];
  for (let node = nodes.get(id); node; node = nodes.get(node.parent)) path.unshift(node);
  return path;
}

/** The node after `at` on the way to `tip`; undefined at its end. */
export function followerOf(nodes, at, tip) {
  return pathTo(nodes, tip).find(({ parent }) => parent === at);
}

/** The ends of all branches, in the order they were begun. */
export function branchesOf(nodes) {
  const parents = new Set([...nodes.values()].map(({ parent }) => parent));
  return [...nodes.keys()].filter((id) => !parents.has(id));
}
