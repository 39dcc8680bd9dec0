#include "ctl_attach.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl_cookie.h"
#include "ctl_dist.h"
#include "ctl_json.h"

#define MODULE "coroner_attach"
#define OLDEST_OTP 25       /* what the NIF and the beams are built on */
#define BEAM_MAX (4 << 20)  /* bytes of a beam file */
#define SOCKET_PATH_MAX 107 /* bytes, sun_path of unix(7) without its NUL */

/* Where the application is, on this machine and, it is hoped, in the node's eyes. */
struct application {
    char ebin[PATH_MAX];
    char beam[PATH_MAX]; /* of MODULE */
};

/* If ${directory}/${tail} holds the beam of MODULE, note it in ${application}. Return whether. */
static bool try_ebin(struct application *application, const char *directory, const char *tail)
{
    char path[PATH_MAX];

    int length = snprintf(path, sizeof(path), "%s/%s", directory, tail);
    if (length < 0 || (size_t)length >= sizeof(path) || realpath(path, application->ebin) == NULL)
        return false;
    length = snprintf(application->beam, sizeof(application->beam), "%s/%s.beam", application->ebin,
                      MODULE);
    if (length < 0 || (size_t)length >= sizeof(application->beam))
        return false;
    return access(application->beam, R_OK) == 0;
}

/* Find the application. Return CTL_OK, or the code to end with after saying where it was looked
 * for. */
static enum ctl_exit find_application(const struct ctl_options *options,
                                      struct application *application)
{
    char own[PATH_MAX];

    if (options->app != NULL) {
        if (try_ebin(application, options->app, "ebin"))
            return CTL_OK;
        CTL_COMPLAIN(
            "there is no ebin/" MODULE ".beam that can be read in ", options->app,
            ": --app takes the application's directory, the one that holds ebin/ and priv/");
        return CTL_USAGE;
    }
    ssize_t length = readlink("/proc/self/exe", own, sizeof(own) - 1);
    if (length <= 0) {
        CTL_COMPLAIN("cannot tell where coronerctl is: ", strerror(errno),
                     "; name the application's directory with --app");
        return CTL_SOFTWARE;
    }
    own[length] = '\0';
    *strrchr(own, '/') = '\0';
    if (try_ebin(application, own, "../ebin") ||
        try_ebin(application, own, "../_build/default/lib/coroner/ebin"))
        return CTL_OK;
    CTL_COMPLAIN("cannot find the application coroner: there is no " MODULE ".beam in ../ebin or "
                 "../_build/default/lib/coroner/ebin of ",
                 own, "; build it with make, or name its directory with --app");
    return CTL_UNAVAILABLE;
}

/* Read the file ${path} into ${bytes}, to be freed. Return its size, or -1 after saying why not. */
static long read_beam(const char *path, char **bytes)
{
    struct stat status;
    long result = -1;
    size_t length = 0;

    *bytes = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0) {
        CTL_COMPLAIN("cannot read ", path, ": ", strerror(errno));
        goto done;
    }
    if (!S_ISREG(status.st_mode) || status.st_size <= 0 || status.st_size > BEAM_MAX ||
        (*bytes = malloc((size_t)status.st_size)) == NULL) {
        CTL_COMPLAIN("the file ", path, " is not the beam of a module");
        goto done;
    }
    while (length < (size_t)status.st_size) {
        ssize_t got = read(fd, *bytes + length, (size_t)status.st_size - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            CTL_COMPLAIN("cannot read ", path, " to its end");
            goto done;
        }
        length += (size_t)got;
    }
    result = (long)length;
done:
    if (fd >= 0)
        close(fd);
    return result;
}

/* Make ${path} absolute in the ${size} bytes of ${absolute}. Return CTL_OK or the code to end with.
 */
static enum ctl_exit make_absolute(const char *path, char *absolute, size_t size)
{
    char here[PATH_MAX] = "";

    if (path[0] != '/' && getcwd(here, sizeof(here)) == NULL) {
        CTL_COMPLAIN("cannot tell the current directory: ", strerror(errno),
                     "; give --ingest as an absolute path");
        return CTL_USAGE;
    }
    int length = snprintf(absolute, size, "%s%s%s", here, path[0] == '/' ? "" : "/", path);
    if (length < 0 || (size_t)length >= size) {
        CTL_COMPLAIN("the path of the ingest socket is too long: ", path, "");
        return CTL_USAGE;
    }
    /* The node would refuse it, too, but only after all of coroner is loaded. */
    if (length > SOCKET_PATH_MAX) {
        CTL_COMPLAIN("the path of the ingest socket is longer than 107 bytes: ", absolute, "");
        return CTL_USAGE;
    }
    return CTL_OK;
}

