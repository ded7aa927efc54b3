/*
 * What `toril_kv.h` declares: `wasi:keyvalue`, by hand. A store is opened for each call: a handle of the host ends with the
 * attempt, and opening one asks nobody.
 */
#include "toril_kv.h"

#define IMPORT(interface, name) \
    __attribute__((import_module("wasi:keyvalue/" interface "@0.2.0-draft2"), import_name(name))) extern
/* A string as two parameters, and as two arguments. */
#define TEXT(name) const char *name, size_t name##_length
#define PASS(string) (string).data, (string).length
/* Text is UTF-8, or the host ends the attempt. */
#define SEND(string) PASS(toril_utf8(string))

static const toril_string NONE = {NULL, 0};
static const toril_error FINE = {TORIL_OK, {NULL, 0}};

typedef struct {
    uint8_t there;
    toril_string bytes;
} raw_option;

typedef struct {
    toril_string key;
    raw_option value;
} raw_entry;

/* The cases of `error`; only the last one has a text. */
enum { NO_SUCH_STORE, ACCESS_DENIED };

typedef struct {
    uint8_t kind;
    toril_string text;
} raw_error;

/* The cases of `cas-error`. */
enum { STORE_ERROR, CAS_FAILED };

typedef struct {
    uint8_t kind;
    union {
        raw_error error;
        uint32_t cas;
    } as;
} raw_cas_error;

/* `result<T, error>` for each T but `s64`, and `result<_, cas-error>`. */
typedef struct {
    uint8_t failed;
    union {
        raw_error error;
        raw_cas_error cas_error;
        raw_option option;
        uint32_t handle;
        uint8_t flag;
        struct {
            const raw_entry *items;
            size_t length;
        } entries;
        struct {
            toril_strings keys;
            raw_option cursor;
        } page;
    } as;
} raw_answer;

/* `result<s64, error>`. */
typedef struct {
    uint8_t failed;
    union {
        raw_error error;
        int64_t number;
    } as;
} raw_number;

_Static_assert(sizeof(raw_answer) == 24 && offsetof(raw_answer, as) == 4, "as the canonical ABI has it");
_Static_assert(sizeof(raw_number) == 24 && offsetof(raw_number, as) == 8, "as the canonical ABI has it");
_Static_assert(sizeof(raw_entry) == 20 && sizeof(toril_pair) == 16, "as the canonical ABI has it");

IMPORT("store", "open") void store_open(TEXT(name), raw_answer *);
IMPORT("store", "[resource-drop]bucket") void drop_bucket(uint32_t);
IMPORT("store", "[method]bucket.get") void bucket_get(uint32_t, TEXT(key), raw_answer *);
IMPORT("store", "[method]bucket.set") void bucket_set(uint32_t, TEXT(key), TEXT(value), raw_answer *);
IMPORT("store", "[method]bucket.delete") void bucket_delete(uint32_t, TEXT(key), raw_answer *);
IMPORT("store", "[method]bucket.exists") void bucket_exists(uint32_t, TEXT(key), raw_answer *);
IMPORT("store", "[method]bucket.list-keys") void bucket_list_keys(uint32_t, bool, TEXT(cursor), raw_answer *);
IMPORT("atomics", "increment") void atomics_increment(uint32_t, TEXT(key), int64_t, raw_number *);
IMPORT("atomics", "[static]cas.new") void cas_new(uint32_t, TEXT(key), raw_answer *);
IMPORT("atomics", "[method]cas.current") void cas_current(uint32_t, raw_answer *);
IMPORT("atomics", "[resource-drop]cas") void drop_cas(uint32_t);
IMPORT("atomics", "swap") void atomics_swap(uint32_t, TEXT(value), raw_answer *);
IMPORT("batch", "get-many") void batch_get_many(uint32_t, const toril_string *, size_t, raw_answer *);
IMPORT("batch", "set-many") void batch_set_many(uint32_t, const toril_pair *, size_t, raw_answer *);
IMPORT("batch", "delete-many") void batch_delete_many(uint32_t, const toril_string *, size_t, raw_answer *);

/* ---- errors ------------------------------------------------------------------------------------------------------------ */

static toril_error refused(toril_string name) {
    toril_string queue = toril_job_queue_name();
    toril_string text = toril_format(
        "key-value store `%.*s` was refused: not in grants.kv of queue `%.*s`\n"
        "hint: add `%.*s` to `grants.kv.stores` of the queue, or to `grants.kv.shared` if other queues use it",
        TORIL_ARG(name), TORIL_ARG(queue), TORIL_ARG(name));
    return (toril_error){TORIL_DENIED, text};
}

static toril_error error_of(toril_string store, raw_error error) {
    toril_string name = toril_utf8(store);
    switch (error.kind) {
    case NO_SUCH_STORE: return (toril_error){TORIL_INVALID, toril_format("`%.*s` cannot be the name of a store", TORIL_ARG(name))};
    case ACCESS_DENIED: return refused(name);
    default: return (toril_error){TORIL_STORE_FAILED, error.text};
    }
}

static toril_string bytes_of(raw_option option) {
    return option.there ? option.bytes : NONE;
}

/* ---- one key ----------------------------------------------------------------------------------------------------------- */

/* Opens a store; where that fails, leaves the function with the error. */
#define OPEN(store)                                                         \
    raw_answer answer;                                                      \
    store_open(SEND(store), &answer);                                       \
    if (answer.failed) return error_of(store, answer.as.error);             \
    uint32_t bucket = answer.as.handle

