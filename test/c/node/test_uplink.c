/*
 * The uplink without a VM: a real socket, its real thread, and a daemon played by the test itself,
 * step by step.
 *
 * Nobody waits for time to pass. The clock stands still until a test moves it on, and the uplink's
 * poll (and the wait of uplink_drain) ends by that clock alone. So `idle()` can say exactly when
 * the thread has done all there is to do, and until when it means to sleep.
 *
 * Larger tests end with the invariant: made = acknowledged + counted as lost.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "cbor.h"
#include "decode.h"
#include "names_fake.h"
#include "uplink.h"
#include "wire.h"

#define INCARNATION "6a1f0c2be5d94c11"
#define NODE "proxy@db3"
#define GREETING_MS 10000
#define UNDER_WAY_MAX 4096
#define PATIENCE_S                                                                                 \
    60 /* of real time, after which a test has failed; nothing waits for it to pass */

/* --- time
 * --------------------------------------------------------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* what follows */
    uint64_t now_ms;
    bool hurries; /* each look at the clock finds it up to three milliseconds later */
    struct dice dice;
    int moved_fd; /* wakes the poll */

    bool polls; /* the uplink's thread sleeps in poll, on these, until then */
    struct pollfd fds[3];
    nfds_t count;
    uint64_t until_ms;
    uint64_t poll_calls;
    int lowest_timeout;
    unsigned interruptions; /* calls of poll that are yet to fail */

    pthread_cond_t *drains; /* a thread waits in uplink_drain */
    pthread_mutex_t *drains_lock;
} passing = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static bool no_threads;

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *cookie);
int __real_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *by);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *cookie);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *by);

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    if (clock != CLOCK_MONOTONIC)
        return __real_clock_gettime(clock, now);
    pthread_mutex_lock(&passing.lock);
    if (passing.hurries)
        passing.now_ms += dice_below(&passing.dice, 4);
    now->tv_sec = (time_t)(passing.now_ms / 1000);
    now->tv_nsec = (long)(passing.now_ms % 1000) * 1000000;
    pthread_mutex_unlock(&passing.lock);
    return 0;
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    struct pollfd all[3];
    uint64_t until_ms, ignored;
    int ready;

    pthread_mutex_lock(&passing.lock);
    passing.poll_calls++;
    if (timeout < passing.lowest_timeout)
        passing.lowest_timeout = timeout;
    if (passing.interruptions > 0) {
        passing.interruptions--;
        pthread_mutex_unlock(&passing.lock);
        errno = EINTR;
        return -1;
    }
    until_ms = timeout < 0 ? UINT64_MAX : passing.now_ms + (uint64_t)timeout;
    while ((ready = __real_poll(fds, count, 0)) == 0 && passing.now_ms < until_ms) {
        memcpy(all, fds, count * sizeof(*fds));
        all[count] = (struct pollfd){.fd = passing.moved_fd, .events = POLLIN};
        memcpy(passing.fds, all, sizeof(all));
        passing.count = count + 1;
        passing.until_ms = until_ms;
        passing.polls = true;
        pthread_cond_broadcast(&passing.changed);
        pthread_mutex_unlock(&passing.lock);
        (void)__real_poll(all, count + 1, -1);
        pthread_mutex_lock(&passing.lock);
        passing.polls = false;
        (void)!read(passing.moved_fd, &ignored, sizeof(ignored));
    }
    pthread_mutex_unlock(&passing.lock);
    return ready;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *cookie)
{
    return no_threads ? EAGAIN : __real_pthread_create(thread, attributes, run, cookie);
}

/* Holds `mutex`, as whoever moves the clock has to for the wake-up: none is lost. */
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *by)
{
    uint64_t until_ms = (uint64_t)by->tv_sec * 1000 + (uint64_t)by->tv_nsec / 1000000;
    bool late;

    pthread_mutex_lock(&passing.lock);
    late = passing.now_ms >= until_ms;
    if (!late) {
        passing.drains = cond;
        passing.drains_lock = mutex;
        pthread_cond_broadcast(&passing.changed);
    }
    pthread_mutex_unlock(&passing.lock);
    if (late)
        return ETIMEDOUT;
    pthread_cond_wait(cond, mutex);
    pthread_mutex_lock(&passing.lock);
    passing.drains = NULL;
    late = passing.now_ms >= until_ms;
    pthread_mutex_unlock(&passing.lock);
    return late ? ETIMEDOUT : 0;
}

static void advance(uint64_t milliseconds)
{
    uint64_t one = 1;
    pthread_cond_t *drains;
    pthread_mutex_t *drains_lock;

    pthread_mutex_lock(&passing.lock);
    passing.now_ms += milliseconds;
    (void)!write(passing.moved_fd, &one, sizeof(one));
    drains = passing.drains;
    drains_lock = passing.drains_lock;
    pthread_mutex_unlock(&passing.lock);
    if (drains == NULL)
        return;
    pthread_mutex_lock(drains_lock);
    pthread_cond_broadcast(drains);
    pthread_mutex_unlock(drains_lock);
}

static void wait_for_change(void)
{
    struct timespec by = {.tv_sec = time(NULL) + PATIENCE_S};

    if (__real_pthread_cond_timedwait(&passing.changed, &passing.lock, &by) == ETIMEDOUT) {
        pthread_mutex_unlock(&passing.lock);
        fail_msg("the uplink's thread does not come to rest");
    }
}

/* Waits until the thread has nothing left to do. Returns how long it means to sleep, -1: for ever.
 */
static int idle(void)
{
    int left;

    pthread_mutex_lock(&passing.lock);
    /* What is ready wakes it, whether it knows that already or not. */
    while (!passing.polls || passing.now_ms >= passing.until_ms ||
           __real_poll(passing.fds, passing.count, 0) != 0)
        wait_for_change();
    left = passing.until_ms == UINT64_MAX ? -1 : (int)(passing.until_ms - passing.now_ms);
    pthread_mutex_unlock(&passing.lock);
    return left;
}

static uint64_t polls_so_far(void)
{
    uint64_t calls;

    pthread_mutex_lock(&passing.lock);
    calls = passing.poll_calls;
    pthread_mutex_unlock(&passing.lock);
    return calls;
}

static void wait_for_drain(void)
{
    pthread_mutex_lock(&passing.lock);
    while (passing.drains == NULL)
        wait_for_change();
    pthread_mutex_unlock(&passing.lock);
}

/* --- a node and its daemon
 * ---------------------------------------------------------------------------- */

struct fixture {
    char folder[32];
    char path[64];
    int listener;
    int open_before; /* file descriptors */
    struct intern *intern;
    struct journal *journal;
    struct uplink *uplink;
    struct uplink_settings settings;
    atomic_uint_fast64_t normal, unrecorded;
    atomic_bool signals_are_blocked;
    /* While it is up, the thread stands in the function that counts. */
    pthread_mutex_t gate;
    pthread_cond_t gate_moved;
    bool gate_up, at_gate;
};

/* One connection as the daemon sees it. */
struct peer {
    int fd;
    uint64_t sent;        /* the number of the last record that came */
    uint64_t stored;      /* how many came */
    uint64_t lost_before; /* the sum of it */
    unsigned told;        /* COUNTERS frames that came, and the last of them: */
    uint64_t made, normal, unrecorded, lost;
    unsigned standing; /* bits of uplink_standing */
};

/* What uplink_notify was asked for. */
struct notice {
    atomic_uint calls, settled;
};

static void on_settled(void *cookie, bool settled)
{
    struct notice *notice = cookie;

    atomic_fetch_add(&notice->settled, settled);
    atomic_fetch_add(&notice->calls, 1);
}

static void count_exits(void *cookie, uint64_t *normal, uint64_t *unrecorded)
{
    struct fixture *fixture = cookie;
    sigset_t blocked;

    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    atomic_store(&fixture->signals_are_blocked,
                 sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGCHLD) == 1);
    *normal = atomic_load(&fixture->normal);
    *unrecorded = atomic_load(&fixture->unrecorded);
    pthread_mutex_lock(&fixture->gate);
    while (fixture->gate_up) {
        fixture->at_gate = true;
        pthread_cond_broadcast(&fixture->gate_moved);
        pthread_cond_wait(&fixture->gate_moved, &fixture->gate);
    }
    fixture->at_gate = false;
    pthread_mutex_unlock(&fixture->gate);
}

static void set_gate(struct fixture *fixture, bool up)
{
    pthread_mutex_lock(&fixture->gate);
    fixture->gate_up = up;
    pthread_cond_broadcast(&fixture->gate_moved);
    pthread_mutex_unlock(&fixture->gate);
}

/* Brings the thread to the gate, from where it sleeps with nothing to tell or to send. */
static void stop_at_gate(struct fixture *fixture)
{
    struct timespec by = {.tv_sec = time(NULL) + PATIENCE_S};

    (void)idle();
    set_gate(fixture, true);
    /* It counts once a second; be it that it waits for more records, or for nothing but to be woken. */
    advance(1000);
    uplink_wake(fixture->uplink);
    pthread_mutex_lock(&fixture->gate);
    while (!fixture->at_gate)
        if (__real_pthread_cond_timedwait(&fixture->gate_moved, &fixture->gate, &by) == ETIMEDOUT) {
            pthread_mutex_unlock(&fixture->gate);
            fail_msg("the uplink's thread does not come to count");
        }
    pthread_mutex_unlock(&fixture->gate);
}

