/*
 * fault.c - failures and delays on request.
 *
 *	SPEC  = "off" | FAULT { (";" | space) FAULT }
 *	FAULT = STEP [ "=" ERROR ] [ WHEN ]		the step fails
 *	      | "delay:" STEP "=" MILLISECONDS [ WHEN ]	the step takes longer
 *	      | STEP "=off"				what is armed at the step is disarmed
 *	WHEN  = "@" K					the K-th time from now, once (default: @1)
 *	      | "%" PERCENT [ ",seed=" S ]		each time with a probability
 *
 * The specification "list" arms nothing and names the steps.  They are the points of core/fault.h:
 * those of the core, and those of the placement, which the ledger passes (`move` is a batch of
 * pages and counts batches; `move-busy`, `move-shared` and `move-nomem` are one page that stays and
 * count pages).  STEP "all" is each that can fail, or be delayed.  ERROR is one of errors[]; each
 * step has a usual one.  A specification is armed whole or not at all.  Without a seed one is
 * drawn; the message names it, so that any run can be repeated.
 *
 * The core's hook is installed while something is armed: what costs nothing else is one load.
 */
#include "sim.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_FAULTS	32
#define MAX_SPEC	512
#define MAX_DELAY_MS	3600000ul
#define PROBABILITY_ONE 1000000000u

#define EVERY_STEP  ((unsigned int)SN_FAULT_COUNT)
#define USUAL_ERROR UINT16_MAX /* of EVERY_STEP: each step its own */

static const struct {
	const char *name;
	int value;
} errors[] = {
	{"ENOMEM", ENOMEM}, {"EBUSY", EBUSY},	{"EACCES", EACCES}, {"EPERM", EPERM},
	{"ENOSYS", ENOSYS}, {"EIO", EIO},	{"EINVAL", EINVAL}, {"ENODEV", ENODEV},
	{"EAGAIN", EAGAIN}, {"ENOSPC", ENOSPC}, {"EFAULT", EFAULT},
};

struct fault {
	unsigned int step; /* enum sn_fault_point, or EVERY_STEP */
	int error;	   /* 0: a delay */
	unsigned int delay_ms;
	uint64_t countdown;    /* fires when it reaches 0, then is gone; 0: by probability */
	uint32_t probability;  /* of PROBABILITY_ONE */
	uint64_t seed, random; /* random: the generator's state */
	bool disarm;	       /* in a parsed specification: STEP=off */
};

struct sim_lock sim_fault_lock;

static struct {
	_Atomic unsigned int nr;
	struct fault fault[MAX_FAULTS] SN_GUARDED_BY(&sim_fault_lock);
} armed;

/* ---- reading a specification ---- */

struct reader {
	const char *p;
	char *message;
	size_t message_size;
};

__attribute__((format(printf, 2, 3))) static int complain(struct reader *r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(r->message, r->message_size, format, args);
	va_end(args);
	return -EINVAL;
}

static size_t word_length(const char *p)
{
	size_t n = 0;

	while (isalnum((unsigned char)p[n]) || p[n] == '-')
		n++;
	return n;
}

static const char *step_name(unsigned int step)
{
	return step == EVERY_STEP ? "all" : sn_fault_info[step].name;
}

static bool can(unsigned int step, uint8_t kind)
{
	return step == EVERY_STEP || (sn_fault_info[step].kind & kind) != 0;
}

static int read_step(struct reader *r, unsigned int *step)
{
	size_t len = word_length(r->p);

	for (unsigned int i = 0; i <= EVERY_STEP; i++) {
		if (strlen(step_name(i)) != len || strncmp(step_name(i), r->p, len) != 0)
			continue;
		*step = i;
		r->p += len;
		return 0;
	}
	return complain(r, "fault: unknown step \"%.*s\"", (int)sn_min(len, (size_t)40), r->p);
}

