/*
 * Whether the daemon does what it is there for, and if not, why: for /healthz, and for people. Each
 * module registers a function that looks at its own state; nothing here knows what it looks at.
 */
#ifndef CORONER_HEALTH_H
#define CORONER_HEALTH_H

#include <jansson.h>

struct health;
struct health_report;

enum health_level {
    HEALTH_OK,
    HEALTH_DEGRADED, /* records are stored, but somebody has to look after something */
    HEALTH_FAILING   /* what nodes send is not stored at this moment */
};

/*
 * health_new():
 * Return a new list of those who look.
 */
struct health *health_new(void);

/*
 * health_free(health):
 * Free ${health}, which may be NULL.
 */
void health_free(struct health *health);

/*
 * health_watch(health, look, cookie):
 * Let look(cookie, report) say what is wrong, each time that somebody asks. It runs on the loop and
 * says what it says from memory. At most HEALTH_WATCHES_MAX may ask for it.
 */
#define HEALTH_WATCHES_MAX 16
void health_watch(struct health *health, void (*look)(void *cookie, struct health_report *report),
                  void *cookie);

/*
 * health_say(report, level, code, format, ...):
 * Called by those who look: something is wrong. ${code} is a static word that a program can test,
 * the rest a sentence.
 */
void health_say(struct health_report *report, enum health_level level, const char *code,
                const char *format, ...) __attribute__((format(printf, 4, 5)));

/*
 * health_ask(health, level):
 * Return a new object {"status": ..., "reasons": [{"code": ..., "message": ...}, ...]} and set
 * *${level} to the worst that was said.
 */
json_t *health_ask(const struct health *health, enum health_level *level);

#endif