/* How many descriptors are open; `inherited`, if given: how many of them an exec would pass on. */
static int count_open(int *inherited)
{
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *entry;
    int count = 0;

    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL) {
        int flags = fcntl(atoi(entry->d_name), F_GETFD);

        if (entry->d_name[0] == '.')
            continue;
        count++;
        if (inherited != NULL && !(flags & FD_CLOEXEC))
            ++*inherited;
    }
    closedir(folder);
    return count;
}

static void open_daemon(struct fixture *fixture)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    strcpy(address.sun_path, fixture->path);
    fixture->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fixture->listener >= 0);
    assert_int_equal(bind(fixture->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fixture->listener, 8), 0);
}

static void close_daemon(struct fixture *fixture)
{
    if (fixture->listener >= 0) {
        close(fixture->listener);
        unlink(fixture->path);
    }
    fixture->listener = -1;
}

static int begin(void **state)
{
    struct fixture *fixture;

    check_begin(state);
    no_threads = false;
    passing.now_ms = 5000000;
    passing.hurries = false;
    passing.dice = dice_new(1);
    passing.polls = false;
    passing.poll_calls = passing.interruptions = 0;
    passing.lowest_timeout = 0;
    passing.drains = NULL;
    fixture = calloc(1, sizeof(*fixture));
    fixture->open_before = count_open(NULL);
    passing.moved_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&fixture->gate, NULL);
    pthread_cond_init(&fixture->gate_moved, NULL);
    strcpy(fixture->folder, "/tmp/coroner_uplink_XXXXXX");
    if (mkdtemp(fixture->folder) == NULL)
        return -1;
    snprintf(fixture->path, sizeof(fixture->path), "%s/ingest.sock", fixture->folder);
    fixture->listener = -1;
    fixture->intern = intern_new();
    fixture->journal = journal_new();
    journal_reset(fixture->journal, SIZE_MAX);
    fixture->uplink = uplink_new();
    fixture->settings = (struct uplink_settings){.path = fixture->path,
                                                 .incarnation = INCARNATION,
                                                 .host = "db3.example",
                                                 .otp = "27",
                                                 .intern = fixture->intern,
                                                 .journal = fixture->journal,
                                                 .calls = {.counters = count_exits, .flushed = on_settled},
                                                 .cookie = fixture};
    *state = fixture;
    return 0;
}

static int end(void **state)
{
    struct fixture *fixture = *state;
    int left;

    alloc_fail_at(0, false);
    set_gate(fixture, false);
    uplink_free(fixture->uplink);
    close_daemon(fixture);
    rmdir(fixture->folder);
    journal_free(fixture->journal);
    intern_free(fixture->intern);
    pthread_cond_destroy(&fixture->gate_moved);
    pthread_mutex_destroy(&fixture->gate);
    close(passing.moved_fd);
    left = count_open(NULL) - fixture->open_before;
    free(fixture);
    if (left != 0) {
        print_error("%d file descriptors were left open\n", left);
        return -1;
    }
    if (passing.lowest_timeout < -1) {
        print_error("poll was called with a timeout of %d\n", passing.lowest_timeout);
        return -1;
    }
    return check_end(state);
}

#define UPLINK_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

static void start(struct fixture *fixture)
{
    assert_int_equal(uplink_start(fixture->uplink, &fixture->settings, NODE), 0);
}

static struct record *record_of(enum coroner_severity severity, size_t reason_bytes)
{
    struct record *record = record_new();
    char reason[4000];

    memset(reason, 'r', sizeof(reason));
    record->who.pid = fake_pid(4711);
    record->source = CORONER_SOURCE_EXIT_SIGNAL;
    record->severity = (uint8_t)severity;
    record->time_ns = 1795448793094688123;
    record->reason = text_new(reason, reason_bytes, false);
    return record;
}

static void add_sized(struct fixture *fixture, enum coroner_severity severity, size_t reason_bytes)
{
    struct record *record = record_of(severity, reason_bytes);

    journal_add(fixture->journal, record);
    uplink_wake(fixture->uplink);
    record_drop(record);
}

static void add(struct fixture *fixture, size_t count)
{
    for (size_t i = 0; i < count; i++)
        add_sized(fixture, CORONER_SEVERITY_ERROR, 10);
}

static size_t bytes_of(size_t count)
{
    struct record *record = record_of(CORONER_SEVERITY_ERROR, 10);
    size_t bytes = count * record_bytes(record);

    record_drop(record);
    return bytes;
}

static void assert_error(struct fixture *fixture, const char *text)
{
    struct uplink_state state = uplink_state_of(fixture->uplink);

    assert_false(state.connected);
    assert_non_null(strstr(state.error, text));
}

/* The daemon's part ------------------------------------------------------------------------------
 */

static void await_readable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    assert_int_equal(__real_poll(&poll_fd, 1, PATIENCE_S * 1000), 1);
}

static bool is_readable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    return __real_poll(&poll_fd, 1, 0) != 0;
}

static struct peer accept_node(struct fixture *fixture)
{
    struct peer peer = {.fd = -1};

