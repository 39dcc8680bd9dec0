#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "scan.h"

#define STREAMS_MAX 16     /* values of a list that are looked up each by itself and merged */
#define CANDIDATES_MAX 512 /* looked up at once */
#define NEAR_ROWS 12    /* from one candidate to the next, of those that are looked at in one go */
#define SORTED_MAX 5000 /* hits that are put into the order of rows once they are found */

/* How the rows of a part are found. */
struct plan {
    struct filter_drive drive;
    size_t streams;  /* one for each value of a list, else 1 */
    bool candidates; /* what the reader remembers of a part without indexes tells the rows */
};

/*
 * The rows of a part that may fit, a few at a time. Those that are near each other are looked at in
 * one go, with what is between them: to look at a row costs a tenth of what it costs to begin.
 */
struct candidates {
    bool used;
    int64_t rows[CANDIDATES_MAX];
    size_t at, count;
    bool in_run;         /* the statement is on its way through a run of them */
    int64_t first, last; /* where more of them may be */
    struct store_condition conditions[FILTER_CONDITIONS_MAX];
    size_t condition_count;
    const char *values[FILTER_VALUES_MAX + FILTER_CONDITIONS_MAX];
};

struct stream {
    sqlite3_stmt *statement;
    int64_t row;
    bool ended;
};

struct scan {
    struct store_reader *reader;
    struct scan_question question; /* `first` and `last` shrink to what is still to be seen */
    struct store_part part;
    bool in_part;
    struct stream streams[STREAMS_MAX];
    size_t stream_count;
    struct stream *current;
    struct candidates candidates;
    sqlite3_stmt *line;
    char why[STORE_WHY_SIZE];
};

struct scan *scan_begin(struct store_reader *reader, const struct scan_question *question)
{
    struct scan *scan = memory_zeroed(sizeof(*scan));

    scan->reader = reader;
    scan->question = *question;
    return scan;
}

static void leave_part(struct scan *scan)
{
    for (size_t i = 0; i < scan->stream_count; i++)
        sqlite3_finalize(scan->streams[i].statement);
    scan->stream_count = 0;
    scan->current = NULL;
    sqlite3_finalize(scan->line);
    scan->line = NULL;
    scan->candidates.used = scan->candidates.in_run = false;
    scan->in_part = false;
}

void scan_end(struct scan *scan)
{
    if (scan == NULL)
        return;
    leave_part(scan);
    free(scan);
}

static int fail(struct scan *scan)
{
    snprintf(scan->why, sizeof(scan->why), "%s", sqlite3_errmsg(scan->part.database));
    return -1;
}

/* ---- the choice of an index ---- */

/* The number by which the store knows the column of a field, -1 if it does not. */
static int column_number(const struct filter_field *field)
{
    static const struct {
        const char *name;
        int number;
    } columns[] = {
#define X(column, section, key) {#column, RECORD_COLUMN_##column},
        RECORD_COLUMNS(X)
#undef X
            {"initial_module", RECORD_COLUMN_initial_module},
        {"id", STORE_COLUMN_ID},
    };

    for (size_t i = 0; field->column != NULL && i < sizeof(columns) / sizeof(columns[0]); i++) {
        if (strcmp(columns[i].name, field->column) == 0)
            return columns[i].number;
    }
    return -1;
}

/* Whether this part has an index on the field. */
static bool has_index(const struct scan *scan, const struct filter_field *field)
{
    return scan->part.has_indexes && field->rank > 0;
}

/* Let a condition narrow the candidates, if it is one on texts in a column. */
static void narrow_by(struct candidates *candidates, const struct filter *filter,
                      const struct filter_condition *condition)
{
    const char **values = &candidates->values[condition->first];
    int column = column_number(condition->field);

    if (condition->kind != FILTER_EQUAL || column < 0 || !store_can_narrow(column))
        return;
    for (size_t i = 0; i < condition->count; i++) {
        values[i] = filter->values[condition->first + i].text;
        if (values[i] == NULL)
            return;
    }
    candidates->conditions[candidates->condition_count++] =
        (struct store_condition){.column = column, .values = values, .count = condition->count};
}

