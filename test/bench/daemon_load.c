#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../c/daemon_cbor.h"
#include "daemon_load.h"
#include "daemon_watch.h"
#include "memory.h"

#define VARIANTS 512       /* different records, without the rare one and the victim of a cascade */
#define UNDER_WAY_MAX 4096 /* as c_src/uplink.c */
#define SEQ_AT 4  /* of the 9 bytes of a frame's sequence number: length, array, type, 0x1b */
#define PLACES 12 /* in which a pid, or an origin's id, stands in a frame */
/* Sequence numbers of as many digits each, since ids are written over each other. */
#define SEQ_FIRST UINT64_C(10000000)

static const char pid_place[] = "<0.999999.999>";
static const char origin_place[] = "0000000000000000-99999999";

enum { RARE = VARIANTS, VICTIM, FRAMES };

/* A record that is encoded but for what differs. */
struct frame_form {
    struct buffer bytes;
    size_t pid[PLACES], origin[PLACES]; /* where these stand */
    size_t pids, origins;
};

struct node {
    int fd;
    unsigned number;
    char incarnation[17];
    uint64_t sent, acked;                              /* records */
    uint64_t cascade_root, cascade_first, cascade_end; /* records of a cascade, if there is one */
    bool welcomed;
    unsigned char out[256 * 1024];
    size_t out_used, out_at;
    unsigned char in[4096];
    size_t in_used;
};

struct load {
    struct frame_form forms[FRAMES];
    struct node *nodes[LOAD_NODES_MAX];
    unsigned count;
    atomic_bool stopping;
};

/* ---- frames ---- */

static void put_long(struct buffer *out, uint64_t number)
{
    put_byte(out, 0x1b);
    for (int shift = 56; shift >= 0; shift -= 8)
        put_byte(out, (unsigned char)(number >> shift));
}

static void put_number_text(struct buffer *out, enum wire_key key, const char *format, int number)
{
    char text[96];

    snprintf(text, sizeof(text), format, number);
    put_pair(out, key, text);
}

static void put_process_of(struct buffer *body, int number)
{
    put_uint(body, WIRE_KEY_process);
    put_map(body, 7);
    put_pair(body, WIRE_KEY_pid, pid_place);
    if (number == RARE)
        put_pair(body, WIRE_KEY_name, "bench_rare");
    else
        put_number_text(body, WIRE_KEY_name, "bench_name_%d", number % 97);
    if (number == RARE)
        put_pair(body, WIRE_KEY_initial_call, "bench_rare_worker:init/1");
    else
        put_number_text(body, WIRE_KEY_initial_call, "bench_worker_%d:init/1", number % 23);
    put_pair(body, WIRE_KEY_parent, "<0.512.0>");
    put_uint(body, WIRE_KEY_ancestors);
    put_array(body, 2);
    put_text(body, "bench_worker_sup");
    put_text(body, "bench_sup");
    put_uint(body, WIRE_KEY_trap_exit);
    put_bool(body, 0);
    put_uint(body, WIRE_KEY_age_us);
    put_uint(body, 81234567);
}

static void put_exit_of(struct buffer *body, int number)
{
    static const char *const sources[] = {"kill", "link", "self_error", "supervisor_shutdown"};

    put_uint(body, WIRE_KEY_exit);
    put_map(body, 6);
    put_pair(body, WIRE_KEY_source,
             number == RARE     ? "purge"
             : number == VICTIM ? "link"
                                : sources[number % 4]);
    put_pair(body, WIRE_KEY_reason, "{badmatch,{error,{timeout,\"the peer did not answer\"}}}");
    put_pair(body, WIRE_KEY_reason_class, "killed");
    put_uint(body, WIRE_KEY_truncated);
    put_bool(body, 0);
    put_pair(body, WIRE_KEY_confidence, "observed");
    put_uint(body, WIRE_KEY_stack);
    put_array(body, 2);
    put_text(body, "bench_worker:handle_call/3 (src/bench_worker.erl:142)");
    put_text(body, "gen_server:try_handle_call/4 (gen_server.erl:721)");
}

