#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fold.h"
#include "memory.h"
#include "wire.h"

#define BUCKETS 16384 /* a power of 2 */
#define ID_SIZE 48
#define TIME_SIZE 40
#define SOURCE_SIZE 32
#define CALL_SIZE 128
#define SHORT_TEXT 256

struct call {
    char name[CALL_SIZE];
    uint64_t count;
};

/* What is told of the records that are counted. */
struct counted {
    int64_t first_row;
    int64_t since_ms;
    uint64_t count;
    uint64_t without_call;
    uint64_t other;
    uint64_t errors, warnings, infos;
    char first_id[ID_SIZE];
    char last_id[ID_SIZE];
    char from[TIME_SIZE];
    char to[TIME_SIZE];
    char source[SOURCE_SIZE];
    char *by_name; /* who did it, module: NULL where nothing says */
    char *module;
    char *node; /* the `node` object */
    size_t calls_used;
    struct call calls[FOLD_CALLS_MAX];
};

struct cascade {
    char root[ID_SIZE];
    uint64_t lines; /* let through */
    int64_t last_ms;
    struct counted *counted; /* NULL: none since the last summary */
    struct cascade *next_of_bucket;
    struct cascade *older, *newer;   /* by last_ms */
    struct cascade *earlier, *later; /* by first_row, of those that count */
};

struct fold {
    unsigned first;
    struct cascade *buckets[BUCKETS];
    size_t cascades;
    struct cascade *oldest, *newest;
    struct cascade *earliest, *latest;
    uint64_t folded;
};

struct fold *fold_new(unsigned first)
{
    struct fold *fold = memory_zeroed(sizeof(*fold));

    fold->first = first;
    return fold;
}

/* ---- lists ---- */

static struct cascade **bucket_of(struct fold *fold, const char *root)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (; *root != '\0'; root++)
        hash = (hash ^ (unsigned char)*root) * UINT64_C(1099511628211);
    return &fold->buckets[(hash ^ hash >> 32) & (BUCKETS - 1)];
}

static void age_out(struct fold *fold, struct cascade *cascade)
{
    *(cascade->older != NULL ? &cascade->older->newer : &fold->oldest) = cascade->newer;
    *(cascade->newer != NULL ? &cascade->newer->older : &fold->newest) = cascade->older;
}

static void age_in(struct fold *fold, struct cascade *cascade)
{
    cascade->older = fold->newest;
    cascade->newer = NULL;
    *(fold->newest != NULL ? &fold->newest->newer : &fold->oldest) = cascade;
    fold->newest = cascade;
}

static void count_out(struct fold *fold, struct cascade *cascade)
{
    *(cascade->earlier != NULL ? &cascade->earlier->later : &fold->earliest) = cascade->later;
    *(cascade->later != NULL ? &cascade->later->earlier : &fold->latest) = cascade->earlier;
}

/* Rows come in order, so the one that begins to count is the latest. */
static void count_in(struct fold *fold, struct cascade *cascade)
{
    cascade->earlier = fold->latest;
    cascade->later = NULL;
    *(fold->latest != NULL ? &fold->latest->later : &fold->earliest) = cascade;
    fold->latest = cascade;
}

static void stop_counting(struct fold *fold, struct cascade *cascade)
{
    if (cascade->counted == NULL)
        return;
    count_out(fold, cascade);
    free(cascade->counted->by_name);
    free(cascade->counted->module);
    free(cascade->counted->node);
    free(cascade->counted);
    cascade->counted = NULL;
}

static void forget(struct fold *fold, struct cascade *cascade)
{
    struct cascade **place = bucket_of(fold, cascade->root);

    while (*place != cascade)
        place = &(*place)->next_of_bucket;
    *place = cascade->next_of_bucket;
    stop_counting(fold, cascade);
    age_out(fold, cascade);
    fold->cascades--;
    free(cascade);
}

/* ---- the summary ---- */

static void set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, memory_check(value)) != 0)
        memory_check(NULL);
}

static json_t *calls_of(const struct counted *counted)
{
    json_t *calls = memory_check(json_array());

    for (size_t i = 0; i < counted->calls_used; i++)
        json_array_append_new(
            calls, memory_check(json_pack("{ss sI}", "initial_call", counted->calls[i].name,
                                          "count", (json_int_t)counted->calls[i].count)));
    return calls;
}

static int more_first(const void *a, const void *b)
{
    const struct call *one = a, *other = b;

    return one->count < other->count ? 1 : one->count > other->count ? -1 : 0;
}

