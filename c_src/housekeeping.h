/*
 * Exits by which OTP ends helpers of its own in the ordinary way, but with a reason that looks like a failure:
 * told by the place in OTP's code that the exit came from, which no other code has.
 */
#ifndef CORONER_HOUSEKEEPING_H
#define CORONER_HOUSEKEEPING_H

#include <erl_nif.h>

#include "coroner.h"
#include "record.h"

/**
 * housekeeping_severity(coroner, record, reason): the severity of ${record}, which has its verdict and its cause
 * already, if the exit, of this ${reason}, is one of those; else the one that it has. Any thread.
 */
enum coroner_severity housekeeping_severity(const struct coroner *coroner,
                                            const struct record *record, ERL_NIF_TERM reason);

#endif
