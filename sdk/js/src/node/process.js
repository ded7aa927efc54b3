import process from '../globals/process.js';

export const {
  arch, argv, chdir, cwd, emitWarning, env, execArgv, execPath, exit, hrtime, memoryUsage, nextTick, pid, platform, stderr,
  stdout, umask, uptime, version, versions,
} = process;
export default process;
