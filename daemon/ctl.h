/*
 * What the commands of coronerctl share: the options they were given, how they tell what went
 * wrong, and with which code they end.
 */
#ifndef CORONER_CTL_H
#define CORONER_CTL_H

#include "ctl_text.h"

#define CTL_QUERY_SOCKET "/run/coroner/query.sock"
#define CTL_INGEST_SOCKET "/run/coroner/ingest.sock"

/* How coronerctl ends; but for the first two these are sysexits(3). */
enum ctl_exit {
    CTL_OK = 0,
    CTL_NOTHING = 1,      /* nothing was found; the node is not attached */
    CTL_USAGE = 64,       /* the command line is wrong */
    CTL_UNAVAILABLE = 69, /* the daemon or the node cannot be reached */
    CTL_SOFTWARE = 70,    /* the other side, or coronerctl, has a fault */
    CTL_IOERR = 74,       /* the output cannot be written */
    CTL_TEMPFAIL = 75,    /* no answer in time: it may work later */
    CTL_NOPERM = 77,      /* not allowed: a cookie, or the rights of a file */
    CTL_READER_GONE = 256 /* within coronerctl: who read the output has had enough; ends with 0 */
};

/* The options, as given; NULL, 0 or false where one was not. */
struct ctl_options {
    const char *query;       /* path of the query socket; always set */
    const char *ingest;      /* path of the ingest socket; always set */
    const char *app;         /* directory that holds ebin/ */
    const char *cookie_file; /* file that holds the cookie */
    const char *cookie;      /* the cookie itself */
    const char *node;        /* only this node's records */
    const char *since;       /* from this time on */
    const char *until;       /* before this time */
    const char *order;       /* asc or desc */
    const char *limit;       /* how many records */
    const char *by;          /* by which fields to count */
    const char *bucket;      /* by which spans of time to count */
    const char *nodes;       /* how many members of a cascade */
    bool watch;              /* again and again */
    bool force;              /* also what coronerctl did not bring */
    bool json;               /* lines of JSON, not text for people */
    struct ctl_look look;    /* what standard output can show */
};

/**
 * ctl_locale_is_utf8():
 * Return whether the locale that the program has set is a UTF-8 one.
 */
bool ctl_locale_is_utf8(void);

/**
 * ctl_complain(parts):
 * Print "coronerctl: " and the NULL-terminated list of strings ${parts}, joined, as one line on
 * standard error. Every second part, from the second on, is foreign: it is printed harmlessly. With
 * an empty part in between, two of the same kind can follow each other.
 */
void ctl_complain(const char *const parts[]);

/* ctl_complain with its parts as arguments. */
#define CTL_COMPLAIN(...) ctl_complain((const char *const[]){__VA_ARGS__, NULL})

/**
 * ctl_print(text):
 * Write ${text} to standard output and flush it. Return CTL_OK; CTL_READER_GONE where nobody reads
 * it any more (EPIPE); CTL_IOERR or CTL_SOFTWARE after saying what is wrong.
 */
enum ctl_exit ctl_print(const struct ctl_text *text);

#endif
