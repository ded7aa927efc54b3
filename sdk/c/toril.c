/*
 * What `toril.h` declares: the canonical ABI of the world `plain-processor`, by hand.
 *
 * C lays out structs as the canonical ABI lays out records and variants, so answers of the host are read in place.
 */
#include "toril.h"

#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(void *) == 4 && sizeof(size_t) == 4, "toril.c is for wasm32");

/* ---- memory of the attempt --------------------------------------------------------------------------------------------- */

/* Stands before each piece of memory that belongs to the attempt. Such pieces form a ring. */
typedef struct block {
    struct block *before;
    struct block *after;
    uint64_t aligns_what_follows;
} block;

static block ring = {&ring, &ring, 0};

static void take_out(block *piece) {
    piece->before->after = piece->after;
    piece->after->before = piece->before;
}

static void put_in(block *piece) {
    piece->before = &ring;
    piece->after = ring.after;
    ring.after->before = piece;
    ring.after = piece;
}

/* Makes a piece, or changes the size of one. One byte more than asked for is there, and zero: strings end with it. */
static void *resize(void *old, size_t bytes) {
    block *piece = old ? (block *)old - 1 : NULL;
    if (bytes > SIZE_MAX - sizeof(block) - 1) return NULL;
    if (piece) take_out(piece);
    block *resized = realloc(piece, sizeof(block) + bytes + 1);
    if (resized) put_in(resized);
    else if (piece) put_in(piece);
    if (!resized) return NULL;
    char *memory = (char *)(resized + 1);
    memory[bytes] = 0;
    return memory;
}

void *toril_alloc(size_t bytes) {
    void *memory = resize(NULL, bytes);
    if (!memory) toril_fatal("out of memory: %zu bytes were asked for", bytes);
    return memory;
}

/* The size must not wrap. */
void *toril_alloc_list(size_t count, size_t bytes) {
    if (bytes && count > SIZE_MAX / bytes) toril_fatal("out of memory: a list of %zu was asked for", count);
    return toril_alloc(count * bytes);
}

void toril_free(const void *memory) {
    if (!memory) return;
    block *piece = (block *)memory - 1;
    take_out(piece);
    free(piece);
}

static void free_all(void) {
    while (ring.after != &ring) toril_free(ring.after + 1);
}

/* The host asks for memory here, for what it returns. No call to the host is allowed meanwhile. */
__attribute__((export_name("cabi_realloc"))) void *toril_cabi_realloc(void *old, size_t old_bytes, size_t align, size_t bytes) {
    (void)old_bytes, (void)align;
    void *memory = resize(old, bytes);
    if (!memory) __builtin_trap();
    return memory;
}

/* The adapter for WASI asks here, once, for memory that it keeps over all attempts. */
__attribute__((export_name("cabi_realloc_adapter"))) void *toril_cabi_realloc_adapter(void *old, size_t old_bytes, size_t align,
                                                                                      size_t bytes) {
    (void)old_bytes, (void)align;
    void *memory = realloc(old, bytes);
    if (!memory) __builtin_trap();
    return memory;
}

/* ---- strings ----------------------------------------------------------------------------------------------------------- */

static const toril_string NONE = {NULL, 0};

static toril_string copy(toril_string text) {
    char *memory = toril_alloc(text.length);
    if (text.length) memcpy(memory, text.data, text.length);
    return (toril_string){memory, text.length};
}

toril_string toril_str(const char *text) {
    return text ? (toril_string){text, strlen(text)} : NONE;
}

bool toril_equal(toril_string a, toril_string b) {
    return !a.data == !b.data && a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

static toril_string format_all(const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0) return copy(toril_str(format));
    char *memory = toril_alloc((size_t)length);
    vsnprintf(memory, (size_t)length + 1, format, arguments);
    return (toril_string){memory, (size_t)length};
}

toril_string toril_format(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    toril_string text = format_all(format, arguments);
    va_end(arguments);
    return text;
}

/* The bytes of the character at `at`; 0 where there is no UTF-8. */
static size_t character(const unsigned char *at, size_t left) {
    unsigned char first = at[0];
    if (first < 0x80) return 1;
    size_t bytes = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (bytes == 0 || bytes > left) return 0;
    for (size_t n = 1; n < bytes; n++)
        if ((at[n] & 0xc0) != 0x80) return 0;
    /* Longer than need be, surrogates, and what is beyond Unicode. */
    bool wrong = (first == 0xe0 && at[1] < 0xa0) || (first == 0xed && at[1] > 0x9f) || (first == 0xf0 && at[1] < 0x90) ||
                 (first == 0xf4 && at[1] > 0x8f);
    return wrong ? 0 : bytes;
}