/* Append the UTF-8 string ${path} as an Erlang string, a list of its characters. Return 0 or -1. */
static int encode_path(ei_x_buff *x, const char *path)
{
    json_t *checked = json_string(path); /* NULL for what is not UTF-8 */
    if (checked == NULL)
        return -1;
    json_decref(checked);

    size_t count = 0;
    for (const char *c = path; *c != '\0'; c++)
        count += ((unsigned char)*c & 0xc0) != 0x80;
    if (count == 0 || count > PATH_MAX || ei_x_encode_list_header(x, (long)count) != 0)
        return -1;
    for (const unsigned char *c = (const unsigned char *)path; *c != '\0';) {
        int size = *c < 0x80 ? 1 : *c < 0xe0 ? 2 : *c < 0xf0 ? 3 : 4;
        unsigned long character = size == 1 ? *c : *c & (0x7fu >> size);
        for (int i = 1; i < size; i++)
            character = character << 6 | (c[i] & 0x3fu);
        if (ei_x_encode_ulong(x, character) != 0)
            return -1;
        c += size;
    }
    return ei_x_encode_empty_list(x);
}

/*
 * Append arguments for a call to ${x}, as ${form} tells: 'a' an atom, 's' a path, as a string, 'b'
 * a binary (a pointer and its size_t), '[' the beginning of the list (an int, its length), ']' its
 * end,
 * '#' the beginning of a map (an int, its pairs). Return 0 or -1.
 */
static int encode(ei_x_buff *x, const char *form, va_list arguments)
{
    int result = 0;

    for (; *form != '\0' && result == 0; form++) {
        switch (*form) {
        case 'a':
            result = ei_x_encode_atom(x, va_arg(arguments, const char *));
            break;
        case 's':
            result = encode_path(x, va_arg(arguments, const char *));
            break;
        case 'b': {
            const char *bytes = va_arg(arguments, const char *);
            size_t length = va_arg(arguments, size_t);
            result = length > INT_MAX ? -1 : ei_x_encode_binary(x, bytes, (int)length);
            break;
        }
        case '[':
            result = ei_x_encode_list_header(x, va_arg(arguments, int));
            break;
        case ']':
            result = ei_x_encode_empty_list(x);
            break;
        default: /* '#' */
            result = ei_x_encode_map_header(x, va_arg(arguments, int));
            break;
        }
    }
    return result;
}

/*
 * Call ${module}:${function} in the node with the list of arguments that encode makes of ${form}
 * and what follows it. Return as ctl_dist_call does.
 */
static enum ctl_exit call(struct ctl_dist *dist, struct ctl_term *answer, const char *module,
                          const char *function, const char *form, ...)
{
    ei_x_buff arguments;
    enum ctl_exit result;
    va_list rest;

    if (ei_x_new(&arguments) != 0) {
        CTL_COMPLAIN("out of memory");
        return CTL_SOFTWARE;
    }
    va_start(rest, form);
    int encoded = encode(&arguments, form, rest);
    va_end(rest);
    if (encoded == 0) {
        result = ctl_dist_call(dist, module, function, &arguments, answer);
    } else {
        CTL_COMPLAIN("cannot encode the arguments of ", module, ":", function,
                     ": a path that is not UTF-8, or no memory");
        result = CTL_USAGE;
    }
    ei_x_free(&arguments);
    return result;
}

/* Whether the node has MODULE loaded, into ${loaded}. */
static enum ctl_exit is_loaded(struct ctl_dist *dist, bool *loaded)
{
    struct ctl_term answer;

    enum ctl_exit result = call(dist, &answer, "erlang", "module_loaded", "[a]", 1, MODULE);
    *loaded = result == CTL_OK && ctl_term_is_atom(answer, "true");
    return result;
}

/* Take MODULE out of the node again. Return CTL_OK or the code to end with. */
static enum ctl_exit unload(struct ctl_dist *dist)
{
    struct ctl_term answer;

    enum ctl_exit result = call(dist, &answer, "code", "delete", "[a]", 1, MODULE);
    if (result == CTL_OK)
        result = call(dist, &answer, "code", "purge", "[a]", 1, MODULE);
    return result;
}

