#include "ctl_json.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum ctl_exit ctl_json_print(const json_t *value)
{
    struct ctl_text line;
    bool terminal = isatty(STDOUT_FILENO) == 1;

    char *dumped = json_dumps(value, JSON_COMPACT | (terminal ? JSON_ENSURE_ASCII : 0));
    if (dumped == NULL) {
        CTL_COMPLAIN("not enough memory for a line of JSON");
        return CTL_SOFTWARE;
    }
    ctl_text_init(&line, (struct ctl_look){.utf8 = true, .colour = false});
    char *rest = dumped;
    if (terminal) {
        /* The one control character that JSON does not escape; it stands in strings only. */
        for (char *deleted; (deleted = strchr(rest, 0x7f)) != NULL; rest = deleted + 1) {
            *deleted = '\0';
            ctl_text_add(&line, rest);
            ctl_text_add(&line, "\\u007f");
        }
    }
    ctl_text_add(&line, rest);
    ctl_text_add(&line, "\n");
    free(dumped);
    enum ctl_exit result = ctl_print(&line);
    ctl_text_free(&line);
    return result;
}

const char *ctl_json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL && text[0] != '\0' ? text : NULL;
}