/* Copies one character, or U+FFFD for a byte that is none; returns how many bytes it wrote. */
static size_t put_character(char *out, const unsigned char *at, size_t bytes) {
    memcpy(out, bytes ? (const char *)at : "\xef\xbf\xbd", bytes ? bytes : 3);
    return bytes ? bytes : 3;
}

/* The host ends an attempt that passes anything but a text in UTF-8. */
toril_string toril_utf8(toril_string text) {
    if (!text.data) return TORIL_S("");
    const unsigned char *in = (const unsigned char *)text.data;
    size_t good = 0;
    for (size_t bytes; good < text.length && (bytes = character(in + good, text.length - good)); good += bytes) {
    }
    if (good == text.length) return text;
    char *out = toril_alloc_list(text.length, 3);
    size_t length = good;
    memcpy(out, in, good);
    for (size_t at = good, bytes; at < text.length; at += bytes ? bytes : 1) {
        bytes = character(in + at, text.length - at);
        length += put_character(out + length, in + at, bytes);
    }
    out[length] = 0;
    return (toril_string){out, length};
}

static toril_string or_empty_object(toril_string json) {
    return json.data ? toril_utf8(json) : TORIL_S("{}");
}

static toril_string or_null(toril_string json) {
    return json.data ? toril_utf8(json) : TORIL_S("null");
}

/* ---- JSON -------------------------------------------------------------------------------------------------------------- */

static const char *skip_space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) at++;
    return at;
}

static const char *skip_string(const char *at, const char *end) {
    for (at++; at < end && *at != '"'; at++)
        if (*at == '\\') at++;
    return at < end ? at + 1 : end;
}

/* Counts brackets, so that a deep value needs no deep stack. */
static const char *skip_value(const char *at, const char *end) {
    size_t depth = 0;
    do {
        if (at >= end) return end;
        if (*at == '"') {
            at = skip_string(at, end);
        } else if (*at == '{' || *at == '[') {
            depth++, at++;
        } else if (*at == '}' || *at == ']') {
            if (depth == 0) return at;
            depth--, at++;
        } else if (depth > 0) {
            at++;
        } else {
            while (at < end && !strchr(",}] \t\r\n", *at)) at++;
        }
    } while (depth > 0);
    return at;
}

toril_string toril_json_get(toril_string object, const char *member) {
    if (!object.data || !member) return NONE;
    const char *end = object.data + object.length;
    const char *at = skip_space(object.data, end);
    toril_string found = NONE;
    if (at == end || *at != '{') return NONE;
    at = skip_space(at + 1, end);
    while (at < end && *at == '"') {
        const char *after_name = skip_string(at, end);
        toril_string name = toril_json_text((toril_string){at, (size_t)(after_name - at)});
        at = skip_space(after_name, end);
        if (at == end || *at != ':') break;
        at = skip_space(at + 1, end);
        const char *after = skip_value(at, end);
        if (after == at) break;
        /* The last of several wins, as in JavaScript. */
        if (toril_equal(name, toril_str(member))) found = (toril_string){at, (size_t)(after - at)};
        toril_free(name.data);
        at = skip_space(after, end);
        if (at < end && *at == ',') at = skip_space(at + 1, end);
    }
    return found.data ? copy(found) : NONE;
}

/* The four digits after `\u`, or -1. */
static long hex4(const char *at, const char *end) {
    long value = 0;
    if (end - at < 4) return -1;
    for (int n = 0; n < 4; n++) {
        char digit = at[n];
        int low = digit | 0x20;
        bool decimal = digit >= '0' && digit <= '9';
        if (!decimal && (low < 'a' || low > 'f')) return -1;
        value = value * 16 + (decimal ? digit - '0' : low - 'a' + 10);
    }
    return value;
}

static char *put_code(char *out, long code) {
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    }
    return out;
}

/* Reads what stands after `\u`; a pair of surrogates is one character, half a pair U+FFFD. */
static long read_code(const char **at, const char *end) {
    long code = hex4(*at, end);
    if (code < 0) return -1;
    *at += 4;
    if (code < 0xd800 || code > 0xdfff) return code;
    long low = end - *at >= 6 && (*at)[0] == '\\' && (*at)[1] == 'u' ? hex4(*at + 2, end) : -1;
    if (code > 0xdbff || low < 0xdc00 || low > 0xdfff) return 0xfffd;
    *at += 6;
    return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
}

/* Reads what stands after a backslash: a character, or -1. */
static long read_escape(const char **at, const char *end) {
    char kind = *(*at)++;
    switch (kind) {
    case '"':
    case '\\':
    case '/': return kind;
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'u': return read_code(at, end);
    default: return -1;
    }
}

