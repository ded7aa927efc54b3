// The types of `@toril/sdk`, which stands in for `bullmq` in processors that Toril runs. Names are BullMQ's; what a
// processor cannot have is not here.

/** What a job reports of its progress. */
export type JobProgress = string | number | boolean | object;

export type JobState =
  | 'active' | 'completed' | 'delayed' | 'failed' | 'prioritized' | 'waiting' | 'waiting-children';

/** `prefix:queue` and id of a job. */
export interface ParentOptions {
  id: string | undefined;
  /** `prefix:queue`, as in `job.queueQualifiedName`. */
  queue: string;
}

/** Which finished jobs are kept. */
export interface KeepJobs {
  /** In seconds. */
  age?: number;
  count?: number;
  limit?: number;
}

export interface BackoffOptions {
  type: 'fixed' | 'exponential' | (string & {});
  /** In milliseconds. */
  delay?: number;
  /** Between 0 and 1. */
  jitter?: number;
}

export interface DeduplicationOptions {
  id: string;
  /** In milliseconds. */
  ttl?: number;
  extend?: boolean;
  replace?: boolean;
  reschedule?: boolean;
  keepLastIfActive?: boolean;
}

/** The options of a job. */
export interface JobsOptions {
  jobId?: string;
  /** In milliseconds. */
  delay?: number;
  /** 0 is none; 1 runs first among prioritized jobs. */
  priority?: number;
  attempts?: number;
  backoff?: number | BackoffOptions;
  lifo?: boolean;
  timestamp?: number;
  removeOnComplete?: boolean | number | KeepJobs;
  removeOnFail?: boolean | number | KeepJobs;
  keepLogs?: number;
  stackTraceLimit?: number;
  /** In bytes. */
  sizeLimit?: number;
  parent?: ParentOptions;
  failParentOnFailure?: boolean;
  continueParentOnFailure?: boolean;
  ignoreDependencyOnFailure?: boolean;
  removeDependencyOnFailure?: boolean;
  deduplication?: DeduplicationOptions;
  telemetry?: { metadata?: string; omitContext?: boolean };
}

export type BulkJobOptions = JobsOptions;
export type DefaultJobOptions = JobsOptions;

export interface DependencyPage {
  cursor?: number;
  count?: number;
}

export interface DependenciesOpts {
  processed?: DependencyPage;
  unprocessed?: DependencyPage;
  ignored?: DependencyPage;
  failed?: DependencyPage;
}

/** The job that the processor was called for, or another job of a granted queue. */
export class Job<DataType = any, ReturnType = any, NameType extends string = string, ProgressType = JobProgress> {
  private constructor();
  name: NameType;
  /** Reading it throws for a job that `Queue.getJob` returned. */
  data: DataType;
  opts: JobsOptions;
  id: string | undefined;
  readonly queueName: string;
  /** `prefix:queue`. */
  readonly queueQualifiedName: string;
  readonly prefix: string;
  progress: ProgressType;
  returnvalue: ReturnType;
  stacktrace: string[] | null;
  delay: number;
  priority: number;
  timestamp: number;
  attemptsStarted: number;
  attemptsMade: number;
  stalledCounter: number;
  failedReason: string;
  deferredFailure: string;
  finishedOn?: number;
  processedOn?: number;
  parentKey?: string;
  parent?: { id: string; queueKey: string; fpof?: boolean; cpof?: boolean; idof?: boolean; rdof?: boolean };
  deduplicationId?: string;
  repeatJobKey?: string;
  /** A stand-in for the lock's token, which stays with the host. */
  token?: string;
  processedBy?: string;

