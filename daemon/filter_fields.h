/*
 * The fields of a record that can be asked for, written once: for coronerd, which answers, and for
 * coronerctl, which explains them. No database here.
 */
#ifndef CORONER_FILTER_FIELDS_H
#define CORONER_FILTER_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

/* What the values of a field are. */
enum filter_type {
    FILTER_TEXT,
    FILTER_NUMBER,   /* an integer; from 2^53 on a string of its digits */
    FILTER_TRUTH,    /* true or false, 1 or 0 in SQL */
    FILTER_MIXED,    /* an integer or a text */
    FILTER_TIME,     /* nanoseconds in SQL, RFC 3339 outside */
    FILTER_TIMESTAMP /* RFC 3339 in both */
};

/* What a request can name. All strings are static. */
struct filter_field {
    const char *name;
    enum filter_type type;
    const char *column;  /* of the table `exits`; NULL: it stands in the line alone */
    const char *path;    /* in the line */
    const char *element; /* NULL: one value. "": a list of values. Else one of a list of objects,
                            of which this is the key */
    int rank; /* how far an index on the column narrows, 1 the most; 0: none may be used */
    const char *const *values; /* all that there are, up to a NULL; NULL: any */
    const char *summary;       /* what it is, for people */
};

/*
 * filter_field(name):
 * Return the field of that ${name}, or NULL if there is none.
 */
const struct filter_field *filter_field(const char *name);

/*
 * filter_field_at(index):
 * Return the field number ${index}, in the order of the documentation, or NULL behind the last.
 */
const struct filter_field *filter_field_at(size_t index);

/*
 * filter_field_has(field, value):
 * Return whether ${field} can have this ${value}.
 */
bool filter_field_has(const struct filter_field *field, const char *value);

#endif