    await_readable(fixture->listener);
    peer.fd = accept4(fixture->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(peer.fd >= 0);
    return peer;
}

/* Returns false at the end of the stream. */
static bool read_all(int fd, uint8_t *bytes, size_t length)
{
    for (size_t at = 0; at < length;) {
        ssize_t got;

        await_readable(fd);
        got = read(fd, bytes + at, length - at);
        if (got == 0 || (got < 0 && errno == ECONNRESET))
            return false;
        assert_true(got > 0);
        at += (size_t)got;
    }
    return true;
}

/* The next frame, or NULL when the node is gone, be it amid one. */
static cbor_item_t *read_any(struct peer *peer)
{
    static uint8_t bytes[WIRE_FRAME_MAX];
    uint8_t head[4];
    size_t length;
    cbor_item_t *frame;

    if (!read_all(peer->fd, head, sizeof(head)))
        return NULL;
    length = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | (size_t)head[3];
    assert_in_range(length, 1, WIRE_FRAME_MAX);
    if (!read_all(peer->fd, bytes, length))
        return NULL;
    frame = decode(bytes, length);
    assert_non_null(frame);
    assert_true(cbor_isa_array(frame));
    assert_true(cbor_array_size(frame) >= 2);
    return frame;
}

static cbor_item_t *item_of(const cbor_item_t *frame, size_t index)
{
    assert_true(index < cbor_array_size(frame));
    return cbor_array_handle(frame)[index];
}

static uint64_t type_of(const cbor_item_t *frame)
{
    return decode_uint(item_of(frame, 0));
}

/* Notes what a COUNTERS frame says. Returns false when it is another. */
static bool take_counters(struct peer *peer, const cbor_item_t *frame)
{
    const cbor_item_t *map;

    if (type_of(frame) != WIRE_COUNTERS)
        return false;
    map = item_of(frame, 2);
    assert_int_equal(cbor_map_size(map), 6);
    peer->told++;
    peer->made = decode_uint(item_of(frame, 1));
    peer->normal = decode_uint(decode_at(map, WIRE_KEY_normal));
    peer->unrecorded = decode_uint(decode_at(map, WIRE_KEY_unrecorded));
    peer->lost = decode_uint(decode_at(map, WIRE_KEY_lost));
    peer->standing = (unsigned)(decode_uint(decode_text_at(map, "paused")) * UPLINK_PAUSED +
                                decode_uint(decode_text_at(map, "disarmed")) * UPLINK_DISARMED +
                                decode_uint(decode_text_at(map, "scoped")) * UPLINK_SCOPED);
    return true;
}

/* The next frame but COUNTERS, which are noted; NULL when the node is gone. */
static cbor_item_t *read_frame(struct peer *peer)
{
    cbor_item_t *frame;

    while ((frame = read_any(peer)) != NULL && take_counters(peer, frame))
        cbor_decref(&frame);
    return frame;
}

/* Takes in a record: they come in order, and what is missing before one is told. */
static void take_record(struct peer *peer, const cbor_item_t *frame)
{
    uint64_t seq, lost_before;

    assert_int_equal(type_of(frame), WIRE_RECORD);
    assert_int_equal(cbor_array_size(frame), 6);
    seq = decode_uint(item_of(frame, 1));
    lost_before = decode_uint(item_of(frame, 3));
    assert_int_equal(decode_uint(item_of(frame, 2)), 1795448793094688123);
    assert_int_equal(decode_uint(item_of(frame, 4)), WIRE_KIND_EXIT);
    assert_non_null(decode_at(item_of(frame, 5), WIRE_KEY_process));
    assert_int_equal(seq, peer->sent + 1 + lost_before);
    peer->sent = seq;
    peer->lost_before += lost_before;
    peer->stored++;
}

static void read_record(struct peer *peer, uint64_t seq, uint64_t lost_before)
{
    cbor_item_t *frame = read_frame(peer);

    assert_non_null(frame);
    assert_int_equal(decode_uint(item_of(frame, 1)), seq);
    assert_int_equal(decode_uint(item_of(frame, 3)), lost_before);
    take_record(peer, frame);
    cbor_decref(&frame);
}

static void read_records(struct peer *peer, uint64_t first, uint64_t last)
{
    for (uint64_t seq = first; seq <= last; seq++)
        read_record(peer, seq, 0);
}

/* Takes in all records that come until the thread rests. Returns how many. */
static uint64_t read_while_any(struct peer *peer)
{
    uint64_t before = peer->stored;

    (void)idle();
    while (is_readable(peer->fd)) {
        cbor_item_t *frame = read_any(peer);

        assert_non_null(frame);
        if (!take_counters(peer, frame))
            take_record(peer, frame);
        cbor_decref(&frame);
        (void)idle();
    }
    return peer->stored - before;
}

/* After this only COUNTERS may have come. */
static void assert_quiet(struct peer *peer)
{
    (void)idle();
    while (is_readable(peer->fd)) {
        cbor_item_t *frame = read_any(peer);

        assert_non_null(frame);
        assert_true(take_counters(peer, frame));
        cbor_decref(&frame);
    }
}

static void assert_gone(struct peer *peer)
{
    assert_null(read_frame(peer));
    close(peer->fd);
    peer->fd = -1;
}

static void read_bye(struct peer *peer, uint64_t made)
{
    cbor_item_t *frame = read_frame(peer);

    assert_non_null(frame);
    assert_int_equal(type_of(frame), WIRE_BYE);
    assert_int_equal(cbor_array_size(frame), 2);
    assert_int_equal(decode_uint(item_of(frame, 1)), made);
    cbor_decref(&frame);
    assert_gone(peer);
}

static void send_bytes(struct peer *peer, const void *bytes, size_t length)
{
    assert_int_equal(send(peer->fd, bytes, length, MSG_NOSIGNAL), length);
}

/* Writes the frame [type, seq] or [type, text] to `frame`. Returns its bytes. */
static size_t make_frame(uint8_t *frame, size_t room, enum wire_frame type, uint64_t seq,
                         const char *text)
{
    struct cbor_writer cbor = cbor_writer_on(frame + 4, room - 4);

    cbor_put_array(&cbor, 2);
    cbor_put_uint(&cbor, type);
    if (text == NULL)
        cbor_put_uint(&cbor, seq);
    else
        cbor_put_text(&cbor, text, strlen(text));
    assert_false(cbor.full);
    memset(frame, 0, 4);
    frame[2] = (uint8_t)(cbor.used >> 8);
    frame[3] = (uint8_t)cbor.used;
    return 4 + cbor.used;
}

static void acknowledge(struct peer *peer, uint64_t seq)
{
    uint8_t frame[32];

    send_bytes(peer, frame, make_frame(frame, sizeof(frame), WIRE_ACK, seq, NULL));
}

static void refuse(struct peer *peer, const char *text)
{
    uint8_t frame[1024];

    send_bytes(peer, frame, make_frame(frame, sizeof(frame), WIRE_ERROR, 0, text));
}

/* The next connection of the node, which says that it is `name` and what it holds. */
static struct peer hear_hello(struct fixture *fixture, const char *name, uint64_t first_held,
                              uint64_t made)
{
    struct peer peer = accept_node(fixture);
    cbor_item_t *frame = read_frame(&peer);
    const cbor_item_t *map;

    assert_non_null(frame);
    assert_int_equal(type_of(frame), WIRE_HELLO);
    assert_int_equal(cbor_array_size(frame), 3);
    assert_int_equal(decode_uint(item_of(frame, 1)), WIRE_VERSION);
    map = item_of(frame, 2);
    assert_int_equal(cbor_map_size(map), 7);
    assert_true(decode_is(decode_at(map, WIRE_KEY_incarnation), INCARNATION));
    assert_true(decode_is(decode_at(map, WIRE_KEY_name), name));
    assert_true(decode_is(decode_at(map, WIRE_KEY_host), "db3.example"));
    assert_true(decode_is(decode_at(map, WIRE_KEY_otp), "27"));
    assert_int_equal(decode_uint(decode_at(map, WIRE_KEY_os_pid)), getpid());
    assert_int_equal(decode_uint(decode_at(map, WIRE_KEY_first_held)), first_held);
    assert_int_equal(decode_uint(decode_at(map, WIRE_KEY_made)), made);
    cbor_decref(&frame);
    return peer;
}

/* As hear_hello, and answers that all up to `seq` is stored. */
static struct peer greet(struct fixture *fixture, uint64_t seq, uint64_t first_held, uint64_t made)
{
    struct peer peer = hear_hello(fixture, NODE, first_held, made);

