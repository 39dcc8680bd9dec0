#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "process_numbers.h"

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void tell_memory(struct metrics_page *page)
{
    unsigned long long total, resident;
    long page_bytes = sysconf(_SC_PAGESIZE);
    char text[128];
    ssize_t length;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    length = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (length <= 0)
        return;
    text[length] = '\0';
    if (sscanf(text, "%llu %llu", &total, &resident) != 2)
        return;
    metrics_family(page, "process_resident_memory_bytes", METRICS_GAUGE,
                   "Resident memory size in bytes.");
    metrics_count(page, resident * (unsigned long long)page_bytes, NULL);
    metrics_family(page, "process_virtual_memory_bytes", METRICS_GAUGE,
                   "Virtual memory size in bytes.");
    metrics_count(page, total * (unsigned long long)page_bytes, NULL);
}

static void tell_descriptors(struct metrics_page *page)
{
    struct rlimit limit;
    DIR *folder = opendir("/proc/self/fd");
    uint64_t count = 0;

    if (folder != NULL) {
        const struct dirent *entry;

        while ((entry = readdir(folder)) != NULL)
            count += entry->d_name[0] != '.';
        closedir(folder);
        metrics_family(page, "process_open_fds", METRICS_GAUGE, "Number of open file descriptors.");
        metrics_count(page, count - 1, NULL); /* not the one that looked */
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        metrics_family(page, "process_max_fds", METRICS_GAUGE,
                       "Maximum number of open file descriptors.");
        metrics_count(page, limit.rlim_cur, NULL);
    }
}

void process_numbers_tell(int64_t started_ns, struct metrics_page *page)
{
    struct rusage usage;

    tell_memory(page);
    tell_descriptors(page);
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        metrics_family(page, "process_cpu_seconds_total", METRICS_COUNTER,
                       "Total user and system CPU time spent in seconds.");
        metrics_number(page, seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime), NULL);
    }
    metrics_family(page, "process_start_time_seconds", METRICS_GAUGE,
                   "Start time of the process since unix epoch in seconds.");
    metrics_number(page, (double)started_ns / 1e9, NULL);
}