static json_t *summary_of(const struct cascade *cascade)
{
    const struct counted *counted = cascade->counted;
    const char *severity = counted->errors > 0     ? "error"
                           : counted->warnings > 0 ? "warning"
                                                   : "info";
    json_t *line = memory_check(json_object());
    json_t *told = memory_check(json_object());
    json_t *node = counted->node != NULL ? json_loads(counted->node, 0, NULL) : NULL;

    set(line, "schema", json_string("coroner.fold/1"));
    /* Made of what it tells of: the same rows counted again make the same id. */
    set(line, "id",
        json_sprintf("fold-%s-%s-%s", cascade->root, counted->first_id, counted->last_id));
    set(line, "time", json_string(counted->to));
    set(line, "severity", json_string(severity));
    set(line, "message",
        json_sprintf("%" PRIu64 " more exits of the cascade that began with %s (%s)",
                     counted->count, cascade->root,
                     counted->source[0] != '\0' ? counted->source : "unknown"));
    if (node != NULL)
        set(line, "node", node);
    set(told, "root", json_string(cascade->root));
    if (counted->source[0] != '\0')
        set(told, "source", json_string(counted->source));
    if (counted->by_name != NULL)
        set(told, "by_name", json_string(counted->by_name));
    if (counted->module != NULL)
        set(told, "module", json_string(counted->module));
    set(told, "count", json_integer((json_int_t)counted->count));
    set(told, "from", json_string(counted->from));
    set(told, "to", json_string(counted->to));
    set(told, "first_id", json_string(counted->first_id));
    set(told, "last_id", json_string(counted->last_id));
    set(told, "errors", json_integer((json_int_t)counted->errors));
    set(told, "warnings", json_integer((json_int_t)counted->warnings));
    set(told, "infos", json_integer((json_int_t)counted->infos));
    set(told, "initial_calls", calls_of(counted));
    set(told, "other", json_integer((json_int_t)counted->other));
    set(told, "unknown", json_integer((json_int_t)counted->without_call));
    set(line, "fold", told);
    return line;
}

static void tell(struct fold *fold, struct cascade *cascade, struct buffer *out)
{
    struct counted *counted = cascade->counted;
    json_t *line;
    char *text;

    qsort(counted->calls, counted->calls_used, sizeof(counted->calls[0]), more_first);
    line = summary_of(cascade);
    text = memory_check(json_dumps(line, JSON_COMPACT));
    buffer_text(out, text);
    buffer_text(out, "\n");
    free(text);
    json_decref(line);
    fold->folded += counted->count;
    stop_counting(fold, cascade);
}

/* ---- counting ---- */

/* As much of `text` as fits, cut between two characters. Returns false if there is none. */
static bool copy(char *to, size_t size, const json_t *text)
{
    const char *from = json_string_value(text);
    size_t length;

    if (from == NULL)
        return false;
    length = strlen(from);
    if (length >= size) {
        length = size - 1;
        while (length > 0 && ((unsigned char)from[length] & 0xc0) == 0x80)
            length--;
    }
    memcpy(to, from, length);
    to[length] = '\0';
    return true;
}

static char *short_text(const json_t *text)
{
    char buffer[SHORT_TEXT];

    return copy(buffer, sizeof(buffer), text) ? memory_string(buffer) : NULL;
}

static struct counted *begin_counting(struct fold *fold, struct cascade *cascade, int64_t row,
                                      const json_t *record, int64_t now_ms)
{
    const json_t *origin = json_object_get(record, "origin");
    const json_t *node = json_object_get(record, "node");
    struct counted *counted = memory_zeroed(sizeof(*counted));

    counted->first_row = row;
    counted->since_ms = now_ms;
    copy(counted->first_id, sizeof(counted->first_id), json_object_get(record, "id"));
    copy(counted->from, sizeof(counted->from), json_object_get(record, "time"));
    copy(counted->source, sizeof(counted->source), json_object_get(origin, "source"));
    counted->by_name = short_text(json_object_get(origin, "by_name"));
    counted->module = short_text(json_object_get(origin, "module"));
    counted->node = node != NULL ? memory_check(json_dumps(node, JSON_COMPACT)) : NULL;
    cascade->counted = counted;
    count_in(fold, cascade);
    return counted;
}

static void count_call(struct counted *counted, const json_t *record)
{
    const json_t *process = json_object_get(record, "process");
    char name[CALL_SIZE];

    if (!copy(name, sizeof(name), json_object_get(process, "initial_call"))) {
        counted->without_call++;
        return;
    }
    for (size_t i = 0; i < counted->calls_used; i++) {
        if (strcmp(counted->calls[i].name, name) == 0) {
            counted->calls[i].count++;
            return;
        }
    }
    if (counted->calls_used == FOLD_CALLS_MAX) {
        counted->other++;
        return;
    }
    memcpy(counted->calls[counted->calls_used].name, name, sizeof(name));
    counted->calls[counted->calls_used++].count = 1;
}

