#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "timestamp.h"

#define NS_PER_SECOND 1000000000LL
#define SECONDS_MAX (INT64_MAX / NS_PER_SECOND)

int64_t timestamp_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

void timestamp_format(int64_t ns, char text[TIMESTAMP_SIZE])
{
    time_t seconds = (time_t)(ns / NS_PER_SECOND);
    struct tm utc;
    size_t used;

    gmtime_r(&seconds, &utc);
    used = strftime(text, TIMESTAMP_SIZE, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text + used, TIMESTAMP_SIZE - used, ".%09dZ", (int)(ns % NS_PER_SECOND));
}

/* Exactly `count` digits at *text, which is moved past them. */
static bool digits(const char **text, int count, int *value)
{
    *value = 0;
    for (int i = 0; i < count; i++, (*text)++) {
        if (**text < '0' || **text > '9')
            return false;
        *value = *value * 10 + (**text - '0');
    }
    return true;
}

static bool literal(const char **text, const char *any_of)
{
    if (**text == '\0' || strchr(any_of, **text) == NULL)
        return false;
    (*text)++;
    return true;
}

static int parse_span(const char *text, int64_t now, int64_t *ns)
{
    int64_t unit;
    char *end;
    long long count;

    if (text[1] < '0' || text[1] > '9')
        return -1;
    errno = 0;
    count = strtoll(text + 1, &end, 10);
    if (errno != 0 || end[0] == '\0' || end[1] != '\0')
        return -1;
    switch (end[0]) {
    case 's':
        unit = 1;
        break;
    case 'm':
        unit = 60;
        break;
    case 'h':
        unit = 60 * 60;
        break;
    case 'd':
        unit = 24 * 60 * 60;
        break;
    default:
        return -1;
    }
    /* Longer ago than the epoch is as good as the epoch. */
    if (count > SECONDS_MAX / unit || count * unit > now / NS_PER_SECOND)
        *ns = 0;
    else
        *ns = now - count * unit * NS_PER_SECOND;
    return 0;
}

static int parse_rfc3339(const char *text, int64_t *ns)
{
    static const int days_in_month[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day, hour, minute, second, offset = 0;
    int64_t fraction = 0, seconds;
    struct tm utc = {0};
    int last_day;

    if (!digits(&text, 4, &year) || !literal(&text, "-") || !digits(&text, 2, &month) ||
        !literal(&text, "-") || !digits(&text, 2, &day) || !literal(&text, "Tt ") ||
        !digits(&text, 2, &hour) || !literal(&text, ":") || !digits(&text, 2, &minute) ||
        !literal(&text, ":") || !digits(&text, 2, &second))
        return -1;
    if (year < 1970 || month < 1 || month > 12 || hour > 23 || minute > 59 || second > 60)
        return -1;
    last_day = days_in_month[month - 1];
    if (month == 2 && ((year % 4 == 0 && year % 100 != 0) || year % 400 == 0))
        last_day = 29;
    if (day < 1 || day > last_day)
        return -1;

    if (literal(&text, ".")) {
        int64_t scale = NS_PER_SECOND / 10;

        if (*text < '0' || *text > '9')
            return -1;
        for (; *text >= '0' && *text <= '9'; text++, scale /= 10) {
            if (scale == 0)
                return -1;
            fraction += scale * (*text - '0');
        }
    }

    if (*text == '+' || *text == '-') {
        int sign = *text++ == '+' ? 1 : -1;
        int hours, minutes;

        if (!digits(&text, 2, &hours) || !literal(&text, ":") || !digits(&text, 2, &minutes) ||
            hours > 23 || minutes > 59)
            return -1;
        offset = sign * (hours * 3600 + minutes * 60);
    } else if (!literal(&text, "Zz")) {
        return -1;
    }
    if (*text != '\0')
        return -1;

    utc.tm_year = year - 1900;
    utc.tm_mon = month - 1;
    utc.tm_mday = day;
    utc.tm_hour = hour;
    utc.tm_min = minute;
    utc.tm_sec = second;
    seconds = (int64_t)timegm(&utc) - offset;
    if (seconds < 0 || seconds >= SECONDS_MAX)
        return -1;
    *ns = seconds * NS_PER_SECOND + fraction;
    return 0;
}

int timestamp_parse(const char *text, int64_t now, int64_t *ns)
{
    if (strcmp(text, "now") == 0) {
        *ns = now;
        return 0;
    }
    if (text[0] == '-')
        return parse_span(text, now, ns);
    return parse_rfc3339(text, ns);
}