/* Get the next candidates. Return false if the part has no memory of its rows. */
static bool refill(struct scan *scan)
{
    struct candidates *candidates = &scan->candidates;
    bool descending = scan->question.order == SCAN_DESCENDING;
    ptrdiff_t count = 0;

    if (candidates->first <= candidates->last)
        count = store_reader_candidates(
            scan->reader, candidates->conditions, candidates->condition_count, candidates->first,
            candidates->last, descending, candidates->rows, CANDIDATES_MAX);
    if (count < 0)
        return false;
    candidates->at = 0;
    candidates->count = (size_t)count;
    if (count < CANDIDATES_MAX)
        candidates->last = candidates->first - 1;
    else if (descending)
        candidates->last = candidates->rows[count - 1] - 1;
    else
        candidates->first = candidates->rows[count - 1] + 1;
    return true;
}

/* Whether the reader's memory of a part without indexes tells which rows may fit. */
static bool begin_candidates(struct scan *scan, int64_t first, int64_t last)
{
    const struct filter *filter = scan->question.filter;
    struct candidates *candidates = &scan->candidates;

    if (scan->part.has_indexes)
        return false;
    candidates->condition_count = 0;
    for (size_t i = 0; i < filter->condition_count; i++)
        narrow_by(candidates, filter, &filter->conditions[i]);
    candidates->first = first;
    candidates->last = last;
    candidates->used = candidates->condition_count > 0 && refill(scan);
    return candidates->used;
}

/* Whether so few rows of this part fit the conditions on the field that they may be sorted. */
static int fits_few(struct scan *scan, const struct filter_field *field)
{
    const struct filter *filter = scan->question.filter;
    struct filter_drive drive = {field, FILTER_ALL_VALUES};
    struct filter one;
    struct buffer sql = {0};
    sqlite3_stmt *statement = NULL;
    int few;

    if (!has_index(scan, field))
        return 0;
    /* The conditions on this field alone; the values stay the filter's. */
    filter_init(&one);
    one.values = filter->values;
    for (size_t i = 0; i < filter->condition_count; i++) {
        if (filter->conditions[i].field == field)
            one.conditions[one.condition_count++] = filter->conditions[i];
    }
    buffer_text(&sql, "SELECT count(*) FROM (SELECT 1 FROM exits WHERE 1");
    filter_sql(&one, drive, &sql);
    buffer_text(&sql, " LIMIT ?)");
    if (sqlite3_prepare_v2(scan->part.database, sql.data, (int)sql.length, &statement, NULL) ==
        SQLITE_OK) {
        sqlite3_bind_int64(statement, filter_bind(&one, drive, statement, 1), SORTED_MAX);
        few = sqlite3_step(statement) == SQLITE_ROW
                  ? sqlite3_column_int64(statement, 0) < SORTED_MAX
                  : fail(scan);
    } else {
        few = fail(scan);
    }
    sqlite3_finalize(statement);
    buffer_clear(&sql);
    return few;
}

static bool narrows_more(const struct filter_condition *condition,
                         const struct filter_condition *than)
{
    return condition->field->rank > 0 &&
           (than == NULL || condition->field->rank < than->field->rank);
}

/*
 * One index for a part. Of a value's rows an index gives their numbers in order, so nothing has to
 * be sorted, and the walk ends as soon as enough is found: also where the value is a common one. Of
 * ranges it does not; there it is used if few rows fit.
 */
static int choose(struct scan *scan, int64_t first, int64_t last, struct plan *plan)
{
    const struct filter *filter = scan->question.filter;
    const struct filter_condition *exact = NULL, *loose = NULL;
    bool any = scan->question.order == SCAN_ANY;
    int usable;

    *plan = (struct plan){.drive = {NULL, FILTER_ALL_VALUES}, .streams = 1};
    plan->candidates = begin_candidates(scan, first, last);
    if (plan->candidates || !scan->part.has_indexes)
        return 0;
    for (size_t i = 0; i < filter->condition_count; i++) {
        const struct filter_condition *condition = &filter->conditions[i];

        if (condition->kind == FILTER_EQUAL && (any || condition->count <= STREAMS_MAX)) {
            if (narrows_more(condition, exact))
                exact = condition;
        } else if (condition->kind != FILTER_NULL && condition->kind != FILTER_NOT_NULL &&
                   condition->kind != FILTER_NOT_EQUAL && narrows_more(condition, loose)) {
            loose = condition;
        }
    }
    if (loose != NULL && narrows_more(loose, exact)) {
        usable = fits_few(scan, loose->field);
        if (usable < 0)
            return -1;
        if (usable > 0) {
            plan->drive.field = loose->field;
            return 0;
        }
    }
    if (exact != NULL) {
        plan->drive.field = exact->field;
        plan->streams = any ? 1 : exact->count;
    }
    return 0;
}

