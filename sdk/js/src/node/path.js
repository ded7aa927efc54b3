import '../globals/process.js';
import posix from 'path-browserify';

export const {
  basename, delimiter, dirname, extname, format, isAbsolute, join, normalize, parse, relative, resolve, sep,
} = posix;
export const toNamespacedPath = (path) => path;
const path = { ...posix, toNamespacedPath };
path.posix = path;
path.win32 = path;
export { path as posix, path as win32 };
export default path;
