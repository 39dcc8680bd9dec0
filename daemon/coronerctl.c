/*
 * coronerctl: ask coronerd why processes exited, and load coroner into running nodes.
 *
 * Here are the command line, the table of commands and the help; each command is in a file of its
 * own.
 */
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "ctl_ask.h"
#include "ctl_attach.h"
#include "ctl_cascade.h"
#include "ctl_cookie.h"
#include "ctl_count.h"
#include "ctl_status.h"
#include "ctl_where.h"
#include "version.h"

enum option_id {
    OPTION_QUERY = 256,
    OPTION_JSON,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_INGEST,
    OPTION_APP,
    OPTION_COOKIE_FILE,
    OPTION_COOKIE,
    OPTION_NODE,
    OPTION_SINCE,
    OPTION_UNTIL,
    OPTION_ORDER,
    OPTION_LIMIT,
    OPTION_BY,
    OPTION_BUCKET,
    OPTION_NODES,
    OPTION_WATCH,
    OPTION_FORCE
};

#define BIT(id) (1u << ((id)-OPTION_QUERY))
#define EVERYWHERE (BIT(OPTION_QUERY) | BIT(OPTION_JSON) | BIT(OPTION_HELP) | BIT(OPTION_VERSION))

static const struct {
    enum option_id id;
    const char *name;
    const char *value; /* what its value is called in the help; NULL if it takes none */
    const char *help;
} options_table[] = {
    {OPTION_QUERY, "query", "SOCK", "query socket of coronerd (" CTL_QUERY_SOCKET ")"},
    {OPTION_JSON, "json", NULL, "lines of JSON; of records, one bare record a line"},
    {OPTION_HELP, "help", NULL, "this help, or that of the command"},
    {OPTION_VERSION, "version", NULL, "which version this is"},
    {OPTION_INGEST, "ingest", "SOCK", "socket the node sends to (" CTL_INGEST_SOCKET ")"},
    {OPTION_APP, "app", "DIR", "directory of the application coroner, with ebin/ and priv/ in it"},
    {OPTION_COOKIE_FILE, "cookie-file", "FILE", "file with the node's cookie (~/.erlang.cookie)"},
    {OPTION_COOKIE, "cookie", "C", "the cookie itself; everybody who runs ps sees it"},
    {OPTION_NODE, "node", "NODE", "only this node's records"},
    {OPTION_SINCE, "since", "T",
     "records from this time on: -10m, -1h, -2d, or 2026-11-23T15:46:33Z"},
    {OPTION_UNTIL, "until", "T", "records before this time"},
    {OPTION_ORDER, "order", "O", "desc, newest first, or asc, oldest first"},
    {OPTION_LIMIT, "limit", "N", "no more than so many records (100) or lines"},
    {OPTION_BY, "by", "F[,F]", "count by this field, or by these two"},
    {OPTION_BUCKET, "bucket", "T", "count by spans of time: 30s, 1m, 1h, 1d"},
    {OPTION_NODES, "nodes", "N", "draw so many of those who died (20)"},
    {OPTION_WATCH, "watch", NULL, "again every 2 seconds, until interrupted"},
    {OPTION_FORCE, "force", NULL, "stop coroner also if the node started it by itself"},
};

#define OPTION_COUNT (sizeof(options_table) / sizeof(options_table[0]))

static enum ctl_exit help_command(const struct ctl_options *options, int argc, char **argv);

