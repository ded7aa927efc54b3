// `AbortController`, `AbortSignal`, `Event`, `EventTarget`, `DOMException` as globals.
import { AbortController, AbortSignal } from '../events/abort.js';
import { CustomEvent, Event, EventTarget } from '../events/event-target.js';
import { DOMException } from '../events/dom-exception.js';

Object.assign(globalThis, { AbortController, AbortSignal, CustomEvent, Event, EventTarget, DOMException });