/* Check that the node runs an OTP that the NIF and the beams load on. */
static enum ctl_exit check_release(struct ctl_dist *dist)
{
    struct ctl_term answer;
    char release[32] = "";

    enum ctl_exit result = call(dist, &answer, "erlang", "system_info", "[a]", 1, "otp_release");
    if (result != CTL_OK)
        return result;
    char *end = release;
    if (ctl_term_bytes(answer, release, sizeof(release)) > 0 &&
        strtol(release, &end, 10) >= OLDEST_OTP && end != release)
        return CTL_OK;
    CTL_COMPLAIN("the node ", ctl_dist_node(dist), " runs OTP ", release[0] != '\0' ? release : "?",
                 "; coroner needs OTP 25 or later");
    return CTL_UNAVAILABLE;
}

/* Check that the node can read the application where we found it. */
static enum ctl_exit check_reach(struct ctl_dist *dist, const struct application *application)
{
    struct ctl_term answer;
    struct ctl_term part;
    struct ctl_term access_right;
    char why[64] = "eacces";

    enum ctl_exit result =
        call(dist, &answer, "file", "read_file_info", "[s]", 1, application->beam);
    if (result != CTL_OK)
        return result;
    /* {ok, {file_info, Size, Type, Access, ...}} | {error, Reason} */
    if (ctl_term_element(answer, 2, 0, &part) == 0 && ctl_term_is_atom(part, "ok")) {
        if (ctl_term_element(answer, 2, 1, &part) == 0 &&
            ctl_term_element(part, -1, 3, &access_right) == 0 &&
            (ctl_term_is_atom(access_right, "read") ||
             ctl_term_is_atom(access_right, "read_write")))
            return CTL_OK;
    } else if (ctl_term_element(answer, 2, 1, &part) == 0) {
        ctl_term_bytes(part, why, sizeof(why));
    }
    if (strcmp(why, "eacces") == 0) {
        CTL_COMPLAIN(
            "the node ", ctl_dist_node(dist), " may not read ", application->beam,
            ": the user it runs as needs the right to read that directory; put the application "
            "where it can, and name it with --app");
        return CTL_NOPERM;
    }
    CTL_COMPLAIN(
        "the node ", ctl_dist_node(dist), " does not see ", application->beam, " (", why,
        "): it runs on another machine or in a container. Run coronerctl there, or name with "
        "--app a directory that is the same on both sides");
    return CTL_UNAVAILABLE;
}

/*
 * Read {error, {Code, Text}}, the ${answer} of MODULE. Copy the code into the ${size} bytes of
 * ${code} and show the sentence in ${text}. If it is something else, the code is empty and it is
 * shown whole.
 */
static void read_error(struct ctl_term answer, char *code, size_t size, struct ctl_text *text)
{
    struct ctl_term tag;
    struct ctl_term error;
    struct ctl_term part;

    code[0] = '\0';
    if (ctl_term_element(answer, 2, 0, &tag) == 0 && ctl_term_is_atom(tag, "error") &&
        ctl_term_element(answer, 2, 1, &error) == 0 && ctl_term_element(error, 2, 0, &part) == 0 &&
        ctl_term_bytes(part, code, size) >= 0 && ctl_term_element(error, 2, 1, &part) == 0) {
        char sentence[1024];
        int length = ctl_term_bytes(part, sentence, sizeof(sentence));
        if (length >= 0) {
            ctl_text_foreign(text, sentence, (size_t)length, sizeof(sentence));
            return;
        }
    }
    ctl_term_show(text, answer);
}

/* The code to end with for an error of MODULE, from its name ${code}. */
static enum ctl_exit exit_of(const char *code)
{
    static const struct {
        const char *code;
        enum ctl_exit exit;
    } known[] = {
        {"not_attached", CTL_NOTHING},
        {"no_files", CTL_UNAVAILABLE},
        {"bad_application", CTL_UNAVAILABLE},
        {"nif", CTL_UNAVAILABLE},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(known[i].code, code) == 0)
            return known[i].exit;
    return CTL_SOFTWARE;
}

/* Say that ${what} ("attach", "detach") failed, with the ${answer} of MODULE. Return the exit code.
 */
static enum ctl_exit explain(struct ctl_dist *dist, const char *what, struct ctl_term answer)
{
    struct ctl_text text;
    char code[64];

