#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "alloc.h"
#include "uplink.h"
#include "wire.h"

#define BATCH 64             /* records taken from the journal at a time */
#define OUT_ROOM (256 * 1024) /* bytes encoded and not yet written: with the socket's buffer, what is under way */
#define IN_ROOM 1024         /* the daemon sends only acknowledgements and one line of an error */
#define READS_MAX 16         /* of IN_ROOM at a time: a daemon that talks on and on does not keep us */
#define FRAME_ROOM (RECORD_CBOR_MAX + 64)
#define UNDER_WAY_MAX 4096   /* records sent and not acknowledged; past that we wait for the daemon */
#define PAUSE_FIRST_MS 20
#define PAUSE_MAX_MS 1000
#define GREETING_MS 10000
#define COUNTERS_MS 1000     /* at most one COUNTERS frame in this time */
#define LEFT_MS 3000         /* after a goodbye the node should be gone; if it is not, it connects again */
#define NAME_ROOM 256
#define WAITERS_MAX 1000     /* nobody says when one who waits is gone: past this the first are told no */

struct reaped {
    struct reaped *next;
    struct linkset links;
};

struct waiter {
    struct waiter *next;
    uint64_t seq;
    void *cookie;
};

struct uplink {
    struct uplink_settings settings; /* the texts are copies */
    pthread_t thread;
    int wake_fd;
    atomic_bool asleep; /* the thread waits in poll and wants a write to wake_fd */
    atomic_uint standing; /* bits of uplink_standing */

    pthread_mutex_t lock; /* over what follows, which other threads use too */
    pthread_cond_t settled;
    char node_name[NAME_ROOM];
    bool renamed;
    bool running; /* there is a thread, or one that follows it will be */
    bool stopping;
    bool leaving;    /* the node is about to end */
    bool restarting; /* it is to end, but another follows */
    bool has_daemon; /* there is a socket to connect to */
    uint64_t stop_by_ms;
    struct reaped *reaped;
    struct waiter *waiters;
    struct uplink_state state;

    /* The thread's own. */
    int fd;
    bool greeted; /* the daemon has answered the hello */
    uint64_t greeting_by_ms; /* it has to */
    uint64_t greeted_at_ms;
    unsigned pause_ms; /* before the next attempt to connect but one */
    uint64_t retry_at_ms;
    uint64_t sent; /* the highest sequence number sent on this connection, or acknowledged at its start */
    uint64_t acknowledged;
    bool lingering;   /* records came a moment ago: more may come */
    bool has_waiters; /* whom a record that makes room can concern */
    uint64_t counters_told[4];
    uint64_t counters_at_ms;
    size_t out_used, out_begin;
    size_t in_used;
    uint8_t out[OUT_ROOM];
    uint8_t in[IN_ROOM];
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Milliseconds from now on for poll: 0 when that is past. */
static int ms_until(uint64_t at_ms)
{
    uint64_t now = now_ms();

    if (at_ms <= now)
        return 0;
    return at_ms - now > INT_MAX ? INT_MAX : (int)(at_ms - now);
}

static struct timespec in_ms(unsigned milliseconds)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += milliseconds / 1000;
    at.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

static void write_wake(struct uplink *uplink)
{
    uint64_t one = 1;
    ssize_t written;

    /* EAGAIN means that the counter is full, so it is readable, which is all we want. */
    do
        written = write(uplink->wake_fd, &one, sizeof(one));
    while (written < 0 && errno == EINTR);
}

void uplink_wake(struct uplink *uplink)
{
    /*
     * The thread says `asleep`, then looks at the journal once more, then waits. We add to the journal, then look
     * at `asleep`. The journal's lock orders the two, so one of us sees the other.
     */
    if (atomic_load(&uplink->asleep) && atomic_exchange(&uplink->asleep, false))
        write_wake(uplink);
}

static void set_error(struct uplink *uplink, const char *what, int error)
{
    char buffer[120];

    pthread_mutex_lock(&uplink->lock);
    uplink->state.connected = false;
    if (error != 0)
        (void)snprintf(uplink->state.error, sizeof(uplink->state.error), "%.150s: %s", what,
                       strerror_r(error, buffer, sizeof(buffer)));
    else
        (void)snprintf(uplink->state.error, sizeof(uplink->state.error), "%s", what);
    pthread_mutex_unlock(&uplink->lock);
}

/* The next attempt to connect comes after a pause, and the one after it later still. */
static void back_off(struct uplink *uplink)
{
    uplink->retry_at_ms = now_ms() + uplink->pause_ms;
    uplink->pause_ms = uplink->pause_ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : uplink->pause_ms * 2;
}

static void hang_up(struct uplink *uplink)
{
    /* A daemon that greets and then refuses what it gets is not asked fifty times a second. */
    if (uplink->greeted && now_ms() - uplink->greeted_at_ms >= PAUSE_MAX_MS)
        uplink->pause_ms = PAUSE_FIRST_MS;
    if (uplink->fd >= 0)
        close(uplink->fd);
    uplink->fd = -1;
    uplink->greeted = false;
    uplink->in_used = 0;
    uplink->out_used = uplink->out_begin = 0;
    uplink->lingering = false;
    /* What is under way may have arrived: it stays until the next daemon says what it has. See take_frame. */
}

/* Begins a frame: leaves room for its length, and writes the head of its array. */
static struct cbor_writer begin_frame(struct uplink *uplink, unsigned items, enum wire_frame type)
{
    struct cbor_writer cbor;
    size_t left;