/* Writes what stands between the quotes of a JSON string; returns the end of it, or NULL where that is no JSON. */
static char *put_unquoted(char *out, const char *at, const char *end) {
    while (at < end) {
        if (*at == '"' || (unsigned char)*at < 0x20) return NULL;
        if (*at != '\\') {
            *out++ = *at++;
            continue;
        }
        at++;
        long code = at < end ? read_escape(&at, end) : -1;
        if (code < 0) return NULL;
        out = put_code(out, code);
    }
    return out;
}

toril_string toril_json_text(toril_string json) {
    if (!json.data) return NONE;
    const char *at = skip_space(json.data, json.data + json.length);
    const char *end = json.data + json.length;
    while (end > at && strchr(" \t\r\n", end[-1]) && end[-1]) end--;
    if (end - at < 2 || *at != '"' || end[-1] != '"') return NONE;
    /* No escape is shorter than what it stands for. */
    char *text = toril_alloc((size_t)(end - at) - 2);
    char *out = put_unquoted(text, at + 1, end - 1);
    if (!out) {
        toril_free(text);
        return NONE;
    }
    *out = 0;
    return (toril_string){text, (size_t)(out - text)};
}

static char *put_escape(char *out, char byte) {
    memcpy(out, "\\u00", 4);
    out[4] = "0123456789abcdef"[byte >> 4];
    out[5] = "0123456789abcdef"[byte & 15];
    return out + 6;
}

static size_t quoted_length(toril_string text) {
    size_t length = 2;
    for (size_t at = 0; at < text.length; at++) {
        unsigned char byte = (unsigned char)text.data[at];
        size_t bytes = byte < 0x20 ? 6 : byte == '"' || byte == '\\' ? 2 : 1;
        if (length > SIZE_MAX - bytes) toril_fatal("out of memory: a text of %zu bytes was to be quoted", text.length);
        length += bytes;
    }
    return length;
}

toril_string toril_json_quote(toril_string text) {
    if (!text.data) return copy(TORIL_S("null"));
    text = toril_utf8(text);
    char *quoted = toril_alloc(quoted_length(text));
    char *out = quoted;
    *out++ = '"';
    for (size_t at = 0; at < text.length; at++) {
        char byte = text.data[at];
        if (byte == '"' || byte == '\\') *out++ = '\\', *out++ = byte;
        else if ((unsigned char)byte < 0x20) out = put_escape(out, byte);
        else *out++ = byte;
    }
    *out++ = '"';
    *out = 0;
    return (toril_string){quoted, (size_t)(out - quoted)};
}

/* ---- imports ----------------------------------------------------------------------------------------------------------- */

#define IMPORT(interface, name) \
    __attribute__((import_module("toril:processor/" interface "@1.1.0"), import_name(name))) extern
/* A string as two parameters, and as two arguments. */
#define TEXT(name) const char *name, size_t name##_length
#define PASS(string) (string).data, (string).length

typedef struct {
    uint8_t code;
    toril_string message;
} raw_error;

typedef struct {
    uint8_t there;
    toril_string text;
} raw_option;

typedef struct {
    uint8_t kind;
    toril_string text;
} raw_called;

/* `result<T, job-error>` for each T but `u64`. */
typedef struct {
    uint8_t failed;
    union {
        raw_error error;
        raw_option option;
        raw_called called;
        toril_string text;
        toril_strings texts;
        toril_pairs pairs;
        uint8_t flag;
    } as;
} raw_answer;

/* `result<u64, job-error>`. */
typedef struct {
    uint8_t failed;
    union {
        raw_error error;
        uint64_t number;
    } as;
} raw_number;

_Static_assert(sizeof(raw_answer) == 16 && offsetof(raw_answer, as) == 4, "as the canonical ABI has it");
_Static_assert(sizeof(raw_number) == 24 && offsetof(raw_number, as) == 8, "as the canonical ABI has it");