    ctl_text_init(&text, (struct ctl_look){.utf8 = ctl_locale_is_utf8(), .colour = false});
    read_error(answer, code, sizeof(code), &text);
    CTL_COMPLAIN("cannot ", what, " coroner ", "", strcmp(what, "attach") == 0 ? "to " : "from ",
                 ctl_dist_node(dist), ": ", ctl_text_string(&text));
    ctl_text_free(&text);
    return exit_of(code);
}

/* Turn the values of the map ${info} that we know into members of ${object}. */
static void read_info(struct ctl_term info, json_t *object)
{
    static const char *const keys[] = {"processes", "incarnation", "ingest",
                                       "already",   "owner",       "uplink_error"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct ctl_term value;
        long long number;
        char bytes[PATH_MAX];

        if (ctl_term_map_get(info, keys[i], &value) != 0)
            continue;
        if (ctl_term_integer(value, &number) == 0)
            json_object_set_new(object, keys[i], json_integer(number));
        else if (ctl_term_is_atom(value, "none"))
            json_object_set_new(object, keys[i], json_null());
        else if (ctl_term_is_atom(value, "true") || ctl_term_is_atom(value, "false"))
            json_object_set_new(object, keys[i], json_boolean(ctl_term_is_atom(value, "true")));
        else if (ctl_term_bytes(value, bytes, sizeof(bytes)) > 0)
            json_object_set_new(object, keys[i], json_string(bytes)); /* left out if not UTF-8 */
    }
}

/* How the coroner that runs in a node came there, by the word that MODULE has for it. */
static const struct {
    const char *owner;
    const char *attached; /* what attach says then */
    const char *running;  /* what detach says then */
} owners[] = {
    {"attach", "coroner was attached already to ", ""},
    {"application",
     "nothing was attached: coroner runs already, as an application of its release, in ",
     "runs coroner as an application of its release"},
    {"start", "nothing was attached: coroner runs already, started by coroner:start, in ",
     "runs coroner because somebody called coroner:start there"},
};

/* Append where the node sends to, if that is known, and if it is not what ${options} say. */
static void add_ingest(struct ctl_text *text, const struct ctl_options *options,
                       const json_t *object, bool already)
{
    const json_t *ingest = json_object_get(object, "ingest");
    const char *path = json_string_value(ingest);

    if (path != NULL || json_is_null(ingest)) {
        ctl_text_add(text, "  sends to     ");
        ctl_text_foreign_string(text, path != NULL ? path : "no daemon: its option ingest is none");
        ctl_text_add(text, "\n");
    }
    /* Attaching to one that runs does not change what it was started with. */
    if (!already || strcmp(options->ingest, CTL_INGEST_SOCKET) == 0 ||
        (path != NULL && strcmp(path, options->ingest) == 0))
        return;
    ctl_text_add(text, path != NULL || json_is_null(ingest)
                           ? "               not where --ingest says: "
                           : "  sends to     where it did before; ");
    ctl_text_add(text, "to change that, stop it first (detach)\n");
}

/* Print what attaching did, which is in ${object}. */
static enum ctl_exit report(const struct ctl_options *options, const json_t *object)
{
    struct ctl_text text;

    if (options->json)
        return ctl_json_print(object);

    const json_t *processes = json_object_get(object, "processes");
    const char *incarnation = json_string_value(json_object_get(object, "incarnation"));
    const char *owner = json_string_value(json_object_get(object, "owner"));
    const char *uplink_error = json_string_value(json_object_get(object, "uplink_error"));
    bool already = json_is_true(json_object_get(object, "already"));
    ctl_text_init(&text, options->look);
    const char *attached = owners[0].attached;
    for (size_t i = 0; owner != NULL && i < sizeof(owners) / sizeof(owners[0]); i++) {
        if (strcmp(owners[i].owner, owner) == 0)
            attached = owners[i].attached;
    }
    ctl_text_add(&text, already ? attached : "coroner is attached to ");
    ctl_text_foreign_string(&text, json_string_value(json_object_get(object, "node")));
    if (json_is_integer(processes)) {
        ctl_text_add(&text, ": it watches ");
        ctl_text_add_number(&text, json_integer_value(processes));
        ctl_text_add(&text, json_integer_value(processes) == 1 ? " process" : " processes");
        ctl_text_add(&text, " and every new one");
    }
    ctl_text_add(&text, "\n");
    add_ingest(&text, options, object, already);
    if (uplink_error != NULL) {
        ctl_text_add(&text, "  but not yet  ");
        ctl_text_foreign_string(&text, uplink_error);
        ctl_text_add(&text, "; until then records wait in the node\n");
    }
    if (incarnation != NULL) {
        ctl_text_add(&text, "  incarnation  ");
        ctl_text_foreign_string(&text, incarnation);
        ctl_text_add(&text, "\n");
    }
    enum ctl_exit result = ctl_print(&text);
    ctl_text_free(&text);
    return result;
}