static void put_origin_of(struct buffer *body, int number)
{
    bool of_another = number == VICTIM || (number != RARE && number % 4 == 1);

    put_uint(body, WIRE_KEY_origin);
    put_map(body, of_another || number == RARE ? 8 : 7);
    put_pair(body, WIRE_KEY_source, number == RARE ? "purge" : "kill");
    put_pair(body, WIRE_KEY_pid, pid_place);
    if (of_another)
        put_pair(body, WIRE_KEY_id, origin_place);
    if (number == RARE)
        put_pair(body, WIRE_KEY_module, "bench_purged");
    put_number_text(body, WIRE_KEY_by, "<0.%d.0>", number == RARE ? 4711 : number % 37);
    if (number == RARE)
        put_pair(body, WIRE_KEY_by_name, "bench_rare_killer");
    else
        put_number_text(body, WIRE_KEY_by_name, "bench_killer_%d", number % 37);
    put_pair(body, WIRE_KEY_by_call, "bench_killer:sweep/2");
    put_pair(body, WIRE_KEY_by_function, "erlang:exit/2");
    put_pair(body, WIRE_KEY_confidence, "observed");
}

/* A worker that somebody killed, with what a node tells of it; about 900 bytes as JSON. */
static void put_variant(struct buffer *out, int number)
{
    struct buffer body = {0};

    put_array(&body, 6);
    put_uint(&body, WIRE_RECORD);
    put_long(&body, 0);
    put_long(&body, 0);
    put_uint(&body, 0);
    put_uint(&body, WIRE_KIND_EXIT);
    put_map(&body, 6);
    put_pair(&body, WIRE_KEY_severity, number % 5 == 0 ? "error" : "info");
    put_pair(&body, WIRE_KEY_message,
             "bench_worker <0.999999.999> exited killed: exit signal sent by bench_killer");
    put_process_of(&body, number);
    put_exit_of(&body, number);
    put_origin_of(&body, number);
    put_uint(&body, WIRE_KEY_chain);
    put_array(&body, 1);
    put_map(&body, 3);
    put_pair(&body, WIRE_KEY_pid, pid_place);
    put_pair(&body, WIRE_KEY_source, "kill");
    put_pair(&body, WIRE_KEY_reason, "killed");
    put_frame(out, &body);
    buffer_clear(&body);
}

static size_t find_places(const struct buffer *bytes, const char *what, size_t places[PLACES])
{
    size_t count = 0, at = 0;
    const char *found;

    while (count < PLACES &&
           (found = memmem(bytes->data + at, bytes->length - at, what, strlen(what))) != NULL) {
        places[count++] = (size_t)(found - bytes->data);
        at = (size_t)(found - bytes->data) + strlen(what);
    }
    return count;
}

static void make_forms(struct load *load)
{
    for (int i = 0; i < FRAMES; i++) {
        struct frame_form *form = &load->forms[i];

        put_variant(&form->bytes, i);
        form->pids = find_places(&form->bytes, pid_place, form->pid);
        form->origins = find_places(&form->bytes, origin_place, form->origin);
    }
}

static void put_hello(struct buffer *out, const struct node *node)
{
    struct buffer body = {0};

    put_array(&body, 3);
    put_uint(&body, WIRE_HELLO);
    put_uint(&body, WIRE_VERSION);
    put_map(&body, 7);
    put_pair(&body, WIRE_KEY_incarnation, node->incarnation);
    put_number_text(&body, WIRE_KEY_name, "bench%d@host", (int)node->number);
    put_pair(&body, WIRE_KEY_host, "host");
    put_uint(&body, WIRE_KEY_os_pid);
    put_uint(&body, (uint64_t)getpid());
    put_pair(&body, WIRE_KEY_otp, "25");
    put_uint(&body, WIRE_KEY_first_held);
    put_uint(&body, SEQ_FIRST + 1);
    put_uint(&body, WIRE_KEY_made);
    put_uint(&body, SEQ_FIRST);
    put_frame(out, &body);
    buffer_clear(&body);
}

/* ---- what differs ---- */

static void put_digits(char *at, unsigned digits, uint64_t number)
{
    for (; digits > 0; digits--, number /= 10)
        at[digits - 1] = (char)('0' + number % 10);
}

/* Of the record that a node sends as number `index`, counted from 0: no two are the same. */
static void write_pid(const struct load *load, const struct node *node, uint64_t index, char *pid)
{
    uint64_t number = index * load->count + node->number;

    memcpy(pid, pid_place, sizeof(pid_place) - 1);
    put_digits(pid + 3, 6, 100000 + number * 7919 % 900000);
    put_digits(pid + 10, 3, 100 + number / 900000 % 900);
}

