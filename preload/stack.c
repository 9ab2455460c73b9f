/*
 * stack.c - see stack.h.
 *
 * backtrace() loads libgcc_s at its first call, which is made here at start: later calls, from
 * inside malloc, load nothing.  Frames of this library are left out by the bounds of its text.
 */
#include "stack.h"

#include "internal.h"

#include "../core/sites.h"

#include <execinfo.h>
#include <link.h>
#include <string.h>

/* Other libcs lack it. */
#pragma weak backtrace

/* Frames of ours between the program's call and backtrace(), at the most. */
#define OWN_FRAMES 12

static struct {
	uintptr_t begin, end;
} text;

/* The object that this function is in: its executable part. */
static int find_text(struct dl_phdr_info *info, size_t size, void *unused)
{
	uintptr_t here = (uintptr_t)&find_text;

	(void)size, (void)unused;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];
		uintptr_t begin = info->dlpi_addr + part->p_vaddr;

		if (part->p_type != PT_LOAD || here - begin >= part->p_memsz)
			continue;
		text.begin = begin;
		text.end = begin + part->p_memsz;
		return 1;
	}
	return 0;
}

static bool is_ours(const void *frame)
{
	return (uintptr_t)frame >= text.begin && (uintptr_t)frame < text.end;
}

static unsigned int stack_here(void **frame, unsigned int max)
{
	void *all[SN_SITE_FRAMES + OWN_FRAMES];
	int n = backtrace(all, (int)sn_min(max + OWN_FRAMES, SN_ARRAY_SIZE(all))), own = 0;

	while (own < n && is_ours(all[own]))
		own++;
	n = sn_min(n - own, (int)max);
	memcpy(frame, all + own, (size_t)n * sizeof(*frame));
	return (unsigned int)n;
}

void sn_stack_start(void)
{
	void *frame[1];

	if (backtrace == NULL)
		return;
	sn_internal_enter();
	dl_iterate_phdr(find_text, NULL);
	backtrace(frame, 1);
	sn_internal_leave();
	sn_stack_hook = stack_here;
}