    acknowledge(&peer, seq);
    peer.sent = seq;
    return peer;
}

static void hang_up(struct peer *peer)
{
    close(peer->fd);
    peer->fd = -1;
}

/* Blocking calls, on a thread of their own --------------------------------------------------------
 */

struct call {
    struct fixture *fixture;
    unsigned milliseconds;
    bool drains; /* else it stops */
    bool result;
    pthread_t thread;
};

static void *make_call(void *cookie)
{
    struct call *call = cookie;

    if (call->drains)
        call->result = uplink_drain(call->fixture->uplink, call->milliseconds);
    else
        uplink_stop(call->fixture->uplink, call->milliseconds);
    return NULL;
}

static void begin_call(struct call *call)
{
    assert_int_equal(pthread_create(&call->thread, NULL, make_call, call), 0);
}

static bool end_call(struct call *call)
{
    assert_int_equal(pthread_join(call->thread, NULL), 0);
    return call->result;
}

/* Begins uplink_stop and waits until the thread has taken note: it sleeps no longer than that. */
static void begin_stop(struct call *call)
{
    int before = idle();

    begin_call(call);
    pthread_mutex_lock(&passing.lock);
    while (!passing.polls || passing.until_ms == UINT64_MAX ||
           passing.until_ms - passing.now_ms > call->milliseconds)
        wait_for_change();
    pthread_mutex_unlock(&passing.lock);
    assert_true(before == -1 || before > (int)call->milliseconds);
}

static void assert_notice(struct notice *notice, unsigned calls, unsigned settled)
{
    assert_int_equal(atomic_load(&notice->calls), calls);
    assert_int_equal(atomic_load(&notice->settled), settled);
}

/* --- talking
 * ------------------------------------------------------------------------------------------ */

static void no_record_goes_out_before_the_hello_is_answered(void **state)
{
    struct fixture *fixture = *state;
    struct uplink_state how;
    struct peer peer;
    int inherited = 0, now_inherited = 0;

    (void)count_open(&inherited);
    open_daemon(fixture);
    add(fixture, 3);
    start(fixture);
    peer = hear_hello(fixture, NODE, 1, 3);
    assert_int_equal(idle(), GREETING_MS);
    assert_false(is_readable(peer.fd));
    assert_error(fixture, "not connected yet");
    acknowledge(&peer, 0);
    read_records(&peer, 1, 3);
    (void)idle();
    how = uplink_state_of(fixture->uplink);
    assert_true(how.connected);
    assert_int_equal(how.connects, 1);
    assert_int_equal(how.encode_failures, 0);
    assert_string_equal(how.error, "");
    acknowledge(&peer, 3);
    (void)idle();
    assert_true(journal_is_settled(fixture->journal, UINT64_MAX));
    assert_true(atomic_load(&fixture->signals_are_blocked));
    /* Nothing of it goes to a program that the node executes. */
    (void)count_open(&now_inherited);
    assert_int_equal(now_inherited, inherited);
    hang_up(&peer);
}

static void what_was_evicted_is_told_before_the_next_record(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;

    journal_reset(fixture->journal, bytes_of(4));
    open_daemon(fixture);
    /* Of 1 to 8 the ones of severity info go first: 2, 5, 6; then the oldest: 1. */
    for (uint64_t seq = 1; seq <= 8; seq++)
        add_sized(fixture,
                  seq == 2 || seq == 5 || seq == 6 ? CORONER_SEVERITY_INFO : CORONER_SEVERITY_ERROR,
                  10);
    start(fixture);
    peer = greet(fixture, 0, 3, 8);
    read_record(&peer, 3, 2);
    read_record(&peer, 4, 0);
    read_record(&peer, 7, 2);
    read_record(&peer, 8, 0);
    acknowledge(&peer, 8);
    assert_int_equal(idle(), -1);
    assert_true(is_readable(peer.fd));
    uplink_stop(fixture->uplink, 0);
    read_bye(&peer, 8);
    assert_int_equal(peer.made, 8);
    assert_int_equal(peer.lost, 4);
    assert_int_equal(peer.stored + peer.lost, 8);
}

static void acknowledgements_are_cumulative(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;

    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    (void)idle();
    add(fixture, 5);
    read_records(&peer, 1, 5);
    acknowledge(&peer, 3);
    (void)idle();
    assert_int_equal(journal_counts(fixture->journal).acknowledged, 3);
    acknowledge(&peer, 2);
    (void)idle();
    assert_int_equal(journal_counts(fixture->journal).acknowledged, 3);
    assert_false(journal_is_settled(fixture->journal, UINT64_MAX));
    acknowledge(&peer, 5);
    (void)idle();
    assert_true(journal_is_settled(fixture->journal, UINT64_MAX));
    assert_quiet(&peer);
    hang_up(&peer);
}

static void an_acknowledgement_may_come_byte_by_byte_or_with_others(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;
    uint8_t frames[3 * 32];
    size_t length;

    open_daemon(fixture);
    start(fixture);
    peer = hear_hello(fixture, NODE, 1, 0);
    length = make_frame(frames, 32, WIRE_ACK, 0, NULL);
    for (size_t i = 0; i < length; i++) {
        assert_error(fixture, "not connected yet");
        send_bytes(&peer, frames + i, 1);
        (void)idle();
    }
    assert_true(uplink_state_of(fixture->uplink).connected);
    add(fixture, 300);
    read_records(&peer, 1, 300);
    length = make_frame(frames, 32, WIRE_ACK, 100, NULL);
    length += make_frame(frames + length, 32, WIRE_ACK, 200, NULL);
    length += make_frame(frames + length, 32, WIRE_ACK, 300, NULL);
    send_bytes(&peer, frames, length - 1);
    (void)idle();
    assert_int_equal(journal_counts(fixture->journal).acknowledged, 200);
    send_bytes(&peer, frames + length - 1, 1);
    (void)idle();
    assert_int_equal(journal_counts(fixture->journal).acknowledged, 300);
    assert_quiet(&peer);
    hang_up(&peer);
}

static void counters_are_told_when_they_change_once_a_second(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;

    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    assert_int_equal(idle(), -1);
    assert_quiet(&peer); /* the first of them */
    atomic_store(&fixture->normal, 5);
    add(fixture, 1);
    read_record(&peer, 1, 0);
    acknowledge(&peer, 1);
    assert_int_equal(idle(), 1000);
    assert_false(is_readable(peer.fd));
    advance(999);
    assert_int_equal(idle(), 1);
    assert_false(is_readable(peer.fd));
    advance(1);
    assert_int_equal(idle(), -1);
    assert_true(is_readable(peer.fd));
    /* For what is only counted nobody is woken. */
    atomic_store(&fixture->unrecorded, 6);
    uplink_wake(fixture->uplink);
    assert_int_equal(idle(), -1);
    add(fixture, 1);
    read_record(&peer, 2, 0);
    assert_int_equal(peer.told, 2);
    assert_int_equal(peer.normal, 5);
    acknowledge(&peer, 2);
    (void)idle();
    uplink_stop(fixture->uplink, 0);
    read_bye(&peer, 2);
    assert_int_equal(peer.normal, 5);
    assert_int_equal(peer.unrecorded, 6);
    assert_int_equal(peer.made, 2);
    assert_int_equal(peer.lost, 0);
}

/* What is not traced is told without a record being made, and to a daemon that comes later. */
static void how_the_tracing_stands_is_told(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;

    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    assert_int_equal(idle(), -1);
    assert_quiet(&peer);
    assert_int_equal(peer.standing, 0);
    advance(1000);
    uplink_standing(fixture->uplink, UPLINK_PAUSED | UPLINK_SCOPED);
    (void)idle();
    assert_quiet(&peer);
    assert_int_equal(peer.told, 2);
    assert_int_equal(peer.standing, UPLINK_PAUSED | UPLINK_SCOPED);
    advance(1000);
    uplink_standing(fixture->uplink, UPLINK_PAUSED | UPLINK_SCOPED); /* nothing new */
    (void)idle();
    assert_quiet(&peer);
    assert_int_equal(peer.told, 2);
    advance(1000);
    uplink_standing(fixture->uplink, UPLINK_DISARMED);
    (void)idle();
    assert_quiet(&peer);
    assert_int_equal(peer.standing, UPLINK_DISARMED);
    uplink_stop(fixture->uplink, 0);
    read_bye(&peer, 0);
}

/* Records that come a moment after others wait for it to be over, and wake nobody. Nor does one that could not be sent. */
static void those_that_follow_soon_wake_nobody(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;
    uint64_t polls;

    fixture->settings.linger_ms = 2;
    start(fixture);
    (void)idle();
    polls = polls_so_far();
    add(fixture, 1); /* there is no daemon yet */
    (void)idle();
    assert_int_equal(polls_so_far(), polls);
    open_daemon(fixture);
    advance(1000);
    peer = greet(fixture, 0, 1, 1);
    read_record(&peer, 1, 0);
    assert_int_equal(idle(), 2);
    polls = polls_so_far();
    add(fixture, 3);
    assert_int_equal(idle(), 2);
    assert_int_equal(polls_so_far(), polls);
    assert_false(is_readable(peer.fd));
    advance(2);
    read_records(&peer, 2, 4);
    assert_int_equal(idle(), 2);
    acknowledge(&peer, 4);
    advance(2);
    (void)idle();
    advance(2000); /* the counters */
    assert_int_equal(idle(), -1);
    /* By now it sleeps for good, and the next one wakes it. */
    add(fixture, 1);
    read_record(&peer, 5, 0);
    hang_up(&peer);
}

/* --- connections that end
 * ----------------------------------------------------------------------------- */

static void what_was_under_way_is_sent_again(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;

    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    (void)idle();
    add(fixture, 10);
    read_records(&peer, 1, 10);
    acknowledge(&peer, 4);
    (void)idle();
    hang_up(&peer);
    assert_int_equal(idle(), 20);
    assert_error(fixture, "coronerd closed the connection");
    add(fixture, 2);
    advance(20);
    peer = greet(fixture, 4, 5, 12);
    read_records(&peer, 5, 12);
    (void)idle();
    hang_up(&peer);
    (void)idle();
    advance(1000);
    /* It had more than it said. */
    peer = greet(fixture, 9, 5, 12);
    read_records(&peer, 10, 12);
    acknowledge(&peer, 12);
    (void)idle();
    assert_true(journal_is_settled(fixture->journal, UINT64_MAX));
    assert_int_equal(uplink_state_of(fixture->uplink).connects, 3);
    assert_int_equal(journal_counts(fixture->journal).lost, 0);
    assert_quiet(&peer);
    hang_up(&peer);
}

static void the_pause_before_connecting_again_doubles_up_to_a_second(void **state)
{
    static const int pauses[] = {20, 40, 80, 160, 320, 640, 1000, 1000};
    struct fixture *fixture = *state;
    struct peer peer;

    start(fixture);
    for (size_t i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
        assert_int_equal(idle(), pauses[i]);
        assert_error(fixture, "ingest.sock: No such file or directory");
        advance((uint64_t)pauses[i] - 1);
        assert_int_equal(idle(), 1);
        add(fixture, 1); /* is no reason to try sooner */
        assert_int_equal(idle(), 1);
        advance(1);
    }
    assert_int_equal(idle(), 1000);
    open_daemon(fixture);
    advance(1000);
    /* One that ends before it is greeted, or soon after, is no better than none. */
    peer = hear_hello(fixture, NODE, 1, 8);
    hang_up(&peer);
    assert_int_equal(idle(), 1000);
    advance(1000);
    peer = greet(fixture, 0, 1, 8);
    read_records(&peer, 1, 8);
    (void)idle();
    advance(999);
    (void)idle();
    hang_up(&peer);
    assert_int_equal(idle(), 1000);
    advance(1000);
    peer = greet(fixture, 0, 1, 8);
    read_records(&peer, 1, 8);
    (void)idle();
    advance(1000);
    (void)idle();
    hang_up(&peer);
    assert_int_equal(idle(), 20);
    close_daemon(fixture);
    advance(20);
    assert_int_equal(idle(), 40);
}

static void a_daemon_that_greets_and_refuses_is_not_asked_all_the_time(void **state)
{
    static const int pauses[] = {20, 40, 80, 160, 320, 640, 1000, 1000};
    struct fixture *fixture = *state;

    open_daemon(fixture);
    add(fixture, 1);
    start(fixture);
    for (size_t i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
        struct peer peer = greet(fixture, 0, 1, 1);

        read_records(&peer, 1, 1);
        (void)idle();
        refuse(&peer, "a record without its 'process'");
        assert_gone(&peer);
        assert_int_equal(idle(), pauses[i]);
        assert_error(fixture, "coronerd refuses: a record without its 'process'");
        advance((uint64_t)pauses[i]);
    }
}

static void a_hello_that_is_not_answered_is_given_up(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;

    open_daemon(fixture);
    add(fixture, 1);
    start(fixture);
    peer = hear_hello(fixture, NODE, 1, 1);
    assert_int_equal(idle(), GREETING_MS);
    advance(GREETING_MS - 1);
    assert_int_equal(idle(), 1);
    add(fixture, 1);
    assert_int_equal(idle(), 1);
    assert_false(is_readable(peer.fd));
    advance(1);
    assert_gone(&peer);
    assert_int_equal(idle(), 20);
    assert_error(fixture, "coronerd does not answer the hello");
    advance(20);
    peer = greet(fixture, 0, 1, 2);
    read_records(&peer, 1, 2);
    hang_up(&peer);
}

static void nonsense_ends_the_connection_and_says_why(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
        const char *error;
    } nonsense[] = {
        {"\0\0\0\0", 4, "impossible length"},
        {"\0\0\3\xfd", 4, "impossible length"},
        {"\xff\xff\xff\xff", 4, "impossible length"},
        {"HTTP/1.1 400", 12, "impossible length"},
        {"\0\0\0\1\x01", 5, "makes no sense"},             /* no array */
        {"\0\0\0\1\x82", 5, "makes no sense"},             /* of which nothing follows */
        {"\0\0\0\2\x82\x10", 6, "makes no sense"},         /* an ACK without a number */
        {"\0\0\0\3\x82\x10\x1b", 7, "makes no sense"},     /* with half of one */
        {"\0\0\0\3\x82\x10\x61", 7, "makes no sense"},     /* with half a text */
        {"\0\0\0\4\x82\x10\x00\x00", 8, "makes no sense"}, /* with something behind it */
        {"\0\0\0\4\x83\x10\x00\x00", 8, "makes no sense"}, /* of three */
        {"\0\0\0\3\x82\x11\x00", 7, "makes no sense"},     /* an ERROR without a text */
        {"\0\0\0\3\x82\x11\x65", 7, "makes no sense"},     /* with the beginning of one */
        {"\0\0\0\3\x82\x01\x00", 7, "makes no sense"},     /* a HELLO */
        {"\0\0\0\4\x82\x18\x63\x00", 8, "makes no sense"}, /* there is no frame 99 */
        {"\0\0\0\3\x82\x10\x02", 7, "never made"},
        {"\0\0\0\x0b\x82\x10\x1b\xff\xff\xff\xff\xff\xff\xff\xff", 15, "never made"},
        {"\0\0\0\x0f\x82\x11\x6cno such luck", 19, "coronerd refuses: no such luck"},
        {"\0\0\0\x06\x82\x11\x63"
         "a\nb",
         10, "coronerd refuses: a?b"},
    };
    struct fixture *fixture = *state;

