#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "cascades.h"
#include "ingest_numbers.h"
#include "memory.h"
#include "source.h"
#include "timestamp.h"
#include "wire.h"

#define NODES (INGEST_NUMBERS_NODES + 1) /* the last one is all the others */
#define SOURCES (CORONER_SOURCE_COUNT + 1)

static const char *const source_names[SOURCES] = {
#define X(symbol, name) name,
    CORONER_SOURCES(X)
#undef X
        [CORONER_SOURCE_COUNT] = "other", /* of a node that is newer than this daemon */
};

static const char *const severity_names[] = {"error", "warning", "info"};
enum { SEVERITIES = sizeof(severity_names) / sizeof(severity_names[0]) };

struct node {
    uint64_t exits[SOURCES];
    size_t last_source; /* exits come in storms, which are all of one source */
    uint64_t gaps;
    uint64_t lost;
    uint64_t repeated;
};

struct ingest_numbers {
    struct label_set *names;
    struct node nodes[NODES];
    uint64_t severities[SEVERITIES];
    struct cascades *cascades;
    struct histogram commit_seconds;
    struct histogram stored_seconds;
};

struct ingest_numbers *ingest_numbers_new(void)
{
    struct ingest_numbers *numbers = memory_zeroed(sizeof(*numbers));

    numbers->names = label_set_new(INGEST_NUMBERS_NODES);
    numbers->cascades = cascades_new();
    histogram_init(&numbers->commit_seconds, histogram_seconds,
                   sizeof(histogram_seconds) / sizeof(histogram_seconds[0]));
    histogram_init(&numbers->stored_seconds, histogram_seconds,
                   sizeof(histogram_seconds) / sizeof(histogram_seconds[0]));
    return numbers;
}

void ingest_numbers_free(struct ingest_numbers *numbers)
{
    if (numbers == NULL)
        return;
    label_set_free(numbers->names);
    cascades_free(numbers->cascades);
    free(numbers);
}

size_t ingest_numbers_node(struct ingest_numbers *numbers, const char *name)
{
    return label_set_index(numbers->names, name);
}

static size_t source_of(struct node *node, const char *name)
{
    if (name == NULL)
        name = "";
    if (strcmp(source_names[node->last_source], name) == 0)
        return node->last_source;
    for (size_t source = 0; source < CORONER_SOURCE_COUNT; source++) {
        if (strcmp(source_names[source], name) == 0)
            return node->last_source = source;
    }
    return CORONER_SOURCE_COUNT;
}

static void count_exit(struct ingest_numbers *numbers, struct node *node, const char *incarnation,
                       const struct record *record)
{
    const char *severity = record->column[RECORD_COLUMN_severity];

    node->exits[source_of(node, record->column[RECORD_COLUMN_source])]++;
    for (size_t i = 0; i < SEVERITIES; i++) {
        if (severity != NULL && strcmp(severity_names[i], severity) == 0)
            numbers->severities[i]++;
    }
    cascades_add(numbers->cascades, incarnation, record);
}

void ingest_numbers_committed(struct ingest_numbers *numbers, size_t node_number,
                              const struct change *change)
{
    struct node *node = &numbers->nodes[node_number];

    node->lost += change->lost_more;
    if (change->type != CHANGE_RECORD)
        return;
    if (change->row == 0) {
        node->repeated++;
        return;
    }
    if (change->record->kind == WIRE_KIND_GAP)
        node->gaps++;
    else
        count_exit(numbers, node, change->hello->incarnation, change->record);
    histogram_observe(&numbers->commit_seconds, (double)(uv_hrtime() - change->submitted_ns) / 1e9);
    histogram_observe(&numbers->stored_seconds,
                      (double)(timestamp_now() - (int64_t)change->record->time_ns) / 1e9);
}

/* One number of each node. */
static void tell_nodes(const struct ingest_numbers *numbers, struct metrics_page *page,
                       uint64_t (*number)(const struct node *node))
{
    for (size_t i = 0; i < label_set_count(numbers->names); i++)
        metrics_count(page, number(&numbers->nodes[i]), "node", label_set_name(numbers->names, i),
                      NULL);
    if (label_set_overflowed(numbers->names))
        metrics_count(page, number(&numbers->nodes[INGEST_NUMBERS_NODES]), "node",
                      label_set_name(numbers->names, INGEST_NUMBERS_NODES), NULL);
}

static uint64_t gaps_of(const struct node *node)
{
    return node->gaps;
}

static uint64_t lost_of(const struct node *node)
{
    return node->lost;
}

static uint64_t repeated_of(const struct node *node)
{
    return node->repeated;
}

static void tell_exits(const struct ingest_numbers *numbers, struct metrics_page *page)
{
    metrics_family(page, "coroner_exits_total", METRICS_COUNTER,
                   "Exits stored, by the node and by what caused them (exit.source).");
    for (size_t i = 0; i < NODES; i++) {
        for (size_t source = 0; source < SOURCES; source++) {
            uint64_t exits = numbers->nodes[i].exits[source];

            if (exits > 0)
                metrics_count(page, exits, "node", label_set_name(numbers->names, i), "source",
                              source_names[source], NULL);
        }
    }
    metrics_family(page, "coroner_exits_by_severity_total", METRICS_COUNTER,
                   "Exits stored, by their severity.");
    for (size_t i = 0; i < SEVERITIES; i++)
        metrics_count(page, numbers->severities[i], "severity", severity_names[i], NULL);
}

static void tell_cascades(const struct ingest_numbers *numbers, struct metrics_page *page)
{
    struct cascade_numbers cascades = cascades_numbers(numbers->cascades);

    metrics_family(page, "coroner_cascades_total", METRICS_COUNTER,
                   "Exits that took others along.");
    metrics_count(page, cascades.cascades, NULL);
    metrics_family(page, "coroner_cascade_exits_total", METRICS_COUNTER,
                   "Exits that belong to a cascade, the first ones included.");
    metrics_count(page, cascades.exits, NULL);
    metrics_family(page, "coroner_cascade_largest_exits", METRICS_GAUGE,
                   "Exits of the largest cascade since the daemon started.");
    metrics_count(page, cascades.largest, NULL);
}

void ingest_numbers_tell(const struct ingest_numbers *numbers, struct metrics_page *page)
{
    tell_exits(numbers, page);
    tell_cascades(numbers, page);
    metrics_family(page, "coroner_gaps_total", METRICS_COUNTER,
                   "Records of spans in which exits may not have been seen.");
    tell_nodes(numbers, page, gaps_of);
    metrics_family(page, "coroner_records_lost_total", METRICS_COUNTER,
                   "Records that were made and will never come, as far as the node told or missing "
                   "numbers show.");
    tell_nodes(numbers, page, lost_of);
    metrics_family(page, "coroner_records_repeated_total", METRICS_COUNTER,
                   "Records that were sent again although they were stored.");
    tell_nodes(numbers, page, repeated_of);
    metrics_family(page, "coroner_ingest_commit_seconds", METRICS_HISTOGRAM,
                   "From reading a record to its commit.");
    metrics_histogram(page, &numbers->commit_seconds, NULL);
    metrics_family(page, "coroner_exit_stored_seconds", METRICS_HISTOGRAM,
                   "From an exit, by its node's clock, to its commit, by the daemon's.");
    metrics_histogram(page, &numbers->stored_seconds, NULL);
}