static void count_record(struct fold *fold, struct cascade *cascade, int64_t row,
                         const json_t *record, int64_t now_ms)
{
    const char *severity = json_string_value(json_object_get(record, "severity"));
    struct counted *counted = cascade->counted;
    char time[TIME_SIZE] = "";

    if (counted == NULL)
        counted = begin_counting(fold, cascade, row, record, now_ms);
    counted->count++;
    copy(counted->last_id, sizeof(counted->last_id), json_object_get(record, "id"));
    /* Fixed width, so the texts' order is that of the times. */
    copy(time, sizeof(time), json_object_get(record, "time"));
    if (strcmp(time, counted->from) < 0)
        memcpy(counted->from, time, sizeof(time));
    if (strcmp(time, counted->to) > 0)
        memcpy(counted->to, time, sizeof(time));
    if (severity != NULL && strcmp(severity, "info") == 0)
        counted->infos++;
    else if (severity != NULL && strcmp(severity, "warning") == 0)
        counted->warnings++;
    else
        counted->errors++;
    count_call(counted, record);
}

static struct cascade *find_cascade(struct fold *fold, const char *root, struct buffer *out)
{
    struct cascade **bucket = bucket_of(fold, root);
    struct cascade *cascade;

    for (cascade = *bucket; cascade != NULL; cascade = cascade->next_of_bucket) {
        if (strcmp(cascade->root, root) == 0)
            return cascade;
    }
    if (fold->cascades == FOLD_CASCADES_MAX) {
        if (fold->oldest->counted != NULL)
            tell(fold, fold->oldest, out);
        forget(fold, fold->oldest);
    }
    cascade = memory_zeroed(sizeof(*cascade));
    memcpy(cascade->root, root, strlen(root) + 1);
    bucket = bucket_of(fold, root);
    cascade->next_of_bucket = *bucket;
    *bucket = cascade;
    fold->cascades++;
    age_in(fold, cascade);
    return cascade;
}

bool fold_row(struct fold *fold, int64_t row, const char *json, size_t length, int64_t now_ms,
              struct buffer *out)
{
    json_t *record = json_loadb(json, length, 0, NULL);
    const char *root = json_string_value(json_object_get(json_object_get(record, "origin"), "id"));
    const char *id = json_string_value(json_object_get(record, "id"));
    struct cascade *cascade;
    bool write = true;

    /* What has no root, or an id that is none, is no cascade. */
    if (root != NULL && strlen(root) < ID_SIZE && id != NULL && strlen(id) < ID_SIZE) {
        cascade = find_cascade(fold, root, out);
        cascade->last_ms = now_ms;
        age_out(fold, cascade);
        age_in(fold, cascade);
        write = cascade->lines < fold->first;
        if (write)
            cascade->lines++;
        else
            count_record(fold, cascade, row, record, now_ms);
        if (!write && cascade->counted->count == FOLD_COUNT_MAX)
            tell(fold, cascade, out);
    }
    json_decref(record);
    return write;
}

bool fold_due(struct fold *fold, int64_t now_ms, bool all, struct buffer *out)
{
    struct cascade *cascade;
    bool told;

    while ((cascade = fold->oldest) != NULL &&
           (all || now_ms - cascade->last_ms >= FOLD_QUIET_MS)) {
        told = cascade->counted != NULL;
        if (told)
            tell(fold, cascade, out);
        forget(fold, cascade);
        if (told)
            return true;
    }
    cascade = fold->earliest;
    if (cascade != NULL && now_ms - cascade->counted->since_ms >= FOLD_LONGEST_MS) {
        tell(fold, cascade, out);
        return true;
    }
    return false;
}

static int64_t from_now(int64_t at, int64_t now_ms)
{
    return at > now_ms ? at - now_ms : 0;
}

int64_t fold_next_ms(const struct fold *fold, int64_t now_ms)
{
    int64_t next = -1, longest;

    /* Those that count nothing are of no hurry, but for the memory. */
    if (fold->oldest != NULL)
        next = from_now(fold->oldest->last_ms + FOLD_QUIET_MS, now_ms);
    if (fold->earliest != NULL) {
        longest = from_now(fold->earliest->counted->since_ms + FOLD_LONGEST_MS, now_ms);
        next = longest < next ? longest : next;
    }
    return next;
}

int64_t fold_floor(const struct fold *fold, int64_t row)
{
    return fold->earliest != NULL ? fold->earliest->counted->first_row - 1 : row;
}

uint64_t fold_folded(const struct fold *fold)
{
    return fold->folded;
}

void fold_reset(struct fold *fold)
{
    while (fold->oldest != NULL)
        forget(fold, fold->oldest);
}

void fold_free(struct fold *fold)
{
    if (fold == NULL)
        return;
    fold_reset(fold);
    free(fold);
}
