/* Where a network's files are: run_dir/network/<bridge>/, read (and in part written) by dnsmasq. */
#ifndef LX_AGENT_NETWORK_PATHS_H
#define LX_AGENT_NETWORK_PATHS_H

#define LX_NETWORK_PID_FILE  "dnsmasq.pid" /* written by dnsmasq */
#define LX_NETWORK_OPTS_FILE "options"     /* DHCP options */
#define LX_NETWORK_HOSTS_DIR "dhcp"        /* a file a lease: hardware address, address, name */
#define LX_NETWORK_NAMES_DIR "names"       /* a file a lease: addresses and name */

#endif
