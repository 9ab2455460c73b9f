/*
 * Names for addresses in another process.
 */
#ifndef HOTPLUGCTL_SYMBOLS_H
#define HOTPLUGCTL_SYMBOLS_H

#include <stdint.h>
#include <sys/types.h>

struct symbols;

/* Never NULL; of a process that cannot be read, addresses stay numbers. */
struct symbols *open_symbols(pid_t pid);
/* "FUNCTION (FILE:LINE)", "FUNCTION (MODULE+0xOFFSET)", "MODULE+0xOFFSET" or "0xADDRESS", for the
 * address behind a call. The caller frees it. */
char *describe_return(struct symbols *symbols, uint64_t address);
void close_symbols(struct symbols *symbols);

#endif
