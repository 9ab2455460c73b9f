/*
 * module_args.h - what the simulator's module is given that does not depend on who asks.
 */
#ifndef MODULE_ARGS_H
#define MODULE_ARGS_H

#include <unistd.h>

#include "../../preload/topology.h"

#define FIRST 2u /* index of the first node */

static inline bool in_main_thread(void)
{
	return gettid() == getpid();
}

static inline struct sn_module_args module_args(const char *description, const char *capacity)
{
	return (struct sn_module_args){
		.description = description,
		.node_capacity = capacity,
		.placement = "preferred",
		.first_index = FIRST,
		.in_main_thread = in_main_thread,
	};
}

#endif
