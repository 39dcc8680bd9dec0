#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log_output.h"

#define WAITING_MAX ((size_t)256 << 10)
#define PAUSE_MS 10

/* How to write without waiting. */
enum way {
    WAY_FILE,   /* a regular file takes everything at once */
    WAY_SOCKET, /* send */
    WAY_OPENED, /* a descriptor of our own that does not wait */
    WAY_ASKED   /* ask before each write */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static enum way way;
static int output = STDERR_FILENO;
static bool journal;

/* Never held while anything waits. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char waiting[WAITING_MAX];
static size_t waiting_length;
static unsigned lost;
static bool handing_on; /* there is a thread that does */

static bool is_journal(const struct stat *status)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    int length = 0;

    return stream != NULL && sscanf(stream, "%llu:%llu%n", &device, &inode, &length) == 2 &&
           stream[length] == '\0' && device == status->st_dev && inode == status->st_ino;
}

static void look_at_stderr(void)
{
    struct stat status;
    int own;

    way = WAY_ASKED;
    if (fstat(STDERR_FILENO, &status) != 0)
        return;
    journal = is_journal(&status);
    if (S_ISREG(status.st_mode)) {
        way = WAY_FILE;
    } else if (S_ISSOCK(status.st_mode)) {
        way = WAY_SOCKET;
    } else {
        own = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (own >= 0) {
            way = WAY_OPENED;
            output = own;
        }
    }
}

bool log_output_is_journal(void)
{
    pthread_once(&once, look_at_stderr);
    return journal;
}

/* Write without waiting. Return how much was taken, or -1 if nothing ever will be. */
static ssize_t write_now(const char *text, size_t length)
{
    struct pollfd room = {.fd = output, .events = POLLOUT};
    ssize_t taken;

    do {
        if (way == WAY_SOCKET) {
            taken = send(output, text, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        } else {
            /* A pipe that has room at all has room for so much. */
            if (way == WAY_ASKED && poll(&room, 1, 0) == 0)
                return 0;
            taken = write(output, text, way == WAY_ASKED && length > 4096 ? 4096 : length);
        }
    } while (taken < 0 && errno == EINTR);
    if (taken < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    return taken;
}

static unsigned count_lines(const char *text, size_t length)
{
    unsigned count = 0;

    for (size_t i = 0; i < length; i++)
        count += text[i] == '\n';
    return count;
}

/* Write what waits. With the lock held. */
static void hand_on(void)
{
    size_t done = 0;

    while (done < waiting_length) {
        ssize_t taken = write_now(waiting + done, waiting_length - done);

        if (taken == 0)
            break;
        if (taken < 0) {
            lost += count_lines(waiting + done, waiting_length - done);
            done = waiting_length;
        } else {
            done += (size_t)taken;
        }
    }
    waiting_length -= done;
    memmove(waiting, waiting + done, waiting_length);
}

static void *hand_on_thread(void *unused)
{
    struct pollfd room = {.fd = output, .events = POLLOUT};
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000};
    size_t before = 0;
    bool stuck;

    (void)unused;
    for (;;) {
        poll(&room, 1, -1);
        pthread_mutex_lock(&lock);
        hand_on();
        if (waiting_length == 0) {
            handing_on = false;
            pthread_mutex_unlock(&lock);
            return NULL;
        }
        stuck = waiting_length == before;
        before = waiting_length;
        pthread_mutex_unlock(&lock);
        /* It said that there is room, and there was none. */
        if (stuck)
            nanosleep(&pause, NULL);
    }
}

/* With the lock held. Without a thread, what waits goes with the next line. */
static void start_handing_on(void)
{
    pthread_attr_t attributes;
    sigset_t all, previous;
    pthread_t thread;

    if (handing_on || pthread_attr_init(&attributes) != 0)
        return;
    /* Signals are for the loop. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    handing_on = pthread_create(&thread, &attributes, hand_on_thread, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &previous, NULL);
    pthread_attr_destroy(&attributes);
}

void log_output_put(const char *line, size_t length)
{
    ssize_t taken = 0;

    pthread_once(&once, look_at_stderr);
    pthread_mutex_lock(&lock);
    if (waiting_length > 0)
        hand_on();
    if (waiting_length == 0)
        taken = write_now(line, length);
    if (taken < 0 || (taken == 0 && WAITING_MAX - waiting_length < length)) {
        lost++;
    } else if ((size_t)taken < length) {
        memcpy(waiting + waiting_length, line + taken, length - (size_t)taken);
        waiting_length += length - (size_t)taken;
        start_handing_on();
    }
    pthread_mutex_unlock(&lock);
}

unsigned log_output_lost(void)
{
    unsigned count;

    pthread_mutex_lock(&lock);
    /* While there is no room, the line that tells of them would be lost, too. */
    count = waiting_length < WAITING_MAX / 2 ? lost : 0;
    if (count > 0)
        lost = 0;
    pthread_mutex_unlock(&lock);
    return count;
}

void log_output_flush(unsigned milliseconds)
{
    struct pollfd room = {.fd = output, .events = POLLOUT};
    struct timespec now, pause = {.tv_nsec = PAUSE_MS * 1000000};
    int64_t end;
    bool empty;

    clock_gettime(CLOCK_MONOTONIC, &now);
    end = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + milliseconds;
    for (;;) {
        int64_t left;

        pthread_mutex_lock(&lock);
        hand_on();
        empty = waiting_length == 0;
        pthread_mutex_unlock(&lock);
        clock_gettime(CLOCK_MONOTONIC, &now);
        left = end - ((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
        if (empty || left <= 0)
            return;
        if (poll(&room, 1, (int)left) > 0)
            nanosleep(&pause, NULL);
    }
}
