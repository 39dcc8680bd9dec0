/*
 * The daemon's version.
 */
#ifndef CORONER_VERSION_H
#define CORONER_VERSION_H

#define CORONERD_VERSION "0.2.0"

#endif
