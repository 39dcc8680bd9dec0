/*
 * Whether the places on this host that the settings name can be used: coronerd would fail there,
 * but on another host, or once systemd has made its folders, they may be right.
 */
#ifndef CORONER_SETTINGS_PLACES_H
#define CORONER_SETTINGS_PLACES_H

#include "settings.h"

/*
 * settings_places(settings, told, cookie):
 * Call told(cookie, what) with a sentence for each socket, store and file of the ${settings} that
 * the user who asks could not make: because of its folder, or because what is there cannot be
 * written. Nothing is written.
 */
void settings_places(const struct settings *settings, void (*told)(void *cookie, const char *what),
                     void *cookie);

#endif
