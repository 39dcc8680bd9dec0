/*
 * Who wants what to stop: processes (gen_server:stop/1 and its like), applications, the node.
 *
 * Calls like these are rare, so all is under one lock, held for a few steps.
 */
#ifndef CORONER_STOPS_H
#define CORONER_STOPS_H

#include "sites.h"

struct stops;

/** stops_new(): nobody wants anything to stop. NULL without memory. */
struct stops *stops_new(void);

/** stops_clear(stops): forgets all. */
void stops_clear(struct stops *stops);

/** stops_free(stops): frees it; nobody may use it any more. NULL is a no-op. */
void stops_free(struct stops *stops);

/** stops_call(stops, call, inner): a call that asks a process (its subject; NO_WORD: by name) to stop, or an application. */
void stops_call(struct stops *stops, struct asked_from call, bool inner);

/** stops_taken(stops, pid, subject): as sites_take. */
struct asked_from stops_taken(struct stops *stops, term_word pid, term_word subject);

/** stops_asked(stops, application): the newest call that asked ${application} to stop, or an empty one. It is not taken. */
struct asked_from stops_asked(struct stops *stops, term_word application);

/** stops_node(stops, act): the node is to stop because of ${act}, which keeps its holder. The first one counts. */
void stops_node(struct stops *stops, struct act *act);

/** stops_node_act(stops): why the node is stopping, held for the caller; NULL while it is not. */
struct act *stops_node_act(struct stops *stops);

/** stops_master(stops, pid, application): ${pid} is the application master of ${application}. */
void stops_master(struct stops *stops, term_word pid, term_word application);

/** stops_application(stops, pid): the application whose master is ${pid}, or NO_WORD. */
term_word stops_application(struct stops *stops, term_word pid);

#endif