static void put_big(unsigned char *at, uint64_t number)
{
    for (int i = 0; i < 8; i++)
        at[i] = (unsigned char)(number >> (56 - 8 * i));
}

static const struct frame_form *form_of(const struct load *load, const struct node *node,
                                        uint64_t index)
{
    if (index >= node->cascade_first && index < node->cascade_end)
        return &load->forms[VICTIM];
    return &load->forms[index % LOAD_RARE == LOAD_RARE / 2 ? RARE : index % VARIANTS];
}

static void write_frame(const struct load *load, const struct node *node, uint64_t index,
                        uint64_t now_ns, unsigned char *frame)
{
    const struct frame_form *form = form_of(load, node, index);
    bool victim = form == &load->forms[VICTIM];
    uint64_t origin = victim ? node->cascade_root : index > 0 ? index - 1 : 0;
    char pid[sizeof(pid_place)];

    memcpy(frame, form->bytes.data, form->bytes.length);
    put_big(frame + SEQ_AT + 3, SEQ_FIRST + 1 + index);
    put_big(frame + SEQ_AT + 12, now_ns + index % 1000);
    write_pid(load, node, index, pid);
    for (size_t i = 0; i < form->pids; i++)
        memcpy(frame + form->pid[i], pid, sizeof(pid_place) - 1);
    for (size_t i = 0; i < form->origins; i++) {
        memcpy(frame + form->origin[i], node->incarnation, 16);
        put_digits((char *)frame + form->origin[i] + 17, 8, SEQ_FIRST + 1 + origin);
    }
}

/* ---- nodes ---- */

static struct node *node_new(unsigned number, const char *socket_path)
{
    struct node *node = memory_zeroed(sizeof(*node));
    struct buffer hello = {0};

    node->number = number;
    snprintf(node->incarnation, sizeof(node->incarnation), "%08x%08x", (unsigned)now_ns(),
             number + 1);
    node->fd = watch_connect(socket_path);
    fcntl(node->fd, F_SETFL, O_NONBLOCK);
    put_hello(&hello, node);
    memcpy(node->out, hello.data, hello.length);
    node->out_used = hello.length;
    buffer_clear(&hello);
    return node;
}

static void fill(const struct load *load, struct node *node, uint64_t until)
{
    uint64_t now = (uint64_t)now_ns();

    if (node->out_at > 0) {
        memmove(node->out, node->out + node->out_at, node->out_used - node->out_at);
        node->out_used -= node->out_at;
        node->out_at = 0;
    }
    while (node->welcomed && node->sent < until && node->sent - node->acked < UNDER_WAY_MAX) {
        size_t length = form_of(load, node, node->sent)->bytes.length;

        if (node->out_used + length > sizeof(node->out))
            break;
        write_frame(load, node, node->sent, now, node->out + node->out_used);
        node->sent++;
        node->out_used += length;
    }
}

static void take(struct node *node)
{
    ssize_t got = read(node->fd, node->in + node->in_used, sizeof(node->in) - node->in_used);
    size_t at = 0;

    if (got == 0 || (got < 0 && errno != EAGAIN))
        watch_die("the daemon closed a connection");
    node->in_used += got > 0 ? (size_t)got : 0;
    while (node->in_used - at >= 4) {
        const unsigned char *body = node->in + at + 4;
        size_t length = node->in[at + 3];
        uint64_t seq = 0;

        if (node->in_used - at - 4 < length)
            break;
        if (body[1] != WIRE_ACK) {
            fprintf(stderr, "daemon_bench: refused: %.*s\n", (int)length, (const char *)body + 3);
            watch_die("refused");
        }
        if (body[2] < 0x18)
            seq = body[2];
        for (size_t i = 3; i < length; i++)
            seq = seq << 8 | body[i];
        node->acked = seq > SEQ_FIRST ? seq - SEQ_FIRST : 0;
        node->welcomed = true;
        at += 4 + length;
    }
    node->in_used -= at;
    memmove(node->in, node->in + at, node->in_used);
}

static void serve(struct node *node, short events)
{
    if (events & POLLOUT) {
        ssize_t written = write(node->fd, node->out + node->out_at, node->out_used - node->out_at);

        if (written < 0 && errno != EAGAIN)
            watch_die("write");
        node->out_at += written > 0 ? (size_t)written : 0;
    }
    if (events & (POLLIN | POLLHUP))
        take(node);
}

