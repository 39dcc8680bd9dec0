/*
 * Where the cookie of a node comes from.
 */
#ifndef CORONER_CTL_COOKIE_H
#define CORONER_CTL_COOKIE_H

#include "ctl.h"

#define CTL_COOKIE_SIZE 256 /* bytes of a cookie with its NUL; it is an atom */

/**
 * ctl_cookie_read(options, cookie):
 * Put the cookie into ${cookie}: from --cookie or else --cookie-file in ${options}, else from the
 * variable CORONER_COOKIE, else from ~/.erlang.cookie or, as Erlang does, from
 * ${XDG_CONFIG_HOME:-~/.config}/erlang/.erlang.cookie. Return CTL_OK, or the code to end with after
 * saying which file or value is wrong.
 */
enum ctl_exit ctl_cookie_read(const struct ctl_options *options, char cookie[CTL_COOKIE_SIZE]);

#endif
