/*
 * Any request: a line of JSON becomes a filter, that becomes SQL, and the answer is lines of JSON.
 * The commands are those of the daemon; the store is two parts in memory, one with indexes and one
 * without, so that whatever index is chosen, the same rows must come, in both orders.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filter.h"
#include "op_records.h"
#include "op_subscribe.h"
#include "query.h"
#include "scan.h"

#define ROWS_A_PART 3
#define OPS_MAX 16
#define TURNS_MAX 10000

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---- what stands for the rest of the daemon ---- */

static sqlite3 *parts[2];
static const struct query_op *ops[OPS_MAX];
static size_t op_count;
static bool with_memory;

void query_register(struct query *query, const struct query_op *op)
{
    (void)query;
    must(op_count < OPS_MAX);
    ops[op_count++] = op;
}

int64_t writer_head(const struct writer *writer)
{
    (void)writer;
    return 2 * ROWS_A_PART;
}

int store_reader_part(struct store_reader *reader, int64_t row, bool descending,
                      struct store_part *part, char why[STORE_WHY_SIZE])
{
    bool second = row > ROWS_A_PART;

    (void)reader;
    why[0] = '\0';
    if (descending ? row < 1 : row > 2 * ROWS_A_PART)
        return 0;
    *part = (struct store_part){.database = parts[second],
                                .first = second ? ROWS_A_PART + 1 : 1,
                                .last = second ? 2 * ROWS_A_PART : ROWS_A_PART,
                                .has_indexes = second};
    return 1;
}

bool store_can_narrow(int column)
{
    return column != RECORD_COLUMN_severity;
}

/* Of the first part every other time: all its rows may fit. */
ptrdiff_t store_reader_candidates(struct store_reader *reader,
                                  const struct store_condition *conditions, size_t count,
                                  int64_t first, int64_t last, bool descending, int64_t *rows,
                                  size_t max)
{
    size_t found = 0;

    (void)reader;
    must(count > 0 && first >= 1 && last <= ROWS_A_PART && max >= ROWS_A_PART);
    for (size_t i = 0; i < count; i++)
        must(conditions[i].count > 0 && conditions[i].values[0] != NULL);
    if (!with_memory)
        return -1;
    for (int64_t row = first; row <= last; row++)
        rows[found++] = descending ? last - (row - first) : row;
    return (ptrdiff_t)found;
}

int store_reader_times(struct store_reader *reader, int64_t since_ns, int64_t until_ns,
                       int64_t *first, int64_t *last, char why[STORE_WHY_SIZE])
{
    (void)reader;
    (void)why;
    for (; *first <= *last && *first * 1000000000 < since_ns; (*first)++)
        ;
    for (; *first <= *last && *last * 1000000000 > until_ns; (*last)--)
        ;
    return 0;
}

int64_t store_reader_oldest(struct store_reader *reader)
{
    (void)reader;
    return 1;
}

int64_t store_reader_find(struct store_reader *reader, const char *incarnation, uint64_t seq,
                          char why[STORE_WHY_SIZE])
{
    (void)reader;
    (void)why;
    return strcmp(incarnation, "6a1f0c2be5d94c11") == 0 && seq >= 1 && seq <= 2 * ROWS_A_PART
               ? (int64_t)seq
               : 0;
}

void store_reader_deadline(struct store_reader *reader, unsigned milliseconds)
{
    (void)reader;
    (void)milliseconds;
}

