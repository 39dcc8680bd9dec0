/*
 * Lines on the standard input of a command.
 *
 * What it has read from the pipe counts as handed over: what is still in the pipe when it ends is
 * written to its successor. That it has dealt with what it read, nobody knows, unless it says so:
 * with `ack = lines` it writes a line to its standard output for each record that it is done with,
 * in their order, and only these count.
 *
 * It runs in a process group of its own, which ends with it. It gets three descriptors and nothing
 * else of the daemon's.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "memory.h"
#include "sink_stream.h"

#define CONFIRM_MS 1000
#define UNSAFE_MAX 4096    /* lines that are not known to be dealt with */
#define FINISH_MS 3000     /* to end by itself once its input has ended */
#define CLOSED_MS 200      /* to end by itself after it has closed its input */
#define TERM_MS 2000       /* to end after SIGTERM */
#define LOG_LINE_MAX 512   /* of what it says */
#define LOG_LINES_MAX 100  /* at once; in the long run ... */
#define LOG_REFILL_MS 1000 /* ... one in so long */

/* A line that was handed over. */
struct unsafe {
    uint64_t end; /* where it ends in what was written to this run of the command */
    int64_t safe;
};

struct exec {
    const struct sink_settings *settings;

    pid_t pid; /* 0: it does not run */
    int pidfd;
    struct sink_stream in;
    int out; /* its acknowledgements, -1: none */
    int err;

    uint64_t written;
    uint64_t acked;       /* lines that it has dealt with */
    struct unsafe *queue; /* a ring */
    size_t queue_first, queue_length;
    int64_t settled;

    char said[LOG_LINE_MAX];
    size_t said_length;
    bool said_too_much; /* the rest of the line is left out */
    unsigned lines_left;
    int64_t refilled_ms;
    unsigned left_out;
};

static int64_t monotonic_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const char *name_of(const struct exec *exec)
{
    return exec->settings->name;
}

static bool acknowledges(const struct exec *exec)
{
    return exec->settings->ack == SINK_ACK_LINES;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- starting ---- */

/* Without what is between the daemon and the one who started it. */
static char **make_environment(void)
{
    static const char *const ours[] = {"NOTIFY_SOCKET=", "WATCHDOG_USEC=", "WATCHDOG_PID=",
                                       "LISTEN_FDS=",    "LISTEN_PID=",    "LISTEN_FDNAMES="};
    size_t count = 0, kept = 0;
    char **made;

    while (environ[count] != NULL)
        count++;
    made = memory_get((count + 1) * sizeof(*made));
    for (size_t i = 0; i < count; i++) {
        bool keep = true;

        for (size_t j = 0; j < sizeof(ours) / sizeof(ours[0]); j++)
            keep = keep && strncmp(environ[i], ours[j], strlen(ours[j])) != 0;
        if (keep)
            made[kept++] = environ[i];
    }
    made[kept] = NULL;
    return made;
}

static int spawn(struct exec *exec, const int *fds)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    char **environment = make_environment();
    sigset_t none, defaults;
    int error;

    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGXFSZ);
    posix_spawn_file_actions_init(&actions);
    for (int i = 0; i < 3; i++)
        posix_spawn_file_actions_adddup2(&actions, fds[i], i);
    /* Also what a library opened without close-on-exec. */
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    error = posix_spawnp(&exec->pid, exec->settings->command[0], &actions, &attributes,
                         exec->settings->command, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    free(environment);
    if (error != 0)
        exec->pid = 0;
    return error;
}

static enum sink_outcome start(struct exec *exec, char *why)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1};
    int nothing = -1, error;

    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0 ||
        (acknowledges(exec) ? pipe2(out, O_CLOEXEC) != 0
                            : (nothing = open("/dev/null", O_WRONLY | O_CLOEXEC)) < 0)) {
        error = errno;
    } else {
        const int fds[3] = {in[0], acknowledges(exec) ? out[1] : nothing, err[1]};

        error = spawn(exec, fds);
    }
    close_fd(&in[0]);
    close_fd(&out[1]);
    close_fd(&err[1]);
    close_fd(&nothing);
    if (error != 0) {
        sink_say(why, "%.128s: %s", exec->settings->command[0], strerror(error));
        close_fd(&in[1]);
        close_fd(&out[0]);
        close_fd(&err[0]);
        return SINK_ERROR;
    }
    exec->pidfd = pidfd_open(exec->pid, 0); /* without: its end is seen by its closed pipes */
    sink_stream_set(&exec->in, in[1]);
    exec->err = err[0];
    exec->out = out[0];
    fcntl(exec->err, F_SETFL, O_NONBLOCK);
    if (exec->out >= 0)
        fcntl(exec->out, F_SETFL, O_NONBLOCK);
    exec->written = exec->acked = 0;
    exec->queue_first = exec->queue_length = 0;
    log_info("sink %s: %s runs as process %d", name_of(exec), exec->settings->command[0],
             (int)exec->pid);
    return SINK_DONE;
}