  /** Stores the data at once: a retry or a resumed step sees the new data. */
  updateData(data: DataType): Promise<void>;
  /** Emits `progress`. The host does not wait for Redis: if Redis refuses it, the next `updateProgress` or `log` rejects. */
  updateProgress(progress: ProgressType): Promise<void>;
  /** Appends a line to the job's log, and returns how many lines the log has. */
  log(row: string): Promise<number>;
  /** Delays the job until a time in milliseconds since the epoch. Throw `DelayedError` afterwards. */
  moveToDelayed(timestamp: number, token?: string): Promise<void>;
  /** Makes the job wait for its children, or for one of them. If it returns true, throw `WaitingChildrenError`. */
  moveToWaitingChildren(token?: string, options?: { child?: ParentOptions }): Promise<boolean>;
  /** Returns the job to the front of its queue. Throw `WaitingError` afterwards. */
  moveToWait(token?: string): Promise<number>;

  /**
   * Runs a step and stores its value. If an earlier attempt has stored the value, returns that value without running the step.
   * The value is stored as JSON (`undefined` becomes null) before this returns. If the host dies before that, the step runs
   * again. If the step throws, nothing is stored and the error passes through. An attempt uses each name once; a name has 1
   * to 200 bytes.
   */
  step<Value>(name: string, run: () => Value | PromiseLike<Value>): Promise<Value>;
  /**
   * Delays the job for a time, counted from when an attempt first comes here. No attempt is spent. This throws
   * `DelayedError`, which the processor must not catch.
   */
  sleep(name: string, milliseconds: number): Promise<void>;
  /**
   * Adds a job as a child of this one, once, and returns its value. Until the child has ended, this throws
   * `WaitingChildrenError`, which the processor must not catch; the job waits, and no attempt is spent. If the child fails for
   * good, this throws an error with its reason. The operator grants the queue; the host makes the child's id.
   */
  call<Value = any>(name: string, job: CalledJob): Promise<Value>;
  /** Returns a place in a long loop. A later attempt continues from the place that was stored last. */
  cursor<Place = any>(name: string): Promise<Cursor<Place>>;

  getChildrenValues<Child = any>(): Promise<Record<string, Child>>;
  getFailedChildrenValues(): Promise<Record<string, string>>;
  getIgnoredChildrenFailures(): Promise<Record<string, string>>;
  getDependencies(query?: DependenciesOpts): Promise<{
    processed?: Record<string, any>;
    nextProcessedCursor?: number;
    unprocessed?: string[];
    nextUnprocessedCursor?: number;
    ignored?: Record<string, any>;
    nextIgnoredCursor?: number;
    failed?: string[];
    nextFailedCursor?: number;
  }>;
  getDependenciesCount(kinds?: {
    processed?: boolean;
    unprocessed?: boolean;
    ignored?: boolean;
    failed?: boolean;
  }): Promise<{ processed?: number; unprocessed?: number; ignored?: number; failed?: number }>;
  /** Removes the children that wait, and returns how many. Those that are active or have ended stay. */
  removeUnprocessedChildren(): Promise<number>;
  removeChildDependency(): Promise<boolean>;
  /** The host renews the lock by itself. */
  extendLock(token?: string, duration?: number): Promise<number>;

  getState(): Promise<JobState | 'unknown'>;
  isCompleted(): Promise<boolean>;
  isFailed(): Promise<boolean>;
  isDelayed(): Promise<boolean>;
  isWaitingChildren(): Promise<boolean>;
  isActive(): Promise<boolean>;
  isWaiting(): Promise<boolean>;
  remove(options?: { removeChildren?: boolean }): Promise<void>;
  changeDelay(delay: number): Promise<void>;
  changePriority(options: { priority?: number; lifo?: boolean }): Promise<void>;
  promote(): Promise<void>;
  retry(state?: 'completed' | 'failed'): Promise<void>;
  removeDeduplicationKey(): Promise<boolean>;

  toJSON(): Record<string, any>;
  asJSON(): Record<string, any>;
  asJSONSandbox(): Record<string, any>;
}

/** A job that `Job.call` adds. */
export interface CalledJob {
  /** The name of its queue. */
  queue: string;
  name: string;
  data?: any;
  /** If no option says what a failure means for the calling job, `Job.call` throws it. */
  opts?: Omit<JobsOptions, 'jobId' | 'parent' | 'deduplication' | 'removeDependencyOnFailure'>;
}