    open_daemon(fixture);
    add(fixture, 1);
    start(fixture);
    for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
        struct peer peer = hear_hello(fixture, NODE, 1, 1);

        /* As the answer to the hello, */
        send_bytes(&peer, nonsense[i].bytes, nonsense[i].length);
        assert_gone(&peer);
        (void)idle();
        assert_error(fixture, nonsense[i].error);
        advance(1000);
        /* and later. */
        peer = greet(fixture, 0, 1, 1);
        read_records(&peer, 1, 1);
        (void)idle();
        assert_true(uplink_state_of(fixture->uplink).connected);
        send_bytes(&peer, nonsense[i].bytes, nonsense[i].length);
        assert_gone(&peer);
        (void)idle();
        assert_error(fixture, nonsense[i].error);
        advance(1000);
    }
    assert_int_equal(journal_counts(fixture->journal).acknowledged, 0);
}

static void an_error_is_kept_whole_characters_only(void **state)
{
    struct fixture *fixture = *state;
    struct uplink_state how;
    struct peer peer;
    char text[601];

    for (size_t i = 0; i < 600; i += 2)
        memcpy(text + i, "\xc3\xa4", 2);
    text[600] = '\0';
    open_daemon(fixture);
    start(fixture);
    for (size_t shift = 0; shift < 2; shift++) {
        peer = hear_hello(fixture, NODE, 1, 0);
        refuse(&peer, text + 2 * shift);
        assert_gone(&peer);
        (void)idle();
        how = uplink_state_of(fixture->uplink);
        assert_in_range(strlen(how.error), 150, sizeof(how.error) - 1);
        assert_true(is_clean_utf8(how.error, strlen(how.error)));
        text[2] = 'x'; /* the rest stands one byte further on */
        memmove(text + 3, text + 4, 597);
        advance(1000);
    }
}

static void what_the_daemon_said_last_is_heard_although_writing_failed(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;

    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    stop_at_gate(fixture);
    refuse(&peer, "disk full");
    hang_up(&peer);
    add(fixture, 1); /* so that it writes before it reads */
    set_gate(fixture, false);
    assert_int_equal(idle(), 20);
    assert_error(fixture, "coronerd refuses: disk full");
}

/* Records of the connection before may be committed, and acknowledged, on this one. */
static void more_may_be_acknowledged_than_was_sent(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;

    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    (void)idle();
    add(fixture, UNDER_WAY_MAX + 100);
    assert_int_equal(read_while_any(&peer), UNDER_WAY_MAX);
    acknowledge(&peer, UNDER_WAY_MAX + 40);
    peer.sent = UNDER_WAY_MAX + 40;
    read_records(&peer, UNDER_WAY_MAX + 41, UNDER_WAY_MAX + 100);
    add(fixture, 1);
    read_record(&peer, UNDER_WAY_MAX + 101, 0);
    acknowledge(&peer, UNDER_WAY_MAX + 101);
    (void)idle();
    assert_true(journal_is_settled(fixture->journal, UINT64_MAX));
    assert_int_equal(journal_counts(fixture->journal).lost, 0);
    hang_up(&peer);
}

