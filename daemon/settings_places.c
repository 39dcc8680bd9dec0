#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "settings_places.h"

/* Whom to tell. */
struct telling {
    void (*told)(void *cookie, const char *what);
    void *cookie;
};

static void tell(const struct telling *telling, const char *who, const char *what, const char *path,
                 const char *why)
{
    char text[PATH_MAX + 256];

    snprintf(text, sizeof(text), "%s: %s '%s' %s", who, what, path, why);
    telling->told(telling->cookie, text);
}

/* The folder of ${path}, which is absolute, into ${folder}. */
static void folder_of(const char *path, char folder[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t length = slash > path ? (size_t)(slash - path) : 1;

    snprintf(folder, PATH_MAX, "%.*s", (int)length, path);
}

/* Tell what keeps ${who} from making ${path}, or, for an ${is_file}, from writing to it. */
static void look(const char *who, const char *path, bool is_file, const struct telling *telling)
{
    char folder[PATH_MAX];
    struct stat status;

    folder_of(path, folder);
    if (stat(folder, &status) != 0) {
        tell(telling, who, "the folder", folder,
             errno == ENOENT ? "does not exist" : strerror(errno));
    } else if (!S_ISDIR(status.st_mode)) {
        tell(telling, who, "the folder", folder, "is no folder");
    } else if (faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) != 0) {
        tell(telling, who, "the folder", folder, "cannot be written to by who asks");
    } else if (is_file && stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
        tell(telling, who, "the file", path, "is a folder");
    } else if (is_file && faccessat(AT_FDCWD, path, F_OK, AT_EACCESS) == 0 &&
               faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) != 0) {
        tell(telling, who, "the file", path, "cannot be written to by who asks");
    }
}

void settings_places(const struct settings *settings, void (*told)(void *cookie, const char *what),
                     void *cookie)
{
    const struct telling telling = {told, cookie};

    look("ingest.path", settings->ingest.path, false, &telling);
    look("query.path", settings->query.path, false, &telling);
    look("store.path", settings->store.path, true, &telling);
    if (settings->http != NULL && strncmp(settings->http, "unix:", 5) == 0)
        look("http.address", settings->http + 5, false, &telling);
    for (size_t i = 0; i < settings->sink_count; i++) {
        char who[64];

        if (settings->sinks[i].type != SINK_FILE)
            continue;
        snprintf(who, sizeof(who), "the sink '%s'", settings->sinks[i].name);
        look(who, settings->sinks[i].path, true, &telling);
    }
}