/* Let each node send up to so many records in all, for one turn. */
static void turn(struct load *load, const uint64_t *until, int wait_ms)
{
    struct pollfd polls[LOAD_NODES_MAX];

    for (unsigned i = 0; i < load->count; i++) {
        struct node *node = load->nodes[i];

        fill(load, node, until[i]);
        polls[i] = (struct pollfd){
            .fd = node->fd,
            .events = (short)(POLLIN | (node->out_used > node->out_at ? POLLOUT : 0))};
    }
    if (poll(polls, load->count, wait_ms) < 0)
        watch_die("poll");
    for (unsigned i = 0; i < load->count; i++)
        serve(load->nodes[i], polls[i].revents);
}

uint64_t load_acknowledged(const struct load *load)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < load->count; i++)
        sum += load->nodes[i]->acked;
    return sum;
}

uint64_t load_run(struct load *load, uint64_t records, double seconds, uint64_t rate)
{
    uint64_t before = load_acknowledged(load), done = 0, until[LOAD_NODES_MAX];
    uint64_t start[LOAD_NODES_MAX];
    double began = now_s();

    for (unsigned i = 0; i < load->count; i++)
        start[i] = load->nodes[i]->acked;
    while (done < records && !atomic_load(&load->stopping) &&
           (seconds <= 0 || now_s() - began < seconds)) {
        uint64_t allowed = rate > 0 ? (uint64_t)((now_s() - began) * (double)rate) + 1 : records;

        if (allowed > records)
            allowed = records;
        for (unsigned i = 0; i < load->count; i++)
            until[i] = start[i] + allowed / load->count + (i < allowed % load->count);
        turn(load, until, rate > 0 ? 1 : 1000);
        done = load_acknowledged(load) - before;
    }
    /* What is under way comes home, so that the next run begins with nothing. */
    for (unsigned i = 0; i < load->count; i++)
        until[i] = load->nodes[i]->sent;
    for (unsigned i = 0; i < load->count; i++) {
        while (load->nodes[i]->acked < load->nodes[i]->sent)
            turn(load, until, 1000);
    }
    return done;
}

void load_stop(struct load *load)
{
    atomic_store(&load->stopping, true);
}

void load_cascade(struct load *load, uint64_t victims, char pid[LOAD_PID_SIZE])
{
    struct node *node = load->nodes[0];
    uint64_t until[LOAD_NODES_MAX];

    for (unsigned i = 0; i < load->count; i++)
        until[i] = load->nodes[i]->sent;
    node->cascade_root = node->sent;
    /* One whose origin is itself. */
    while (node->cascade_root % 4 != 0 ||
           form_of(load, node, node->cascade_root) != &load->forms[node->cascade_root % VARIANTS])
        node->cascade_root++;
    node->cascade_first = node->cascade_root + 1;
    node->cascade_end = node->cascade_first + victims;
    until[0] = node->cascade_end;
    while (node->acked < node->cascade_end)
        turn(load, until, 1000);
    write_pid(load, node, node->cascade_root, pid);
    pid[sizeof(pid_place) - 1] = '\0';
}

void load_pid(const struct load *load, uint64_t choice, char pid[LOAD_PID_SIZE])
{
    const struct node *node = load->nodes[choice % load->count];

    write_pid(load, node, choice * UINT64_C(0x9e3779b97f4a7c15) % node->acked, pid);
    pid[sizeof(pid_place) - 1] = '\0';
}

struct load *load_new(const char *socket_path, unsigned count)
{
    struct load *load = memory_zeroed(sizeof(*load));
    uint64_t nothing[LOAD_NODES_MAX] = {0};

    make_forms(load);
    load->count = count;
    for (unsigned i = 0; i < count; i++)
        load->nodes[i] = node_new(i, socket_path);
    for (unsigned i = 0; i < count; i++) {
        while (!load->nodes[i]->welcomed)
            turn(load, nothing, 1000);
    }
    return load;
}

void load_free(struct load *load)
{
    for (unsigned i = 0; i < load->count; i++) {
        close(load->nodes[i]->fd);
        free(load->nodes[i]);
    }
    for (int i = 0; i < FRAMES; i++)
        buffer_clear(&load->forms[i].bytes);
    free(load);
}
