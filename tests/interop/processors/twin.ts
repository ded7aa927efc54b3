// What the oracle's scenarios do, as Node's worker does it.
import { FlowProducer, Queue } from 'bullmq';
import { twin } from '../twin.mjs';

export default twin({ queue: new Queue('oracle'), flow: new FlowProducer() });