/** A place in a long loop, which `Job.cursor` returns. */
export interface Cursor<Place = any> {
  /** The place that was stored last; undefined before the first one. */
  readonly value: Place | undefined;
  /** Stores a place at once, with one write to Redis. */
  set(place: Place): Promise<void>;
}

/** A job as BullMQ's sandboxed processors know it. */
export type SandboxedJob<DataType = any, ReturnType = any> = Job<DataType, ReturnType>;

/** What a file of a processor exports. */
export type Processor<DataType = any, ReturnType = any, NameType extends string = string> = (
  job: Job<DataType, ReturnType, NameType>,
  token?: string,
  signal?: AbortSignal,
) => ReturnType | PromiseLike<ReturnType>;

/** Options of the connection are accepted and have no effect: the host has the connection. */
export interface QueueBaseOptions {
  connection?: unknown;
  prefix?: string;
  [option: string]: unknown;
}

export interface QueueOptions extends QueueBaseOptions {
  defaultJobOptions?: JobsOptions;
}

declare class Connected {
  /** Events of a connection, which never happen; others are refused. */
  on(event: 'error' | 'ready' | 'closing' | 'closed' | 'ioredis:close', listener: (...args: any[]) => void): this;
  once(event: 'error' | 'ready' | 'closing' | 'closed' | 'ioredis:close', listener: (...args: any[]) => void): this;
  off(event: string, listener: (...args: any[]) => void): this;
  waitUntilReady(): Promise<void>;
  close(): Promise<void>;
  disconnect(): Promise<void>;
}

export interface RepeatOptions {
  pattern?: string;
  /** In milliseconds. */
  every?: number;
  tz?: string;
  limit?: number;
  offset?: number;
  immediately?: boolean;
  startDate?: Date | string | number;
  endDate?: Date | string | number;
}

export interface JobSchedulerTemplate<DataType = any, NameType extends string = string> {
  name?: NameType;
  data?: DataType;
  opts?: Omit<JobsOptions, 'jobId' | 'delay' | 'deduplication' | 'parent'>;
}

export interface JobSchedulerJson<DataType = any> extends RepeatOptions {
  key: string;
  name: string;
  id?: string | null;
  iterationCount?: number;
  next?: number;
  template?: { data?: DataType; opts?: JobsOptions };
}

/** A queue that the operator granted in `grants.queues`. */
export class Queue<DataType = any, ReturnType = any, NameType extends string = string> extends Connected {
  constructor(name: string, options?: QueueOptions);
  readonly name: string;
  readonly opts: QueueOptions;
  readonly defaultJobOptions: JobsOptions;
  /** `prefix:queue`; known inside processors. */
  readonly qualifiedName: string;

  add(name: NameType, data: DataType, options?: JobsOptions): Promise<Job<DataType, ReturnType, NameType>>;
  /** Adds jobs, all or none. */
  addBulk(
    jobs: { name: NameType; data: DataType; opts?: JobsOptions }[],
  ): Promise<Job<DataType, ReturnType, NameType>[]>;
  /** Its id, name, state, `returnvalue` and `failedReason` can be read; reading anything else throws. */
  getJob(id: string): Promise<Job<DataType, ReturnType, NameType> | undefined>;
  getJobState(id: string): Promise<JobState | 'unknown'>;
  getJobCounts(...states: (JobState | 'wait')[]): Promise<Record<string, number>>;
  getJobCountByTypes(...states: (JobState | 'wait')[]): Promise<number>;
  getActiveCount(): Promise<number>;
  getCompletedCount(): Promise<number>;
  getDelayedCount(): Promise<number>;
  getFailedCount(): Promise<number>;
  getPrioritizedCount(): Promise<number>;
  getWaitingCount(): Promise<number>;
  getWaitingChildrenCount(): Promise<number>;
  /** The number of jobs that wait, in any state. */
  count(): Promise<number>;
  /** Returns 0 if the job or one of its children is active. */
  remove(id: string, options?: { removeChildren?: boolean }): Promise<number>;
  /** Workers take no job of the queue for this many milliseconds. */
  rateLimit(durationMs: number): Promise<void>;