static const struct command {
    const char *name;
    const char *arguments;
    int least, most;  /* how many arguments; most is -1 for any number */
    unsigned allowed; /* options beside those that are allowed everywhere */
    const char *summary;
    const char *help;
    enum ctl_exit (*run)(const struct ctl_options *options, int argc, char **argv);
} commands[] = {
    {"why", "PID|NAME", 1, 1, BIT(OPTION_NODE), "tell why a process exited",
     "Draws the newest exit of the process as a tree, from the exit back to its origin. PID is\n"
     "what the node shows, as '<0.123.0>', 0.123.0 or '#PID<0.123.0>' (quoted, for the shell "
     "takes\n"
     "< > and #); NAME is a registered name, or the module a process began in. Other nodes, and\n"
     "earlier runs, that have such an exit are listed.\n",
     ctl_why},
    {"tail", "[FIELD=VALUE ...]", 0, -1, BIT(OPTION_NODE), "print exits as they happen",
     "Prints a line for each exit that fits, until it is interrupted.\n", ctl_tail},
    {"query", "[FIELD=VALUE ...]", 0, -1,
     BIT(OPTION_NODE) | BIT(OPTION_SINCE) | BIT(OPTION_UNTIL) | BIT(OPTION_ORDER) |
         BIT(OPTION_LIMIT),
     "print the exits that fit",
     "Prints a line for each exit that is kept and fits all conditions.\n", ctl_query},
    {"tree", "PID|NAME|ID", 1, 1, BIT(OPTION_NODE) | BIT(OPTION_NODES),
     "tell who died of the same cause",
     "Tells the cascade that an exit is of as one story: how it began, how many died of it, by "
     "what\n"
     "they ran and how far from the origin, and draws the first of them. ID is that of a record.\n",
     ctl_cascade},
    {"top", "[FIELD=VALUE ...]", 0, -1,
     BIT(OPTION_NODE) | BIT(OPTION_SINCE) | BIT(OPTION_UNTIL) | BIT(OPTION_BY) | BIT(OPTION_WATCH),
     "tell who kills most, who dies most, and of what",
     "Prints the killers, victims and sources that come most often in the last hour, or since\n"
     "--since; with --by those of one field.\n",
     ctl_top},
    {"count", "[FIELD=VALUE ...]", 0, -1,
     BIT(OPTION_NODE) | BIT(OPTION_SINCE) | BIT(OPTION_UNTIL) | BIT(OPTION_LIMIT) | BIT(OPTION_BY) |
         BIT(OPTION_BUCKET),
     "count the exits that fit",
     "Prints how many exits fit, or how many of each value of --by and each span of --bucket, as "
     "in\n"
     "coronerctl count --by exit.source --bucket 1m --since -1h\n",
     ctl_count},
    {"status", "", 0, 0, 0, "tell how coronerd is, and which nodes send to it",
     "Prints what coronerd says of itself, and for each node how many records it made, how many "
     "of\n"
     "them are stored, and how many are lost.\n",
     ctl_status},
    {"attach", "NODE", 1, 1,
     BIT(OPTION_INGEST) | BIT(OPTION_APP) | BIT(OPTION_COOKIE_FILE) | BIT(OPTION_COOKIE),
     "load coroner into a running node",
     "Connects to NODE (name@host, as node() shows it there) over Erlang's distribution, as a "
     "hidden\n"
     "node, loads coroner there, and lets it send to the ingest socket. The node needs OTP 25 or\n"
     "later and must see the application's directory under the same path: same machine, no "
     "container\n"
     "in between. The cookie comes from --cookie-file, else the variable CORONER_COOKIE, else\n"
     "~/.erlang.cookie. epmd is asked on port ERL_EPMD_PORT, else 4369.\n",
     ctl_attach},
    {"detach", "NODE", 1, 1, BIT(OPTION_COOKIE_FILE) | BIT(OPTION_COOKIE) | BIT(OPTION_FORCE),
     "take coroner out of a node again",
     "Leaves nothing of coroner in the node. Where the node started coroner by itself, as an\n"
     "application of its release or from a shell, nothing is done; with --force it is stopped "
     "there,\n"
     "until the node starts it again, and its modules stay.\n",
     ctl_detach},
    {"help", "[COMMAND|fields]", 0, 1, 0, "explain a command, or list the fields", "",
     help_command},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

/* Append a line of the help: ${first} and ${second} in a column, then ${rest}. */
static void add_row(struct ctl_text *text, const char *first, const char *second, const char *rest)
{
    char column[64];

    snprintf(column, sizeof(column), "  %s%s%s", first, second[0] != '\0' ? " " : "", second);
    ctl_text_add(text, column);
    for (size_t width = strlen(column); width < 28; width++)
        ctl_text_add(text, " ");
    ctl_text_add(text, rest);
    ctl_text_add(text, "\n");
}

static void add_options(struct ctl_text *text, unsigned shown)
{
    char name[32];

    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if ((shown & BIT(options_table[i].id)) == 0)
            continue;
        snprintf(name, sizeof(name), "--%s", options_table[i].name);
        add_row(text, name, options_table[i].value != NULL ? options_table[i].value : "",
                options_table[i].help);
    }
}