static int read_error(struct reader *r, int *error)
{
	size_t len = word_length(r->p);

	for (size_t i = 0; i < SN_ARRAY_SIZE(errors); i++) {
		if (strlen(errors[i].name) != len || strncmp(errors[i].name, r->p, len) != 0)
			continue;
		*error = errors[i].value;
		r->p += len;
		return 0;
	}
	return complain(r, "fault: unknown error \"%.*s\"", (int)sn_min(len, (size_t)40), r->p);
}

static int read_number(struct reader *r, const char *what, uint64_t max, uint64_t *value)
{
	const char *start = r->p;

	for (*value = 0; *r->p >= '0' && *r->p <= '9'; r->p++)
		if (__builtin_mul_overflow(*value, 10u, value) ||
		    __builtin_add_overflow(*value, (uint64_t)(*r->p - '0'), value))
			return complain(r, "fault: %s is too large", what);
	if (r->p == start)
		return complain(r, "fault: %s is not a number", what);
	if (*value > max)
		return complain(r, "fault: %s is too large", what);
	return 0;
}

/* "12", "0.5": up to seven digits behind the point. */
static int read_percent(struct reader *r, uint32_t *probability)
{
	uint64_t whole, scale = PROBABILITY_ONE / 100, sum;
	int error = read_number(r, "the percentage", 100, &whole);

	if (error != 0)
		return error;
	sum = whole * scale;
	if (*r->p == '.')
		for (r->p++; *r->p >= '0' && *r->p <= '9'; r->p++)
			sum += (scale /= 10) * (uint64_t)(*r->p - '0');
	if (sum == 0 || sum > PROBABILITY_ONE)
		return complain(r, "fault: the percentage must be above 0 and at most 100");
	*probability = (uint32_t)sum;
	return 0;
}

static uint64_t draw_seed(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return ((uint64_t)now.tv_sec * 1000000007u + (uint64_t)now.tv_nsec) & UINT32_MAX;
}

static int read_when(struct reader *r, struct fault *f)
{
	static const char seed[] = ",seed=";
	int error;

	f->countdown = 1;
	if (*r->p == '@') {
		r->p++;
		error = read_number(r, "the count", UINT32_MAX, &f->countdown);
		if (error == 0 && f->countdown == 0)
			error = complain(r, "fault: the count begins at 1");
		return error;
	}
	if (*r->p != '%')
		return 0;
	r->p++;
	f->countdown = 0;
	error = read_percent(r, &f->probability);
	f->seed = draw_seed();
	if (error == 0 && strncmp(r->p, seed, sizeof(seed) - 1) == 0) {
		r->p += sizeof(seed) - 1;
		error = read_number(r, "the seed", UINT64_MAX, &f->seed);
	}
	f->random = f->seed;
	return error;
}

static int read_delay(struct reader *r, struct fault *f)
{
	uint64_t ms;
	int error = read_step(r, &f->step);

	if (error != 0)
		return error;
	if (!can(f->step, SN_FAULT_DELAYS))
		return complain(r, "fault: \"%s\" cannot be delayed, \"move\" can",
				step_name(f->step));
	if (*r->p++ != '=')
		return complain(r, "fault: delay:STEP=MILLISECONDS expected");
	error = read_number(r, "the delay", MAX_DELAY_MS, &ms);
	if (error == 0 && ms == 0)
		error = complain(r, "fault: a delay of 0");
	f->delay_ms = (unsigned int)ms;
	return error != 0 ? error : read_when(r, f);
}

static int read_fault(struct reader *r, struct fault *f)
{
	static const char delay[] = "delay:";
	int error;

	memset(f, 0, sizeof(*f));
	if (strncmp(r->p, delay, sizeof(delay) - 1) == 0) {
		r->p += sizeof(delay) - 1;
		return read_delay(r, f);
	}
	error = read_step(r, &f->step);
	if (error != 0)
		return error;
	f->error = f->step == EVERY_STEP ? USUAL_ERROR : sn_fault_info[f->step].usual;
	if (*r->p == '=') {
		r->p++;
		if (word_length(r->p) == 3 && strncmp(r->p, "off", 3) == 0) {
			r->p += 3;
			f->disarm = true;
			return 0;
		}
		error = read_error(r, &f->error);
	}
	if (error == 0 && !can(f->step, SN_FAULT_FAILS))
		return complain(r, "fault: \"%s\" cannot fail, it can be delayed",
				step_name(f->step));
	return error != 0 ? error : read_when(r, f);
}

