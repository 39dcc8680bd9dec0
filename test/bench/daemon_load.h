/*
 * Nodes that send records to coronerd as fast as asked. They differ from real ones in that their
 * frames are encoded once: sequence number, time, pids and the origin's id are written anew in
 * each. They keep as many records under way as a real node does, and count what is acknowledged.
 *
 * Record I of a node has a pid that no other record has (load_pid). Every fourth record died of the
 * one before it through a link; one in LOAD_RARE has a name, a killer, a module and a source that
 * the others do not have. All else are common values: 97 names, 37 killers, 23 modules.
 */
#ifndef CORONER_BENCH_DAEMON_LOAD_H
#define CORONER_BENCH_DAEMON_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#define LOAD_NODES_MAX 64
#define LOAD_RARE 50000
#define LOAD_PID_SIZE 32

struct load;

/*
 * load_new(socket_path, count):
 * Return ${count} nodes that are connected to ${socket_path} and have said HELLO. The process ends
 * with a sentence on stderr when the daemon is not there, as it does on any error here.
 */
struct load *load_new(const char *socket_path, unsigned count);

/*
 * load_run(load, records, seconds, rate):
 * Send until ${records} more are acknowledged, or ${seconds} are over (0: never), at ${rate} a
 * second in all (0: as fast as it goes), or load_stop is called. Return how many were acknowledged.
 */
uint64_t load_run(struct load *load, uint64_t records, double seconds, uint64_t rate);

/*
 * load_stop(load):
 * Let load_run, which another thread is in, come to its end.
 */
void load_stop(struct load *load);

/*
 * load_cascade(load, victims):
 * Let the first node send a record and ${victims} that died of it, and wait until they are
 * acknowledged. Write the pid of the first to ${pid}.
 */
void load_cascade(struct load *load, uint64_t victims, char pid[LOAD_PID_SIZE]);

/*
 * load_acknowledged(load):
 * Return how many records were acknowledged in all.
 */
uint64_t load_acknowledged(const struct load *load);

/*
 * load_pid(load, choice, pid):
 * Write to ${pid} the pid of an acknowledged record; each number ${choice} tells another one.
 */
void load_pid(const struct load *load, uint64_t choice, char pid[LOAD_PID_SIZE]);

/*
 * load_free(load):
 * Close the connections. Not while records are under way.
 */
void load_free(struct load *load);

#endif
