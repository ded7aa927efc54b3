import { paint, type Wall } from "./paint";

const walls: Wall[] = [{ name: "north", layers: 2 }, { name: "south", layers: 3 }];

async function work(buckets: number): Promise<number> {
  return walls.reduce((left, wall) => paint(wall, left), buckets);
}

const toril = (globalThis as any).__toril;
toril.process = async () => {
  const left = await work(4).catch((error: Error) => error);
  if (!(left instanceof Error)) return { ok: `${left}` };
  return { failure: { kind: "failed", message: left.message, stack: `${left}\n${left.stack}` } };
};
