/*
 * faults.c - what `hotplugctl fault` arms: the grammar of hotplug-sim/fault.c.
 *
 * Each line of an input is a specification.  Whatever is not understood is refused with a line of
 * text and arms nothing; what is armed can be told, and be disarmed.
 */
#include "fuzz.h"

#include <ctype.h>
#include <string.h>

#include "sim.h"

struct sim sim;
_Atomic uintptr_t sim_fork_owner;
static int (*hook)(enum sn_fault_point point);

static void check_message(int error, const char *message, size_t size)
{
	size_t length = strnlen(message, size);

	FUZZ_CHECK(length < size);
	FUZZ_CHECK(length > 0 || size == 1);
	FUZZ_CHECK(error == 0 || error == -EINVAL);
}

/* How many are armed, as the simulator itself counts them; none are then. */
static unsigned int disarm_all(void)
{
	char message[64];
	unsigned int count = 0;

	FUZZ_CHECK(sim_fault_arm("off", message, sizeof(message)) == 0);
	FUZZ_CHECK(sscanf(message, "disarmed: %u", &count) == 1);
	FUZZ_CHECK(hook == NULL);
	return count;
}

static void arm(const char *spec)
{
	char message[2048];
	bool had = hook != NULL;
	int error;

	memset(message, 'x', sizeof(message));
	error = sim_fault_arm(spec, message, sizeof(message));
	check_message(error, message, sizeof(message));
	FUZZ_CHECK(error == 0 || (hook != NULL) == had);
	if (strchr(spec, '%') != NULL && error == 0)
		FUZZ_CHECK(strstr(message, "seed=") != NULL || strstr(message, "=off"));
	/* Little room for the message makes no difference but to the message. */
	memset(message, 'x', sizeof(message));
	check_message(sim_fault_arm(spec, message, 8), message, 8);
}

/* Passes points that do not sleep: whatever is armed there happens, or not. */
static void pass_points(void)
{
	for (int i = 0; i < SN_FAULT_COUNT; i++)
		if (!(sn_fault_info[i].kind & SN_FAULT_DELAYS) && hook != NULL)
			FUZZ_CHECK(hook((enum sn_fault_point)i) <= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = calloc(1, size + 1), *line, *rest;

	memcpy(text, data, size);
	sim.fault_hook = &hook;
	sim_fault_reset();
	for (line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
		arm(line);
		pass_points();
	}
	FUZZ_CHECK(disarm_all() <= 32);
	free(text);
	return 0;
}
