//! The `toril` command: parses, runs, prints the error chain, sets the exit code.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    let command = match cli::Cli::from_arguments() {
        Ok(command) => command,
        Err(code) => return code,
    };
    let _log = command.init_log();
    // One thread talks to Redis, and begins short jobs between two calls. On several, each answer would wake
    // another one, which takes longer than what is to be done with it. Guests that take longer have their own.
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return cli::fail(&error.into()),
    };
    let code = match runtime.block_on(command.run()) {
        Ok(code) => cli::finish(code),
        Err(error) => cli::fail(&error),
    };
    // A call to a file that never returns must not keep the process: nothing waits for it.
    runtime.shutdown_background();
    code
}