IMPORT("current-job", "id") void job_id(toril_string *);
IMPORT("current-job", "name") void job_name(toril_string *);
IMPORT("current-job", "queue-name") void job_queue_name(toril_string *);
IMPORT("current-job", "queue-qualified-name") void job_queue_qualified_name(toril_string *);
IMPORT("current-job", "data") void job_data(toril_string *);
IMPORT("current-job", "opts") void job_opts(toril_string *);
IMPORT("current-job", "progress") void job_progress(toril_string *);
IMPORT("current-job", "attempts-made") uint32_t job_attempts_made(void);
IMPORT("current-job", "attempts-started") uint32_t job_attempts_started(void);
IMPORT("current-job", "priority") uint32_t job_priority(void);
IMPORT("current-job", "stalled-counter") uint32_t job_stalled_counter(void);
IMPORT("current-job", "timestamp") uint64_t job_timestamp(void);
IMPORT("current-job", "delay") uint64_t job_delay(void);
IMPORT("current-job", "processed-on") uint64_t job_processed_on(void);
IMPORT("current-job", "parent-key") void job_parent_key(raw_option *);
IMPORT("current-job", "parent") void job_parent(raw_option *);
IMPORT("current-job", "repeat-job-key") void job_repeat_job_key(raw_option *);
IMPORT("current-job", "failed-reason") void job_failed_reason(raw_option *);
IMPORT("current-job", "deduplication-id") void job_deduplication_id(raw_option *);
IMPORT("current-job", "cancel-reason") void job_cancel_reason(raw_option *);
IMPORT("current-job", "stacktrace") void job_stacktrace(toril_strings *);
IMPORT("current-job", "is-cancelled") bool job_is_cancelled(void);
IMPORT("current-job", "update-data") void job_update_data(TEXT(json), raw_answer *);
IMPORT("current-job", "update-progress") void job_update_progress(TEXT(json), raw_answer *);
IMPORT("current-job", "move-to-delayed") void job_move_to_delayed(uint64_t, raw_answer *);
IMPORT("current-job", "move-to-waiting-children") void job_move_to_waiting_children(bool, TEXT(child), raw_answer *);
IMPORT("current-job", "move-to-wait") void job_move_to_wait(raw_answer *);
IMPORT("current-job", "children-values") void job_children_values(raw_answer *);
IMPORT("current-job", "failed-children-values") void job_failed_children_values(raw_answer *);
IMPORT("current-job", "dependencies") void job_dependencies(TEXT(query), raw_answer *);
IMPORT("current-job", "dependencies-count") void job_dependencies_count(TEXT(kinds), raw_answer *);
IMPORT("current-job", "remove-child-dependency") void job_remove_child_dependency(raw_answer *);
IMPORT("current-job", "log") void job_log(TEXT(line), raw_number *);
IMPORT("current-job", "remove-unprocessed-children") void job_remove_unprocessed_children(raw_number *);

IMPORT("producer", "add") void producer_add(TEXT(queue), TEXT(name), TEXT(data), TEXT(options), raw_answer *);
IMPORT("producer", "add-bulk") void producer_add_bulk(TEXT(queue), const toril_new_job *, size_t, raw_answer *);
IMPORT("producer", "add-flows") void producer_add_flows(TEXT(flows), TEXT(options), raw_answer *);
IMPORT("producer", "get-flow") void producer_get_flow(TEXT(queue), TEXT(id), TEXT(query), raw_answer *);
IMPORT("producer", "state") void producer_state(TEXT(queue), TEXT(id), raw_answer *);
IMPORT("producer", "remove") void producer_remove(TEXT(queue), TEXT(id), bool, raw_answer *);

IMPORT("queues", "change-delay") void queues_change_delay(TEXT(queue), TEXT(id), uint64_t, raw_answer *);
IMPORT("queues", "change-priority") void queues_change_priority(TEXT(queue), TEXT(id), uint32_t, bool, raw_answer *);
IMPORT("queues", "promote") void queues_promote(TEXT(queue), TEXT(id), raw_answer *);
IMPORT("queues", "retry") void queues_retry(TEXT(queue), TEXT(id), uint32_t, raw_answer *);
IMPORT("queues", "counts") void queues_counts(TEXT(queue), raw_answer *);
IMPORT("queues", "remove-deduplication-key") void queues_remove_deduplication_key(TEXT(queue), TEXT(id), raw_answer *);
IMPORT("queues", "rate-limit") void queues_rate_limit(TEXT(queue), uint64_t, raw_answer *);
IMPORT("queues", "publish-event") void queues_publish_event(TEXT(queue), TEXT(name), const toril_pair *, size_t, raw_answer *);

IMPORT("schedulers", "upsert") void schedulers_upsert(TEXT(queue), TEXT(id), TEXT(schedule), TEXT(name), TEXT(data), TEXT(options), raw_answer *);
IMPORT("schedulers", "remove") void schedulers_remove(TEXT(queue), TEXT(id), raw_answer *);
IMPORT("schedulers", "get") void schedulers_get(TEXT(queue), TEXT(id), raw_answer *);
IMPORT("schedulers", "list") void schedulers_list(TEXT(queue), TEXT(query), raw_answer *);