static void a_daemon_that_talks_on_and_on_does_not_keep_the_thread(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;
    uint8_t frame[32];
    size_t length = make_frame(frame, sizeof(frame), WIRE_ACK, 0, NULL), sent = 0;
    uint64_t polls_before;

    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    stop_at_gate(fixture);
    /* Each packet of the socket takes far more room than its bytes: larger ones fill it less. */
    for (;;) {
        uint8_t many[1000];
        ssize_t written;

        for (size_t at = 0; at < sizeof(many); at += length)
            memcpy(many + at, frame, length > sizeof(many) - at ? sizeof(many) - at : length);
        written = send(peer.fd, many, sizeof(many) / length * length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (written < 0)
            break;
        assert_int_equal(written, sizeof(many) / length * length);
        sent += (size_t)written;
    }
    assert_true(sent > 64 * 1024);
    polls_before = polls_so_far();
    set_gate(fixture, false);
    (void)idle();
    assert_true(polls_so_far() - polls_before > sent / (16 * 1024));
    assert_true(uplink_state_of(fixture->uplink).connected);
    hang_up(&peer);
}

static void no_more_is_under_way_than_is_allowed(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;

    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    (void)idle();
    add(fixture, UNDER_WAY_MAX + 500);
    assert_int_equal(read_while_any(&peer), UNDER_WAY_MAX);
    acknowledge(&peer, 1);
    assert_int_equal(read_while_any(&peer), 1);
    acknowledge(&peer, 101);
    assert_int_equal(read_while_any(&peer), 100);
    acknowledge(&peer, peer.sent);
    assert_int_equal(read_while_any(&peer), 399);
    acknowledge(&peer, peer.sent);
    (void)idle();
    assert_int_equal(journal_counts(fixture->journal).acknowledged, UNDER_WAY_MAX + 500);
    hang_up(&peer);
}

static void do_not_read(struct fixture *fixture, uint64_t made, uint64_t room)
{
    uint64_t evicted;
    struct journal_counts counts;
    struct peer peer;

    journal_reset(fixture->journal, bytes_of(room));
    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    for (uint64_t i = 0; i < made; i++) {
        add(fixture, 1);
        if (i % 100 == 0)
            (void)idle();
    }
    (void)idle();
    counts = journal_counts(fixture->journal);
    evicted = counts.lost;
    assert_int_equal(counts.made, made);
    assert_true(evicted > 0);
    assert_int_equal(counts.held + counts.lost, made);
    assert_int_equal(counts.held, room);
    /* It comes to its senses. */
    assert_in_range(read_while_any(&peer), 1, UNDER_WAY_MAX);
    acknowledge(&peer, peer.sent);
    while (peer.stored + journal_counts(fixture->journal).lost < made) {
        assert_true(read_while_any(&peer) > 0);
        acknowledge(&peer, peer.sent);
    }
    (void)idle();
    assert_true(journal_is_settled(fixture->journal, UINT64_MAX));
    counts = journal_counts(fixture->journal);
    assert_int_equal(counts.lost, evicted);
    assert_int_equal(counts.made, peer.stored + counts.lost);
    /* When more is under way than there is room for, each new one is lost, and COUNTERS tells. */
    assert_in_range(peer.lost_before, room < UNDER_WAY_MAX ? 0 : counts.lost, counts.lost);
    uplink_stop(fixture->uplink, 0);
    read_bye(&peer, made);
    assert_int_equal(peer.made, peer.stored + peer.lost);
    assert_int_equal(peer.lost, counts.lost);
}

static void a_daemon_that_does_not_read_holds_up_nothing_but_itself(void **state)
{
    do_not_read(*state, test_size(30000, 8000), UNDER_WAY_MAX + 1000);
}

static void a_daemon_that_does_not_read_costs_no_more_than_the_bound(void **state)
{
    do_not_read(*state, test_size(30000, 3000), 500);
}

static void large_records_pass_whole(void **state)
{
    struct fixture *fixture = *state;
    uint64_t count = test_size(1000, 300);
    struct peer peer;

    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    for (uint64_t i = 0; i < count; i++)
        add_sized(fixture, CORONER_SEVERITY_ERROR, 1 + i * 37 % 3900);
    read_records(&peer, 1, count);
    acknowledge(&peer, count);
    (void)idle();
    assert_true(journal_is_settled(fixture->journal, UINT64_MAX));
    hang_up(&peer);
}

/* Between two looks at the clock its time may come: the wait must not be turned into one without
 * end. */
static void a_clock_that_moves_between_two_looks_does_no_harm(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;

    passing.hurries = true;
    start(fixture);
    for (size_t i = 0; i < 300; i++) {
        int left = idle();

        assert_in_range(left, 1, 1000);
        advance(left > 3 && i % 2 == 0 ? (uint64_t)left - dice_below(&(struct dice){i}, 4)
                                       : (uint64_t)left);
        uplink_wake(fixture->uplink);
    }
    open_daemon(fixture);
    advance(1000);
    for (size_t i = 0; i < 30; i++) {
        peer = hear_hello(fixture, NODE, 1, 0);
        for (int left = idle(); left > 1000; left = idle()) {
            advance(left > 5000 ? 4000 : (uint64_t)left - dice_below(&(struct dice){i}, 4));
            uplink_wake(fixture->uplink);
        }
        hang_up(&peer);
        (void)idle();
        advance(1000);
    }
    peer = greet(fixture, 0, 1, 0);
    for (uint64_t i = 1; i <= 300; i++) {
        int left;

        add(fixture, 1);
        read_record(&peer, i, 0);
        left = idle();
        assert_in_range(left + 1, 0, 1001);
        if (left > 0)
            advance((uint64_t)left - (left > 3 ? dice_below(&(struct dice){i}, 4) : 0));
    }
    hang_up(&peer);
}

static void an_interrupted_poll_is_taken_up_again(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;

    passing.interruptions = 100;
    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    (void)idle();
    for (uint64_t i = 1; i <= 20; i++) {
        pthread_mutex_lock(&passing.lock);
        passing.interruptions = 5;
        pthread_mutex_unlock(&passing.lock);
        add(fixture, 1);
        read_record(&peer, i, 0);
        acknowledge(&peer, i);
        (void)idle();
    }
    assert_true(journal_is_settled(fixture->journal, UINT64_MAX));
    hang_up(&peer);
}

/* Some driver of the node closes what is not its own: bad enough without a thread that spins. */
static void a_socket_that_somebody_else_closed_is_given_up(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;
    int stolen;

    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    (void)idle();
    pthread_mutex_lock(&passing.lock);
    stolen = passing.fds[1].fd;
    pthread_mutex_unlock(&passing.lock);
    close(stolen);
    uplink_rename(fixture->uplink, NODE); /* wakes it */
    assert_int_equal(idle(), 20);
    assert_error(fixture, "coronerd closed the connection: Bad file descriptor");
    hang_up(&peer);
    advance(20);
    peer = greet(fixture, 0, 1, 0);
    hang_up(&peer);
}

/* --- waiting
 * ------------------------------------------------------------------------------------------ */

static void a_notice_comes_once_when_all_is_settled(void **state)
{
    struct fixture *fixture = *state;
    struct notice early = {0}, later = {0}, never = {0}, none = {0};
    struct peer peer;

    assert_false(uplink_notify(fixture->uplink, 0, &none));
    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    (void)idle();
    assert_true(uplink_notify(fixture->uplink, 0, &early));
    (void)idle();
    assert_notice(&early, 1, 1);
    add(fixture, 3);
    read_records(&peer, 1, 3);
    assert_true(uplink_notify(fixture->uplink, 2, &later));
    assert_true(uplink_notify(fixture->uplink, 3, &never));
    acknowledge(&peer, 1);
    (void)idle();
    assert_notice(&later, 0, 0);
    acknowledge(&peer, 2);
    (void)idle();
    assert_notice(&later, 1, 1);
    assert_notice(&never, 0, 0);
    alloc_fail_at(1, false);
    assert_false(uplink_notify(fixture->uplink, 0, &none));
    alloc_fail_at(0, false);
    uplink_stop(fixture->uplink, 0);
    assert_notice(&never, 1, 0);
    assert_notice(&early, 1, 1);
    assert_false(uplink_notify(fixture->uplink, 0, &none));
    assert_notice(&none, 0, 0);
    read_bye(&peer, 3);
}

/* As coroner:sync/1 with a timeout, again and again, while there is no daemon. */
static void of_too_many_who_wait_the_first_are_told(void **state)
{
    struct fixture *fixture = *state;
    struct notice first = {0}, rest = {0};

    fixture->settings.path = NULL;
    start(fixture);
    add(fixture, 1);
    assert_true(uplink_notify(fixture->uplink, 1, &first));
    for (int i = 0; i < 999; i++)
        assert_true(uplink_notify(fixture->uplink, 1, &rest));
    (void)idle();
    assert_notice(&first, 0, 0);
    assert_true(uplink_notify(fixture->uplink, 1, &rest));
    (void)idle();
    assert_notice(&first, 1, 0);
    assert_notice(&rest, 0, 0);
    uplink_stop(fixture->uplink, 0);
    assert_notice(&rest, 1000, 0);
}

static void what_made_room_is_not_waited_for(void **state)
{
    struct fixture *fixture = *state;
    struct notice notice = {0};

    journal_reset(fixture->journal, bytes_of(2));
    fixture->settings.path = NULL;
    start(fixture);
    add(fixture, 2);
    assert_true(uplink_notify(fixture->uplink, 2, &notice));
    (void)idle();
    add(fixture, 1);
    (void)idle();
    assert_notice(&notice, 0, 0);
    add(fixture, 1);
    (void)idle();
    assert_notice(&notice, 1, 1);
}

static void draining_ends_when_all_is_acknowledged_or_the_time_is_up(void **state)
{
    struct fixture *fixture = *state;
    struct call call = {.fixture = fixture, .milliseconds = 200, .drains = true};
    struct peer peer;

    assert_false(uplink_drain(fixture->uplink, 1000)); /* there is no thread */
    open_daemon(fixture);
    start(fixture);
    assert_true(uplink_drain(fixture->uplink, 0)); /* there is nothing */
    peer = greet(fixture, 0, 1, 0);
    (void)idle();
    add(fixture, 2);
    assert_false(uplink_drain(fixture->uplink, 0));
    begin_call(&call);
    wait_for_drain();
    read_records(&peer, 1, 2);
    acknowledge(&peer, 1);
    (void)idle();
    wait_for_drain();
    advance(199);
    (void)idle();
    wait_for_drain();
    acknowledge(&peer, 2);
    assert_true(end_call(&call));

    add(fixture, 1);
    begin_call(&call);
    wait_for_drain();
    advance(199);
    wait_for_drain();
    advance(1);
    assert_false(end_call(&call));

    /* Who drains does not wait for longer than the thread is there. */
    begin_call(&call);
    wait_for_drain();
    uplink_stop(fixture->uplink, 0);
    assert_false(end_call(&call));
    hang_up(&peer);
}

/* --- stopping
 * ----------------------------------------------------------------------------------------- */

static void stopping_waits_for_the_daemon_and_says_bye(void **state)
{
    struct fixture *fixture = *state;
    struct call call = {.fixture = fixture, .milliseconds = 500};
    struct peer peer;

    uplink_stop(fixture->uplink, 1000); /* there is nothing to stop */
    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    (void)idle();
    atomic_store(&fixture->normal, 7);
    add(fixture, 3);
    read_records(&peer, 1, 3);
    begin_stop(&call);
    assert_int_equal(idle(), 500); /* it looks neither sooner nor later */
    advance(100);
    assert_int_equal(idle(), 400);
    acknowledge(&peer, 2);
    assert_int_equal(idle(), 400);
    acknowledge(&peer, 3);
    end_call(&call);
    read_bye(&peer, 3);
    assert_int_equal(peer.normal, 7);
    assert_int_equal(peer.made, 3);
    assert_error(fixture, "stopped");
    uplink_stop(fixture->uplink, 1000);
}

static void stopping_ends_when_its_time_is_up(void **state)
{
    struct fixture *fixture = *state;
    struct call call = {.fixture = fixture, .milliseconds = 700};
    struct peer peer;

    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    (void)idle();
    add(fixture, 3);
    begin_stop(&call);
    advance(699);
    assert_int_equal(idle(), 1);
    advance(1);
    end_call(&call);
    read_records(&peer, 1, 3);
    read_bye(&peer, 3);

    /* The same with a hello that is not answered. */
    start(fixture);
    peer = hear_hello(fixture, NODE, 1, 3);
    begin_stop(&call);
    assert_int_equal(idle(), 700);
    advance(700);
    end_call(&call);
    assert_gone(&peer);
    assert_error(fixture, "not connected yet");
}

static void stopping_tries_once_more_to_connect_and_then_gives_up(void **state)
{
    struct fixture *fixture = *state;
    struct call call = {.fixture = fixture, .milliseconds = 60000};
    struct peer peer;

    /* Nobody is there: nothing to wait for. */
    add(fixture, 2);
    start(fixture);
    (void)idle();
    uplink_stop(fixture->uplink, 60000);
    assert_error(fixture, "No such file");

    /* It has come in the meantime. */
    start(fixture);
    assert_int_equal(idle(), 20);
    open_daemon(fixture);
    begin_call(&call);
    peer = greet(fixture, 0, 1, 2);
    read_records(&peer, 1, 2);
    acknowledge(&peer, 2);
    end_call(&call);
    read_bye(&peer, 2);

    /* It is there, but takes nothing: from the second time on that is as if it were not. */
    add(fixture, 1);
    start(fixture);
    peer = greet(fixture, 2, 3, 3);
    read_record(&peer, 3, 0);
    begin_stop(&call);
    hang_up(&peer);
    peer = hear_hello(fixture, NODE, 3, 3);
    hang_up(&peer);
    end_call(&call);
    assert_false(is_readable(fixture->listener));
    assert_false(uplink_state_of(fixture->uplink).connected);
}

static void freeing_stops(void **state)
{
    struct fixture *fixture = *state;
    struct notice notice = {0};
    struct peer peer;

    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    (void)idle();
    add(fixture, 1);
    assert_true(uplink_notify(fixture->uplink, 1, &notice));
    uplink_free(fixture->uplink);
    fixture->uplink = NULL; /* which is a no-op for uplink_free */
    assert_notice(&notice, 1, 0);
    hang_up(&peer);
}

/* --- another name, another thread
 * --------------------------------------------------------------------- */

static void a_renamed_node_says_hello_anew(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer, next;

    uplink_rename(fixture->uplink, "early@db3"); /* no thread yet: uplink_start says the name */
    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    (void)idle();
    uplink_rename(fixture->uplink, NODE);
    (void)idle();
    assert_true(uplink_state_of(fixture->uplink).connected);
    add(fixture, 3);
    read_records(&peer, 1, 3);
    acknowledge(&peer, 1);
    (void)idle();
    uplink_rename(fixture->uplink, "other@db3");
    assert_gone(&peer);
    next = hear_hello(fixture, "other@db3", 2, 3);
    (void)idle();
    assert_error(fixture, "another name");
    /* Once more before that one is answered. */
    uplink_rename(fixture->uplink, "third@db3");
    (void)idle();
    acknowledge(&next, 1);
    assert_gone(&next);
    next = hear_hello(fixture, "third@db3", 2, 3);
    acknowledge(&next, 1);
    next.sent = 1;
    read_records(&next, 2, 3);
    acknowledge(&next, 3);
    (void)idle();
    assert_true(journal_is_settled(fixture->journal, UINT64_MAX));
    assert_true(uplink_state_of(fixture->uplink).connected);
    hang_up(&next);
}

/* As count_exits, of another copy of the library. */
static void count_anew(void *cookie, uint64_t *normal, uint64_t *unrecorded)
{
    count_exits(cookie, normal, unrecorded);
    *normal += 1000000;
}

static const struct uplink_calls calls_anew = {.counters = count_anew, .flushed = on_settled};

static void a_restarted_uplink_goes_on_where_it_was(void **state)
{
    struct fixture *fixture = *state;
    struct notice notice = {0};
    struct peer peer, next;
    cbor_item_t *frame;

    assert_int_equal(uplink_restart(fixture->uplink, &calls_anew), 0); /* a no-op */
    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    (void)idle();
    add(fixture, 4);
    read_records(&peer, 1, 4);
    acknowledge(&peer, 2);
    (void)idle();
    assert_true(uplink_notify(fixture->uplink, 4, &notice));
    assert_int_equal(uplink_restart(fixture->uplink, &calls_anew), 0);
    assert_notice(&notice, 0, 0); /* who waits goes on waiting */
    /* A BYE would say that the node keeps nothing. */
    frame = read_frame(&peer);
    assert_null(frame);
    hang_up(&peer);
    next = greet(fixture, 2, 3, 4);
    read_records(&next, 3, 4);
    add(fixture, 1);
    read_record(&next, 5, 0);
    acknowledge(&next, 5);
    (void)idle();
    assert_true(uplink_notify(fixture->uplink, 5, &notice));
    (void)idle();
    assert_notice(&notice, 2, 2);
    uplink_stop(fixture->uplink, 0);
    read_bye(&next, 5);
    assert_int_equal(next.normal, 1000000);
}

static void a_restart_that_fails_leaves_no_thread_and_nothing_behind(void **state)
{
    struct fixture *fixture = *state;
    struct notice notice = {0};
    struct peer peer;

    open_daemon(fixture);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    (void)idle();
    add(fixture, 1);
    assert_true(uplink_notify(fixture->uplink, 1, &notice));
    no_threads = true;
    assert_int_equal(uplink_restart(fixture->uplink, &calls_anew), EAGAIN);
    no_threads = false;
    assert_notice(&notice, 1, 0);
    assert_error(fixture, "no thread for the uplink");
    assert_false(uplink_notify(fixture->uplink, 1, &notice));
    assert_false(uplink_drain(fixture->uplink, 1000));
    uplink_stop(fixture->uplink, 1000);
    hang_up(&peer);
    start(fixture);
    peer = greet(fixture, 0, 1, 1);
    read_record(&peer, 1, 0);
    hang_up(&peer);
}

/* --- reaping
 * ------------------------------------------------------------------------------------------ */

static struct linkset many_links(size_t count)
{
    struct linkset links = {0};

    for (uint64_t i = 0; i < count; i++)
        assert_int_equal(linkset_add(&links, fake_pid(i)), 1);
    return links;
}

static void links_are_freed_with_and_without_a_thread(void **state)
{
    struct fixture *fixture = *state;
    struct linkset links = many_links(5000);
    int64_t live = alloc_live();

    /* Without a thread at once. */
    uplink_reap(fixture->uplink, &links);
    assert_int_equal(links.count, 0);
    assert_true(alloc_live() < live);

    fixture->settings.path = NULL;
    start(fixture);
    (void)idle();
    for (size_t i = 0; i < 20; i++) {
        live = alloc_live();
        links = many_links(5000);
        uplink_reap(fixture->uplink, &links);
        assert_int_equal(links.count, 0);
        assert_false(linkset_contains(&links, fake_pid(1)));
        (void)idle();
        assert_int_equal(alloc_live(), live);
    }
    /* Without memory to hand them over with, too. */
    links = many_links(5000);
    alloc_fail_at(1, false);
    uplink_reap(fixture->uplink, &links);
    assert_int_equal(alloc_failed(), 1);
    assert_int_equal(alloc_live(), live);
    alloc_fail_at(0, false);
    /* What the thread does not get to. */
    links = many_links(5000);
    uplink_reap(fixture->uplink, &links);
    uplink_stop(fixture->uplink, 0);
}

/* --- starting
 * ----------------------------------------------------------------------------------------- */

static void without_a_path_it_only_reaps(void **state)
{
    struct fixture *fixture = *state;
    struct notice notice = {0};

    fixture->settings.path = NULL;
    start(fixture);
    assert_int_equal(idle(), -1);
    assert_error(fixture, "no ingest socket is set");
    add(fixture, 3);
    assert_int_equal(idle(), -1);
    assert_true(uplink_notify(fixture->uplink, 3, &notice));
    uplink_rename(fixture->uplink, "other@db3");
    assert_int_equal(idle(), -1);
    uplink_stop(fixture->uplink, 60000); /* there is nobody to wait for */
    assert_notice(&notice, 1, 0);
    assert_error(fixture, "no ingest socket is set");
}

static void a_path_that_does_not_fit_is_refused(void **state)
{
    struct fixture *fixture = *state;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];

    memset(path, 'p', sizeof(path));
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    fixture->settings.path = path;
    assert_int_equal(uplink_start(fixture->uplink, &fixture->settings, NODE), ENAMETOOLONG);
    path[sizeof(path) - 2] = '\0';
    start(fixture);
    (void)idle();
    assert_error(fixture, path);
    assert_error(fixture, ": No such file or directory");
}

