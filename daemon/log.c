#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "log_output.h"
#include "utf8.h"

#define LINE_MAX_BYTES 1024

/*
 * Whoever may connect can cause lines as fast as he likes, and the disk is not his. So many may
 * come at once, as when all nodes connect anew; in the long run there is one in so many
 * milliseconds, and one that tells how many were left out.
 */
#define BURST 4000
#define REFILL_MS 100

static _Atomic int64_t paid_until_ms; /* each line takes REFILL_MS of the time to come */
static atomic_uint left_out;

static bool may_write(void)
{
    int64_t until = atomic_load(&paid_until_ms), now_ms, next;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    do {
        next = (until > now_ms ? until : now_ms) + REFILL_MS;
        if (next - now_ms > BURST * REFILL_MS)
            return false;
    } while (!atomic_compare_exchange_weak(&paid_until_ms, &until, next));
    return true;
}

/* What would move a terminal's cursor, end a line or turn the reading direction. */
static bool is_control(const unsigned char *text, size_t length)
{
    if (length == 1)
        return text[0] < 0x20 || text[0] == 0x7f;
    if (length == 2)
        return text[0] == 0xc2 && text[1] < 0xa0; /* C1 */
    return length == 3 && text[0] == 0xe2 &&
           ((text[1] == 0x80 && text[2] >= 0xa8 && text[2] <= 0xae) ||
            (text[1] == 0x81 && text[2] >= 0xa6 && text[2] <= 0xa9));
}

static void make_harmless(char *text, size_t length)
{
    size_t step;

    for (size_t at = 0; at < length; at += step) {
        step = utf8_length(text + at, length - at);
        if (step == 0) {
            text[at] = '?'; /* no UTF-8: it may have been cut */
            step = 1;
        } else if (is_control((const unsigned char *)text + at, step)) {
            memset(text + at, '?', step);
        }
    }
}

/* What stands before the text: what the journal adds by itself is left to it. */
static size_t put_prefix(char *text, size_t size, int priority)
{
    static const char *const names[] = {
        [LOG_ERR] = "error", [LOG_WARNING] = "warning", [LOG_INFO] = "info"};
    struct timespec now;
    struct tm utc;
    size_t used;
    int length;

    if (log_output_is_journal()) {
        length = snprintf(text, size, "<%d>", priority);
        return (size_t)length;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    used = strftime(text, size, "%Y-%m-%dT%H:%M:%S", &utc);
    length = snprintf(text + used, size - used, ".%03ldZ coronerd[%d] %s: ", now.tv_nsec / 1000000,
                      (int)getpid(), names[priority]);
    return used + (size_t)length;
}

__attribute__((format(printf, 2, 0))) static void line(int priority, const char *format,
                                                       va_list arguments)
{
    char text[LINE_MAX_BYTES];
    size_t used = put_prefix(text, sizeof(text), priority);
    int length;

    /* One byte is kept for the newline, which takes the place of the terminating NUL. */
    length = vsnprintf(text + used, sizeof(text) - used, format, arguments);
    if (length > 0)
        used += (size_t)length;
    if (used > sizeof(text) - 1)
        used = sizeof(text) - 1;
    make_harmless(text, used);
    text[used++] = '\n';
    log_output_put(text, used);
}

__attribute__((format(printf, 2, 3))) static void tell(int priority, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    line(priority, format, arguments);
    va_end(arguments);
}

__attribute__((format(printf, 2, 0))) static void bounded_line(int priority, const char *format,
                                                               va_list arguments)
{
    unsigned count;

    if (!may_write()) {
        atomic_fetch_add(&left_out, 1);
        return;
    }
    if ((count = atomic_exchange(&left_out, 0)) > 0)
        tell(LOG_WARNING, "%u lines are left out here, too many came at once", count);
    if ((count = log_output_lost()) > 0)
        tell(LOG_WARNING, "%u lines are left out here, nobody read the log", count);
    line(priority, format, arguments);
}

void log_info(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    bounded_line(LOG_INFO, format, arguments);
    va_end(arguments);
}

void log_warning(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    bounded_line(LOG_WARNING, format, arguments);
    va_end(arguments);
}

void log_error(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    line(LOG_ERR, format, arguments);
    va_end(arguments);
}

void log_end(unsigned milliseconds)
{
    unsigned count = log_output_lost();

    if (count > 0)
        tell(LOG_WARNING, "%u lines are left out here, nobody read the log", count);
    log_output_flush(milliseconds);
}