IMPORT("steps", "begin") void steps_begin(TEXT(name), raw_answer *);
IMPORT("steps", "finish") void steps_finish(TEXT(name), TEXT(value), raw_answer *);
IMPORT("steps", "sleep") void steps_sleep(TEXT(name), uint64_t, raw_answer *);
IMPORT("steps", "call") void steps_call(TEXT(step), TEXT(queue), TEXT(name), TEXT(data), TEXT(options), raw_answer *);
IMPORT("steps", "cursor") void steps_cursor(TEXT(name), raw_answer *);
IMPORT("steps", "set-cursor") void steps_set_cursor(TEXT(name), TEXT(place), raw_answer *);

IMPORT("logging", "log") void logging_log(uint32_t, TEXT(message));
IMPORT("logging", "fatal") void logging_fatal(TEXT(message));

/* ---- answers ----------------------------------------------------------------------------------------------------------- */

/* Passes a string of the caller's. */
#define SEND(string) PASS(toril_utf8(string))

static toril_error error_of(raw_error error) {
    return (toril_error){(toril_code)(error.code + 1), error.message};
}

/* Takes an answer apart. Where the call failed, `*out` is zeroed. */
#define TAKE(out, value, none)                                                           \
    do {                                                                                 \
        if (out) *(out) = answer.failed ? (none) : (value);                              \
        return answer.failed ? error_of(answer.as.error) : (toril_error){TORIL_OK, NONE}; \
    } while (0)

static toril_error take_nothing(raw_answer answer) {
    return answer.failed ? error_of(answer.as.error) : (toril_error){TORIL_OK, NONE};
}

static toril_error take_text(raw_answer answer, toril_string *out) {
    TAKE(out, answer.as.text, NONE);
}

static toril_error take_texts(raw_answer answer, toril_strings *out) {
    TAKE(out, answer.as.texts, ((toril_strings){NULL, 0}));
}

static toril_error take_pairs(raw_answer answer, toril_pairs *out) {
    TAKE(out, answer.as.pairs, ((toril_pairs){NULL, 0}));
}

static toril_error take_flag(raw_answer answer, bool *out) {
    TAKE(out, answer.as.flag != 0, false);
}

static toril_error take_number(raw_number answer, uint64_t *out) {
    TAKE(out, answer.as.number, 0);
}

static toril_string text_of(raw_option option) {
    return option.there ? option.text : NONE;
}

static toril_error take_option(raw_answer answer, toril_string *out) {
    TAKE(out, text_of(answer.as.option), NONE);
}

/* ---- the job ----------------------------------------------------------------------------------------------------------- */

#define READ_TEXT(field)                   \
    toril_string toril_job_##field(void) { \
        toril_string text;                 \
        job_##field(&text);                \
        return text;                       \
    }
#define READ_OPTION(field)                 \
    toril_string toril_job_##field(void) { \
        raw_option option;                 \
        job_##field(&option);              \
        return text_of(option);            \
    }
#define READ_NUMBER(type, field) \
    type toril_job_##field(void) { return job_##field(); }

READ_TEXT(id)
READ_TEXT(name)
READ_TEXT(queue_name)
READ_TEXT(queue_qualified_name)
READ_TEXT(data)
READ_TEXT(opts)
READ_TEXT(progress)
READ_OPTION(parent_key)
READ_OPTION(parent)
READ_OPTION(repeat_job_key)
READ_OPTION(deduplication_id)
READ_OPTION(failed_reason)
READ_NUMBER(uint32_t, attempts_made)
READ_NUMBER(uint32_t, attempts_started)
READ_NUMBER(uint32_t, priority)
READ_NUMBER(uint32_t, stalled_counter)
READ_NUMBER(uint64_t, timestamp)
READ_NUMBER(uint64_t, processed_on)
READ_NUMBER(uint64_t, delay)

toril_strings toril_job_stacktrace(void) {
    toril_strings stacks;
    job_stacktrace(&stacks);
    return stacks;
}

toril_string toril_job_child_id(toril_string name) {
    toril_string queue = toril_job_queue_name();
    toril_string id = toril_job_id();
    size_t length = queue.length + id.length + name.length + 2;
    char *child = toril_alloc(length);
    char *out = child;
    memcpy(out, queue.data, queue.length), out += queue.length;
    *out++ = '-';
    memcpy(out, id.data, id.length), out += id.length;
    *out++ = '-';
    if (name.length) memcpy(out, name.data, name.length);
    /* Colons separate the parts of a key; a scheduler's job has them in its id. */
    for (size_t at = 0; at < length; at++)
        if (child[at] == ':') child[at] = '-';
    return (toril_string){child, length};
}

bool toril_is_cancelled(void) {
    return job_is_cancelled();
}

toril_string toril_cancel_reason(void) {
    raw_option reason;
    job_cancel_reason(&reason);
    return text_of(reason);
}