/* ---- a part ---- */

static int open_stream(struct scan *scan, struct filter_drive drive, int64_t first, int64_t last)
{
    bool candidates = scan->candidates.used;
    const struct scan_question *question = &scan->question;
    struct stream *stream = &scan->streams[scan->stream_count];
    struct buffer sql = {0};
    bool bounded =
        question->order != SCAN_ANY || first > scan->part.first || last < scan->part.last;
    int result, next = 1;

    buffer_text(&sql, "SELECT ");
    buffer_text(&sql, question->columns);
    if (question->order != SCAN_ANY)
        buffer_text(&sql, ", row");
    buffer_text(&sql, " FROM exits WHERE ");
    /* Without bounds a count can do with an index alone. */
    buffer_text(&sql, candidates || bounded ? "row >= ? AND row <= ?" : "1");
    filter_sql(question->filter, drive, &sql);
    if (question->grouping != NULL)
        buffer_text(&sql, question->grouping);
    if (question->order == SCAN_ASCENDING)
        buffer_text(&sql, " ORDER BY row");
    else if (question->order == SCAN_DESCENDING)
        buffer_text(&sql, " ORDER BY row DESC");
    result = sqlite3_prepare_v2(scan->part.database, sql.data, (int)sql.length, &stream->statement,
                                NULL);
    buffer_clear(&sql);
    if (result != SQLITE_OK)
        return fail(scan);
    if (candidates) {
        next += 2; /* see step_stream */
    } else if (bounded) {
        sqlite3_bind_int64(stream->statement, next++, first);
        sqlite3_bind_int64(stream->statement, next++, last);
    }
    filter_bind(question->filter, drive, stream->statement, next);
    stream->ended = false;
    scan->stream_count++;
    return 0;
}

/*
 * Take the candidates that come next and lie near each other: the rows from *${first} to *${last}.
 * Return how many they are, 0 if there are no more, -1 if the part has no memory of its rows.
 */
static int take_run(struct scan *scan, int64_t *first, int64_t *last)
{
    struct candidates *candidates = &scan->candidates;
    size_t begin, end;
    int64_t one, other;

    if (candidates->at == candidates->count && !refill(scan))
        return -1;
    begin = end = candidates->at;
    while (end < candidates->count &&
           (end == begin || llabs(candidates->rows[end] - candidates->rows[end - 1]) <= NEAR_ROWS))
        end++;
    candidates->at = end;
    if (end == begin)
        return 0;
    one = candidates->rows[begin];
    other = candidates->rows[end - 1];
    *first = one < other ? one : other;
    *last = one < other ? other : one;
    return (int)(end - begin);
}

/* The next row of a stream, as sqlite3_step says it. */
static int step_stream(struct scan *scan, struct stream *stream)
{
    int result = SQLITE_DONE;

    if (!scan->candidates.used)
        return sqlite3_step(stream->statement);
    for (;;) {
        int64_t first, last;
        int found;

        if (scan->candidates.in_run)
            result = sqlite3_step(stream->statement);
        if (result != SQLITE_DONE)
            return result;
        scan->candidates.in_run = false;
        found = take_run(scan, &first, &last);
        if (found <= 0)
            /* The memory was there, so it is there as long as the part is. */
            return found == 0 ? SQLITE_DONE : SQLITE_INTERNAL;
        sqlite3_reset(stream->statement);
        sqlite3_bind_int64(stream->statement, 1, first);
        sqlite3_bind_int64(stream->statement, 2, last);
        scan->candidates.in_run = true;
    }
}

static int step(struct scan *scan, struct stream *stream)
{
    switch (step_stream(scan, stream)) {
    case SQLITE_ROW:
        if (scan->question.order != SCAN_ANY)
            stream->row = sqlite3_column_int64(stream->statement,
                                               sqlite3_column_count(stream->statement) - 1);
        return 0;
    case SQLITE_DONE:
        stream->ended = true;
        return 0;
    default:
        return fail(scan);
    }
}