/* Load MODULE into the node and let it attach. */
static enum ctl_exit load_and_attach(struct ctl_dist *dist, const struct ctl_options *options,
                                     const struct application *application, const char *beam,
                                     size_t beam_size)
{
    char ingest[PATH_MAX];
    struct ctl_term answer;
    struct ctl_term part;
    bool loaded;

    enum ctl_exit result = make_absolute(options->ingest, ingest, sizeof(ingest));
    if (result == CTL_OK)
        result = check_release(dist);
    if (result == CTL_OK)
        result = check_reach(dist, application);
    if (result == CTL_OK)
        result = is_loaded(dist, &loaded);
    if (result != CTL_OK)
        return result;

    /* One that is there already may be at work: a second load would make it old code. */
    if (!loaded) {
        result = call(dist, &answer, "code", "load_binary", "[asb]", 3, MODULE, application->beam,
                      beam, beam_size);
        if (result != CTL_OK)
            return result;
        if (ctl_term_element(answer, 2, 0, &part) != 0 || !ctl_term_is_atom(part, "module"))
            return explain(dist, "attach", answer);
    }
    result = call(dist, &answer, MODULE, "attach", "[s#ab]", 2, application->ebin, 1, "ingest",
                  ingest, strlen(ingest));
    if (result == CTL_OK && ctl_term_element(answer, 2, 0, &part) == 0 &&
        ctl_term_is_atom(part, "ok") && ctl_term_element(answer, 2, 1, &part) == 0) {
        json_t *object =
            json_pack("{s:s, s:o}", "node", ctl_dist_node(dist), "attached", json_true());
        if (object == NULL) {
            CTL_COMPLAIN("coroner is attached to ", ctl_dist_node(dist),
                         ", but no memory is left to say more");
            return CTL_SOFTWARE;
        }
        read_info(part, object);
        if (json_object_get(object, "ingest") == NULL &&
            !json_is_true(json_object_get(object, "already")))
            json_object_set_new(object, "ingest", json_string(ingest));
        else if (json_is_true(json_object_get(object, "already")) && !loaded)
            unload(dist); /* it is the release's own: nothing of ours stays there */
        result = report(options, object);
        json_decref(object);
        return result;
    }
    if (result == CTL_TEMPFAIL) {
        CTL_COMPLAIN("if it is not wanted any more: coronerctl detach ", ctl_dist_node(dist), "");
        return result;
    }
    if (result == CTL_OK)
        result = explain(dist, "attach", answer);
    if (result != CTL_UNAVAILABLE && !loaded)
        unload(dist);
    return result;
}

enum ctl_exit ctl_attach(const struct ctl_options *options, int argc, char **argv)
{
    struct application application;
    char cookie[CTL_COOKIE_SIZE];
    struct ctl_dist *dist = NULL;
    char *beam = NULL;

    (void)argc;
    enum ctl_exit result = ctl_dist_check_name(argv[0]);
    if (result == CTL_OK)
        result = ctl_cookie_read(options, cookie);
    if (result == CTL_OK)
        result = find_application(options, &application);
    if (result != CTL_OK)
        return result;
    long beam_size = read_beam(application.beam, &beam);
    if (beam_size < 0)
        result = CTL_UNAVAILABLE;
    if (result == CTL_OK)
        result = ctl_dist_connect(argv[0], cookie, &dist);
    if (result == CTL_OK)
        result = load_and_attach(dist, options, &application, beam, (size_t)beam_size);
    ctl_dist_close(dist);
    free(beam);
    return result;
}

/*
 * Whose coroner runs in the node, into ${owner}: a word of the table above; NULL if coronerctl
 * brought it or none runs. Asked of the node itself, for MODULE need not be there, or may be an
 * older one.
 */
