/*
 * Key-value stores that outlive the job: of the queue, or shared with others. The operator grants them in `grants.kv`; a
 * component that calls one of these functions needs the grant.
 *
 *     #include "toril_kv.h"
 *
 *     int64_t pages;
 *     TORIL_TRY(toril_kv_set(TORIL_S("default"), TORIL_S("last-page"), page));
 *     TORIL_TRY(toril_kv_increment(TORIL_S("default"), TORIL_S("pages"), 1, &pages));
 *
 * Each call names a store. A grant without names grants one store, `default`. Keys are text of up to 512 bytes; values are bytes,
 * which need not be UTF-8. `toril.h` says who owns which buffer. A call fails with `TORIL_DENIED` if the operator did not grant the
 * store, with `TORIL_INVALID` if no store can have this name, and with `TORIL_STORE_FAILED` for any other reason.
 */
#ifndef TORIL_KV_H
#define TORIL_KV_H

#include "toril.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The value of a key; no string if it has none. */
TORIL_CHECKED toril_error toril_kv_get(toril_string store, toril_string key, toril_string *value);
/* Writes a value, and replaces an earlier one. */
TORIL_CHECKED toril_error toril_kv_set(toril_string store, toril_string key, toril_string value);
/* Removes a key. A key without a value is not an error. */
TORIL_CHECKED toril_error toril_kv_delete(toril_string store, toril_string key);
TORIL_CHECKED toril_error toril_kv_exists(toril_string store, toril_string key, bool *exists);
/* Up to 1,000 keys in the order of their bytes: the first ones, or those from a cursor on. `next` becomes the cursor for the next
   call, or no string after the last key. */
TORIL_CHECKED toril_error toril_kv_keys(toril_string store, toril_string cursor, toril_strings *keys, toril_string *next);
/* Adds to a number; a key without a value counts as 0. Increments of several jobs add up, and an increment whose answer is lost is
   not counted twice. The value is decimal text. */
TORIL_CHECKED toril_error toril_kv_increment(toril_string store, toril_string key, int64_t delta, int64_t *sum);

/* Makes the new value of a key from its current one, which is no string if the key has none. If it returns an error,
   `toril_kv_update` fails with that error and writes nothing. */
typedef toril_error (*toril_kv_change)(toril_string current, void *context, toril_string *value);
/* Replaces a value. If another job writes the key meanwhile, calls the function again with the newer value, until the value that it
   makes can be written. `context` is passed to the function. */
TORIL_CHECKED toril_error toril_kv_update(toril_string store, toril_string key, toril_kv_change change, void *context);

/* The values of up to 1,000 keys with one call, in the order of the keys; no string for a key that has none. */
TORIL_CHECKED toril_error toril_kv_get_many(toril_string store, const toril_string *keys, size_t count, toril_strings *values);
/* Writes up to 1,000 values with one call: all of them, or none if they do not fit. */
TORIL_CHECKED toril_error toril_kv_set_many(toril_string store, const toril_pair *entries, size_t count);
/* Removes up to 1,000 keys with one call. */
TORIL_CHECKED toril_error toril_kv_delete_many(toril_string store, const toril_string *keys, size_t count);

#ifdef __cplusplus
}
#endif

#endif
