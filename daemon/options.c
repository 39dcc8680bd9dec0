#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "options.h"
#include "settings_places.h"
#include "version.h"

static void usage(FILE *out)
{
    fprintf(
        out,
        "Usage: coronerd [OPTION]...\n"
        "Collect the exits of Erlang processes from nodes, keep them, and answer questions.\n"
        "\n"
        "  -c, --config FILE   read the settings from FILE (default %s, if there is one)\n"
        "      --check         print the settings in force, or what is wrong with them, and end\n"
        "      --listen PATH   socket that nodes connect to\n"
        "      --query PATH    socket that answers questions\n"
        "      --store PATH    database\n"
        "      --out FILE      also write every record as a line of JSON to FILE; - is stdout\n"
        "      --http ADDRESS  serve /metrics, /healthz and /readyz at 127.0.0.1:PORT, [::1]:PORT\n"
        "                      or unix:PATH\n"
        "      --help          show this\n"
        "      --version       show the version\n"
        "\n"
        "What is given here goes before what stands in FILE. SIGTERM and SIGINT: finish what has\n"
        "come, then end; the second one ends at once. SIGHUP: open the outputs anew, and read\n"
        "FILE again. Exit codes: 0 ended on request, 64 wrong usage, 70 internal error, 73 a\n"
        "socket or file cannot be created, 74 the store or an output cannot be used, 75 try\n"
        "again later, 78 wrong settings. More in coronerd(8) and coronerd.conf(5).\n",
        SETTINGS_FILE_DEFAULT);
}

/* The default file may be missing; one that is there but cannot be read is an error. */
static const char *default_config(void)
{
    if (access(SETTINGS_FILE_DEFAULT, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))
        return NULL;
    return SETTINGS_FILE_DEFAULT;
}

static int check_arguments(int argc, char **argv, const struct settings_flags *flags)
{
    if (optind < argc) {
        fprintf(stderr, "coronerd: there is no argument '%s'. Try 'coronerd --help'.\n",
                argv[optind]);
        return EX_USAGE;
    }
    if (flags->listen != NULL && flags->query != NULL && strcmp(flags->listen, flags->query) == 0) {
        fprintf(stderr, "coronerd: --listen and --query name the same socket '%s'.\n",
                flags->listen);
        return EX_USAGE;
    }
    return -1;
}

int options_read(int argc, char **argv, struct options *options)
{
    enum { LISTEN = 256, QUERY, STORE, OUT, HTTP, CHECK, HELP, VERSION };
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'},    {"check", no_argument, NULL, CHECK},
        {"listen", required_argument, NULL, LISTEN}, {"query", required_argument, NULL, QUERY},
        {"store", required_argument, NULL, STORE},   {"out", required_argument, NULL, OUT},
        {"http", required_argument, NULL, HTTP},     {"help", no_argument, NULL, HELP},
        {"version", no_argument, NULL, VERSION},     {NULL, 0, NULL, 0},
    };
    int option;

    options->config = default_config();
    while ((option = getopt_long(argc, argv, "c:", known, NULL)) != -1) {
        switch (option) {
        case 'c':
            options->config = optarg;
            break;
        case CHECK:
            options->check = true;
            break;
        case LISTEN:
            options->flags.listen = optarg;
            break;
        case QUERY:
            options->flags.query = optarg;
            break;
        case STORE:
            options->flags.store = optarg;
            break;
        case OUT:
            options->flags.out = optarg;
            break;
        case HTTP:
            options->flags.http = optarg;
            break;
        case HELP:
            usage(stdout);
            return EX_OK;
        case VERSION:
            printf("coronerd %s\n", CORONERD_VERSION);
            return EX_OK;
        default:
            fprintf(stderr, "Try 'coronerd --help'.\n");
            return EX_USAGE;
        }
    }
    return check_arguments(argc, argv, &options->flags);
}

static void warn(void *cookie, const char *what)
{
    (void)cookie;
    fprintf(stderr, "coronerd: warning: %s\n", what);
}

int options_check(const struct options *options)
{
    char why[SETTINGS_WHY_SIZE];
    struct settings *settings = settings_read(options->config, &options->flags, why);

    if (settings == NULL) {
        char *rest = why, *line;

        while ((line = strsep(&rest, "\n")) != NULL)
            fprintf(stderr, "coronerd: %s\n", line);
        return EX_CONFIG;
    }
    settings_print(settings, stdout);
    settings_places(settings, warn, NULL);
    settings_free(settings);
    if (fflush(stdout) != 0) {
        fprintf(stderr, "coronerd: cannot write the settings: %s\n", strerror(errno));
        return EX_IOERR;
    }
    return EX_OK;
}