/* ---- what it says ---- */

static void log_said(struct exec *exec)
{
    int64_t now = monotonic_ms(), refills = (now - exec->refilled_ms) / LOG_REFILL_MS;

    if (refills > 0) {
        exec->lines_left += (unsigned)(refills < LOG_LINES_MAX ? refills : LOG_LINES_MAX);
        if (exec->lines_left > LOG_LINES_MAX)
            exec->lines_left = LOG_LINES_MAX;
        exec->refilled_ms = now;
    }
    if (exec->lines_left == 0) {
        exec->left_out++;
    } else {
        if (exec->left_out > 0)
            log_warning("sink %s: %u lines of what it says are left out here", name_of(exec),
                        exec->left_out);
        exec->left_out = 0;
        exec->lines_left--;
        log_warning("sink %s says: %.*s%s", name_of(exec), (int)exec->said_length, exec->said,
                    exec->said_too_much ? " ..." : "");
    }
    exec->said_length = 0;
    exec->said_too_much = false;
}

static void hear(struct exec *exec, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n') {
            log_said(exec);
        } else if (exec->said_length < sizeof(exec->said)) {
            exec->said[exec->said_length++] = text[i];
        } else {
            exec->said_too_much = true;
        }
    }
}

/* Reads what is there, but no more than a few pipes full: it may write for ever. */
static void listen_to(struct exec *exec)
{
    char text[4096];
    ssize_t length;

    for (int i = 0; i < 32 && exec->err >= 0; i++) {
        length = read(exec->err, text, sizeof(text));
        if (length > 0)
            hear(exec, text, (size_t)length);
        else if (length == 0)
            close_fd(&exec->err);
        else
            break;
    }
    for (int i = 0; i < 32 && exec->out >= 0; i++) {
        length = read(exec->out, text, sizeof(text));
        for (ssize_t j = 0; j < length; j++)
            exec->acked += text[j] == '\n';
        if (length == 0)
            close_fd(&exec->out);
        if (length <= 0)
            break;
    }
}

/* ---- what it has dealt with ---- */

static void pop(struct exec *exec)
{
    exec->settled = exec->queue[exec->queue_first].safe;
    exec->queue_first = (exec->queue_first + 1) % UNSAFE_MAX;
    exec->queue_length--;
}

static void settle(struct exec *exec)
{
    int unread = 0;

    if (acknowledges(exec)) {
        for (; exec->acked > 0 && exec->queue_length > 0; exec->acked--)
            pop(exec);
        if (exec->queue_length == 0)
            exec->acked = 0; /* there was nothing to acknowledge */
        return;
    }
    if (exec->in.fd < 0 || ioctl(exec->in.fd, FIONREAD, &unread) != 0)
        return;
    while (exec->queue_length > 0 &&
           exec->queue[exec->queue_first].end <= exec->written - (uint64_t)unread)
        pop(exec);
}

static void push(struct exec *exec, uint64_t end, int64_t safe)
{
    size_t place = (exec->queue_first + exec->queue_length++) % UNSAFE_MAX;

    exec->queue[place] = (struct unsafe){.end = end, .safe = safe};
}

/* ---- its end ---- */