static enum ctl_exit find_owner(struct ctl_dist *dist, const char **owner)
{
    struct ctl_term answer;

    *owner = NULL;
    enum ctl_exit result = call(dist, &answer, "erlang", "whereis", "[a]", 1, "coroner_server");
    if (result != CTL_OK || ctl_term_is_atom(answer, "undefined"))
        return result;
    /* Attaching notes where the application's files are. */
    result = call(dist, &answer, "application", "get_env", "[aa]", 2, "coroner", "ebin");
    if (result != CTL_OK || !ctl_term_is_atom(answer, "undefined"))
        return result;
    result = call(dist, &answer, "application_controller", "get_master", "[a]", 1, "coroner");
    if (result == CTL_OK)
        *owner = ctl_term_is_atom(answer, "undefined") ? owners[2].owner : owners[1].owner;
    return result;
}

/* Print what became of detaching. */
static enum ctl_exit report_detached(const struct ctl_dist *dist, const struct ctl_options *options,
                                     bool stopped)
{
    struct ctl_text text;

    if (options->json) {
        json_t *object = json_pack("{s:s, s:b}", "node", ctl_dist_node(dist), "attached", 0);
        if (stopped)
            json_object_set_new(object, "stopped", json_true());
        enum ctl_exit result = ctl_json_print(object);
        json_decref(object);
        return result;
    }
    ctl_text_init(&text, options->look);
    ctl_text_add(&text, stopped ? "coroner is stopped in " : "coroner is detached from ");
    ctl_text_foreign_string(&text, ctl_dist_node(dist));
    ctl_text_add(&text,
                 stopped ? "; its modules are the node's own and stay, and the node may start it "
                           "again\n"
                         : "; nothing of it is left there\n");
    enum ctl_exit result = ctl_print(&text);
    ctl_text_free(&text);
    return result;
}

/* Stop a coroner that the node started by itself, if that is wanted; else say that it is one. */
static enum ctl_exit stop_own(struct ctl_dist *dist, const struct ctl_options *options,
                              const char *owner)
{
    struct ctl_term answer;
    size_t i = 0;

    if (!options->force) {
        while (strcmp(owners[i].owner, owner) != 0)
            i++;
        CTL_COMPLAIN("coroner is not attached to ", ctl_dist_node(dist), ": the node ", "",
                     owners[i].running, "", "; coronerctl detach --force ", ctl_dist_node(dist),
                     " stops it there");
        return CTL_NOTHING;
    }
    enum ctl_exit result = call(dist, &answer, "coroner", "stop", "]");
    if (result != CTL_OK)
        return result;
    if (!ctl_term_is_atom(answer, "ok"))
        return explain(dist, "detach", answer);
    return report_detached(dist, options, true);
}

/* Let MODULE detach, and take it out of the node. */
static enum ctl_exit detach_and_unload(struct ctl_dist *dist, const struct ctl_options *options)
{
    struct ctl_term answer;
    const char *owner;
    bool loaded;

    enum ctl_exit result = find_owner(dist, &owner);
    if (result == CTL_OK && owner != NULL)
        return stop_own(dist, options, owner);
    if (result == CTL_OK)
        result = is_loaded(dist, &loaded);
    if (result != CTL_OK)
        return result;
    if (!loaded) {
        CTL_COMPLAIN("coroner is not attached to ", ctl_dist_node(dist), "");
        return CTL_NOTHING;
    }
    result = call(dist, &answer, MODULE, "detach", "]");
    if (result != CTL_OK)
        return result;
    if (!ctl_term_is_atom(answer, "ok")) {
        result = explain(dist, "detach", answer);
        if (result == CTL_NOTHING)
            unload(dist);
        return result;
    }
    result = unload(dist);
    return result == CTL_OK ? report_detached(dist, options, false) : result;
}

enum ctl_exit ctl_detach(const struct ctl_options *options, int argc, char **argv)
{
    char cookie[CTL_COOKIE_SIZE];
    struct ctl_dist *dist = NULL;

    (void)argc;
    enum ctl_exit result = ctl_dist_check_name(argv[0]);
    if (result == CTL_OK)
        result = ctl_cookie_read(options, cookie);
    if (result == CTL_OK)
        result = ctl_dist_connect(argv[0], cookie, &dist);
    if (result == CTL_OK)
        result = detach_and_unload(dist, options);
    ctl_dist_close(dist);
    return result;
}
