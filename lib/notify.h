/* Telling a service manager that a daemon is ready (sd_notify(3)'s protocol). */
#ifndef LX_LIB_NOTIFY_H
#define LX_LIB_NOTIFY_H

/* Sends "READY=1" or "STOPPING=1" to $NOTIFY_SOCKET; does nothing where there is none. */
void lx_notify(const char *text);

#endif
