/*
 * The daemon's version.
 */
#ifndef CORONER_VERSION_H
#define CORONER_VERSION_H

#define CORONERD_VERSION "0.1.0"

#endif
