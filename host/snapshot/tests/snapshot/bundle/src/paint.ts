export interface Wall {
  name: string;
  layers: number;
}

export function paint(wall: Wall, buckets: number): number {
  if (buckets < wall.layers) {
    throw new RangeError("no paint left");
  }
  return buckets - wall.layers;
}