    if (uplink->out_begin > 0) {
        memmove(uplink->out, uplink->out + uplink->out_begin, uplink->out_used - uplink->out_begin);
        uplink->out_used -= uplink->out_begin;
        uplink->out_begin = 0;
    }
    left = OUT_ROOM - uplink->out_used;
    cbor = cbor_writer_on(uplink->out + uplink->out_used + 4, left > 4 ? left - 4 : 0);
    cbor_put_array(&cbor, items);
    cbor_put_uint(&cbor, type);
    return cbor;
}

/* Ends the frame that begin_frame began. Returns false, with nothing added, when it did not fit. */
static bool end_frame(struct uplink *uplink, const struct cbor_writer *cbor)
{
    uint8_t *length = uplink->out + uplink->out_used;

    if (cbor->full || cbor->used > WIRE_FRAME_MAX)
        return false;
    for (int i = 0; i < 4; i++)
        length[i] = (uint8_t)(cbor->used >> (24 - 8 * i));
    uplink->out_used += 4 + cbor->used;
    return true;
}

static void put_text_pair(struct cbor_writer *cbor, unsigned *pairs, enum wire_key key,
                          const char *text)
{
    cbor_put_uint(cbor, key);
    cbor_put_text(cbor, text, strlen(text));
    ++*pairs;
}

static void put_uint_pair(struct cbor_writer *cbor, unsigned *pairs, enum wire_key key,
                          uint64_t value)
{
    cbor_put_uint(cbor, key);
    cbor_put_uint(cbor, value);
    ++*pairs;
}

/* A key that needs no number: what is told once in a while may take some bytes. */
static void put_flag(struct cbor_writer *cbor, unsigned *pairs, const char *key, bool value)
{
    cbor_put_text(cbor, key, strlen(key));
    cbor_put_uint(cbor, value);
    ++*pairs;
}

static bool say_hello(struct uplink *uplink)
{
    struct journal_counts counts = journal_counts(uplink->settings.journal);
    struct cbor_writer cbor = begin_frame(uplink, 3, WIRE_HELLO);
    char name[NAME_ROOM];
    unsigned pairs = 0;
    size_t map;

    pthread_mutex_lock(&uplink->lock);
    memcpy(name, uplink->node_name, sizeof(name));
    uplink->renamed = false;
    pthread_mutex_unlock(&uplink->lock);
    cbor_put_uint(&cbor, WIRE_VERSION);
    map = cbor_open_map(&cbor);
    put_text_pair(&cbor, &pairs, WIRE_KEY_incarnation, uplink->settings.incarnation);
    put_text_pair(&cbor, &pairs, WIRE_KEY_name, name);
    put_text_pair(&cbor, &pairs, WIRE_KEY_host, uplink->settings.host);
    put_uint_pair(&cbor, &pairs, WIRE_KEY_os_pid, (uint64_t)getpid());
    put_text_pair(&cbor, &pairs, WIRE_KEY_otp, uplink->settings.otp);
    put_uint_pair(&cbor, &pairs, WIRE_KEY_first_held, counts.first_held);
    put_uint_pair(&cbor, &pairs, WIRE_KEY_made, counts.made);
    cbor_close_map(&cbor, map, pairs);
    return end_frame(uplink, &cbor);
}

static void connect_daemon(struct uplink *uplink)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    memcpy(address.sun_path, uplink->settings.path, strlen(uplink->settings.path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* A Unix socket connects at once or not at all: EAGAIN says that the daemon's backlog is full. */
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        set_error(uplink, uplink->settings.path, errno);
        if (fd >= 0)
            close(fd);
        return;
    }
    uplink->fd = fd;
    uplink->counters_told[0] = UINT64_MAX; /* a new daemon knows none of them */
    if (!say_hello(uplink)) {
        set_error(uplink, "the hello does not fit a frame", 0);
        hang_up(uplink);
    }
}

/* Calls and frees the waiters whose records are settled, or all of them when `all`. */
static void call_waiters(struct uplink *uplink, bool all)
{
    struct waiter *ready = NULL;
    unsigned kept = 0;

    pthread_mutex_lock(&uplink->lock);
    /* The newest first. */
    for (struct waiter **at = &uplink->waiters; *at != NULL;) {
        struct waiter *waiter = *at;

        if (!all && kept < WAITERS_MAX &&
            !journal_is_settled(uplink->settings.journal, waiter->seq)) {
            kept++;
            at = &waiter->next;
            continue;
        }
        *at = waiter->next;
        waiter->next = ready;
        ready = waiter;
    }
    uplink->has_waiters = kept > 0;
    pthread_cond_broadcast(&uplink->settled);
    pthread_mutex_unlock(&uplink->lock);
    while (ready != NULL) {
        struct waiter *next = ready->next;

        uplink->settings.calls.flushed(ready->cookie,
                                       journal_is_settled(uplink->settings.journal, ready->seq));
        memory_free(ready);
        ready = next;
    }
}

/* The daemon cannot be talked to: keeps why. Returns false, as those do that read of it. */
static bool is_refused(struct uplink *uplink, const char *why)
{
    set_error(uplink, why, 0);
    return false;
}

/* Takes one frame of the daemon's. Returns false, with the error set, when it ends the connection. */
static bool take_frame(struct uplink *uplink, const uint8_t *bytes, size_t length)
{
    struct cbor_reader reader = {.at = bytes, .left = length};
    uint64_t items, type, seq;
    const char *text;
    size_t text_length;

    if (!cbor_get_array(&reader, &items) || items != 2 || !cbor_get_uint(&reader, &type))
        return is_refused(uplink, "coronerd sent a frame that makes no sense");
    if (type == WIRE_ERROR && cbor_get_text(&reader, &text, &text_length)) {
        char message[sizeof(uplink->state.error)];
        struct text_writer writer = text_writer_on(message, sizeof(message));

        text_puts(&writer, "coronerd refuses: ");
        text_put_utf8(&writer, (const unsigned char *)text, text_length, '\0');
        return is_refused(uplink, message);
    }
    if (type != WIRE_ACK || !cbor_get_uint(&reader, &seq) || reader.left != 0)
        return is_refused(uplink, "coronerd sent a frame that makes no sense");
    if (!journal_acknowledge(uplink->settings.journal, seq))
        return is_refused(uplink, "coronerd acknowledges records that were never made");
    if (seq > uplink->acknowledged)
        uplink->acknowledged = seq;
    /* What went over the connection before this one may be committed, and acknowledged, only now. */
    if (uplink->sent < uplink->acknowledged)
        uplink->sent = uplink->acknowledged;
    if (!uplink->greeted) {
        uplink->greeted = true;
        uplink->greeted_at_ms = now_ms();
        uplink->sent = uplink->acknowledged;
        /*
         * Now it is known what of an earlier connection did not arrive. Not before: what made room in between would
         * count as lost, although the daemon may have it.
         */
        journal_rewind(uplink->settings.journal);
        pthread_mutex_lock(&uplink->lock);
        uplink->state.connected = true;
        uplink->state.connects++;
        uplink->state.error[0] = '\0';
        pthread_mutex_unlock(&uplink->lock);
    }
    call_waiters(uplink, false);
    return true;
}

/* Reads what the daemon sent. Returns false, with the error set, when the connection is over. */
static bool read_daemon(struct uplink *uplink)
{
    for (int reads = 0; reads < READS_MAX; reads++) {
        ssize_t got = read(uplink->fd, uplink->in + uplink->in_used, IN_ROOM - uplink->in_used);
        size_t at = 0;

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return true;
        if (got <= 0) {
            set_error(uplink, "coronerd closed the connection", got < 0 ? errno : 0);
            return false;
        }
        uplink->in_used += (size_t)got;
        while (uplink->in_used - at >= 4) {
            const uint8_t *frame = uplink->in + at;
            size_t length = (size_t)frame[0] << 24 | (size_t)frame[1] << 16 | (size_t)frame[2] << 8 |
                            frame[3];

            if (length == 0 || length > IN_ROOM - 4)
                return is_refused(uplink, "coronerd sent a frame of an impossible length");
            if (uplink->in_used - at < 4 + length)
                break;
            if (!take_frame(uplink, frame + 4, length))
                return false;
            at += 4 + length;
        }
        memmove(uplink->in, uplink->in + at, uplink->in_used - at);
        uplink->in_used -= at;
    }
    return true;
}

/* Writes what is encoded, as far as the socket takes it. Returns as read_daemon does. */
static bool write_daemon(struct uplink *uplink)
{
    while (uplink->out_begin < uplink->out_used) {
        ssize_t sent = send(uplink->fd, uplink->out + uplink->out_begin,
                            uplink->out_used - uplink->out_begin, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return true;
        if (sent < 0) {
            int error = errno;

            /* It may have said why, in an ERROR frame that we did not get to. */
            if (read_daemon(uplink))
                set_error(uplink, "coronerd went away", error);
            return false;
        }
        uplink->out_begin += (size_t)sent;
    }
    uplink->out_begin = uplink->out_used = 0;
    return true;
}

static size_t out_pending(const struct uplink *uplink)
{
    return uplink->out_used - uplink->out_begin;
}

/* Encodes unsent records into the out buffer while there is room. */
static void encode_records(struct uplink *uplink)
{
    struct record *records[BATCH];

    uplink->lingering = false;
    for (;;) {
        size_t room = (OUT_ROOM - out_pending(uplink)) / FRAME_ROOM;
        uint64_t under_way = uplink->sent - uplink->acknowledged;
        size_t count;

        if (under_way >= UNDER_WAY_MAX)
            return;
        if (room > BATCH)
            room = BATCH;
        if (room > UNDER_WAY_MAX - under_way)
            room = (size_t)(UNDER_WAY_MAX - under_way);
        if (room == 0 || (count = journal_take(uplink->settings.journal, records, room)) == 0)
            return;
        uplink->lingering = uplink->settings.linger_ms > 0;
        for (size_t i = 0; i < count; i++) {
            struct record *record = records[i];
            struct cbor_writer cbor = begin_frame(uplink, 6, WIRE_RECORD);

            cbor_put_uint(&cbor, record->seq);
            cbor_put_uint(&cbor, record->time_ns);
            cbor_put_uint(&cbor, record->seq - uplink->sent - 1);
            cbor_put_uint(&cbor, record->gap != NULL ? WIRE_KIND_GAP : WIRE_KIND_EXIT);
            record_encode(record, uplink->settings.intern, uplink->settings.incarnation, &cbor);
            if (end_frame(uplink, &cbor)) {
                uplink->sent = record->seq;
            } else {
                /* record_encode fits everything into RECORD_CBOR_MAX; should it not, the gap says so. */
                pthread_mutex_lock(&uplink->lock);
                uplink->state.encode_failures++;
                pthread_mutex_unlock(&uplink->lock);
            }
            record_drop(record);
        }
    }
}

/*
 * Tells the daemon the counters when they changed: at most one frame in COUNTERS_MS, unless `now`. Returns in
 * how many milliseconds it has to be called again, -1 when nothing is left to be told.
 */
static int tell_counters(struct uplink *uplink, bool now)
{
    struct journal_counts counts = journal_counts(uplink->settings.journal);
    unsigned standing = atomic_load(&uplink->standing);
    uint64_t told[4] = {counts.made, counts.lost, standing, 0};
    uint64_t normal = 0, unrecorded = 0;
    uint64_t at = uplink->counters_at_ms + COUNTERS_MS;
    struct cbor_writer cbor;
    unsigned pairs = 0;
    size_t map;

    /* For exits that are only counted nobody is woken; and reading their counters takes a look at each shard of the ledger. */
    if (!now && now_ms() < at)
        return memcmp(told, uplink->counters_told, 3 * sizeof(told[0])) == 0 ? -1 : ms_until(at);
    uplink->settings.calls.counters(uplink->settings.cookie, &normal, &unrecorded);
    told[3] = normal + unrecorded;
    if (memcmp(told, uplink->counters_told, sizeof(told)) == 0)
        return -1;
    cbor = begin_frame(uplink, 3, WIRE_COUNTERS);
    cbor_put_uint(&cbor, counts.made);
    map = cbor_open_map(&cbor);
    put_uint_pair(&cbor, &pairs, WIRE_KEY_normal, normal);
    put_uint_pair(&cbor, &pairs, WIRE_KEY_unrecorded, unrecorded);
    put_uint_pair(&cbor, &pairs, WIRE_KEY_lost, counts.lost);
    put_flag(&cbor, &pairs, "paused", (standing & UPLINK_PAUSED) != 0);
    put_flag(&cbor, &pairs, "disarmed", (standing & UPLINK_DISARMED) != 0);
    put_flag(&cbor, &pairs, "scoped", (standing & UPLINK_SCOPED) != 0);
    cbor_close_map(&cbor, map, pairs);
    if (!end_frame(uplink, &cbor))
        return COUNTERS_MS;
    memcpy(uplink->counters_told, told, sizeof(told));
    uplink->counters_at_ms = now_ms();
    return -1;
}

static void say_bye(struct uplink *uplink)
{
    struct cbor_writer cbor;

    (void)tell_counters(uplink, true);
    cbor = begin_frame(uplink, 2, WIRE_BYE);
    cbor_put_uint(&cbor, journal_counts(uplink->settings.journal).made);
    (void)end_frame(uplink, &cbor); /* without it the daemon only sees us go */
    (void)write_daemon(uplink);
}

static void reap(struct uplink *uplink)
{
    struct reaped *reaped;

    pthread_mutex_lock(&uplink->lock);
    reaped = uplink->reaped;
    uplink->reaped = NULL;
    pthread_mutex_unlock(&uplink->lock);
    while (reaped != NULL) {
        struct reaped *next = reaped->next;

        linkset_clear(&reaped->links);
        memory_free(reaped);
        reaped = next;
    }
}

/*
 * Waits for the daemon, for a wake-up, or for the timeout (milliseconds, -1: none). Returns false when the
 * connection is over. A record wakes only one who could send it and has not just sent others: the eventfd costs whoever
 * dies 1 to 2 microseconds.
 */
static bool wait_for_work(struct uplink *uplink, int timeout)
{
    struct pollfd fds[2] = {{.fd = uplink->wake_fd, .events = POLLIN},
                            {.fd = uplink->fd, .events = POLLIN}};
    bool can_send = uplink->greeted && uplink->sent - uplink->acknowledged < UNDER_WAY_MAX;
    uint64_t count;
    int ready;

    if (out_pending(uplink) > 0)
        fds[1].events |= POLLOUT;
    if (can_send && out_pending(uplink) == 0) {
        if (uplink->lingering) {
            /* Nobody wakes us for a record now: it is fetched when this is over. */
            int linger = (int)uplink->settings.linger_ms;

            timeout = timeout < 0 || timeout > linger ? linger : timeout;
        } else {
            atomic_store(&uplink->asleep, true);
            /* See uplink_wake: whoever adds from here on sees `asleep`. */
            if (journal_has_unsent(uplink->settings.journal)) {
                atomic_store(&uplink->asleep, false);
                return true;
            }
        }
    } else if (uplink->has_waiters) {
        atomic_store(&uplink->asleep, true);
    } /* else a record could not be sent: what wakes us is the daemon, or the time to connect to one */
    ready = poll(fds, uplink->fd >= 0 ? 2 : 1, timeout);
    atomic_store(&uplink->asleep, false);
    if (ready > 0 && (fds[0].revents & POLLIN))
        (void)!read(uplink->wake_fd, &count, sizeof(count));
    if (ready > 0 && uplink->fd >= 0 && (fds[1].revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL)))
        return read_daemon(uplink);
    return true;
}

/* Says goodbye if uplink_leave asks for it. Returns whether it did: the connection is over then. */
static bool leave(struct uplink *uplink)
{
    bool leaving;

    pthread_mutex_lock(&uplink->lock);
    leaving = uplink->leaving;
    pthread_mutex_unlock(&uplink->lock);
    if (!leaving)
        return false;
    if (uplink->fd >= 0 && uplink->greeted) {
        say_bye(uplink);
        set_error(uplink, "said goodbye, for the node is about to end", 0);
    }
    hang_up(uplink);
    pthread_mutex_lock(&uplink->lock);
    uplink->leaving = false;
    pthread_cond_broadcast(&uplink->settled);
    pthread_mutex_unlock(&uplink->lock);
    return true;
}

static void *uplink_main(void *cookie)
{
    struct uplink *uplink = cookie;
    bool stopping, renamed, restarting;
    bool tried_last = false; /* to connect once more, now that we stop */
    uint64_t stop_by_ms;

    uplink->pause_ms = PAUSE_FIRST_MS;
    uplink->retry_at_ms = 0;
    for (;;) {
        int timeout = -1;
        bool alive = true;

        pthread_mutex_lock(&uplink->lock);
        stopping = uplink->stopping;
        restarting = uplink->restarting;
        stop_by_ms = uplink->stop_by_ms;
        renamed = uplink->renamed;
        pthread_mutex_unlock(&uplink->lock);
        if (stopping &&
            (now_ms() >= stop_by_ms || journal_is_settled(uplink->settings.journal, UINT64_MAX)))
            break;
        reap(uplink);
        call_waiters(uplink, false);
        if (leave(uplink))
            uplink->retry_at_ms = now_ms() + LEFT_MS;
        if (uplink->fd < 0 && uplink->settings.path != NULL) {
            if (now_ms() >= uplink->retry_at_ms || (stopping && !tried_last)) {
                tried_last = stopping;
                connect_daemon(uplink);
                uplink->greeting_by_ms = now_ms() + GREETING_MS;
                if (uplink->fd < 0)
                    back_off(uplink);
            }
            timeout = ms_until(uplink->retry_at_ms);
        }
        if (uplink->fd < 0 && stopping)
            break;
        if (uplink->fd >= 0) {
            timeout = -1;
            if (uplink->greeted && renamed) {
                /* The daemon takes one hello a connection: say it on a new one. */
                set_error(uplink, "connecting anew under another name", 0);
                hang_up(uplink);
                uplink->retry_at_ms = 0;
                continue;
            }
            if (uplink->greeted) {
                encode_records(uplink);
                if (!journal_has_unsent(uplink->settings.journal) && out_pending(uplink) == 0)
                    timeout = tell_counters(uplink, false);
            } else if ((timeout = ms_until(uplink->greeting_by_ms)) == 0) {
                alive = is_refused(uplink, "coronerd does not answer the hello");
            }
            alive = alive && write_daemon(uplink);
        }
        if (stopping && (timeout < 0 || timeout > ms_until(stop_by_ms)))
            timeout = ms_until(stop_by_ms);
        alive = alive && wait_for_work(uplink, timeout);
        if (!alive) {
            hang_up(uplink);
            back_off(uplink);
        }
    }
    if (uplink->greeted) {
        if (!restarting)
            say_bye(uplink);
        set_error(uplink, "stopped", 0);
    }
    hang_up(uplink);
    reap(uplink);
    call_waiters(uplink, !restarting);
    return NULL;
}

static char *copy(const char *string)
{
    size_t size = string == NULL ? 0 : strlen(string) + 1;
    char *made = size == 0 ? NULL : memory_alloc(size);

    if (made != NULL)
        memcpy(made, string, size);
    return made;
}

static void free_settings(struct uplink_settings *settings)
{
    union {
        const char *text;
        void *memory;
    } all[] = {{settings->path}, {settings->incarnation}, {settings->host}, {settings->otp}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        memory_free(all[i].memory);
    memset(settings, 0, sizeof(*settings));
}

static void set_name(struct uplink *uplink, const char *node_name)
{
    (void)snprintf(uplink->node_name, sizeof(uplink->node_name), "%s", node_name);
}

struct uplink *uplink_new(void)
{
    struct uplink *uplink = memory_zalloc(sizeof(*uplink));
    pthread_condattr_t attributes;
    int error = ENOMEM;

    if (uplink == NULL)
        goto err0;
    uplink->fd = -1;
    if ((uplink->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) {
        error = errno;
        goto err1;
    }
    if ((error = pthread_mutex_init(&uplink->lock, NULL)) != 0)
        goto err2;
    if ((error = pthread_condattr_init(&attributes)) != 0)
        goto err3;
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    error = pthread_cond_init(&uplink->settled, &attributes);
    pthread_condattr_destroy(&attributes);
    if (error != 0)
        goto err3;

    /* Success! */
    return uplink;

err3:
    pthread_mutex_destroy(&uplink->lock);
err2:
    close(uplink->wake_fd);
err1:
    memory_free(uplink);
err0:
    /* Failure! */
    errno = error;
    return NULL;
}

void uplink_free(struct uplink *uplink)
{
    if (uplink == NULL)
        return;
    uplink_stop(uplink, 0);
    pthread_cond_destroy(&uplink->settled);
    pthread_mutex_destroy(&uplink->lock);
    close(uplink->wake_fd);
    memory_free(uplink);
}

static int start_thread(struct uplink *uplink)
{
    sigset_t all, before;
    int error;

    /* The VM's signals are for the VM's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&uplink->thread, NULL, uplink_main, uplink);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0)
        pthread_setname_np(uplink->thread, "coroner_uplink");
    return error;
}

/* There is no thread any more, or there never was. */
static void after_thread(struct uplink *uplink)
{
    pthread_mutex_lock(&uplink->lock);
    uplink->running = uplink->restarting = false;
    pthread_mutex_unlock(&uplink->lock);
    /* What came in between the thread's last look and `running` being false. */
    reap(uplink);
    call_waiters(uplink, true);
    free_settings(&uplink->settings);
}

int uplink_start(struct uplink *uplink, const struct uplink_settings *settings,
                 const char *node_name)
{
    int error = ENOMEM;

    if (settings->path != NULL &&
        strlen(settings->path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return ENAMETOOLONG;
    uplink->settings = *settings;
    uplink->settings.path = copy(settings->path);
    uplink->settings.incarnation = copy(settings->incarnation);
    uplink->settings.host = copy(settings->host);
    uplink->settings.otp = copy(settings->otp);
    if ((settings->path != NULL && uplink->settings.path == NULL) ||
        uplink->settings.incarnation == NULL || uplink->settings.host == NULL ||
        uplink->settings.otp == NULL)
        goto err0;
    pthread_mutex_lock(&uplink->lock);
    set_name(uplink, node_name);
    uplink->renamed = uplink->stopping = uplink->leaving = uplink->restarting = false;
    uplink->has_daemon = settings->path != NULL;
    uplink->state = (struct uplink_state){.connected = false};
    (void)snprintf(uplink->state.error, sizeof(uplink->state.error), "%s",
                   settings->path == NULL ? "no ingest socket is set" : "not connected yet");
    uplink->running = true;
    pthread_mutex_unlock(&uplink->lock);
    uplink->sent = uplink->acknowledged = 0;
    atomic_store(&uplink->standing, 0);

    if ((error = start_thread(uplink)) != 0)
        goto err1;

    /* Success! */
    return 0;

err1:
    after_thread(uplink);
err0:
    free_settings(&uplink->settings);
    /* Failure! */
    return error;
}

/* Ends and joins the thread, which another may follow. Returns false when there was none. */
static bool end_thread(struct uplink *uplink, unsigned drain_ms, bool restarting)
{
    bool running;

    pthread_mutex_lock(&uplink->lock);
    running = uplink->running;
    uplink->stopping = true;
    uplink->restarting = running && restarting;
    uplink->stop_by_ms = now_ms() + drain_ms;
    pthread_mutex_unlock(&uplink->lock);
    if (!running)
        return false;
    write_wake(uplink);
    pthread_join(uplink->thread, NULL);
    return true;
}

void uplink_stop(struct uplink *uplink, unsigned drain_ms)
{
    if (end_thread(uplink, drain_ms, false))
        after_thread(uplink);
}

int uplink_restart(struct uplink *uplink, const struct uplink_calls *calls)
{
    int error;

    if (!end_thread(uplink, 0, true))
        return 0;
    uplink->settings.calls = *calls;
    pthread_mutex_lock(&uplink->lock);
    uplink->stopping = uplink->restarting = false;
    pthread_mutex_unlock(&uplink->lock);
    if ((error = start_thread(uplink)) == 0)
        return 0;
    set_error(uplink, "no thread for the uplink", error);
    after_thread(uplink);
    return error;
}

void uplink_rename(struct uplink *uplink, const char *node_name)
{
    pthread_mutex_lock(&uplink->lock);
    if (strcmp(uplink->node_name, node_name) != 0) {
        set_name(uplink, node_name);
        uplink->renamed = true;
    }
    pthread_mutex_unlock(&uplink->lock);
    write_wake(uplink);
}

void uplink_standing(struct uplink *uplink, unsigned standing)
{
    /* It changes seldom, so the thread is woken without asking whether it sleeps. */
    if (atomic_exchange(&uplink->standing, standing) != standing)
        write_wake(uplink);
}

bool uplink_drain(struct uplink *uplink, unsigned milliseconds)
{
    struct timespec by = in_ms(milliseconds);
    bool settled = false;
    int error = 0;

    write_wake(uplink);
    pthread_mutex_lock(&uplink->lock);
    while (uplink->running && uplink->has_daemon && error == 0 &&
           !(settled = journal_is_settled(uplink->settings.journal, UINT64_MAX)))
        error = pthread_cond_timedwait(&uplink->settled, &uplink->lock, &by);
    pthread_mutex_unlock(&uplink->lock);
    return settled;
}

void uplink_leave(struct uplink *uplink, unsigned milliseconds)
{
    struct timespec by = in_ms(milliseconds);
    int error = 0;

    pthread_mutex_lock(&uplink->lock);
    uplink->leaving = uplink->running;
    pthread_mutex_unlock(&uplink->lock);
    write_wake(uplink);
    pthread_mutex_lock(&uplink->lock);
    while (uplink->running && uplink->leaving && error == 0)
        error = pthread_cond_timedwait(&uplink->settled, &uplink->lock, &by);
    pthread_mutex_unlock(&uplink->lock);
}

bool uplink_notify(struct uplink *uplink, uint64_t seq, void *cookie)
{
    struct waiter *waiter = memory_alloc(sizeof(*waiter));
    bool running;

    if (waiter == NULL)
        return false;
    *waiter = (struct waiter){.seq = seq, .cookie = cookie};
    pthread_mutex_lock(&uplink->lock);
    running = uplink->running && (!uplink->stopping || uplink->restarting);
    if (running) {
        waiter->next = uplink->waiters;
        uplink->waiters = waiter;
    }
    pthread_mutex_unlock(&uplink->lock);
    if (!running) {
        memory_free(waiter);
        return false;
    }
    /* It may be settled already; the thread looks when it is woken. */
    write_wake(uplink);
    return true;
}

void uplink_reap(struct uplink *uplink, struct linkset *links)
{
    struct reaped *reaped = memory_alloc(sizeof(*reaped));
    bool running;

    if (reaped == NULL) {
        linkset_clear(links);
        return;
    }
    reaped->links = linkset_take(links);
    pthread_mutex_lock(&uplink->lock);
    if ((running = uplink->running)) {
        reaped->next = uplink->reaped;
        uplink->reaped = reaped;
    }
    pthread_mutex_unlock(&uplink->lock);
    if (running) {
        write_wake(uplink);
    } else {
        linkset_clear(&reaped->links);
        memory_free(reaped);
    }
}

struct uplink_state uplink_state_of(struct uplink *uplink)
{
    struct uplink_state state;

    pthread_mutex_lock(&uplink->lock);
    state = uplink->state;
    pthread_mutex_unlock(&uplink->lock);
    return state;
}
