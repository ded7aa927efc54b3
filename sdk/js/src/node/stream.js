import '../globals/abort.js';
import '../globals/buffer.js';
import '../globals/process.js';
import Stream from 'readable-stream';

export const {
  addAbortSignal, compose, destroy, Duplex, finished, isDisturbed, isErrored, isReadable, PassThrough, pipeline, promises,
  Readable, Transform, Writable,
} = Stream;
export { Stream };
export default Stream;
