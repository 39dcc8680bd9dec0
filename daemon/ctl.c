#include "ctl.h"

#include <errno.h>
#include <langinfo.h>
#include <stdio.h>
#include <string.h>

bool ctl_locale_is_utf8(void)
{
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

void ctl_complain(const char *const parts[])
{
    struct ctl_text line;

    ctl_text_init(&line, (struct ctl_look){.utf8 = ctl_locale_is_utf8(), .colour = false});
    ctl_text_add(&line, "coronerctl: ");
    for (size_t i = 0; parts[i] != NULL; i++) {
        if (i % 2 == 0)
            ctl_text_add(&line, parts[i]);
        else
            ctl_text_foreign_string(&line, parts[i]);
    }
    ctl_text_add(&line, "\n");
    fputs(ctl_text_string(&line), stderr);
    ctl_text_free(&line);
}

enum ctl_exit ctl_print(const struct ctl_text *text)
{
    if (text->failed) {
        CTL_COMPLAIN("not enough memory for the output");
        return CTL_SOFTWARE;
    }
    if (fwrite(ctl_text_string(text), 1, text->length, stdout) == text->length &&
        fflush(stdout) == 0)
        return CTL_OK;
    if (errno == EPIPE)
        return CTL_READER_GONE;
    CTL_COMPLAIN("cannot write the output: ", strerror(errno));
    return CTL_IOERR;
}