static void without_a_thread_it_does_not_start(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;

    open_daemon(fixture);
    no_threads = true;
    assert_int_equal(uplink_start(fixture->uplink, &fixture->settings, NODE), EAGAIN);
    no_threads = false;
    assert_false(uplink_notify(fixture->uplink, 0, NULL));
    uplink_stop(fixture->uplink, 1000);
    start(fixture);
    peer = greet(fixture, 0, 1, 0);
    hang_up(&peer);
}

static void without_memory_it_does_not_start(void **state)
{
    struct fixture *fixture = *state;
    struct peer peer;
    uint64_t nth = 1;
    int error;

    alloc_fail_at(1, false);
    errno = 0;
    assert_null(uplink_new());
    assert_int_equal(errno, ENOMEM);
    open_daemon(fixture);
    for (;; nth++) {
        int64_t live = alloc_live();

        alloc_fail_at(nth, nth % 2 == 0);
        error = uplink_start(fixture->uplink, &fixture->settings, NODE);
        if (alloc_failed() == 0)
            break;
        assert_int_equal(error, ENOMEM);
        assert_int_equal(alloc_live(), live);
        assert_false(uplink_drain(fixture->uplink, 1000));
    }
    alloc_fail_at(0, false);
    assert_int_equal(error, 0);
    assert_true(nth > 4);
    peer = greet(fixture, 0, 1, 0);
    hang_up(&peer);
}