/* Find the next part. 1, 0 if there is none, -1 on error. */
static int enter_part(struct scan *scan)
{
    struct scan_question *question = &scan->question;
    const struct filter *filter = question->filter;
    bool descending = question->order == SCAN_DESCENDING;
    int64_t first, last;
    struct plan plan;
    int found;

    if (question->first > question->last)
        return 0;
    found = store_reader_part(scan->reader, descending ? question->last : question->first,
                              descending, &scan->part, scan->why);
    if (found <= 0)
        return found;
    if (scan->part.first > question->last || scan->part.last < question->first)
        return 0;
    scan->in_part = true;
    first = scan->part.first > question->first ? scan->part.first : question->first;
    last = scan->part.last < question->last ? scan->part.last : question->last;
    if ((filter->since != INT64_MIN || filter->until != INT64_MAX) &&
        store_reader_times(scan->reader, filter->since, filter->until, &first, &last, scan->why) !=
            0)
        return -1;
    if (first > last)
        return 1;
    if (choose(scan, first, last, &plan) != 0)
        return -1;
    for (size_t i = 0; i < plan.streams; i++) {
        struct filter_drive drive = plan.drive;

        if (plan.streams > 1)
            drive.value = i;
        if (open_stream(scan, drive, first, last) != 0 || step(scan, &scan->streams[i]) != 0)
            return -1;
    }
    return 1;
}

/* The stream with the row that comes next; NULL if all have ended. */
static struct stream *foremost(struct scan *scan)
{
    bool descending = scan->question.order == SCAN_DESCENDING;
    struct stream *best = NULL;

    for (size_t i = 0; i < scan->stream_count; i++) {
        struct stream *stream = &scan->streams[i];

        if (stream->ended)
            continue;
        if (best == NULL || (descending ? stream->row > best->row : stream->row < best->row))
            best = stream;
    }
    return best;
}

/* Move on from the current row, in every stream that has it. */
static int pass(struct scan *scan)
{
    int64_t row = scan->current->row;

    scan->current = NULL;
    for (size_t i = 0; i < scan->stream_count; i++) {
        struct stream *stream = &scan->streams[i];

        if (!stream->ended && (scan->question.order == SCAN_ANY || stream->row == row) &&
            step(scan, stream) != 0)
            return -1;
    }
    return 0;
}

int scan_next(struct scan *scan)
{
    if (scan->current != NULL && pass(scan) != 0)
        return -1;
    for (;;) {
        int found;

        if (scan->in_part) {
            scan->current = foremost(scan);
            if (scan->current != NULL)
                return 1;
            if (scan->question.order == SCAN_DESCENDING)
                scan->question.last = scan->part.first - 1;
            else
                scan->question.first = scan->part.last + 1;
            leave_part(scan);
        }
        found = enter_part(scan);
        if (found <= 0)
            return found;
    }
}

int64_t scan_row(const struct scan *scan)
{
    return scan->current->row;
}

sqlite3_stmt *scan_statement(const struct scan *scan)
{
    return scan->current->statement;
}

const char *scan_line(struct scan *scan, size_t *length)
{
    const char *line;

    if (scan->line == NULL &&
        sqlite3_prepare_v2(scan->part.database, "SELECT json FROM bodies WHERE row = ?1", -1,
                           &scan->line, NULL) != SQLITE_OK) {
        fail(scan);
        return NULL;
    }
    sqlite3_reset(scan->line);
    sqlite3_bind_int64(scan->line, 1, scan->current->row);
    switch (sqlite3_step(scan->line)) {
    case SQLITE_ROW:
        line = (const char *)sqlite3_column_text(scan->line, 0);
        *length = (size_t)sqlite3_column_bytes(scan->line, 0);
        if (line != NULL)
            return line;
        break;
    case SQLITE_DONE:
        snprintf(scan->why, sizeof(scan->why), "row %lld has no line",
                 (long long)scan->current->row);
        return NULL;
    default:
        break;
    }
    fail(scan);
    return NULL;
}

void scan_error(const char *message, struct reply_error *error)
{
    /* What SQLite says of SQLITE_INTERRUPT: the deadline, or a client that went away. */
    if (strstr(message, "interrupted") != NULL)
        reply_error_set(error, "timeout", NULL, "it took too long; ask for less");
    else
        reply_error_set(error, "internal", NULL, "%s", message);
}

void scan_failed(const struct scan *scan, struct reply_error *error)
{
    scan_error(scan->why, error);
}

int64_t scan_oldest(struct store_reader *reader)
{
    int64_t oldest = store_reader_oldest(reader);

    return oldest > 0 ? oldest : INT64_MAX;
}