static void fill(sqlite3 *database, int64_t first)
{
    static const char make[] =
        "CREATE TABLE bodies(row INTEGER PRIMARY KEY, json TEXT NOT NULL);"
        "CREATE TABLE exits(row INTEGER PRIMARY KEY, incarnation TEXT NOT NULL,"
        " seq INTEGER NOT NULL, time_ns INTEGER NOT NULL, kind INTEGER, node TEXT NOT NULL,"
#define X(column, section, key) " " #column " TEXT,"
        RECORD_COLUMNS(X)
#undef X
            " initial_module TEXT);";
    static const char indexes[] =
        "CREATE INDEX a ON exits(pid); CREATE INDEX b ON exits(name) WHERE name IS NOT NULL;"
        "CREATE INDEX c ON exits(source); CREATE INDEX d ON exits(origin_id);"
        "CREATE INDEX e ON exits(seq); CREATE INDEX f ON exits(initial_module);"
        "CREATE INDEX g ON exits(origin_by); CREATE INDEX h ON exits(origin_by_name);"
        "CREATE INDEX i ON exits(origin_module);";
    static const char line[] =
        "INSERT INTO bodies VALUES(%lld, json_object('schema', 'coroner.exit/1', 'id',"
        " '6a1f0c2be5d94c11-%lld', 'severity', 'error', 'message', 'm', 'node', json_object('name',"
        " 'a@h', 'os_pid', %lld), 'process', json_object('pid', '<0.%lld.0>', 'name', %s,"
        " 'initial_call', 'a:b/1', 'age_us', %lld, 'trap_exit', json('true'), 'ancestors',"
        " json_array('x', 'y')), 'exit', json_object('source', 'link', 'via', '<0.1.0>'),"
        " 'origin', json_object('id', '6a1f0c2be5d94c11-1'), 'chain', json_array(json_object('pid',"
        " '<0.1.0>', 'id', '6a1f0c2be5d94c11-1'), json_object('pid', '<0.2.0>')),"
        " 'chain_length', 2));"
        "INSERT INTO exits(row, incarnation, seq, time_ns, kind, node, pid, name, initial_call,"
        " source, severity, origin_id, initial_module) VALUES(%lld, '6a1f0c2be5d94c11', %lld,"
        " %lld, 0, 'a@h', '<0.%lld.0>', %s, 'a:b/1', 'link', 'error', '6a1f0c2be5d94c11-1', 'a');";

    must(sqlite3_exec(database, make, NULL, NULL, NULL) == SQLITE_OK);
    if (first > 1)
        must(sqlite3_exec(database, indexes, NULL, NULL, NULL) == SQLITE_OK);
    for (long long row = first; row < first + ROWS_A_PART; row++) {
        const char *name = row % 2 ? "NULL" : "'x'";
        char sql[2048];

        snprintf(sql, sizeof(sql), line, row, row, row, row, name, row * 1000, row, row,
                 row * 1000000000, row, name);
        must(sqlite3_exec(database, sql, NULL, NULL, NULL) == SQLITE_OK);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    for (size_t i = 0; i < 2; i++) {
        must(sqlite3_open(":memory:", &parts[i]) == SQLITE_OK);
        fill(parts[i], i == 0 ? 1 : ROWS_A_PART + 1);
    }
    op_records_register(NULL);
    op_subscribe_register(NULL, NULL);
    return 0;
}

/* ---- what must hold ---- */

static void check_error(const struct reply_error *error)
{
    must(error->code != NULL && error->code[0] != '\0');
    must(error->message[0] != '\0');
    /* All of it is in memory and takes no time, so nothing may be the store's fault. */
    must(strcmp(error->code, "internal") != 0 && strcmp(error->code, "timeout") != 0);
}

static size_t walk(const struct filter *filter, enum scan_order order, int64_t rows[])
{
    struct scan_question question = {
        .filter = filter, .columns = "seq", .order = order, .first = 1, .last = INT64_MAX};
    struct scan *scan = scan_begin(NULL, &question);
    size_t count = 0;
    int found;

    while ((found = scan_next(scan)) > 0) {
        must(count < 2 * ROWS_A_PART);
        rows[count] = sqlite3_column_int64(scan_statement(scan), 0);
        must(order == SCAN_ANY || rows[count] == scan_row(scan));
        count++;
    }
    must(found == 0);
    scan_end(scan);
    return count;
}

static void check_filter(const json_t *request)
{
    int64_t up[2 * ROWS_A_PART], down[2 * ROWS_A_PART], any[2 * ROWS_A_PART];
    struct reply_error error = {0};
    struct filter filter;
    size_t count;

    if (filter_read(&filter, request, INT64_C(100) * 1000000000, &error) != 0) {
        check_error(&error);
        must(filter.values == NULL && filter.condition_count == 0);
        return;
    }
    count = walk(&filter, SCAN_ASCENDING, up);
    must(walk(&filter, SCAN_DESCENDING, down) == count);
    must(walk(&filter, SCAN_ANY, any) == count);
    for (size_t i = 0; i < count; i++) {
        must(i == 0 || up[i - 1] < up[i]);
        must(up[i] == down[count - 1 - i]);
    }
    filter_clear(&filter);
}

static void check_lines(const struct reply *reply)
{
    const char *at = reply->out.data, *end = at + reply->out.length;

    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        json_t *line;

        must(newline != NULL);
        line = json_loadb(at, (size_t)(newline - at), 0, NULL);
        must(json_is_object(line));
        json_decref(line);
        at = newline + 1;
    }
}

static void check_op(const struct query_op *op, const json_t *request)
{
    struct reply_error error = {0};
    struct reply reply;
    struct query_context context = {
        .head = 2 * ROWS_A_PART, .heartbeat = true, .reply = &reply, .error = &error};
    enum query_step step = QUERY_MORE;
    void *state = op->begin(op->cookie, request, &error);

    if (state == NULL) {
        check_error(&error);
        return;
    }
    must(error.code == NULL);
    reply_init(&reply, NULL, false);
    for (int turn = 0; step == QUERY_MORE; turn++) {
        must(turn < TURNS_MAX);
        step = op->step(state, &context);
    }
    must(op->subscribes ? step != QUERY_DONE : step != QUERY_WAIT);
    if (step == QUERY_FAILED) {
        check_error(&error);
        reply_failed(&reply, &error);
    } else {
        reply_done(&reply);
    }
    check_lines(&reply);
    reply_clear(&reply);
    op->end(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *request = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    const char *name = json_string_value(json_object_get(request, "op"));

    with_memory = size % 2;
    if (json_is_object(request)) {
        check_filter(request);
        for (size_t i = 0; i < op_count; i++) {
            if (name == NULL || strcmp(ops[i]->name, name) == 0)
                check_op(ops[i], request);
        }
    }
    json_decref(request);
    return 0;
}