/* Print the help for ${command}, or the general one if it is NULL. */
static enum ctl_exit print_help(const struct ctl_options *options, const struct command *command)
{
    struct ctl_text text;

    ctl_text_init(&text, options->look);
    ctl_text_add(&text, "usage: coronerctl ");
    if (command == NULL) {
        ctl_text_add(
            &text, "COMMAND [OPTION ...] [ARGUMENT ...]\n\n"
                   "Asks coronerd why Erlang processes exited, and loads coroner into nodes.\n\n");
        for (size_t i = 0; i < COMMAND_COUNT; i++)
            add_row(&text, commands[i].name, commands[i].arguments, commands[i].summary);
        ctl_text_add(&text, "\n");
        add_options(&text, EVERYWHERE);
        ctl_text_add(
            &text,
            "\ncoronerctl help COMMAND tells more, help fields what can be asked for. It ends "
            "with 0;\n1 where nothing was found; 64 usage, 69 unavailable, 70 fault, 75 try later, "
            "77 not allowed.\n");
    } else {
        ctl_text_add(&text, command->name);
        ctl_text_add(&text, " [OPTION ...]");
        ctl_text_add(&text, command->arguments[0] != '\0' ? " " : "");
        ctl_text_add(&text, command->arguments);
        ctl_text_add(&text, "\n\n");
        ctl_text_add(&text, command->help);
        ctl_text_add(&text, "\n");
        add_options(&text, command->allowed | EVERYWHERE);
        if (strstr(command->arguments, "FIELD") != NULL) {
            ctl_text_add(&text,
                         "\nFIELD is severity, another field of a record as exit.source, or a "
                         "short name:\n");
            ctl_where_shorts(&text);
        }
    }
    enum ctl_exit result = ctl_print(&text);
    ctl_text_free(&text);
    return result;
}

/* Say that there is no command ${name}. */
static enum ctl_exit unknown_command(const char *name)
{
    CTL_COMPLAIN("there is no command '", name, "'; coronerctl help lists those there are");
    return CTL_USAGE;
}

/* Print the fields that can be asked for. */
static enum ctl_exit print_fields(const struct ctl_options *options)
{
    struct ctl_text text;

    ctl_text_init(&text, options->look);
    ctl_where_fields(&text);
    enum ctl_exit result = ctl_print(&text);
    ctl_text_free(&text);
    return result;
}

static enum ctl_exit help_command(const struct ctl_options *options, int argc, char **argv)
{
    const struct command *command = argc > 0 ? find_command(argv[0]) : NULL;

    if (argc > 0 && strcmp(argv[0], "fields") == 0)
        return print_fields(options);

    if (argc > 0 && command == NULL)
        return unknown_command(argv[0]);
    return print_help(options, command);
}

static enum ctl_exit print_version(const struct ctl_options *options)
{
    struct ctl_text text;

    ctl_text_init(&text, options->look);
    ctl_text_add(&text, "coronerctl " CORONERD_VERSION "\n");
    enum ctl_exit result = ctl_print(&text);
    ctl_text_free(&text);
    return result;
}

/* How standard output may look, from the locale, the environment and what it is. */
static struct ctl_look find_look(void)
{
    const char *no_colour = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");

    return (struct ctl_look){
        .utf8 = ctl_locale_is_utf8(),
        .colour = isatty(STDOUT_FILENO) == 1 && (no_colour == NULL || no_colour[0] == '\0') &&
                  terminal != NULL && strcmp(terminal, "dumb") != 0,
    };
}

/* Keep ${value} and wipe it where ps could see it. */
static const char *keep_secret(char *value)
{
    static char kept[CTL_COOKIE_SIZE + 1]; /* one too long is still seen to be */

    snprintf(kept, sizeof(kept), "%s", value);
    memset(value, '*', strlen(value));
    return kept;
}