toril_error toril_update_data(toril_string json) {
    raw_answer answer;
    job_update_data(SEND(json), &answer);
    return take_nothing(answer);
}

toril_error toril_update_progress(toril_string json) {
    raw_answer answer;
    job_update_progress(SEND(json), &answer);
    return take_nothing(answer);
}

toril_error toril_job_log(toril_string line, uint64_t *count) {
    raw_number answer;
    job_log(SEND(line), &answer);
    return take_number(answer, count);
}

toril_error toril_move_to_delayed(uint64_t timestamp_ms) {
    raw_answer answer;
    job_move_to_delayed(timestamp_ms, &answer);
    return take_nothing(answer);
}

toril_error toril_move_to_waiting_children(toril_string child_key, bool *waits) {
    raw_answer answer;
    job_move_to_waiting_children(child_key.data != NULL, SEND(child_key), &answer);
    return take_flag(answer, waits);
}

toril_error toril_move_to_wait(void) {
    raw_answer answer;
    job_move_to_wait(&answer);
    return take_nothing(answer);
}

toril_error toril_children_values(toril_pairs *values) {
    raw_answer answer;
    job_children_values(&answer);
    return take_pairs(answer, values);
}

toril_error toril_failed_children_values(toril_pairs *errors) {
    raw_answer answer;
    job_failed_children_values(&answer);
    return take_pairs(answer, errors);
}

toril_error toril_dependencies(toril_string query, toril_string *result) {
    raw_answer answer;
    job_dependencies(PASS(or_empty_object(query)), &answer);
    return take_text(answer, result);
}

toril_error toril_dependencies_count(toril_string kinds, toril_string *result) {
    raw_answer answer;
    job_dependencies_count(PASS(or_empty_object(kinds)), &answer);
    return take_text(answer, result);
}

toril_error toril_remove_unprocessed_children(uint64_t *removed) {
    raw_number answer;
    job_remove_unprocessed_children(&answer);
    return take_number(answer, removed);
}

toril_error toril_remove_child_dependency(bool *freed) {
    raw_answer answer;
    job_remove_child_dependency(&answer);
    return take_flag(answer, freed);
}

/* ---- the host's log ---------------------------------------------------------------------------------------------------- */

void toril_log(toril_level level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    toril_string line = format_all(format, arguments);
    va_end(arguments);
    logging_log((uint32_t)level, SEND(line));
    toril_free(line.data);
}