static void skip_separators(struct reader *r)
{
	while (*r->p == ' ' || *r->p == '\t' || *r->p == ';')
		r->p++;
}

static int read_spec(struct reader *r, struct fault *list, unsigned int *nr)
{
	*nr = 0;
	for (skip_separators(r); *r->p != '\0'; skip_separators(r)) {
		int error;

		if (*nr == MAX_FAULTS)
			return complain(r, "fault: at most %d at once", MAX_FAULTS);
		error = read_fault(r, &list[*nr]);
		if (error != 0)
			return error;
		if (*r->p != '\0' && strchr(" \t;", *r->p) == NULL)
			return complain(r, "fault: unexpected \"%.20s\"", r->p);
		++*nr;
	}
	return *nr > 0 ? 0 : complain(r, "fault: nothing to arm");
}

/* ---- the table of armed faults, under its lock ---- */

static unsigned int nr_armed(void)
{
	return atomic_load_explicit(&armed.nr, memory_order_relaxed);
}

/* The core asks while there is something to ask for. */
static void set_nr_armed(unsigned int nr) SN_REQUIRES(&sim_fault_lock)
{
	atomic_store_explicit(&armed.nr, nr, memory_order_relaxed);
	__atomic_store_n(sim.fault_hook, nr == 0 ? NULL : sim_fault, __ATOMIC_RELAXED);
}

static void remove_fault(unsigned int i) SN_REQUIRES(&sim_fault_lock)
{
	unsigned int last = nr_armed() - 1;

	armed.fault[i] = armed.fault[last];
	set_nr_armed(last);
}

static unsigned int disarm(bool every_step, unsigned int step) SN_REQUIRES(&sim_fault_lock)
{
	unsigned int count = 0;

	for (unsigned int i = nr_armed(); i-- > 0;) {
		if (every_step || armed.fault[i].step == step) {
			remove_fault(i);
			count++;
		}
	}
	return count;
}

static const char *error_name(int error)
{
	for (size_t i = 0; i < SN_ARRAY_SIZE(errors); i++)
		if (errors[i].value == error)
			return errors[i].name;
	return "";
}

/* Appends what was done with one fault to the message. */
static void describe(const struct fault *f, unsigned int disarmed, char *message, size_t size)
{
	size_t used = strlen(message);
	const char *name = step_name(f->step);

	message += used;
	size -= used;
	if (f->disarm) {
		snprintf(message, size, " %s=off (%u disarmed)", name, disarmed);
		return;
	}
	if (f->error == 0)
		snprintf(message, size, " delay:%s=%u", name, f->delay_ms);
	if (f->error == USUAL_ERROR)
		snprintf(message, size, " %s", name);
	if (error_name(f->error)[0] != '\0')
		snprintf(message, size, " %s=%s", name, error_name(f->error));
	used = strlen(message);
	message += used;
	size -= used;
	if (f->countdown != 0)
		snprintf(message, size, "@%llu", (unsigned long long)f->countdown);
	else
		snprintf(message, size, "%%%.7g,seed=%llu",
			 f->probability * 100.0 / PROBABILITY_ONE, (unsigned long long)f->seed);
}

