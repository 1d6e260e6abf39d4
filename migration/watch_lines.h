/*
 * What /proc/PID/fdinfo/FD says of files that are watched (inotify(7), fanotify(7); the kernel's
 * fs/notify/fdinfo.c): a line each, with a handle of the file. Now and then, while control groups
 * come and go elsewhere on the machine, Linux (6.18 seen) leaves out the handles of those in a control group
 * file system for some milliseconds, and CRIU, which needs them, gives up. Pure.
 */
#ifndef LX_MIGRATION_WATCH_LINES_H
#define LX_MIGRATION_WATCH_LINES_H

enum lx_watches {
	LX_WATCHES_NONE,      /* no line is about a watched file */
	LX_WATCHES_COMPLETE,  /* all of those have a handle */
	LX_WATCHES_INCOMPLETE /* one has none */
};

enum lx_watches lx_watch_lines(const char *text);

#endif