static void all_that_is_given_to_start_is_copied(void **state)
{
    struct fixture *fixture = *state;
    char path[64], incarnation[] = INCARNATION, host[] = "db3.example", otp[] = "27", name[] = NODE;
    struct uplink_settings settings = fixture->settings;
    struct peer peer;

    strcpy(path, fixture->path);
    settings.path = path;
    settings.incarnation = incarnation;
    settings.host = host;
    settings.otp = otp;
    assert_int_equal(uplink_start(fixture->uplink, &settings, name), 0);
    memset(path, 'x', sizeof(path));
    memset(incarnation, 'x', sizeof(incarnation));
    memset(host, 'x', sizeof(host));
    memset(otp, 'x', sizeof(otp));
    memset(name, 'x', sizeof(name));
    memset(&settings, 0xff, sizeof(settings));
    (void)idle();
    open_daemon(fixture);
    advance(1000);
    peer = greet(fixture, 0, 1, 0);
    hang_up(&peer);
}

/* --- everything at once
 * ------------------------------------------------------------------------------- */

#define ADDERS 2

struct adder {
    struct fixture *fixture;
    size_t count;
    struct dice dice;
    pthread_t thread;
};

static void *add_some(void *cookie)
{
    struct adder *adder = cookie;

    for (size_t i = 0; i < adder->count; i++) {
        struct linkset links = {0};

        add_sized(adder->fixture,
                  dice_below(&adder->dice, 3) == 0 ? CORONER_SEVERITY_INFO : CORONER_SEVERITY_ERROR,
                  1 + dice_below(&adder->dice, 300));
        if (dice_below(&adder->dice, 50) == 0) {
            for (uint64_t member = 0; member < 20; member++)
                (void)linkset_add(&links, fake_pid(member));
            uplink_reap(adder->fixture->uplink, &links);
        }
        if (dice_below(&adder->dice, 50) == 0)
            (void)uplink_drain(adder->fixture->uplink, 0);
    }
    return NULL;
}

/* What the journal let go of. */
struct ledger_of_loss {
    atomic_uchar *evicted; /* by seq */
    size_t room;
};

static void on_evicted(void *cookie, const struct record *record)
{
    struct ledger_of_loss *losses = cookie;

    if (record->seq < losses->room)
        atomic_store(&losses->evicted[record->seq], 1);
}

/*
 * The daemon reads, commits, falls silent and goes away as the dice will, while others make
 * records. In the end each is in its store or counted.
 */
static void whatever_the_daemon_does_each_record_is_stored_or_counted(void **state)
{
    struct fixture *fixture = *state;
    struct dice dice = dice_new(2);
    struct adder adders[ADDERS];
    size_t count = test_size(20000, 2000), made = ADDERS * count, stored_count = 0;
    struct ledger_of_loss losses = {.evicted = calloc(made + 1, 1), .room = made + 1};
    unsigned char *stored = calloc(made + 1, 1);
    uint64_t committed = 0, missing = 0;
    struct peer peer = {.fd = -1};
    struct journal_counts counts;

    journal_reset(fixture->journal, bytes_of(1000));
    journal_on_evicted(fixture->journal, on_evicted, &losses);
    open_daemon(fixture);
    start(fixture);
    for (size_t i = 0; i < ADDERS; i++) {
        adders[i] = (struct adder){.fixture = fixture, .count = count, .dice = dice_new(10 + i)};
        assert_int_equal(pthread_create(&adders[i].thread, NULL, add_some, &adders[i]), 0);
    }
    for (;;) {
        counts = journal_counts(fixture->journal);
        if (counts.made == made && journal_is_settled(fixture->journal, UINT64_MAX))
            break;
        if (peer.fd < 0) {
            cbor_item_t *frame;

            if (!is_readable(fixture->listener)) {
                (void)idle();
                advance(1000); /* it wants to wait no longer than that */
            }
            peer = accept_node(fixture);
            frame = read_frame(&peer);
            assert_non_null(frame);
            assert_int_equal(type_of(frame), WIRE_HELLO);
            assert_true(decode_uint(decode_at(item_of(frame, 2), WIRE_KEY_first_held)) > committed);
            cbor_decref(&frame);
            acknowledge(&peer, committed);
            peer.sent = committed;
        }
        for (uint64_t i = dice_below(&dice, 400); i > 0 && is_readable(peer.fd); i--) {
            cbor_item_t *frame = read_any(&peer);

            assert_non_null(frame);
            if (!take_counters(&peer, frame)) {
                take_record(&peer, frame);
                assert_in_range(peer.sent, 1, made);
                stored_count += !stored[peer.sent];
                stored[peer.sent] = 1;
            }
            cbor_decref(&frame);
        }
        if (peer.sent > committed && (dice_below(&dice, 3) == 0 || !is_readable(peer.fd)))
            acknowledge(&peer, committed = peer.sent);
        if (!is_readable(peer.fd)) {
            (void)idle();
            sched_yield(); /* for those who make records */
        }
        if (dice_below(&dice, 40) == 0)
            hang_up(&peer);
    }
    for (size_t i = 0; i < ADDERS; i++)
        assert_int_equal(pthread_join(adders[i].thread, NULL), 0);
    counts = journal_counts(fixture->journal);
    for (uint64_t seq = 1; seq <= made; seq++) {
        assert_true(stored[seq] || atomic_load(&losses.evicted[seq]));
        missing += !stored[seq];
    }
    /* What had to make room after it was sent may be both. */
    assert_int_equal(stored_count + missing, made);
    assert_true(missing <= counts.lost);
    assert_true(stored_count + counts.lost >= made);
    if (peer.fd >= 0)
        hang_up(&peer);
    uplink_stop(fixture->uplink, 0);
    free(losses.evicted);
    free(stored);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UPLINK_TEST(no_record_goes_out_before_the_hello_is_answered),
        UPLINK_TEST(what_was_evicted_is_told_before_the_next_record),
        UPLINK_TEST(acknowledgements_are_cumulative),
        UPLINK_TEST(an_acknowledgement_may_come_byte_by_byte_or_with_others),
        UPLINK_TEST(counters_are_told_when_they_change_once_a_second),
        UPLINK_TEST(how_the_tracing_stands_is_told),
        UPLINK_TEST(those_that_follow_soon_wake_nobody),
        UPLINK_TEST(what_was_under_way_is_sent_again),
        UPLINK_TEST(the_pause_before_connecting_again_doubles_up_to_a_second),
        UPLINK_TEST(a_daemon_that_greets_and_refuses_is_not_asked_all_the_time),
        UPLINK_TEST(a_hello_that_is_not_answered_is_given_up),
        UPLINK_TEST(nonsense_ends_the_connection_and_says_why),
        UPLINK_TEST(an_error_is_kept_whole_characters_only),
        UPLINK_TEST(what_the_daemon_said_last_is_heard_although_writing_failed),
        UPLINK_TEST(more_may_be_acknowledged_than_was_sent),
        UPLINK_TEST(a_daemon_that_talks_on_and_on_does_not_keep_the_thread),
        UPLINK_TEST(no_more_is_under_way_than_is_allowed),
        UPLINK_TEST(a_daemon_that_does_not_read_holds_up_nothing_but_itself),
        UPLINK_TEST(a_daemon_that_does_not_read_costs_no_more_than_the_bound),
        UPLINK_TEST(large_records_pass_whole),
        UPLINK_TEST(a_clock_that_moves_between_two_looks_does_no_harm),
        UPLINK_TEST(an_interrupted_poll_is_taken_up_again),
        UPLINK_TEST(a_socket_that_somebody_else_closed_is_given_up),
        UPLINK_TEST(a_notice_comes_once_when_all_is_settled),
        UPLINK_TEST(of_too_many_who_wait_the_first_are_told),
        UPLINK_TEST(what_made_room_is_not_waited_for),
        UPLINK_TEST(draining_ends_when_all_is_acknowledged_or_the_time_is_up),
        UPLINK_TEST(stopping_waits_for_the_daemon_and_says_bye),
        UPLINK_TEST(stopping_ends_when_its_time_is_up),
        UPLINK_TEST(stopping_tries_once_more_to_connect_and_then_gives_up),
        UPLINK_TEST(freeing_stops),
        UPLINK_TEST(a_renamed_node_says_hello_anew),
        UPLINK_TEST(a_restarted_uplink_goes_on_where_it_was),
        UPLINK_TEST(a_restart_that_fails_leaves_no_thread_and_nothing_behind),
        UPLINK_TEST(links_are_freed_with_and_without_a_thread),
        UPLINK_TEST(without_a_path_it_only_reaps),
        UPLINK_TEST(a_path_that_does_not_fit_is_refused),
        UPLINK_TEST(without_a_thread_it_does_not_start),
        UPLINK_TEST(without_memory_it_does_not_start),
        UPLINK_TEST(all_that_is_given_to_start_is_copied),
        UPLINK_TEST(whatever_the_daemon_does_each_record_is_stored_or_counted),
    };

    return check_run("uplink", tests);
}