/* Read the options of the command line into ${options} and which were given into ${given}. */
static enum ctl_exit read_options(int argc, char **argv, struct ctl_options *options,
                                  unsigned *given)
{
    struct option table[OPTION_COUNT + 1];
    int id;

    memset(table, 0, sizeof(table));
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        table[i].name = options_table[i].name;
        table[i].has_arg = options_table[i].value != NULL ? required_argument : no_argument;
        table[i].val = (int)options_table[i].id;
    }
    opterr = 0;
    while ((id = getopt_long(argc, argv, ":h", table, NULL)) != -1) {
        switch (id) {
        case 'h':
        case OPTION_HELP:
            *given |= BIT(OPTION_HELP);
            continue;
        case OPTION_QUERY:
            options->query = optarg;
            break;
        case OPTION_JSON:
            options->json = true;
            break;
        case OPTION_VERSION:
            break;
        case OPTION_INGEST:
            options->ingest = optarg;
            break;
        case OPTION_APP:
            options->app = optarg;
            break;
        case OPTION_COOKIE_FILE:
            options->cookie_file = optarg;
            break;
        case OPTION_COOKIE:
            options->cookie = keep_secret(optarg);
            break;
        case OPTION_NODE:
            options->node = optarg;
            break;
        case OPTION_SINCE:
            options->since = optarg;
            break;
        case OPTION_UNTIL:
            options->until = optarg;
            break;
        case OPTION_ORDER:
            options->order = optarg;
            break;
        case OPTION_LIMIT:
            options->limit = optarg;
            break;
        case OPTION_BY:
            options->by = optarg;
            break;
        case OPTION_BUCKET:
            options->bucket = optarg;
            break;
        case OPTION_NODES:
            options->nodes = optarg;
            break;
        case OPTION_WATCH:
            options->watch = true;
            break;
        case OPTION_FORCE:
            options->force = true;
            break;
        case ':':
            CTL_COMPLAIN("the option ", argv[optind - 1], " needs a value");
            return CTL_USAGE;
        default:
            CTL_COMPLAIN("there is no option ", argv[optind - 1], "; coronerctl --help lists them");
            return CTL_USAGE;
        }
        *given |= BIT(id);
    }
    return CTL_OK;
}

/* Run the command that the command line asks for. */
static enum ctl_exit run(int argc, char **argv)
{
    struct ctl_options options = {.query = CTL_QUERY_SOCKET, .ingest = CTL_INGEST_SOCKET};
    unsigned given = 0;

    options.look = find_look();
    enum ctl_exit result = read_options(argc, argv, &options, &given);
    if (result != CTL_OK)
        return result;
    if ((given & BIT(OPTION_VERSION)) != 0)
        return print_version(&options);
    if (optind == argc) {
        if ((given & BIT(OPTION_HELP)) != 0)
            return print_help(&options, NULL);
        CTL_COMPLAIN("which command? coronerctl help lists them");
        return CTL_USAGE;
    }
    const struct command *command = find_command(argv[optind]);
    if (command == NULL)
        return unknown_command(argv[optind]);
    if ((given & BIT(OPTION_HELP)) != 0)
        return print_help(&options, command);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        unsigned bit = BIT(options_table[i].id);
        if ((given & bit) != 0 && ((command->allowed | EVERYWHERE) & bit) == 0) {
            CTL_COMPLAIN("the command ", command->name, " has no option --", options_table[i].name,
                         "; coronerctl help ", command->name, " lists those it has");
            return CTL_USAGE;
        }
    }
    int count = argc - optind - 1;
    if (count < command->least || (command->most >= 0 && count > command->most)) {
        CTL_COMPLAIN("usage: coronerctl ", command->name, command->arguments[0] != '\0' ? " " : "",
                     command->arguments,
                     count < command->least ? " (an argument is missing)"
                                            : " (there are too many arguments)");
        return CTL_USAGE;
    }
    return command->run(&options, count, argv + optind + 1);
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN);
    enum ctl_exit result = run(argc, argv);
    return result == CTL_READER_GONE ? CTL_OK : (int)result;
}
