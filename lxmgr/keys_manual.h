/* lxmgr-config(7), to standard output. */
#ifndef LX_LXMGR_KEYS_MANUAL_H
#define LX_LXMGR_KEYS_MANUAL_H

void lx_keys_manual(void);

#endif
