// For projects without `@types/node`: what a processor has of Node's globals beyond the web's.

/** In a job, `env` holds the variables and secrets that the operator granted. While the file is loaded, it is empty. */
declare var process: { readonly env: Record<string, string | undefined> };