/* Needs no memory: it says that there is none left, too. */
void toril_fatal(const char *format, ...) {
    char reason[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    size_t left = length < 0 ? 0 : (size_t)length < sizeof reason ? (size_t)length : sizeof reason - 1;
    size_t at = 0;
    while (at < left) {
        size_t bytes = character((unsigned char *)reason + at, left - at);
        if (bytes == 0) reason[at] = '?';
        at += bytes ? bytes : 1;
    }
    logging_fatal(reason, left);
    __builtin_trap();
}

/* What `-fsanitize=null -fsanitize-minimal-runtime` calls. WebAssembly has memory at address 0, where C has none. */
void __ubsan_handle_type_mismatch_minimal_abort(void) __attribute__((noreturn));
void __ubsan_handle_type_mismatch_minimal_abort(void) {
    toril_fatal("null pointer dereference");
}

/* ---- other jobs -------------------------------------------------------------------------------------------------------- */

#define SEND_JOB(job) SEND((job).name), PASS(or_empty_object((job).data)), PASS(or_empty_object((job).options))

toril_string toril_child_options(toril_string id) {
    const char *parent = toril_json_quote(toril_job_id()).data;
    const char *queue = toril_json_quote(toril_job_queue_qualified_name()).data;
    if (!id.data) return toril_format("{\"parent\":{\"id\":%s,\"queue\":%s}}", parent, queue);
    const char *child = toril_json_quote(id).data;
    return toril_format("{\"jobId\":%s,\"parent\":{\"id\":%s,\"queue\":%s}}", child, parent, queue);
}

toril_error toril_add(toril_string queue, toril_new_job job, toril_string *id) {
    raw_answer answer;
    producer_add(SEND(queue), SEND_JOB(job), &answer);
    return take_text(answer, id);
}

toril_error toril_add_bulk(toril_string queue, const toril_new_job *jobs, size_t count, toril_strings *ids) {
    raw_answer answer;
    toril_new_job *sent = toril_alloc_list(count, sizeof *jobs);
    for (size_t n = 0; n < count; n++)
        sent[n] = (toril_new_job){toril_utf8(jobs[n].name), or_empty_object(jobs[n].data), or_empty_object(jobs[n].options)};
    producer_add_bulk(SEND(queue), sent, count, &answer);
    toril_free(sent);
    return take_texts(answer, ids);
}

toril_error toril_add_flows(toril_string flows, toril_string options, toril_string *result) {
    raw_answer answer;
    producer_add_flows(SEND(flows), PASS(or_empty_object(options)), &answer);
    return take_text(answer, result);
}

toril_error toril_get_flow(toril_string queue, toril_string id, toril_string query, toril_string *result) {
    raw_answer answer;
    producer_get_flow(SEND(queue), SEND(id), PASS(or_empty_object(query)), &answer);
    return take_text(answer, result);
}

toril_error toril_state(toril_string queue, toril_string id, toril_string *state) {
    raw_answer answer;
    producer_state(SEND(queue), SEND(id), &answer);
    return take_text(answer, state);
}

toril_error toril_remove(toril_string queue, toril_string id, bool with_children) {
    raw_answer answer;
    producer_remove(SEND(queue), SEND(id), with_children, &answer);
    return take_nothing(answer);
}

toril_error toril_change_delay(toril_string queue, toril_string id, uint64_t delay_ms) {
    raw_answer answer;
    queues_change_delay(SEND(queue), SEND(id), delay_ms, &answer);
    return take_nothing(answer);
}

toril_error toril_change_priority(toril_string queue, toril_string id, uint32_t priority, bool lifo) {
    raw_answer answer;
    queues_change_priority(SEND(queue), SEND(id), priority, lifo, &answer);
    return take_nothing(answer);
}

toril_error toril_promote(toril_string queue, toril_string id) {
    raw_answer answer;
    queues_promote(SEND(queue), SEND(id), &answer);
    return take_nothing(answer);
}

toril_error toril_retry(toril_string queue, toril_string id, toril_finished ended) {
    raw_answer answer;
    queues_retry(SEND(queue), SEND(id), (uint32_t)ended, &answer);
    return take_nothing(answer);
}

toril_error toril_counts(toril_string queue, toril_string *counts) {
    raw_answer answer;
    queues_counts(SEND(queue), &answer);
    return take_text(answer, counts);
}

toril_error toril_remove_deduplication_key(toril_string queue, toril_string deduplication_id, bool *removed) {
    raw_answer answer;
    queues_remove_deduplication_key(SEND(queue), SEND(deduplication_id), &answer);
    return take_flag(answer, removed);
}

toril_error toril_rate_limit(toril_string queue, uint64_t duration_ms) {
    raw_answer answer;
    queues_rate_limit(SEND(queue), duration_ms, &answer);
    return take_nothing(answer);
}

toril_error toril_publish_event(toril_string queue, toril_string name, const toril_pair *fields, size_t count) {
    raw_answer answer;
    toril_pair *sent = toril_alloc_list(count, sizeof *fields);
    for (size_t n = 0; n < count; n++) sent[n] = (toril_pair){toril_utf8(fields[n].key), toril_utf8(fields[n].value)};
    queues_publish_event(SEND(queue), SEND(name), sent, count, &answer);
    toril_free(sent);
    return take_nothing(answer);
}

/* ---- job schedulers ---------------------------------------------------------------------------------------------------- */

toril_error toril_upsert_scheduler(toril_string queue, toril_string id, toril_string schedule, toril_new_job job,
                                   toril_string *next_id) {
    raw_answer answer;
    schedulers_upsert(SEND(queue), SEND(id), SEND(schedule), SEND_JOB(job), &answer);
    return take_option(answer, next_id);
}

toril_error toril_remove_scheduler(toril_string queue, toril_string id, bool *removed) {
    raw_answer answer;
    schedulers_remove(SEND(queue), SEND(id), &answer);
    return take_flag(answer, removed);
}

toril_error toril_get_scheduler(toril_string queue, toril_string id, toril_string *scheduler) {
    raw_answer answer;
    schedulers_get(SEND(queue), SEND(id), &answer);
    return take_text(answer, scheduler);
}

toril_error toril_list_schedulers(toril_string queue, toril_string query, toril_string *schedulers) {
    raw_answer answer;
    schedulers_list(SEND(queue), PASS(or_empty_object(query)), &answer);
    return take_text(answer, schedulers);
}

/* ---- durable steps ----------------------------------------------------------------------------------------------------- */

toril_error toril_step_begin(toril_string name, toril_string *kept) {
    raw_answer answer;
    steps_begin(SEND(name), &answer);
    return take_option(answer, kept);
}

toril_error toril_step_finish(toril_string name, toril_string json) {
    raw_answer answer;
    steps_finish(SEND(name), PASS(or_null(json)), &answer);
    return take_nothing(answer);
}

toril_error toril_sleep(toril_string name, uint64_t milliseconds, bool *delayed) {
    raw_answer answer;
    steps_sleep(SEND(name), milliseconds, &answer);
    return take_flag(answer, delayed);
}

toril_error toril_call(toril_string name, toril_string queue, toril_new_job job, toril_called *called, toril_string *text) {
    raw_answer answer;
    steps_call(SEND(name), SEND(queue), SEND_JOB(job), &answer);
    toril_called kind = answer.failed ? TORIL_CALL_WAITING : (toril_called)answer.as.called.kind;
    if (called) *called = kind;
    TAKE(text, kind == TORIL_CALL_WAITING ? NONE : answer.as.called.text, NONE);
}

toril_error toril_cursor_get(toril_string name, toril_string *place) {
    raw_answer answer;
    steps_cursor(SEND(name), &answer);
    return take_option(answer, place);
}

toril_error toril_cursor_set(toril_string name, toril_string place) {
    raw_answer answer;
    steps_set_cursor(SEND(name), PASS(or_null(place)), &answer);
    return take_nothing(answer);
}

/* ---- how an attempt ends ----------------------------------------------------------------------------------------------- */

static toril_result end_with(toril_end end, toril_string text, toril_string stack) {
    return (toril_result){end, copy(toril_utf8(text)), stack.data ? copy(toril_utf8(stack)) : NONE, 0};
}

toril_result toril_done(toril_string json) {
    return end_with(TORIL_DONE, json.data ? json : TORIL_S("null"), NONE);
}

toril_result toril_failed(toril_string message) {
    return end_with(TORIL_FAILED, message, NONE);
}

toril_result toril_failed_with_stack(toril_string message, toril_string stack) {
    return end_with(TORIL_FAILED, message, stack);
}

toril_result toril_unrecoverable(toril_string message) {
    return end_with(TORIL_UNRECOVERABLE, message, NONE);
}

toril_result toril_unrecoverable_with_stack(toril_string message, toril_string stack) {
    return end_with(TORIL_UNRECOVERABLE, message, stack);
}

toril_result toril_error_result(toril_error error) {
    return end_with(error.code == TORIL_CHILD_FAILED ? TORIL_UNRECOVERABLE : TORIL_FAILED, error.message, NONE);
}

toril_result toril_rate_limited(uint64_t milliseconds) {
    return (toril_result){TORIL_RATE_LIMITED, NONE, NONE, milliseconds};
}

toril_result toril_delayed(void) {
    return (toril_result){TORIL_DELAYED, NONE, NONE, 0};
}

toril_result toril_waiting_children(void) {
    return (toril_result){TORIL_WAITING_CHILDREN, NONE, NONE, 0};
}

toril_result toril_waiting(void) {
    return (toril_result){TORIL_WAITING, NONE, NONE, 0};
}

typedef struct {
    toril_string message;
    raw_option stack;
} raw_detail;

typedef struct {
    uint8_t kind;
    union {
        raw_detail detail;
        uint64_t milliseconds;
    } as;
} raw_failure;

/* `result<json, failure>`. */
typedef struct {
    uint8_t failed;
    union {
        toril_string value;
        raw_failure failure;
    } as;
} raw_result;

_Static_assert(sizeof(raw_result) == 40 && offsetof(raw_result, as) == 8, "as the canonical ABI has it");
_Static_assert(offsetof(raw_failure, as) == 8 && offsetof(raw_detail, stack) == 8, "as the canonical ABI has it");

static raw_failure failure_of(toril_result result) {
    raw_failure failure = {.kind = (uint8_t)(result.end - TORIL_FAILED)};
    if (result.end == TORIL_RATE_LIMITED) {
        failure.as.milliseconds = result.milliseconds;
    } else {
        failure.as.detail.message = toril_utf8(result.text);
        failure.as.detail.stack = (raw_option){result.stack.data != NULL, toril_utf8(result.stack)};
    }
    return failure;
}

__attribute__((export_name("process"))) raw_result *toril_run(void) {
    /* The host reads it until it calls `toril_finish`. */
    static raw_result outcome;
    toril_result result = toril_process();
    /* What was printed and not yet written; the host shows it as lines of this attempt. No stream is linked by this. */
    fflush(NULL);
    outcome = (raw_result){.failed = result.end != TORIL_DONE};
    if (result.end == TORIL_DONE) outcome.as.value = result.text.data ? toril_utf8(result.text) : TORIL_S("null");
    else outcome.as.failure = failure_of(result);
    return &outcome;
}

__attribute__((export_name("cabi_post_process"))) void toril_finish(raw_result *result) {
    (void)result;
    free_all();
}