  /** Returns undefined if the schedule has ended. */
  upsertJobScheduler(
    id: string,
    repeat: RepeatOptions,
    template?: JobSchedulerTemplate<DataType, NameType>,
  ): Promise<Job<DataType, ReturnType, NameType> | undefined>;
  removeJobScheduler(id: string): Promise<boolean>;
  getJobScheduler(id: string): Promise<JobSchedulerJson<DataType> | undefined>;
  getJobSchedulers(start?: number, end?: number, ascending?: boolean): Promise<JobSchedulerJson<DataType>[]>;
  getJobSchedulersCount(): Promise<number>;
  removeDeduplicationKey(id: string): Promise<number>;
  removeDebounceKey(id: string): Promise<number>;
}

/** Emits custom events for listeners of `QueueEvents`. */
export class QueueEventsProducer extends Connected {
  constructor(name: string, options?: QueueBaseOptions);
  readonly name: string;
  publishEvent<Event extends { eventName: string }>(event: Event): Promise<void>;
}

export interface FlowJob {
  name: string;
  queueName: string;
  data?: any;
  prefix?: string;
  opts?: JobsOptions;
  children?: FlowJob[];
}
export type FlowChildJob = FlowJob;

export interface FlowOpts {
  queuesOptions: Record<string, { defaultJobOptions?: JobsOptions }>;
}

/** A job of a flow, and its children. */
export interface JobNode {
  job: Job;
  children?: JobNode[];
}

export class FlowProducer extends Connected {
  constructor(options?: QueueBaseOptions);
  /** Adds a tree of jobs, all or none. */
  add(flow: FlowJob, options?: FlowOpts): Promise<JobNode>;
  addBulk(flows: FlowJob[], options?: FlowOpts): Promise<JobNode[]>;
  getFlow(query: {
    queueName: string;
    id: string;
    depth?: number;
    maxChildren?: number;
    prefix?: string;
  }): Promise<JobNode | undefined>;
}

export interface WorkerOptions extends QueueBaseOptions {
  name?: string;
  concurrency?: number;
}

/** Says which function processes the jobs of a queue. The host fetches them: its config has what options say elsewhere. */
export class Worker<DataType = any, ReturnType = any, NameType extends string = string> extends Connected {
  constructor(name: string, processor: Processor<DataType, ReturnType, NameType>, options?: WorkerOptions);
  readonly name: string;
  static RateLimitError(): RateLimitError;
  /** Limits the queue of the job; leave with `RateLimitError`. */
  rateLimit(durationMs: number): Promise<void>;
  run(): Promise<void>;
  isRunning(): boolean;
  isPaused(): boolean;
}

/** The job was moved by `moveToDelayed`. */
export class DelayedError extends Error {}
/** The job was moved by `moveToWait`. */
export class WaitingError extends Error {}
/** The job was moved by `moveToWaitingChildren`. */
export class WaitingChildrenError extends Error {}
/** The queue was limited; no attempt is spent. */
export class RateLimitError extends Error {}
/** The job fails now, whatever attempts it has left. */
export class UnrecoverableError extends Error {}

export const DELAYED_ERROR: string;
export const WAITING_ERROR: string;
export const WAITING_CHILDREN_ERROR: string;
export const RATE_LIMIT_ERROR: string;
export const UNRECOVERABLE_ERROR: string;
export const PRIORITY_LIMIT: number;
export enum MetricsTime {
  ONE_MINUTE = 1,
  FIVE_MINUTES = 5,
  FIFTEEN_MINUTES = 15,
  THIRTY_MINUTES = 30,
  ONE_HOUR = 60,
  ONE_WEEK = 10080,
  TWO_WEEKS = 20160,
  ONE_MONTH = 80640,
}