static int arm_list(const struct fault *list, unsigned int nr, char *message, size_t size)
	SN_REQUIRES(&sim_fault_lock)
{
	unsigned int arming = 0;

	for (unsigned int i = 0; i < nr; i++)
		arming += !list[i].disarm;
	if (nr_armed() + arming > MAX_FAULTS) {
		snprintf(message, size, "fault: at most %d at once", MAX_FAULTS);
		return -EINVAL;
	}
	snprintf(message, size, "armed:");
	for (unsigned int i = 0; i < nr; i++) {
		unsigned int disarmed = 0;

		if (list[i].disarm) {
			disarmed = disarm(false, list[i].step);
		} else {
			armed.fault[nr_armed()] = list[i];
			set_nr_armed(nr_armed() + 1);
		}
		describe(&list[i], disarmed, message, size);
	}
	return 0;
}

static void list_steps(char *message, size_t size)
{
	size_t used = (size_t)snprintf(message, size, "steps:");

	for (unsigned int i = 0; i < EVERY_STEP && used < size; i++)
		used += (size_t)(can(i, SN_FAULT_FAILS)
					 ? snprintf(message + used, size - used, " %s=%s",
						    step_name(i),
						    error_name(sn_fault_info[i].usual))
					 : snprintf(message + used, size - used, " delay:%s",
						    step_name(i)));
}

int sim_fault_arm(const char *spec, char *message, size_t message_size)
{
	struct reader r = {spec, message, message_size};
	struct fault list[MAX_FAULTS];
	unsigned int nr;
	int error;

	if (message_size == 0)
		return -EINVAL;
	message[0] = '\0';
	if (spec == NULL || strlen(spec) > MAX_SPEC)
		return complain(&r, "fault: at most %d characters", MAX_SPEC);
	if (strcmp(spec, "off") == 0) {
		sim_lock(&sim_fault_lock);
		nr = disarm(true, 0);
		sim_unlock(&sim_fault_lock);
		snprintf(message, message_size, "disarmed: %u", nr);
		return 0;
	}
	if (strcmp(spec, "list") == 0) {
		list_steps(message, message_size);
		return 0;
	}
	error = read_spec(&r, list, &nr);
	if (error != 0)
		return error;
	sim_lock(&sim_fault_lock);
	error = arm_list(list, nr, message, message_size);
	sim_unlock(&sim_fault_lock);
	return error;
}

/* ---- at the steps ---- */

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static bool fires(unsigned int i) SN_REQUIRES(&sim_fault_lock)
{
	struct fault *f = &armed.fault[i];

	if (f->countdown == 0)
		return next_random(&f->random) % PROBABILITY_ONE < f->probability;
	return --f->countdown == 0;
}

static bool concerns(const struct fault *f, enum sn_fault_point point)
{
	if (f->step == EVERY_STEP)
		return can(point, f->error != 0 ? SN_FAULT_FAILS : SN_FAULT_DELAYS);
	return f->step == point;
}

/* What happens at this passage of a point: every fault armed there sees it. */
static int pass(enum sn_fault_point point, unsigned int *delay_ms)
{
	int error = 0;

	sim_lock(&sim_fault_lock);
	for (unsigned int i = nr_armed(); i-- > 0;) {
		struct fault f = armed.fault[i];

		if (!concerns(&f, point) || !fires(i))
			continue;
		if (f.error == USUAL_ERROR)
			error = -sn_fault_info[point].usual;
		else if (f.error != 0)
			error = -f.error;
		else
			*delay_ms += f.delay_ms;
		if (f.countdown != 0)
			remove_fault(i);
	}
	sim_unlock(&sim_fault_lock);
	return error;
}

static void sleep_ms(unsigned int ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000l;
	if (until.tv_nsec >= 1000000000l) {
		until.tv_nsec -= 1000000000l;
		until.tv_sec++;
	}
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		continue;
}

int sim_fault(enum sn_fault_point point)
{
	unsigned int delay_ms = 0;
	int error;

	if (nr_armed() == 0)
		return 0;
	error = pass(point, &delay_ms);
	if (delay_ms > 0)
		sleep_ms(delay_ms);
	return error;
}

/* Before there are other threads. */
void sim_fault_reset(void) SN_NO_THREAD_SAFETY
{
	memset(&armed, 0, sizeof(armed));
	set_nr_armed(0);
}