static bool has_ended(const struct exec *exec)
{
    siginfo_t info = {0};

    return waitid(P_PID, (id_t)exec->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == exec->pid;
}

/* Reaps it, once has_ended or after SIGKILL. What it started goes with it. */
static void reap(struct exec *exec, char *why)
{
    int status = 0;

    /* While it is not reaped, nobody else can have its number. */
    kill(-exec->pid, SIGKILL);
    listen_to(exec);
    if (exec->said_length > 0)
        log_said(exec);
    settle(exec);
    while (waitpid(exec->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFSIGNALED(status))
        sink_say(why, "%.128s was ended by the signal %s", exec->settings->command[0],
                 strsignal(WTERMSIG(status)));
    else
        sink_say(why, "%.128s ended with exit code %d", exec->settings->command[0],
                 WEXITSTATUS(status));
    close_fd(&exec->in.fd);
    close_fd(&exec->out);
    close_fd(&exec->err);
    close_fd(&exec->pidfd);
    exec->pid = 0;
}

/* Waits for its end for so many milliseconds, listening to it. Returns whether it came. */
static bool wait_for_end(struct exec *exec, int64_t milliseconds)
{
    int64_t until = monotonic_ms() + milliseconds, left;

    while (!has_ended(exec)) {
        struct pollfd set[3] = {{.fd = exec->pidfd, .events = POLLIN},
                                {.fd = exec->err, .events = POLLIN},
                                {.fd = exec->out, .events = POLLIN}};

        left = until - monotonic_ms();
        if (left <= 0)
            return false;
        /* Without a pidfd, look now and then. */
        poll(set, 3, (int)(exec->pidfd < 0 && left > 50 ? 50 : left));
        listen_to(exec);
    }
    return true;
}

static void end(struct exec *exec, int64_t patience_ms, char *why)
{
    if (exec->in.fd >= 0)
        settle(exec);
    close_fd(&exec->in.fd);
    if (patience_ms > 0 && wait_for_end(exec, patience_ms)) {
        reap(exec, why);
        return;
    }
    kill(-exec->pid, SIGTERM);
    if (!wait_for_end(exec, TERM_MS)) {
        log_warning("sink %s: %s does not end after SIGTERM, killing it", name_of(exec),
                    exec->settings->command[0]);
        kill(-exec->pid, SIGKILL);
    }
    reap(exec, why);
}

/* ---- what a sink asks for ---- */

static void *exec_open(struct sink_context *context, char *why)
{
    struct exec *exec = memory_zeroed(sizeof(*exec));

    (void)why; /* that the command is not there may change */
    exec->settings = context->settings;
    exec->pidfd = exec->in.fd = exec->out = exec->err = -1;
    exec->queue = memory_get(UNSAFE_MAX * sizeof(*exec->queue));
    exec->settled = context->cursor;
    exec->lines_left = LOG_LINES_MAX;
    exec->refilled_ms = monotonic_ms();
    return exec;
}

/* Up to where so many more lines end. */
static size_t end_of_lines(const struct sink_batch *batch, size_t lines)
{
    size_t last = batch->next + lines;

    return last < batch->count ? (lines > 0 ? batch->lines[last - 1].end : batch->offset)
                               : batch->data.length;
}

static enum sink_outcome exec_ready(void *state, char *why)
{
    struct exec *exec = state;

    return exec->pid != 0 ? SINK_DONE : start(exec, why);
}

static enum sink_outcome exec_write(void *state, struct sink_batch *batch, char *why)
{
    struct exec *exec = state;
    enum sink_outcome outcome = SINK_DONE;
    size_t until, next = batch->next, offset = batch->offset;

    if (batch->offset == batch->data.length)
        return SINK_DONE;
    settle(exec);
    until = end_of_lines(batch, UNSAFE_MAX - exec->queue_length);
    if (until == batch->offset)
        return SINK_FULL;
    outcome = sink_stream_write(&exec->in, batch, until, why);
    for (; next < batch->next; next++)
        push(exec, exec->written + batch->lines[next].end - offset, batch->lines[next].safe);
    exec->written += batch->offset - offset;
    if (outcome == SINK_END) {
        log_warning("sink %s: %s has closed its input", name_of(exec), exec->settings->command[0]);
        end(exec, CLOSED_MS, why);
        outcome = SINK_BACK;
    } else if (outcome == SINK_DONE && batch->offset < batch->data.length) {
        outcome = SINK_FULL;
    }
    return outcome;
}

static enum sink_outcome exec_confirm(void *state, int64_t handed, int64_t *safe, char *why)
{
    struct exec *exec = state;

    (void)why;
    settle(exec);
    if (exec->queue_length == 0)
        *safe = handed;
    else if (*safe < exec->settled)
        *safe = exec->settled;
    return SINK_DONE;
}

static int exec_poll(void *state, bool full, struct pollfd *set)
{
    struct exec *exec = state;
    int count = 0;

    if (exec->pid == 0)
        return 0;
    if (exec->pidfd >= 0)
        set[count++] = (struct pollfd){.fd = exec->pidfd, .events = POLLIN};
    if (exec->err >= 0)
        set[count++] = (struct pollfd){.fd = exec->err, .events = POLLIN};
    if (exec->out >= 0)
        set[count++] = (struct pollfd){.fd = exec->out, .events = POLLIN};
    /* Room in the pipe is of no use before it has acknowledged some. */
    if (full && exec->in.fd >= 0 && exec->queue_length < UNSAFE_MAX)
        set[count++] = (struct pollfd){.fd = exec->in.fd, .events = POLLOUT};
    return count;
}

static enum sink_outcome exec_look(void *state, char *why)
{
    struct exec *exec = state;

    if (exec->pid == 0)
        return SINK_DONE;
    listen_to(exec);
    if (!has_ended(exec))
        return SINK_DONE;
    reap(exec, why);
    return SINK_BACK;
}

static void exec_close(void *state, struct sink_batch *batch, bool drained)
{
    struct exec *exec = state;
    char why[SINK_WHY_SIZE];

    (void)batch;
    if (exec->pid != 0) {
        end(exec, drained ? FINISH_MS : 0, why);
        log_info("sink %s: %s", name_of(exec), why);
    }
    free(exec->queue);
    free(exec);
}

const struct sink_driver sink_exec = {.open = exec_open,
                                      .ready = exec_ready,
                                      .write = exec_write,
                                      .confirm = exec_confirm,
                                      .confirm_ms = CONFIRM_MS,
                                      .poll = exec_poll,
                                      .look = exec_look,
                                      .close = exec_close};
