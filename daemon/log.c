#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define LINE_MAX_BYTES 1024

__attribute__((format(printf, 2, 0))) static void line(const char *level, const char *format,
                                                       va_list arguments)
{
    char text[LINE_MAX_BYTES];
    struct timespec now;
    struct tm utc;
    size_t used;
    int length;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    used = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
    length = snprintf(text + used, sizeof(text) - used,
                      ".%03ldZ coronerd[%d] %s: ", now.tv_nsec / 1000000, (int)getpid(), level);
    used += (size_t)length;

    /* One byte is kept for the newline, which takes the place of the terminating NUL. */
    length = vsnprintf(text + used, sizeof(text) - used, format, arguments);
    if (length > 0)
        used += (size_t)length;
    if (used > sizeof(text) - 1)
        used = sizeof(text) - 1;
    for (size_t i = 0; i < used; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
    }
    text[used++] = '\n';

    /* There is nobody to tell that stderr cannot be written. */
    if (write(STDERR_FILENO, text, used) < 0)
        return;
}

void log_info(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    line("info", format, arguments);
    va_end(arguments);
}

void log_warning(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    line("warning", format, arguments);
    va_end(arguments);
}

void log_error(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    line("error", format, arguments);
    va_end(arguments);
}
