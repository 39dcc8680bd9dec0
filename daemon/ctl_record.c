#include "ctl_record.h"

#include <string.h>

#include "ctl_json.h"

#define NAME_LIMIT 120 /* characters of a name */

bool ctl_record_add_name(struct ctl_text *text, const char *name, const char *initial_call)
{
    if (name != NULL) {
        ctl_text_foreign(text, name, strlen(name), NAME_LIMIT);
        return true;
    }
    if (initial_call == NULL)
        return false;
    const char *function = strstr(initial_call, ":init/");
    size_t length = function != NULL ? (size_t)(function - initial_call) : strlen(initial_call);
    ctl_text_foreign(text, initial_call, length, NAME_LIMIT);
    return true;
}

/* If ${object} is about ${pid} and names it, append the name after a space. Return whether. */
static bool add_name_from(struct ctl_text *text, const json_t *object, const char *pid)
{
    const char *own = ctl_json_text(object, "pid");
    const char *name = ctl_json_text(object, "name");
    const char *initial_call = ctl_json_text(object, "initial_call");

    if (own == NULL || strcmp(own, pid) != 0 || (name == NULL && initial_call == NULL))
        return false;
    ctl_text_add(text, " ");
    return ctl_record_add_name(text, name, initial_call);
}

void ctl_record_add_process(struct ctl_text *text, const json_t *record, const char *pid)
{
    const json_t *chain = json_object_get(record, "chain");
    const json_t *hop;
    size_t i;

    ctl_text_foreign(text, pid, strlen(pid), NAME_LIMIT);
    if (add_name_from(text, json_object_get(record, "process"), pid) ||
        add_name_from(text, json_object_get(record, "origin"), pid))
        return;
    json_array_foreach(chain, i, hop)
    {
        if (add_name_from(text, hop, pid))
            return;
    }
}

bool ctl_record_add_value(struct ctl_text *text, const json_t *value)
{
    switch (value == NULL ? JSON_NULL : json_typeof(value)) {
    case JSON_STRING:
        if (json_string_length(value) == 0)
            return false;
        ctl_text_foreign(text, json_string_value(value), json_string_length(value), 300);
        return true;
    case JSON_INTEGER:
        ctl_text_add_number(text, json_integer_value(value));
        return true;
    case JSON_TRUE:
        ctl_text_add(text, "true");
        return true;
    case JSON_FALSE:
        ctl_text_add(text, "false");
        return true;
    default:
        return false;
    }
}
