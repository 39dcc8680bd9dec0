/*
 * Which keys a config file has: the one list that the reader, `coronerd --check`, the sample and
 * the manual page are made from or held against.
 */
#ifndef CORONER_SETTINGS_KEYS_H
#define CORONER_SETTINGS_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "settings.h"
#include "settings_value.h"

struct settings_key {
    const char *section; /* "": outside of the sections; "sink": there may be many */
    const char *name;
    struct value_type type;
    size_t offset;        /* in struct settings; of a sink's key in struct sink_settings */
    const char *fallback; /* what holds if it is not given; NULL: an empty list */
    bool reloads;         /* a change comes into force at a SIGHUP, not only at a restart */
    unsigned sinks;       /* a bit for each type of sink that has it; 0: not a sink's */
};

/*
 * settings_key_at(index):
 * Return the key number ${index}, from 0, or NULL. Those of one section stand together.
 */
const struct settings_key *settings_key_at(size_t index);

/*
 * settings_key_value(key, settings, sink):
 * Return where ${settings}, or ${sink} if it is a sink's key, has the value of ${key}.
 */
void *settings_key_value(const struct settings_key *key, struct settings *settings,
                         struct sink_settings *sink);

#endif
