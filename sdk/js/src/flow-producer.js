// BullMQ's `FlowProducer`: trees of jobs, added all or none.
import { ask, host } from './host.js';
import { Connected } from './connected.js';
import { AddedJob, FoundJob } from './other-job.js';
import { missing } from './missing.js';
import { nameText, optionsText } from './options.js';

/** A node as the host takes it: without fields of a caller's own. */
const node = ({ name, queueName, data, prefix, opts, children }) => ({
  name: nameText(name),
  queueName,
  data,
  prefix,
  opts: opts && JSON.parse(optionsText(opts)),
  children: children?.map(node),
});

/** The options of queues that concern jobs. */
function queuesOptions({ queuesOptions: queues = {} } = {}) {
  const defaults = Object.entries(queues).map(([name, { defaultJobOptions = {} } = {}]) => [name, { defaultJobOptions }]);
  return { queuesOptions: Object.fromEntries(defaults) };
}

function added(tree, flow, defaults) {
  const options = { ...defaults[flow.queueName]?.defaultJobOptions, ...flow.opts };
  const job = new AddedJob(flow.queueName, tree.id, flow.name, flow.data, options);
  if (!flow.children?.length) return { job };
  return { job, children: flow.children.map((child, n) => added(tree.children[n], child, defaults)) };
}

function found({ children, ...job }) {
  const result = { job: new FoundJob(job) };
  return children?.length ? { ...result, children: children.map(found) } : result;
}

export class FlowProducer extends Connected {
  constructor(opts = {}) {
    super('flows', opts);
  }

  async add(flow, opts) {
    const [tree] = this.#add([flow], opts);
    return tree;
  }

  async addBulk(flows, opts) {
    return this.#add(flows, opts);
  }

  #add(flows, opts) {
    this.checkPrefix();
    const options = queuesOptions(opts);
    const trees = JSON.parse(
      ask(() => host.producer.addFlows(JSON.stringify(flows.map(node)), optionsText(options))),
    );
    return trees.map((tree, n) => added(tree, flows[n], options.queuesOptions));
  }

  async getFlow({ queueName, id, depth = 10, maxChildren = 20, prefix }) {
    this.checkPrefix();
    const own = host.job.queueQualifiedName().slice(0, -host.job.queueName().length - 1);
    if (prefix !== undefined && prefix !== own) throw missing(`a flow of the prefix \`${prefix}\``, `its queues have the prefix \`${own}\``);
    const query = JSON.stringify({ depth, maxChildren });
    const tree = JSON.parse(ask(() => host.producer.getFlow(queueName, String(id), query)));
    return tree ? found(tree) : undefined;
  }
}
