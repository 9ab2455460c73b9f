/*
 * names.c - phases, states and policies as operators read them.
 *
 * Data alone: the tests of the control thread, which imitate the core, are built with it, too.
 */
#include "lifecycle.h"

const char *sn_phase_name(enum sn_phase phase)
{
	static const char *const names[] = {"close",   "drain",	 "release", "evict",   "wait",
					    "migrate", "verify", "commit",  "rollback"};

	return names[phase];
}

const char *sn_state_name(enum sn_node_state state)
{
	static const char *const names[] = {"offline", "going-online", "online", "going-offline"};

	return names[state];
}

const char *sn_policy_name(enum sn_policy policy)
{
	static const char *const names[] = {"strict", "wait", "migrate"};

	return names[policy];
}