/* What comes of the call that was made. */
#define CLOSE(store)     \
    drop_bucket(bucket); \
    return answer.failed ? error_of(store, answer.as.error) : FINE

toril_error toril_kv_get(toril_string store, toril_string key, toril_string *value) {
    if (value) *value = NONE;
    OPEN(store);
    bucket_get(bucket, SEND(key), &answer);
    toril_string found = answer.failed ? NONE : bytes_of(answer.as.option);
    if (value) *value = found;
    else toril_free(found.data);
    CLOSE(store);
}

toril_error toril_kv_set(toril_string store, toril_string key, toril_string value) {
    OPEN(store);
    bucket_set(bucket, SEND(key), PASS(value), &answer);
    CLOSE(store);
}

toril_error toril_kv_delete(toril_string store, toril_string key) {
    OPEN(store);
    bucket_delete(bucket, SEND(key), &answer);
    CLOSE(store);
}

toril_error toril_kv_exists(toril_string store, toril_string key, bool *exists) {
    if (exists) *exists = false;
    OPEN(store);
    bucket_exists(bucket, SEND(key), &answer);
    if (exists && !answer.failed) *exists = answer.as.flag != 0;
    CLOSE(store);
}

toril_error toril_kv_keys(toril_string store, toril_string cursor, toril_strings *keys, toril_string *next) {
    if (keys) *keys = (toril_strings){NULL, 0};
    bool from = cursor.data != NULL;
    toril_string at = toril_utf8(cursor);
    if (next) *next = NONE;
    OPEN(store);
    bucket_list_keys(bucket, from, PASS(at), &answer);
    if (keys && !answer.failed) *keys = answer.as.page.keys;
    if (next && !answer.failed) *next = bytes_of(answer.as.page.cursor);
    CLOSE(store);
}

toril_error toril_kv_increment(toril_string store, toril_string key, int64_t delta, int64_t *sum) {
    if (sum) *sum = 0;
    OPEN(store);
    raw_number number;
    atomics_increment(bucket, SEND(key), delta, &number);
    drop_bucket(bucket);
    if (number.failed) return error_of(store, number.as.error);
    if (sum) *sum = number.as.number;
    return FINE;
}

/* ---- replacing a value ------------------------------------------------------------------------------------------------- */

/* Tries once. Where somebody wrote meanwhile, `*cas` becomes the handle that has read that, otherwise 0; the host takes the one
   that was given. */
static toril_error swap(toril_string store, uint32_t *cas, toril_kv_change change, void *context) {
    uint32_t read = *cas;
    *cas = 0;
    raw_answer answer;
    cas_current(read, &answer);
    toril_string value = NONE;
    toril_error error = answer.failed ? error_of(store, answer.as.error) : change(bytes_of(answer.as.option), context, &value);
    if (error.code) {
        drop_cas(read);
        return error;
    }
    atomics_swap(read, PASS(value), &answer);
    if (!answer.failed) return FINE;
    if (answer.as.cas_error.kind == STORE_ERROR) return error_of(store, answer.as.cas_error.as.error);
    *cas = answer.as.cas_error.as.cas;
    return FINE;
}

toril_error toril_kv_update(toril_string store, toril_string key, toril_kv_change change, void *context) {
    OPEN(store);
    cas_new(bucket, SEND(key), &answer);
    drop_bucket(bucket);
    if (answer.failed) return error_of(store, answer.as.error);
    /* No handle of the host is 0. */
    uint32_t cas = answer.as.handle;
    toril_error error = FINE;
    while (cas && !error.code) error = swap(store, &cas, change, context);
    return error;
}

/* ---- several keys ------------------------------------------------------------------------------------------------------ */

/* The texts as the host takes them. */
static toril_string *all_utf8(const toril_string *texts, size_t count) {
    toril_string *valid = toril_alloc_list(count, sizeof *texts);
    for (size_t n = 0; n < count; n++) valid[n] = toril_utf8(texts[n]);
    return valid;
}

/* Moves the values to the caller, if it wants them. The rest of what the host put there is freed: nobody else has its address. */
static void take_values(const raw_entry *items, size_t length, toril_strings *values) {
    toril_string *found = values ? toril_alloc_list(length, sizeof *found) : NULL;
    for (size_t n = 0; n < length; n++) {
        toril_string value = bytes_of(items[n].value);
        if (found) found[n] = value;
        else toril_free(value.data);
        toril_free(items[n].key.data);
    }
    toril_free(items);
    if (values) *values = (toril_strings){found, length};
}

toril_error toril_kv_get_many(toril_string store, const toril_string *keys, size_t count, toril_strings *values) {
    if (values) *values = (toril_strings){NULL, 0};
    OPEN(store);
    toril_string *valid = all_utf8(keys, count);
    batch_get_many(bucket, valid, count, &answer);
    toril_free(valid);
    if (!answer.failed) take_values(answer.as.entries.items, answer.as.entries.length, values);
    CLOSE(store);
}

toril_error toril_kv_set_many(toril_string store, const toril_pair *entries, size_t count) {
    OPEN(store);
    toril_pair *valid = toril_alloc_list(count, sizeof *entries);
    for (size_t n = 0; n < count; n++) valid[n] = (toril_pair){toril_utf8(entries[n].key), entries[n].value};
    batch_set_many(bucket, valid, count, &answer);
    toril_free(valid);
    CLOSE(store);
}

toril_error toril_kv_delete_many(toril_string store, const toril_string *keys, size_t count) {
    OPEN(store);
    toril_string *valid = all_utf8(keys, count);
    batch_delete_many(bucket, valid, count, &answer);
    toril_free(valid);
    CLOSE(store);
}
