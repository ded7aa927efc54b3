// A plot of throughput by concurrency, drawn from the results.

const [WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM] = [720, 400, 70, 30, 190, 50];
const COLORS = ['#c0392b', '#e67e22', '#2c7fb8', '#7f8c8d', '#16a085', '#8e44ad', '#2c3e50'];

export function plot(results) {
  const concurrencies = [...new Set(Object.values(results).flatMap((by) => Object.keys(by).map(Number)))].sort((a, b) => a - b);
  const top = Math.max(...Object.values(results).flatMap((by) => Object.values(by).map((r) => r.jobsPerSecond))) * 1.1;
  const x = (c) => LEFT + (WIDTH - LEFT - RIGHT) * concurrencies.indexOf(Number(c)) / Math.max(1, concurrencies.length - 1);
  const y = (rate) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * rate / top;
  const parts = [`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`];
  const step = 10 ** Math.floor(Math.log10(top)) / 2;
  for (let rate = 0; rate <= top; rate += step) {
    parts.push(`<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(rate)}" y2="${y(rate)}" stroke="#ddd"/>`,
      `<text x="${LEFT - 8}" y="${y(rate) + 4}" text-anchor="end">${rate.toLocaleString('en')}</text>`);
  }
  for (const c of concurrencies) parts.push(`<text x="${x(c)}" y="${HEIGHT - BOTTOM + 20}" text-anchor="middle">${c}</text>`);
  parts.push(`<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 10}" text-anchor="middle">concurrency</text>`,
    `<text x="${LEFT}" y="${TOP - 12}">jobs per second</text>`);
  Object.entries(results).forEach(([name, by], n) => {
    const color = COLORS[n % COLORS.length];
    const points = Object.entries(by).map(([c, r]) => [x(c), y(r.jobsPerSecond)]);
    parts.push(`<polyline fill="none" stroke="${color}" stroke-width="2" points="${points.map((p) => p.join(',')).join(' ')}"/>`);
    for (const [px, py] of points) parts.push(`<circle cx="${px}" cy="${py}" r="3" fill="${color}"/>`);
    parts.push(`<text x="${WIDTH - RIGHT + 15}" y="${TOP + 18 * n}" fill="${color}">${name}</text>`);
  });
  return parts.concat('</svg>\n').join('\n');
}
